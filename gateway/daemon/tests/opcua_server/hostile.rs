//! Clients that misbehave harm nobody: junk, half requests, too many of them, sessions without security.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::rig::{Plc, until};
use crate::ua::{LIMIT, Ua, gateway, id};

#[tokio::test(flavor = "multi_thread")]
async fn junk_and_crowds_are_turned_away_and_others_go_on() {
    let plc = Plc::start();
    let rig = gateway(&plc, "max_connections = 8\n", "").await;
    let addr = rig.handle.opcua_addr().unwrap();
    let mut ua = Ua::enter(&rig, "viewer").await;
    for junk in [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"HELF\xff\xff\xff\xff".to_vec(),
        b"OPNF\x10\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\x7f".to_vec(),
        b"MSGF\x20\x00\x00\x00aaaaaaaaaaaaaaaaaaaaaaaa".to_vec(),
        vec![0; 4096],
    ] {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(&junk).await.unwrap();
        let mut answer = Vec::new();
        // Closed, with or without a word.
        let ended = timeout(LIMIT, stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "{junk:?} is not turned away");
    }
    let mut crowd = Vec::new();
    for _ in 0..30 {
        crowd.push(TcpStream::connect(addr).await.unwrap());
    }
    until("the crowd is counted", || async {
        let metrics =
            rig.tcp(None, reqwest::Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
        metrics.lines().any(|l| l.contains("too_many_connections") && !l.ends_with(" 0")).then_some(())
    })
    .await;
    assert_eq!(ua.ok(json!({ "do": "read", "node": id("plc/door") })).await["status"], "Good");
    drop(crowd);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_on_items_and_subscriptions_hold() {
    let plc = Plc::start();
    let rig = gateway(&plc, "max_subscriptions = 2\nmax_items = 5\nmax_items_total = 6\n", "").await;
    let mut ua = Ua::enter(&rig, "viewer").await;
    let four = [id("plc/door"), id("plc/free"), id("plc/setpoint"), id("plc/temperature")];
    let six: Vec<_> = four.iter().chain(&four[..2]).collect();
    assert_eq!(ua.status(json!({ "do": "subscribe", "nodes": six })).await, "BadTooManyMonitoredItems");
    let made = ua.ok(json!({ "do": "subscribe", "nodes": four })).await;
    assert_eq!(made.as_array().unwrap().len(), 4);
    // The third subscription, as the refused one stays.
    assert_eq!(ua.status(json!({ "do": "subscribe", "nodes": four })).await, "BadTooManySubscriptions");
    rig.stop().await;
}
