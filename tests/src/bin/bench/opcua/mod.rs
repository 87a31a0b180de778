//! Group `opcua`.

mod server;

/// Figures by the beginning of their names; all if none is given.
pub async fn opcua(only: &[String]) {
    let wanted = |name: &str| only.is_empty() || only.iter().any(|o| name.starts_with(o.as_str()));
    if wanted("server_lost_notifications") || wanted("server_cpu_over_peer") {
        server::subscriptions().await;
    }
    if wanted("ua_write_p99_ms") {
        server::writes().await;
    }
}
