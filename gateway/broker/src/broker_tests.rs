//! What holds when rumqttd's router dies: the part ends with an error, and after a new start on the same port
//! everything that the front owns is still there.

use common::Clock;
use common::supervise::{Backoff, Supervisor};
use gateway_core::Messages;
use rumqttd::protocol::{Filter, QoS, RetainForwardRule, Subscribe};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::packets;

async fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let end = tokio::time::Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(tokio::time::Instant::now() < end, "{what}");
        sleep(Duration::from_millis(2)).await;
    }
}

/// Makes the router panic, as a client with a persistent shared subscription would if the front let it.
async fn kill_router(hub: &Hub) {
    let router = hub.router().unwrap();
    let mut victim = router.link("victim".to_owned(), false).await.unwrap();
    let filter = Filter {
        path: "$share/g/kill".to_owned(),
        qos: QoS::AtLeastOnce,
        nolocal: false,
        preserve_retain: false,
        retain_forward_rule: RetainForwardRule::Never,
    };
    let subscribe = Subscribe { pkid: 1, filters: vec![filter] };
    victim.send(&mut vec![Packet::Subscribe(subscribe, None)]).await.unwrap();
    victim.send(&mut vec![packets::for_router("kill", b"x")]).await.unwrap();
    loop {
        if let Some(rumqttd::Notification::Forward(_)) = victim.rx.next().await.unwrap() {
            break;
        }
    }
    let reason_code = rumqttd::protocol::DisconnectReasonCode::NormalDisconnection;
    let bye = Packet::Disconnect(rumqttd::protocol::Disconnect { reason_code }, None);
    victim.send(&mut vec![bye]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_panics_is_a_part_that_restarts_on_the_same_port() {
    let listen = "127.0.0.1:0".parse().unwrap();
    let (broker, handle) = Broker::start(Options::new(listen), DropCounts::default()).await.unwrap();
    let broker = Arc::new(broker);
    let hub = broker.hub.clone();
    let mut inbox = handle.subscribe(vec!["a/#".to_owned()]);
    let drain = Drain::new();
    let mut supervisor = Supervisor::new(
        Clock::system(),
        drain.clone(),
        Backoff { first: Duration::from_millis(10), ..Backoff::default() },
    );
    supervisor.spawn("broker", move |drain| {
        let broker = broker.clone();
        async move { broker.run(drain).await }
    });
    let parts = supervisor.parts();
    wait_for("router up", || hub.router().is_some()).await;
    assert!(handle.publish("a/kept", "1", true));
    assert_eq!(inbox.recv().await.unwrap().topic, "a/kept");

    kill_router(&hub).await;
    wait_for("restarted", || parts.list()[0].restarts == 1 && hub.router().is_some()).await;
    assert!(parts.list()[0].last_error.as_deref().unwrap().contains("router has ended"));

    // A raw client on the same port: CONNECT, SUBSCRIBE a/kept; CONNACK, SUBACK and the retained message.
    let mut stream = TcpStream::connect(handle.local_addr()).await.unwrap();
    stream.write_all(&[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 9, 0, 1, b'x']).await.unwrap();
    stream.write_all(&[0x82, 11, 0, 1, 0, 6, b'a', b'/', b'k', b'e', b'p', b't', 0]).await.unwrap();
    let mut answer = [0; 4 + 5 + 11];
    timeout(Duration::from_secs(5), stream.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer[9..], &[0x31, 9, 0, 6, b'a', b'/', b'k', b'e', b'p', b't', b'1']);

    // And the reader inside of the gateway never noticed.
    assert!(handle.publish("a/more", "2", false));
    assert_eq!(inbox.recv().await.unwrap().topic, "a/more");
    drain.start();
    assert!(supervisor.finish(Duration::from_secs(2)).await.is_empty());
}

#[tokio::test]
async fn only_loopback_is_listened_on() {
    let listen = "0.0.0.0:0".parse().unwrap();
    let error = Broker::start(Options::new(listen), DropCounts::default()).await.err().unwrap();
    assert!(matches!(error, Error::NotLoopback { .. }));
    assert!(error.to_string().contains("loopback only"), "{error}");
}
