//! Group `opcua`.

mod server;

/// Every figure of it.
pub async fn opcua() {
    server::server().await;
}
