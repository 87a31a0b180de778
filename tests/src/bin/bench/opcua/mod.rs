//! `opcua`: what reading OPC UA servers costs, how long browsing and reconnecting take, and what our own server loses and
//! costs. The servers that are read and what the gateway is compared with are processes of their own, each this program in
//! another role.

mod bare;
mod client;
mod plant;
mod server;

/// Another role of this program, when it is started as one.
pub async fn role(name: &str, work: &str) -> Option<anyhow::Result<()>> {
    match name {
        plant::ROLE => Some(plant::run(work).await),
        bare::ROLE => Some(bare::run(work).await),
        _ => None,
    }
}

/// Figures by the beginning of their names; all if none is given.
pub async fn opcua(only: &[String]) {
    let wanted = |name: &str| only.is_empty() || only.iter().any(|o| name.starts_with(o.as_str()));
    if wanted("subscribe100k") {
        client::subscribe().await;
    }
    if wanted("browse100k") {
        client::browse().await;
    }
    if wanted("reconnect10k") {
        client::reconnect().await;
    }
    if wanted("server_lost_notifications") || wanted("server_cpu_over_peer") {
        server::subscriptions().await;
    }
    if wanted("ua_write_p99_ms") {
        server::writes().await;
    }
}
