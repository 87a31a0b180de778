//! The broker with clients that are not ours: Mosquitto's programs, rumqttc, and sockets that say wrong things.
// Helpers of tests are tests: the lints' exemption sees only what carries `#[test]`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use common::Drain;
use gateway_broker::{Broker, Handle, Options};
use gateway_core::{DropCounts, Messages};
use rumqttc::{AsyncClient, Event, EventLoop, Incoming, LastWill, MqttOptions, QoS};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

const LIMIT: Duration = Duration::from_secs(20);

struct Rig {
    handle: Handle,
    drain: Drain,
    drops: DropCounts,
    run: JoinHandle<()>,
}

impl Rig {
    async fn start(change: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options::new("127.0.0.1:0".parse().unwrap());
        change(&mut options);
        let (drops, drain) = (DropCounts::default(), Drain::new());
        let (broker, handle) = Broker::start(options, drops.clone()).await.unwrap();
        let stop = drain.clone();
        let run = tokio::spawn(async move { broker.run(stop).await.unwrap() });
        let rig = Self { handle, drain, drops, run };
        // The port is open before the router runs; a first client waits for both.
        rig.raw("probe", 60).await;
        rig.gone().await;
        rig
    }

    fn addr(&self) -> SocketAddr {
        self.handle.local_addr()
    }

    async fn stop(self) {
        self.drain.start();
        timeout(Duration::from_secs(2), self.run).await.unwrap().unwrap();
    }

    async fn gone(&self) {
        wait_for("clients gone", || self.handle.clients() == 0).await;
    }

    /// A socket that has said CONNECT with a clean session and was accepted.
    async fn raw(&self, id: &str, keep_alive: u16) -> TcpStream {
        loop {
            let mut s = TcpStream::connect(self.addr()).await.unwrap();
            s.write_all(&connect(id, keep_alive)).await.unwrap();
            let mut ack = [0; 4];
            timeout(LIMIT, s.read_exact(&mut ack)).await.unwrap().unwrap();
            match ack {
                [0x20, 2, 0, 0] => return s,
                [0x20, 2, 0, 3] => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn mosquitto_sub(&self, args: &[&str]) -> Sub {
        // Its lines come at once, not when a buffer is full.
        let mut child = Command::new("stdbuf")
            .args([
                "-oL",
                "mosquitto_sub",
                "-h",
                "127.0.0.1",
                "-p",
                &self.addr().port().to_string(),
                "-d",
                "-F",
                "%t %q %r %p",
            ])
            .args(args)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Sub { _child: child, lines }
    }

    async fn mosquitto_pub(&self, args: &[&str]) {
        let run = Command::new("mosquitto_pub")
            .args(["-h", "127.0.0.1", "-p", &self.addr().port().to_string()])
            .args(args)
            .kill_on_drop(true)
            .status();
        assert!(timeout(LIMIT, run).await.unwrap().unwrap().success(), "{args:?}");
    }

    fn rumqttc(&self, id: &str, change: impl FnOnce(&mut MqttOptions)) -> (AsyncClient, EventLoop) {
        let mut options = MqttOptions::new(id, "127.0.0.1", self.addr().port());
        options.set_keep_alive(Duration::from_secs(30));
        change(&mut options);
        AsyncClient::new(options, 1000)
    }
}

struct Sub {
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Sub {
    /// Waits until the subscription stands.
    async fn ready(mut self) -> Self {
        while !self.line().await.starts_with("Subscribed") {}
        self
    }

    async fn line(&mut self) -> String {
        timeout(LIMIT, self.lines.next_line()).await.unwrap().unwrap().unwrap()
    }

    /// The next message as `topic qos retained payload`.
    async fn message(&mut self) -> String {
        loop {
            let line = self.line().await;
            if !line.starts_with("Client ") && !line.starts_with("Subscribed") && !line.is_empty() {
                return line;
            }
        }
    }
}

fn connect(id: &str, keep_alive: u16) -> Vec<u8> {
    let mut p = vec![0x10, u8::try_from(12 + id.len()).unwrap(), 0, 4, b'M', b'Q', b'T', b'T', 4, 2];
    p.extend(keep_alive.to_be_bytes());
    p.extend([0, u8::try_from(id.len()).unwrap()]);
    p.extend(id.as_bytes());
    p
}

async fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let end = tokio::time::Instant::now() + LIMIT;
    while !done() {
        assert!(tokio::time::Instant::now() < end, "{what}");
        sleep(Duration::from_millis(2)).await;
    }
}

/// Waits until the peer closes.
async fn closed(stream: &mut TcpStream) {
    let mut rest = [0; 256];
    let end = async { while stream.read(&mut rest).await.is_ok_and(|n| n > 0) {} };
    timeout(LIMIT, end).await.expect("the broker should close this connection");
}

/// Polls until a message comes.
async fn message(events: &mut EventLoop) -> rumqttc::Publish {
    loop {
        if let Event::Incoming(Incoming::Publish(p)) = timeout(LIMIT, events.poll()).await.unwrap().unwrap() {
            return p;
        }
    }
}

async fn until(events: &mut EventLoop, wanted: impl Fn(&Incoming) -> bool) {
    loop {
        if let Event::Incoming(p) = timeout(LIMIT, events.poll()).await.unwrap().unwrap()
            && wanted(&p)
        {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mosquitto_talks_in_every_qos_with_wildcards_and_retained_messages() {
    let rig = Rig::start(|_| {}).await;
    for qos in ["0", "1", "2"] {
        let topic = format!("plant/oven{qos}/temp");
        let mut sub = rig.mosquitto_sub(&["-t", &format!("plant/oven{qos}/+"), "-q", qos]).ready().await;
        rig.mosquitto_pub(&["-t", &topic, "-q", qos, "-m", "21.5"]).await;
        assert_eq!(sub.message().await, format!("{topic} {qos} 0 21.5"));
    }
    rig.mosquitto_pub(&["-t", "kept/a", "-r", "-q", "1", "-m", "one"]).await;
    rig.mosquitto_pub(&["-t", "kept/b", "-r", "-m", "two"]).await;
    // An empty message that is not retained deletes nothing.
    rig.mosquitto_pub(&["-t", "kept/a", "-n"]).await;
    for qos in ["0", "1", "2"] {
        let mut sub = rig.mosquitto_sub(&["-t", "kept/#", "-q", qos]).ready().await;
        // Never above the QoS that it was published with.
        let a = if qos == "0" { 0 } else { 1 };
        assert_eq!(sub.message().await, format!("kept/a {a} 1 one"));
        assert_eq!(sub.message().await, "kept/b 0 1 two");
    }
    rig.mosquitto_pub(&["-t", "kept/a", "-r", "-n"]).await;
    let mut sub = rig.mosquitto_sub(&["-t", "kept/#"]).ready().await;
    assert_eq!(sub.message().await, "kept/b 0 1 two");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_retained_messages_than_a_router_gives_reach_a_new_subscriber() {
    let rig = Rig::start(|_| {}).await;
    for n in 0..1500 {
        assert!(rig.handle.publish(&format!("r/{n:04}"), n.to_string(), true));
    }
    for qos in ["0", "1", "2"] {
        let mut sub = rig.mosquitto_sub(&["-t", "r/#", "-q", qos]).ready().await;
        for n in 0..1500 {
            assert_eq!(sub.message().await, format!("r/{n:04} {qos} 1 {n}"));
        }
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn qos_2_messages_arrive_exactly_once_and_in_order() {
    let rig = Rig::start(|_| {}).await;
    let (sub, mut inbox) = rig.rumqttc("sub", |_| {});
    sub.subscribe("q", QoS::ExactlyOnce).await.unwrap();
    until(&mut inbox, |p| matches!(p, Incoming::SubAck(_))).await;
    let mut tap = rig.handle.subscribe(vec!["q".to_owned()]);
    let (publisher, mut events) = rig.rumqttc("pub", |_| {});
    let pump = tokio::spawn(async move { while events.poll().await.is_ok() {} });
    for n in 0..300 {
        publisher.publish("q", QoS::ExactlyOnce, false, n.to_string()).await.unwrap();
    }
    for n in 0..300 {
        assert_eq!(message(&mut inbox).await.payload, n.to_string());
        assert_eq!(tap.recv().await.unwrap().payload, n.to_string());
    }
    pump.abort();
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_qos_2_message_that_is_sent_again_is_delivered_once() {
    let rig = Rig::start(|_| {}).await;
    let mut tap = rig.handle.subscribe(vec!["#".to_owned()]);
    let mut s = rig.raw("x", 60).await;
    let publish = [0x34, 6, 0, 1, b'q', 0, 7, b'1'];
    let mut again = publish;
    again[0] |= 0x08;
    let mut answers = [0; 4];
    for packet in [publish, again] {
        s.write_all(&packet).await.unwrap();
        timeout(LIMIT, s.read_exact(&mut answers)).await.unwrap().unwrap();
        assert_eq!(answers, [0x50, 2, 0, 7]);
    }
    for _ in 0..2 {
        s.write_all(&[0x62, 2, 0, 7]).await.unwrap();
        timeout(LIMIT, s.read_exact(&mut answers)).await.unwrap().unwrap();
        assert_eq!(answers, [0x70, 2, 0, 7]);
    }
    s.write_all(&[0x30, 4, 0, 1, b'e', b'!']).await.unwrap();
    assert_eq!(tap.recv().await.unwrap().topic, "q");
    assert_eq!(tap.recv().await.unwrap().topic, "e");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_will_is_published_when_a_client_fails_and_not_when_it_leaves() {
    let rig = Rig::start(|_| {}).await;
    let mut sub = rig.mosquitto_sub(&["-t", "will/#", "-q", "1"]).ready().await;
    let will = |m: &str| LastWill::new(format!("will/{m}"), m, QoS::AtLeastOnce, true);
    let (client, mut events) = rig.rumqttc("polite", |o| {
        o.set_last_will(will("polite"));
    });
    until(&mut events, |p| matches!(p, Incoming::ConnAck(_))).await;
    client.disconnect().await.unwrap();
    while events.poll().await.is_ok() {}
    let (_client, mut events) = rig.rumqttc("rude", |o| {
        o.set_last_will(will("rude"));
    });
    until(&mut events, |p| matches!(p, Incoming::ConnAck(_))).await;
    drop(events);
    assert_eq!(sub.message().await, "will/rude 1 0 rude");
    let mut late = rig.mosquitto_sub(&["-t", "will/#"]).ready().await;
    assert_eq!(late.message().await, "will/rude 0 1 rude");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_id_is_taken_over_and_the_old_connection_closed() {
    let rig = Rig::start(|_| {}).await;
    let mut first = rig.raw("same+#$/", 60).await;
    let _second = rig.raw("same+#$/", 60).await;
    closed(&mut first).await;
    assert_eq!(rig.handle.clients(), 1);
    // As often as anyone likes.
    for _ in 0..20 {
        rig.raw("same+#$/", 60).await;
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_connection_blocks_nobody_and_is_closed() {
    let rig = Rig::start(|o| o.connect_timeout = Duration::from_millis(300)).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(rig.addr()).await.unwrap());
    }
    let mut half = TcpStream::connect(rig.addr()).await.unwrap();
    half.write_all(&[0x10]).await.unwrap();
    rig.mosquitto_pub(&["-t", "a", "-m", "1"]).await;
    closed(&mut half).await;
    for s in &mut silent {
        closed(s).await;
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_falls_silent_is_closed_after_one_and_a_half_keep_alives() {
    let rig = Rig::start(|_| {}).await;
    let began = tokio::time::Instant::now();
    let mut s = rig.raw("quiet", 1).await;
    closed(&mut s).await;
    let after = began.elapsed();
    assert!(after >= Duration::from_millis(1450) && after < Duration::from_secs(4), "{after:?}");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_packets_close_their_connection_and_no_other() {
    let rig = Rig::start(|o| o.limits.packet = 1000).await;
    let mut good = rig.mosquitto_sub(&["-t", "ok"]).ready().await;
    for bad in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0; 64],
        &[0xff; 64],
        &[0x30, 3, 0, 1, b'a'],
        &[0x10, 4, 0, 4, b'M', b'Q'],
        &[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 9, 0, 1, b'x'],
    ] {
        let mut s = TcpStream::connect(rig.addr()).await.unwrap();
        s.write_all(bad).await.unwrap();
        closed(&mut s).await;
    }
    for (n, bad) in [
        &[0x30, 5, 0, 3, b'a', b'/', b'#'][..],
        &[0x30, 2, 0, 0],
        &[0x30, 3, 0, 1, 0],
        &[0x36, 5, 0, 1, b'a', 0, 1],
        &[0x30, 0xff, 0xff, 0xff, 0x7f],
        &[0x82, 6, 0, 0, 0, 1, b'a', 0],
        &[0x20, 2, 0, 0],
        &[0x90, 3, 0, 1, 0],
        &[0xd0, 0],
        &connect("again", 60),
    ]
    .iter()
    .enumerate()
    {
        let mut s = rig.raw(&format!("bad{n}"), 60).await;
        s.write_all(bad).await.unwrap();
        closed(&mut s).await;
    }
    // Acknowledgements of nothing harm nothing (PUBREC is answered, or its sender would wait); a filter that may not
    // be is refused, a topic of the broker's own goes nowhere, and the session lives.
    let mut s = rig.raw("odd", 60).await;
    s.write_all(&[0x40, 2, 0, 9, 0x50, 2, 0, 9, 0x70, 2, 0, 9]).await.unwrap();
    let mut rel = [0; 4];
    timeout(LIMIT, s.read_exact(&mut rel)).await.unwrap().unwrap();
    assert_eq!(rel, [0x62, 2, 0, 9]);
    s.write_all(&[0x30, 5, 0, 3, b'$', b'S', b'Y']).await.unwrap();
    s.write_all(&[0x82, 14, 0, 5, 0, 9, b'$', b's', b'h', b'a', b'r', b'e', b'/', b'g', b'/', 1])
        .await
        .unwrap();
    let mut ack = [0; 5];
    timeout(LIMIT, s.read_exact(&mut ack)).await.unwrap().unwrap();
    assert_eq!(ack, [0x90, 3, 0, 5, 0x80]);
    assert!(rig.drops.list().contains(&("broker:not_authorized".to_owned(), 1)));
    rig.mosquitto_pub(&["-t", "ok", "-m", "still here"]).await;
    assert_eq!(good.message().await, "ok 0 0 still here");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_clients_are_refused_and_the_others_go_on() {
    let rig = Rig::start(|o| o.limits.connections = 3).await;
    let mut some = Vec::new();
    for n in 0..3 {
        some.push(rig.raw(&format!("c{n}"), 60).await);
    }
    for _ in 0..10 {
        let mut s = TcpStream::connect(rig.addr()).await.unwrap();
        s.write_all(&connect("more", 60)).await.unwrap();
        let mut ack = [0; 4];
        timeout(LIMIT, s.read_exact(&mut ack)).await.unwrap().unwrap();
        assert_eq!(ack, [0x20, 2, 0, 3]);
    }
    some.pop();
    rig.raw("more", 60).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_persistent_session_gets_what_it_missed() {
    let rig = Rig::start(|_| {}).await;
    let keep = |o: &mut MqttOptions| {
        o.set_clean_session(false);
    };
    let (client, mut events) = rig.rumqttc("keeper", keep);
    client.subscribe("p", QoS::AtLeastOnce).await.unwrap();
    until(&mut events, |p| matches!(p, Incoming::SubAck(_))).await;
    drop((client, events));
    rig.gone().await;
    for n in 0..500 {
        rig.handle.publish("p", n.to_string(), false);
    }
    let (_client, mut events) = rig.rumqttc("keeper", keep);
    until(&mut events, |p| matches!(p, Incoming::ConnAck(a) if a.session_present)).await;
    for n in 0..500 {
        assert_eq!(message(&mut events).await.payload, n.to_string());
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_messages_a_second_reach_reader_and_client() {
    const COUNT: usize = 20_000;
    let rig = Rig::start(|o| o.inbox = COUNT).await;
    let mut tap = rig.handle.subscribe(vec!["load/+".to_owned()]);
    let (sub, mut inbox) = rig.rumqttc("sub", |o| {
        o.set_inflight(1000);
    });
    sub.subscribe("load/+", QoS::AtMostOnce).await.unwrap();
    until(&mut inbox, |p| matches!(p, Incoming::SubAck(_))).await;
    let began = tokio::time::Instant::now();
    let mut s = rig.raw("loader", 60).await;
    let load = tokio::spawn(async move {
        let mut packets = Vec::new();
        for n in 0..COUNT {
            packets.extend([0x30, 13, 0, 6]);
            packets.extend(format!("load/{}", n % 10).as_bytes());
            packets.extend(format!("{n:05}").as_bytes());
        }
        for chunk in packets.chunks(15 * 100) {
            s.write_all(chunk).await.unwrap();
        }
        s
    });
    for n in 0..COUNT {
        assert_eq!(message(&mut inbox).await.payload, format!("{n:05}"));
    }
    let client = began.elapsed();
    for n in 0..COUNT {
        assert_eq!(tap.recv().await.unwrap().payload, format!("{n:05}"));
    }
    println!("{:.0} messages a second to a client", COUNT as f64 / client.as_secs_f64());
    assert!(client < Duration::from_secs(2), "{client:?}");
    assert!(rig.drops.list().iter().all(|(_, n)| *n == 0), "{:?}", rig.drops.list());
    drop(load.await.unwrap());
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_slow_client_loses_is_counted() {
    const COUNT: usize = 4000;
    let rig = Rig::start(|o| o.limits.queued = 100).await;
    let mut slow = rig.raw("slow", 60).await;
    slow.write_all(&[0x82, 6, 0, 1, 0, 1, b's', 0]).await.unwrap();
    let mut ack = [0; 5];
    timeout(LIMIT, slow.read_exact(&mut ack)).await.unwrap().unwrap();
    let payload = vec![b'x'; 4096];
    for _ in 0..COUNT {
        while !rig.handle.publish("s", payload.clone(), false) {
            sleep(Duration::from_millis(1)).await;
        }
    }
    // The client wakes up and reads all that is left for it; the last message says that it was the last.
    let mut got = 0;
    let mut inbox = tokio::spawn(async move {
        let mut head = [0; 6];
        loop {
            slow.read_exact(&mut head).await.unwrap();
            let rest = usize::from(head[1] & 0x7f) | usize::from(head[2] & 0x7f) << 7;
            let long = head[1] & 0x80 != 0;
            let left = if long { rest - 3 } else { usize::from(head[1]) - 4 };
            let mut body = vec![0; left];
            slow.read_exact(&mut body).await.unwrap();
            if !long {
                return got;
            }
            got += 1;
        }
    });
    let end = tokio::time::Instant::now() + LIMIT;
    let got = loop {
        rig.handle.publish("s", "end", false);
        if let Ok(got) = timeout(Duration::from_millis(20), &mut inbox).await {
            break got.unwrap();
        }
        assert!(tokio::time::Instant::now() < end);
    };
    let lost = || rig.drops.list().iter().find(|(n, _)| n == "broker:slow_client").map_or(0, |(_, n)| *n);
    assert!(got < COUNT, "the test must lose something");
    assert_eq!(lost(), (COUNT - got) as u64);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_inbox_drops_and_counts_and_slows_nobody() {
    let rig = Rig::start(|o| o.inbox = 10).await;
    let inbox = rig.handle.subscribe(vec!["#".to_owned()]);
    for n in 0..100 {
        assert!(rig.handle.publish("a", n.to_string(), false));
    }
    assert_eq!(inbox.len(), 10);
    assert!(rig.drops.list().contains(&("broker:inbox_full".to_owned(), 90)));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn points_are_published_coalesced_and_retained() {
    use common::{DeviceSchema, PointId, PointKind, Quality, Sample, Schema, Value, ValueType};
    use gateway_core::{Bus, Device, PointDefinition, Policy, RawRange, Registry};
    let rig = Rig::start(|_| {}).await;
    let schema = Schema {
        tenant: "t".parse().unwrap(),
        gateway: "g".parse().unwrap(),
        devices: vec![DeviceSchema {
            name: "oven".into(),
            twin: "7e57ab1e-0000-4000-8000-000000000001".parse().unwrap(),
            asset: "site/oven".into(),
            description: String::new(),
            first_point: 0,
            points: vec![],
        }],
    };
    let told =
        PointKind { unit: "Cel".into(), stale_ms: 1000, ..PointKind::new(ValueType::F64) }.named("temp");
    let raw = RawRange { value_type: ValueType::F64, min: 0.0, max: 1.0 };
    let point = PointDefinition::new(told, raw).at(PointId(0), 0);
    let device = Device { name: "oven".into(), protocol: "modbus", points: 0..1 };
    let registry = Arc::new(Registry::new(schema, vec![device], vec![point]).unwrap());
    let bus = Bus::default();
    let reader = bus.subscribe("broker", 100, Policy::DropOldest);
    for n in 0..50 {
        let sample = Sample {
            point: PointId(0),
            value: Some(Value::F64(f64::from(n) + 0.5)),
            quality: Quality::GOOD,
            source_us: n.into(),
            received_us: n.into(),
        };
        bus.publish(&vec![sample].into());
    }
    drop(bus);
    let mut tap = rig.handle.subscribe(vec!["twinway/points/#".to_owned()]);
    gateway_broker::publish_points(reader, registry, rig.handle.clone(), rig.drain.clone()).await;
    let mut sub = rig.mosquitto_sub(&["-t", "twinway/points/+/temp"]).ready().await;
    assert_eq!(
        sub.message().await,
        r#"twinway/points/oven/temp 0 1 {"quality":"good","source_us":49,"unit":"Cel","value":49.5}"#
    );
    let mut published = 0;
    while tap.try_recv().is_ok() {
        published += 1;
    }
    assert!((1..=2).contains(&published), "{published}");
    rig.stop().await;
}
