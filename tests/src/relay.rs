//! A way between a gateway and its cloud that a test looks into or breaks.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use crate::faults::packet;

/// One direction of a connection: where it comes from, and where it goes to.
pub type Direction = (OwnedReadHalf, OwnedWriteHalf);

/// Where a gateway finds it. Each connection has one to `to`, and `carry` gets both directions, up and down; both end with it.
///
/// # Panics
/// When no port is free.
pub async fn listen<F>(
    to: SocketAddr,
    carry: impl Fn(Direction, Direction) -> F + Send + 'static,
) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((of_box, _)) = listener.accept().await {
            let Ok(of_cloud) = TcpStream::connect(to).await else { continue };
            let ((box_in, box_out), (cloud_in, cloud_out)) = (of_box.into_split(), of_cloud.into_split());
            tokio::spawn(carry((box_in, cloud_out), (cloud_in, box_out)));
        }
    });
    addr
}

/// Passes on packet after packet, as `change` gives each, until either side ends.
pub async fn packets((mut from, mut to): Direction, change: impl Fn(Vec<u8>) -> Vec<u8>) {
    let mut bytes = Vec::new();
    while from.read_buf(&mut bytes).await.is_ok_and(|n| n > 0) {
        while let Some(length) = packet::length(&bytes) {
            let packet = change(bytes.drain(..length).collect());
            if to.write_all(&packet).await.is_err() {
                return;
            }
        }
    }
}
