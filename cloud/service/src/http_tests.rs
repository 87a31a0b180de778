//! Clients that say nothing, half a thing, or are too many.

use std::net::SocketAddr;

use axum::routing::get;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;

use super::*;

const LIMIT: Duration = Duration::from_secs(60);

fn start(most: usize) -> (SocketAddr, Drain, JoinHandle<io::Result<()>>) {
    let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new()
        .route("/", get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.to_string() }));
    let drain = Drain::new();
    let running = tokio::spawn(run(listener, router, most, drain.clone()));
    (address, drain, running)
}

/// What comes until the server closes the connection.
async fn rest(tcp: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let read = tokio::time::timeout(LIMIT, tcp.read_to_end(&mut text)).await.expect("an end in time");
    // A reset is an end as well.
    let _ = read;
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test]
async fn a_request_is_answered_with_the_peer_known() {
    let (address, drain, running) = start(8);
    let mut tcp = TcpStream::connect(address).await.unwrap();
    tcp.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    let answer = rest(&mut tcp).await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with(&tcp.local_addr().unwrap().to_string()),
        "{answer}"
    );
    drain.start();
    running.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_finish_its_request_is_closed() {
    let (address, drain, running) = start(8);
    let mut silent = TcpStream::connect(address).await.unwrap();
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nhost: local").await.unwrap();
    rest(&mut silent).await;
    rest(&mut slow).await;
    drain.start();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn beyond_the_limit_connections_are_closed_and_half_a_request_does_not_keep_the_service() {
    let (address, drain, running) = start(1);
    let mut first = TcpStream::connect(address).await.unwrap();
    first.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\nGET / HTTP/1.1\r\nho").await.unwrap();
    let mut answer = [0; 12];
    first.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    let mut second = TcpStream::connect(address).await.unwrap();
    assert_eq!(rest(&mut second).await, "");
    drain.start();
    tokio::time::timeout(LIMIT, running).await.expect("an end in time").unwrap().unwrap();
}
