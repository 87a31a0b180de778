//! Clients that mean harm, or have none of their wits about them: each harms itself alone.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout};

use crate::rig::*;

/// A generator of numbers that are the same in every run (xorshift).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % below as u64).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_thousand_bent_packets_end_connections_and_nothing_else() {
    const EXECUTIONS: usize = 20_000;
    let rig = Rig::start(|o| o.limits.packet = 10_000).await;
    let mut good = rig.v3("good", true).await;
    assert_eq!(good.subscribe3("good", 1).await, 1);
    let samples = [
        publish3("a/b", b"payload", 0, 0, true),
        publish3("a/b", b"payload", 1, 7, false),
        publish3("a/b", b"payload", 2, 8, false),
        publish5("a/b", &[0x26, 0, 1, b'k', 0, 1, b'v', 0x23, 0, 3], b"payload", 1, 7),
        subscribe3("a/#", 2),
        subscribe5("$share/g/a/+", 1, &[0x0b, 5]),
        packet(0xa2, &[0, 1, 0, 0, 3, b'a', b'/', b'#']),
        vec![0x62, 2, 0, 8],
        vec![0x40, 2, 0, 1],
        vec![0x50, 4, 0, 1, 0x80, 0],
        vec![0xe0, 2, 4, 0],
        connect5("x", true, &[]),
    ];
    let (mut numbers, mut connections) = (Numbers(0x2026_1122), 0);
    let mut client = None;
    for n in 0..EXECUTIONS {
        let mut bytes = samples[numbers.next(samples.len())].clone();
        for _ in 0..numbers.next(4) {
            let at = numbers.next(bytes.len());
            match numbers.next(3) {
                0 => bytes[at] = u8::try_from(numbers.next(256)).unwrap(),
                1 => bytes.insert(at, u8::try_from(numbers.next(256)).unwrap()),
                _ if bytes.len() > 2 => _ = bytes.remove(at),
                _ => {}
            }
        }
        let mut open = match client.take() {
            Some(open) => open,
            None if n % 2 == 0 => rig.v3(&format!("bad{}", n % 7), n % 3 == 0).await,
            None => rig.v5(&format!("bad{}", n % 7), n % 3 == 0, &[]).await.0,
        };
        // What is left of a half packet would swallow all that follow: every twentieth packet begins anew.
        if open.0.write_all(&bytes).await.is_ok() && n % 20 != 0 && !ended(&mut open) {
            client = Some(open);
        } else {
            connections += 1;
        }
    }
    drop(client);
    rig.handle.publish("good", "still here", false);
    assert_eq!(good.message3().await.1, b"still here");
    println!("{EXECUTIONS} bent packets over {connections} connections");
    rig.stop().await;
}

/// Whether the broker has closed it; what it said is thrown away.
fn ended(client: &mut Client<tokio::net::TcpStream>) -> bool {
    let mut rest = [0; 4096];
    loop {
        match client.0.try_read(&mut rest) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(e) => return e.kind() != std::io::ErrorKind::WouldBlock,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_client_ids_are_names_like_any_other_or_refused() {
    let rig = Rig::start(|_| {}).await;
    for id in ["+", "#", "$SYS", "/", "a/b/#", "\u{fffd}\u{1f600}", "ключ", " ", "..", "%c"] {
        for _ in 0..3 {
            let mut first = rig.v3(id, true).await;
            let mut second = rig.v3(id, true).await;
            first.closed().await;
            assert_eq!(second.subscribe3("t", 0).await, 0);
        }
    }
    let long = "x".repeat(65_535);
    for (bytes, code) in [(connect3(&long, true, None), 2), (connect5(&long, true, &[]), 0x85)] {
        let mut client = rig.tcp().await;
        client.send(&bytes).await;
        assert_eq!(client.packet().await[3], code);
    }
    let mut client = rig.tcp().await;
    client.send(&connect3("", false, None)).await;
    assert_eq!(client.packet().await[3], 2);
    wait_for("gone", || rig.handle.clients() == 0).await;
    rig.v3("fine", true).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stops_costs_what_its_queue_may_and_is_closed_in_the_end() {
    const COUNT: u32 = 20_000;
    let rig = Rig::start(|o| {
        o.limits.queued_bytes = 1 << 20;
        o.stall_timeout = Duration::from_secs(2);
    })
    .await;
    let mut stopped = rig.v3("stopped", true).await;
    assert_eq!(stopped.subscribe3("#", 0).await, 0);
    let mut reader = rig.v3("reader", true).await;
    assert_eq!(reader.subscribe3("#", 1).await, 1);
    let mut publisher = rig.v3("publisher", true).await;
    let payload = vec![b'x'; 2048];
    let mut worst = Duration::ZERO;
    for n in 0..COUNT / 100 {
        let began = Instant::now();
        let mut burst = Vec::new();
        for k in 0..100 {
            burst.extend(publish3("t", &payload, 1, u16::try_from(n * 100 + k + 1).unwrap(), false));
        }
        publisher.send(&burst).await;
        for _ in 0..100 {
            let (.., pkid) = reader.message3().await;
            let mut ack = vec![0x40, 2];
            ack.extend(pkid.to_be_bytes());
            reader.send(&ack).await;
            publisher.packet().await;
        }
        worst = worst.max(began.elapsed());
        let status = rig.handle.status();
        let queued = status.clients.iter().find(|c| c.client == "stopped").map_or(0, |c| c.queued_bytes);
        assert!(queued <= 1 << 20, "{queued} bytes wait");
    }
    println!("worst burst of 100 beside a stopped reader: {worst:?}");
    assert!(rig.lost("slow_client") > 0);
    // It is closed: what it never read is all that comes before the end.
    wait_for("the stopped reader is closed", || rig.handle.clients() == 2).await;
    drop(stopped);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_no_answer_before_it_has_sent_everything_is_served() {
    const COUNT: u16 = 50_000;
    let rig = Rig::start(|_| {}).await;
    let client = rig.v3("eager", true).await;
    let (mut reads, mut writes) = client.0.into_split();
    let mut all = Vec::new();
    for pkid in 1..=COUNT {
        all.extend(publish3("t", b"1", 1, pkid, false));
    }
    timeout(LIMIT, writes.write_all(&all)).await.unwrap().unwrap();
    let mut acks = vec![0; usize::from(COUNT) * 4];
    timeout(LIMIT, tokio::io::AsyncReadExt::read_exact(&mut reads, &mut acks)).await.unwrap().unwrap();
    for (pkid, ack) in (1..=COUNT).zip(acks.chunks(4)) {
        assert_eq!(ack, [0x40, 2, pkid.to_be_bytes()[0], pkid.to_be_bytes()[1]]);
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_a_flood_others_keep_their_latency() {
    let rig = Rig::start(|_| {}).await;
    let mut flooders = Vec::new();
    for n in 0..2 {
        let mut client = rig.v3(&format!("flood{n}"), true).await;
        flooders.push(tokio::spawn(async move {
            let burst = publish3("flood", &[0; 100], 0, 0, false).repeat(500);
            while client.0.write_all(&burst).await.is_ok() {}
        }));
    }
    let mut pair = rig.v3("pair", true).await;
    assert_eq!(pair.subscribe3("mine", 0).await, 0);
    let mut all = Vec::new();
    for n in 0..300u32 {
        let began = Instant::now();
        pair.send(&publish3("mine", &n.to_be_bytes(), 0, 0, false)).await;
        assert_eq!(pair.message3().await.1, n.to_be_bytes());
        all.push(began.elapsed());
    }
    all.sort();
    println!("beside a flood: p50 {:?}, worst {:?}", all[150], all[299]);
    assert!(all[150] < Duration::from_millis(100), "{:?}", all[150]);
    flooders.iter().for_each(tokio::task::JoinHandle::abort);
    rig.stop().await;
}
