//! `opcua`: what reading OPC UA servers costs, and how long browsing and reconnecting take. The servers and what the
//! gateway is compared with are processes of their own, each this program in another role.

mod bare;
mod client;
mod plant;

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
}
