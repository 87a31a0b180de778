//! Connects to a device, a gateway or a serial device server.

use std::time::Duration;

use tokio::net::TcpStream;

/// Connects.
///
/// # Errors
/// What the system said.
pub(super) async fn connect(host: &str, port: u16, limit: Duration) -> Result<TcpStream, String> {
    let stream = tokio::time::timeout(limit, TcpStream::connect((host, port)))
        .await
        .map_err(|_| format!("no connection within {} ms", limit.as_millis()))?
        .map_err(|e| format!("cannot connect: {e}"))?;
    // Without it each request waits for the acknowledgement of the one before.
    stream.set_nodelay(true).map_err(|e| format!("cannot set nodelay: {e}"))?;
    Ok(stream)
}
