//! A subscriber of the gateway's broker, plain MQTT 3.1.1 by hand so that it costs little: counts messages, checks that
//! what stands in one belongs together, and takes the time from the poll's answer to the message.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use serde_json::Value;

use super::plant::{Plant, thread, word};

const CONNECT: &[u8] = b"\x10\x11\x00\x04MQTT\x04\x02\x00\x3c\x00\x05bench";
const PING: &[u8] = &[0xc0, 0];
const PING_EVERY: Duration = Duration::from_secs(20);

/// What was received.
#[derive(Default)]
pub struct Heard {
    /// Messages.
    pub messages: AtomicU64,
    /// Their packets' bytes.
    pub bytes: AtomicU64,
    /// Values in them.
    pub values: AtomicU64,
    /// Messages whose values are not of one answer, or not good.
    pub wrong: AtomicU64,
    /// Whether latencies are noted.
    pub noting: AtomicBool,
    /// From the answer's leaving the plant to the message, us.
    pub latencies_us: Mutex<Vec<f64>>,
}

/// Subscribes to all that the gateway publishes of its points.
pub fn listen(broker: SocketAddr, plant: Plant) -> Arc<Heard> {
    let heard = Arc::new(Heard::default());
    let (stream, to) = (subscribe_all(broker), heard.clone());
    // What stands in a message is looked at by another thread, so that one does not wait for another to be checked.
    let (to_check, messages) = mpsc::channel::<Vec<u8>>();
    let (of, told) = (plant.clone(), heard.clone());
    thread("checker", move || messages.iter().for_each(|body| check(&body, &of, &told)));
    thread("subscriber", move || {
        packets(
            stream,
            || plant.now_ns(),
            |now_ns, size, body| {
                to.messages.fetch_add(1, Ordering::Relaxed);
                to.bytes.fetch_add(size as u64, Ordering::Relaxed);
                note_age(body, now_ns, &plant, &to);
                to_check.send(body.to_vec()).expect("the checker runs");
            },
        );
    });
    heard
}

/// A connection that subscribes to all that the gateway publishes of its points.
pub fn subscribe_all(broker: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(broker).expect("the broker");
    stream.set_nodelay(true).expect("an option");
    stream.write_all(CONNECT).expect("sent");
    let filter = b"twinway/#";
    let mut subscribe =
        vec![0x82, u8::try_from(filter.len() + 5).expect("short"), 0, 1, 0, filter.len() as u8];
    subscribe.extend(filter);
    subscribe.push(0);
    stream.write_all(&subscribe).expect("sent");
    let mut pings = stream.try_clone().expect("a socket");
    thread("ping", move || {
        while pings.write_all(PING).is_ok() {
            std::thread::sleep(PING_EVERY);
        }
    });
    stream
}

/// Hands over each PUBLISH: when its last bytes were read, its size, and what follows its fixed header.
pub fn packets<T: Copy>(mut stream: TcpStream, now: impl Fn() -> T, mut each: impl FnMut(T, usize, &[u8])) {
    let (mut buffer, mut have) = (vec![0; 1 << 20], 0);
    while let Ok(got @ 1..) = stream.read(&mut buffer[have..]) {
        let read_at = now();
        have += got;
        let mut at = 0;
        while let Some((head, size)) = packet(&buffer[at..have]) {
            let Some(packet) = buffer[at..have].get(..head + size) else { break };
            if packet[0] >> 4 == 3 {
                each(read_at, packet.len(), &packet[head..]);
            }
            at += head + size;
        }
        buffer.copy_within(at..have, 0);
        have -= at;
    }
}

/// Bytes of the fixed header, and of what follows.
fn packet(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut size = 0;
    for (n, byte) in bytes.get(1..)?.iter().take(4).enumerate() {
        size |= usize::from(byte & 0x7f) << (7 * n);
        if byte & 0x80 == 0 {
            return Some((n + 2, size));
        }
    }
    None
}

/// The unit that a message is of, and where its payload begins.
fn sender(body: &[u8]) -> Option<(usize, u8, usize)> {
    let topic_end = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
    let topic = std::str::from_utf8(&body[2..topic_end]).expect("a topic");
    let (line, unit) = topic.split('/').find_map(unit_of)?;
    Some((line, unit, topic_end))
}

fn note_age(body: &[u8], now_ns: u64, plant: &Plant, heard: &Heard) {
    let noting = heard.noting.load(Ordering::Relaxed);
    if let Some((line, unit, _)) = sender(body).filter(|_| noting) {
        let age_ns = now_ns.saturating_sub(plant.answered_ns(line, unit));
        heard.latencies_us.lock().expect("no panic holds it").push(age_ns as f64 / 1e3);
    }
}

fn check(body: &[u8], plant: &Plant, heard: &Heard) {
    let Some((line, unit, topic_end)) = sender(body) else { return };
    let Ok(Value::Object(told)) = serde_json::from_slice(&body[topic_end..]) else {
        heard.wrong.fetch_add(1, Ordering::Relaxed);
        return;
    };
    let values = told.get("values").and_then(Value::as_object);
    heard.values.fetch_add(values.map_or(1, |v| v.len() as u64), Ordering::Relaxed);
    let Some(values) = values else { return };
    let told_word = |at: u16| values.get(&format!("r{at}")).and_then(Value::as_u64);
    let count = u16::try_from(values.len()).expect("few values");
    let is_of = |read: u64| (0..count).all(|at| told_word(at) == Some(word(line, unit, read, at).into()));
    // Of one answer, and of one of the last.
    let reads = plant.reads_of(line, unit);
    let together = (1..=3).any(|back| reads >= back && is_of(reads - back));
    if !together || told.contains_key("quality") {
        heard.wrong.fetch_add(1, Ordering::Relaxed);
    }
}

/// Line and unit of a device's name, `l3u17`.
fn unit_of(name: &str) -> Option<(usize, u8)> {
    let (line, unit) = name.strip_prefix('l')?.split_once('u')?;
    Some((line.parse().ok()?, unit.parse().ok()?))
}
