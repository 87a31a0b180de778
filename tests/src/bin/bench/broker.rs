//! The embedded broker beside Debian's Mosquitto, under the same load from the same raw generator: throughput of
//! QoS 1 with 10 publishers and 10 subscribers, latency at 4,000 messages a second, and memory beside a subscriber
//! that stopped reading.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tests::Gateway;
use tests::gateway::Setup;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::figure::{Percentiles, print};

const PAIRS: usize = 10;
const PAYLOAD: usize = 200;
/// Messages of a publisher without acknowledgement.
const WINDOW: usize = 100;
const RUN: Duration = Duration::from_secs(5);
const ROUNDS: usize = 3;

/// `broker_over_mosquitto`, `broker_persistent_over_mosquitto`, `broker_delivery_p50_ms`, `broker_delivery_p99_ms`,
/// `broker_rss_slope_mb_per_min`. `TWINWAY_BENCH_MINUTES` is the length of the last (default 10).
pub async fn broker() {
    let dir = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::start(dir.path(), &Setup::default()).await;
    let memory = Mosquitto::start(&dir.path().join("m1"), false).await;
    let disk = Mosquitto::start(&dir.path().join("m2"), true).await;
    for (name, peer, clean) in
        [("broker_over_mosquitto", &memory, true), ("broker_persistent_over_mosquitto", &disk, false)]
    {
        // In turns, so that both see the same machine.
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(throughput(gateway.broker, clean).await);
            theirs.push(throughput(peer.addr, clean).await);
        }
        let (ours, theirs) = (Percentiles::of(ours).at(50.0), Percentiles::of(theirs).at(50.0));
        eprintln!("{name}: {ours:.0} msg/s, mosquitto {theirs:.0} msg/s");
        print(name, ours / theirs, "x", ">= 1", Some(("mosquitto, msg/s", theirs)));
    }
    let ours = latency(gateway.broker).await;
    let theirs = latency(memory.addr).await;
    eprintln!("delivery at 4000/s: {} messages", ours.count());
    for (name, percent, goal) in
        [("broker_delivery_p50_ms", 50.0, "<= 0.5"), ("broker_delivery_p99_ms", 99.0, "-")]
    {
        print(name, ours.at(percent), "ms", goal, Some(("mosquitto", theirs.at(percent))));
    }
    drop((gateway, memory, disk));
    memory_beside_a_stopped_reader().await;
}

/// A Mosquitto of the distribution on a port of its own.
struct Mosquitto {
    addr: SocketAddr,
    _child: Child,
}

impl Mosquitto {
    async fn start(dir: &Path, persistence: bool) -> Self {
        std::fs::create_dir_all(dir).expect("a folder");
        // It cannot be asked for a port: one that was free a moment ago.
        let addr = {
            let probe = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
            probe.local_addr().expect("its address")
        };
        let file = dir.join("mosquitto.conf");
        let config = format!(
            "listener {} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\npersistence {persistence}\n\
             persistence_location {}/\nset_tcp_nodelay true\n",
            addr.port(),
            dir.display()
        );
        std::fs::write(&file, config).expect("a configuration");
        let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
        let child = Command::new("mosquitto")
            .env("PATH", path)
            .arg("-c")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("mosquitto is installed");
        while TcpStream::connect(addr).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Self { addr, _child: child }
    }
}

async fn connect(addr: SocketAddr, id: &str, clean: bool) -> TcpStream {
    let mut stream = TcpStream::connect(addr).await.expect("a connection");
    stream.set_nodelay(true).expect("nodelay");
    let mut packet = vec![0x10, u8::try_from(12 + id.len()).expect("short"), 0, 4];
    packet.extend(b"MQTT\x04");
    packet.extend([if clean { 2 } else { 0 }, 0, 0, 0, u8::try_from(id.len()).expect("short")]);
    packet.extend(id.as_bytes());
    stream.write_all(&packet).await.expect("CONNECT");
    let mut ack = [0; 4];
    stream.read_exact(&mut ack).await.expect("CONNACK");
    assert_eq!(ack[3], 0, "refused");
    stream
}

async fn subscribe(stream: &mut TcpStream, filter: &str, qos: u8) {
    let mut packet = vec![0x82, u8::try_from(5 + filter.len()).expect("short"), 0, 1, 0];
    packet.push(u8::try_from(filter.len()).expect("short"));
    packet.extend(filter.as_bytes());
    packet.push(qos);
    stream.write_all(&packet).await.expect("SUBSCRIBE");
    let mut ack = [0; 5];
    stream.read_exact(&mut ack).await.expect("SUBACK");
}

fn publish(topic: &str, payload: &[u8], qos: u8, pkid: u16, out: &mut Vec<u8>) {
    let mut rest = 2 + topic.len() + payload.len() + if qos > 0 { 2 } else { 0 };
    out.push(0x30 | qos << 1);
    while rest >= 0x80 {
        out.push(u8::try_from(rest & 0x7f).unwrap_or(0) | 0x80);
        rest >>= 7;
    }
    out.push(u8::try_from(rest).unwrap_or(0));
    out.extend(u16::try_from(topic.len()).unwrap_or(0).to_be_bytes());
    out.extend(topic.as_bytes());
    if qos > 0 {
        out.extend(pkid.to_be_bytes());
    }
    out.extend(payload);
}

/// Calls `each` with the payload of every message in `bytes`, collects acknowledgements, and gives how much is used.
fn messages(bytes: &[u8], acks: &mut Vec<u8>, mut each: impl FnMut(&[u8])) -> usize {
    let mut used = 0;
    loop {
        let rest = &bytes[used..];
        let Some(header) = rest.iter().skip(1).take(4).position(|b| b & 0x80 == 0).map(|n| n + 2) else {
            return used;
        };
        let length: usize =
            rest[1..header].iter().enumerate().map(|(i, b)| usize::from(b & 0x7f) << (7 * i)).sum();
        let Some(body) = rest.get(header..header + length) else { return used };
        if rest[0] >> 4 == 3 {
            let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
            let mut payload = &body[2 + topic..];
            if rest[0] & 6 != 0 {
                acks.extend([0x40, 2, payload[0], payload[1]]);
                payload = &payload[2..];
            }
            each(payload);
        }
        used += header + length;
    }
}

/// Messages a second that reach the subscribers.
async fn throughput(addr: SocketAddr, clean: bool) -> f64 {
    let (count, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let mut tasks = Vec::new();
    for n in 0..PAIRS {
        let mut sub = connect(addr, &format!("bench-sub-{n}"), clean).await;
        subscribe(&mut sub, &format!("bench/{n}"), 1).await;
        let counter = count.clone();
        tasks.push(tokio::spawn(async move {
            let (mut buffer, mut acks) = (Vec::with_capacity(1 << 16), Vec::new());
            while sub.read_buf(&mut buffer).await.is_ok_and(|n| n > 0) {
                let mut got = 0;
                let used = messages(&buffer, &mut acks, |_| got += 1);
                buffer.drain(..used);
                counter.fetch_add(got, Ordering::Relaxed);
                if sub.write_all(&acks).await.is_err() {
                    return;
                }
                acks.clear();
            }
        }));
    }
    for n in 0..PAIRS {
        let stream = connect(addr, &format!("bench-pub-{n}"), true).await;
        let stop = stop.clone();
        tasks.push(tokio::spawn(async move {
            let (mut reads, mut writes) = stream.into_split();
            let (topic, payload) = (format!("bench/{n}"), [7; PAYLOAD]);
            let (mut pkid, mut open, mut spare) = (0u16, 0usize, 0usize);
            let (mut out, mut acks) = (Vec::new(), vec![0; 4096]);
            while !stop.load(Ordering::Relaxed) {
                while open < WINDOW {
                    pkid = pkid.checked_add(1).unwrap_or(1);
                    publish(&topic, &payload, 1, pkid, &mut out);
                    open += 1;
                }
                if writes.write_all(&out).await.is_err() {
                    return;
                }
                out.clear();
                // Every packet that comes is an acknowledgement of four bytes.
                match reads.read(&mut acks).await {
                    Ok(n) if n > 0 => {
                        spare += n;
                        open -= spare / 4;
                        spare %= 4;
                    }
                    _ => return,
                }
            }
        }));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (before, began) = (count.load(Ordering::Relaxed), Instant::now());
    tokio::time::sleep(RUN).await;
    let rate = (count.load(Ordering::Relaxed) - before) as f64 / began.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    for task in tasks {
        let _ = task.await;
    }
    // The next run finds no session of this one.
    for n in 0..PAIRS {
        connect(addr, &format!("bench-sub-{n}"), true).await;
    }
    rate
}

/// Time from publish to receipt at 4,000 messages a second, QoS 1, ms.
async fn latency(addr: SocketAddr) -> Percentiles {
    const COUNT: usize = 20_000;
    let mut sub = connect(addr, "bench-latency-sub", true).await;
    subscribe(&mut sub, "bench/latency", 1).await;
    let publisher = connect(addr, "bench-latency-pub", true).await;
    let origin = Instant::now();
    let sending = tokio::spawn(async move {
        let (mut reads, mut writes) = publisher.into_split();
        let drain = tokio::spawn(async move {
            let mut acks = vec![0; 4096];
            while reads.read(&mut acks).await.is_ok_and(|n| n > 0) {}
        });
        let mut tick = tokio::time::interval(Duration::from_millis(1));
        let (mut sent, mut out) = (0usize, Vec::new());
        while sent < COUNT {
            tick.tick().await;
            for _ in 0..4 {
                sent += 1;
                let mut payload = [0; PAYLOAD];
                let now = u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX);
                payload[..8].copy_from_slice(&now.to_be_bytes());
                let pkid = u16::try_from(sent % 65_535 + 1).unwrap_or(1);
                publish("bench/latency", &payload, 1, pkid, &mut out);
                writes.write_all(&out).await.expect("a message is taken");
                out.clear();
            }
        }
        drain.abort();
        (writes, drain)
    });
    let (mut all, mut buffer, mut acks) = (Vec::new(), Vec::with_capacity(1 << 16), Vec::new());
    while all.len() < COUNT {
        assert!(sub.read_buf(&mut buffer).await.is_ok_and(|n| n > 0), "closed");
        let now = u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let used = messages(&buffer, &mut acks, |payload| {
            let sent = u64::from_be_bytes(payload[..8].try_into().unwrap_or_default());
            all.push(now.saturating_sub(sent) as f64 / 1e6);
        });
        buffer.drain(..used);
        sub.write_all(&acks).await.expect("acknowledgements are taken");
        acks.clear();
    }
    let _ = sending.await;
    Percentiles::of(all)
}

/// How the gateway's memory grows while one subscriber of everything has stopped reading: 2,000 messages of 1 KiB a
/// second, and another subscriber that reads.
async fn memory_beside_a_stopped_reader() {
    let minutes: f64 =
        std::env::var("TWINWAY_BENCH_MINUTES").ok().and_then(|m| m.parse().ok()).unwrap_or(10.0);
    let dir = tempfile::tempdir().expect("a folder");
    // The section before is [broker].
    let setup = Setup { extra: "stall_s = 0\n".to_owned(), ..Setup::default() };
    let gateway = Gateway::start(dir.path(), &setup).await;
    let mut stopped = connect(gateway.broker, "bench-stopped", true).await;
    subscribe(&mut stopped, "#", 1).await;
    let mut reader = connect(gateway.broker, "bench-reader", true).await;
    subscribe(&mut reader, "#", 0).await;
    let read = tokio::spawn(async move {
        let mut buffer = vec![0; 1 << 16];
        while reader.read(&mut buffer).await.is_ok_and(|n| n > 0) {}
    });
    let mut publisher = connect(gateway.broker, "bench-publisher", true).await;
    let load = tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        let mut out = Vec::new();
        for _ in 0..10 {
            publish("bench/memory", &[7; 1024], 0, 0, &mut out);
        }
        while publisher.write_all(&out).await.is_ok() {
            tick.tick().await;
        }
    });
    let end = Duration::from_secs_f64(minutes * 60.0);
    let (began, mut points) = (Instant::now(), Vec::new());
    while began.elapsed() < end {
        tokio::time::sleep(Duration::from_secs(1)).await;
        // Until the queue is full, memory grows as it may.
        if began.elapsed() > end / 5 {
            points.push((began.elapsed().as_secs_f64() / 60.0, gateway.process.rss_mb()));
        }
    }
    let n = points.len() as f64;
    let (mx, my) = (points.iter().map(|p| p.0).sum::<f64>() / n, points.iter().map(|p| p.1).sum::<f64>() / n);
    let slope = points.iter().map(|(x, y)| (x - mx) * (y - my)).sum::<f64>()
        / points.iter().map(|(x, _)| (x - mx).powi(2)).sum::<f64>();
    eprintln!("memory beside a stopped reader: {my:.1} MB over {minutes} minutes");
    print(
        "broker_rss_slope_mb_per_min",
        slope,
        "MB/min",
        "<= 0.1",
        Some(("MB at the end", points[points.len() - 1].1)),
    );
    load.abort();
    read.abort();
    drop(stopped);
}
