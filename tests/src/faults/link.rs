//! The link between gateway and cloud as a TCP proxy that can do what networks do: refuse, reset, swallow in
//! silence, lose one end, be late or thin, break amid a packet, bring a message twice. It knows MQTT's packets and
//! shows each to `Wire`. For checks of the oracle it can lie as well, which no network does.
//!
//! Not here: loss of single IP packets. TCP turns it into latency, which is drawn.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use common::Incarnation;
use common::wire::{Ack, Batch, Body, Down, Frame, Known, Up};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use super::draw::Way;
use super::packet;
use super::wire::Wire;

/// Packets from this size on are worth tearing.
const LARGE: usize = 64;

/// How the link is, until it is set otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shape {
    /// New connections are refused.
    pub closed: bool,
    /// Nothing passes.
    pub silent: bool,
    /// Each piece is so late.
    pub delay: Duration,
    /// Bytes a second each way; none: all that comes.
    pub bytes_per_s: Option<u64>,
}

/// What ends connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Break {
    Reset,
    /// The end that receives this way is gone, the sender is not told.
    HalfOpen(Way),
}

/// What a link may be told to do that no network does: each must be caught.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Lie {
    /// None: it is honest.
    #[default]
    None,
    /// Frames of samples do not reach the cloud, and the gateway is told that they are durable there.
    SwallowAndAcknowledge,
    /// Frames of samples come a second time under another number, so that no dedup can know them.
    OtherNumber,
    /// Frames of samples of all incarnations have the name of the first one, so that numbers come again, and what the
    /// cloud says of that one the gateway hears of its current one.
    OneIncarnation,
}

#[derive(Debug, Default)]
struct Orders {
    tear: Option<Way>,
    repeat: Option<(Way, u64)>,
    lie: Lie,
    /// How many frames were lied about.
    lies: u64,
    /// How many batches of them.
    batches: u64,
    /// The first incarnation that was seen, and the last.
    incarnations: Option<(Incarnation, Incarnation)>,
    /// What goes to the gateway beside what the cloud says.
    inject: Vec<u8>,
}

#[derive(Debug)]
struct Shared {
    to: SocketAddr,
    shape: watch::Sender<Shape>,
    breaks: watch::Sender<Option<Break>>,
    orders: Mutex<Orders>,
    injected: Notify,
    /// Whether what passes is noted.
    noted: bool,
    wire: Arc<Mutex<Wire>>,
    /// Which of those that share a wire it is.
    number: usize,
}

/// The link; it ends with its last handle's runtime.
#[derive(Debug, Clone)]
pub struct Link {
    /// Where the gateway connects to.
    pub addr: SocketAddr,
    shared: Arc<Shared>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no panic holds it")
}

impl Link {
    /// One that leads to `to`.
    pub async fn start(to: SocketAddr) -> Self {
        Self::start_on(to, Arc::default(), 0, true).await
    }

    /// The same without a note of what passes, for long runs.
    pub async fn unnoted(to: SocketAddr) -> Self {
        Self::start_on(to, Arc::default(), 0, false).await
    }

    /// One more to the same cloud, of the second box under the gateway's name: what is known of the wire is of both.
    pub async fn beside(&self, to: SocketAddr) -> Self {
        Self::start_on(to, self.shared.wire.clone(), self.shared.number + 1, true).await
    }

    async fn start_on(to: SocketAddr, wire: Arc<Mutex<Wire>>, number: usize, noted: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared {
            to,
            shape: watch::Sender::default(),
            breaks: watch::Sender::new(None),
            orders: Mutex::default(),
            injected: Notify::new(),
            noted,
            wire,
            number,
        });
        let serving = shared.clone();
        tokio::spawn(async move {
            while let Ok((gateway, _)) = listener.accept().await {
                if serving.shape.borrow().closed {
                    let _ = gateway.set_zero_linger();
                } else {
                    tokio::spawn(carry(serving.clone(), gateway));
                }
            }
        });
        Self { addr, shared }
    }

    /// Sets how it is from now on. One that is closed also ends the connections that are.
    pub fn shape(&self, shape: Shape) {
        self.shared.shape.send_replace(shape);
        if shape.closed {
            self.reset();
        }
    }

    /// Resets all connections.
    pub fn reset(&self) {
        self.shared.breaks.send_replace(Some(Break::Reset));
    }

    /// Loses the end that receives this way.
    pub fn half_open(&self, way: Way) {
        self.shared.breaks.send_replace(Some(Break::HalfOpen(way)));
    }

    /// The next large packet of this way breaks in the middle.
    pub fn tear(&self, way: Way) {
        lock(&self.shared.orders).tear = Some(way);
    }

    /// The next messages of this way come twice.
    pub fn repeat(&self, way: Way, times: u64) {
        lock(&self.shared.orders).repeat = Some((way, times));
    }

    /// From now on it lies.
    pub fn lie(&self, lie: Lie) {
        lock(&self.shared.orders).lie = lie;
    }

    /// About how many frames it lied.
    pub fn lies(&self) -> u64 {
        lock(&self.shared.orders).lies
    }

    /// About how many batches of frames it lied.
    pub fn lies_of_batches(&self) -> u64 {
        lock(&self.shared.orders).batches
    }

    /// An honest and quick link again. What is half open is reset, as a host would that knows nothing of it.
    pub fn heal(&self) {
        self.shape(Shape::default());
        {
            let mut orders = lock(&self.shared.orders);
            (orders.tear, orders.repeat, orders.lie) = (None, None, Lie::None);
        }
        if matches!(*self.shared.breaks.borrow(), Some(Break::HalfOpen(_))) {
            self.reset();
        }
    }

    /// The cloud behind it has a store from before.
    pub fn cloud_restored(&self) {
        self.reset();
        lock(&self.shared.wire).cloud_restored();
    }

    /// What passed so far.
    pub fn wire(&self) -> Wire {
        lock(&self.shared.wire).clone()
    }
}

/// What becomes of a message when the link may lie.
enum Told {
    Same,
    Nothing,
    Other(Vec<u8>),
}

/// As a gateway encodes them: one alone, many as a batch.
fn encode(mut frames: Vec<Frame>) -> Vec<u8> {
    if frames.len() == 1 {
        return Up::encode_frame(&frames.remove(0).encode());
    }
    let mut batch = Batch::default();
    for frame in frames {
        batch.push(frame).expect("room for as many as before");
    }
    Up::Batch(batch.encode().expect("frames")).encode()
}

/// What the cloud says of the first incarnation, said of the last one too.
fn of_the_first(orders: &Orders, payload: &[u8]) -> Option<Vec<u8>> {
    let (first, last) = orders.incarnations.filter(|(first, last)| first != last)?;
    let also = |known: &mut Vec<Known>| {
        let of = known.iter().find(|k| k.incarnation == first).cloned()?;
        known.push(Known { incarnation: last, ..of });
        Some(())
    };
    let mut down = Down::decode(payload).ok()?;
    match &mut down {
        Down::Ack(ack) => also(&mut ack.acked)?,
        Down::HelloAck(ack) => also(&mut ack.known)?,
        _ => return None,
    }
    Some(down.encode())
}

/// Serves one connection.
async fn carry(shared: Arc<Shared>, mut gateway: TcpStream) {
    let mut breaks = shared.breaks.subscribe();
    let Ok(mut cloud) = TcpStream::connect(shared.to).await else {
        let _ = gateway.set_zero_linger();
        return;
    };
    let _ = (gateway.set_nodelay(true), cloud.set_nodelay(true));
    let how = {
        let (from_gateway, to_gateway) = gateway.split();
        let (from_cloud, to_cloud) = cloud.split();
        tokio::select! {
            how = pump(&shared, Way::Up, from_gateway, to_cloud) => how,
            how = pump(&shared, Way::Down, from_cloud, to_gateway) => how,
            _ = breaks.changed() => *breaks.borrow_and_update(),
        }
    };
    match how {
        // One side closed, and all that it said has passed.
        None => {}
        Some(Break::Reset) => {
            let _ = (gateway.set_zero_linger(), cloud.set_zero_linger());
        }
        Some(Break::HalfOpen(way)) => {
            let (gone, left) = if way == Way::Up { (cloud, gateway) } else { (gateway, cloud) };
            let _ = gone.set_zero_linger();
            drop(gone);
            let _ = breaks.changed().await;
            let _ = left.set_zero_linger();
        }
    }
}

/// Carries one way until it ends: none when the sender closed.
async fn pump(
    shared: &Shared,
    way: Way,
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
) -> Option<Break> {
    let mut held = Vec::new();
    let mut chunk = vec![0; 16 << 10];
    loop {
        let n = tokio::select! {
            read = from.read(&mut chunk) => match read {
                Ok(0) => return None,
                Ok(n) => n,
                Err(_) => return Some(Break::Reset),
            },
            () = shared.injected.notified(), if way == Way::Down => 0,
        };
        held.extend_from_slice(&chunk[..n]);
        let mut out = Vec::new();
        let mut torn = false;
        // Whole packets only between two injected ones.
        while let Some(length) = packet::length(&held).filter(|_| !torn) {
            let packet: Vec<u8> = held.drain(..length).collect();
            torn = shared.take(way, &packet, &mut out);
        }
        if way == Way::Down {
            out.append(&mut lock(&shared.orders).inject);
        }
        if shared.send(&out, &mut to).await.is_err() || torn {
            return Some(Break::Reset);
        }
    }
}

impl Shared {
    /// What becomes of a packet; whether the connection breaks after it.
    fn take(&self, way: Way, packet: &[u8], out: &mut Vec<u8>) -> bool {
        let mut orders = lock(&self.orders);
        if orders.tear == Some(way) && packet.len() >= LARGE {
            orders.tear = None;
            out.extend_from_slice(&packet[..packet.len() / 2]);
            return true;
        }
        let Some((id, payload)) = packet::publish(packet) else {
            out.extend_from_slice(packet);
            return false;
        };
        let changed = match way {
            Way::Up => match self.lie(&mut orders, id, payload, out) {
                Told::Nothing => return false,
                Told::Other(payload) => Some(payload),
                Told::Same => None,
            },
            Way::Down => of_the_first(&orders, payload),
        };
        match way {
            _ if !self.noted => {}
            Way::Up => lock(&self.wire).up(self.number, changed.as_deref().unwrap_or(payload)),
            Way::Down => lock(&self.wire).down(self.number, payload),
        }
        let packet = changed.map_or_else(|| packet.to_vec(), |payload| packet::replaced(packet, &payload));
        out.extend_from_slice(&packet);
        if let Some((_, left)) = orders.repeat.as_mut().filter(|(of, left)| *of == way && *left > 0) {
            *left -= 1;
            out.extend_from_slice(&packet);
        }
        false
    }

    /// What the cloud is told instead of a message with samples.
    fn lie(&self, orders: &mut Orders, id: Option<u16>, payload: &[u8], out: &mut Vec<u8>) -> Told {
        if orders.lie == Lie::None {
            return Told::Same;
        }
        let mut frames = match Up::decode(payload) {
            Ok(Up::Frame(bytes)) => Vec::from_iter(Frame::decode(&bytes)),
            Ok(Up::Batch(bytes)) => Batch::decode(&bytes).unwrap_or_default(),
            _ => Vec::new(),
        };
        frames.retain(|frame| matches!(frame.body, Body::Samples(_)));
        let (Some(first), Some(id)) = (frames.first(), id) else { return Told::Same };
        let incarnation = first.header.incarnation;
        orders.lies += frames.len() as u64;
        orders.batches += u64::from(frames.len() > 1);
        let (tenant, gateway) = ("default".parse().expect("a tenant"), "box1".parse().expect("a gateway"));
        match orders.lie {
            Lie::None => Told::Same,
            Lie::SwallowAndAcknowledge => {
                let seqs: Vec<_> = frames.iter().map(|f| (f.header.seq, f.header.seq)).collect();
                let acked = vec![Known { incarnation, seqs: seqs.into() }];
                let topic = common::names::topic::down(&tenant, &gateway);
                orders.inject.extend(packet::puback(id));
                orders.inject.extend(packet::message(&topic, &Down::Ack(Ack { acked }).encode()));
                self.injected.notify_one();
                Told::Nothing
            }
            Lie::OtherNumber => {
                frames.iter_mut().for_each(|f| f.header.seq += 1_000_000);
                out.extend(packet::message(&common::names::topic::up(&tenant, &gateway), &encode(frames)));
                Told::Same
            }
            Lie::OneIncarnation => {
                let (first, last) = orders.incarnations.get_or_insert((incarnation, incarnation));
                *last = incarnation;
                frames.iter_mut().for_each(|f| f.header.incarnation = *first);
                Told::Other(encode(frames))
            }
        }
    }

    /// Sends as the link is.
    async fn send(&self, mut out: &[u8], to: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
        let mut shape = self.shape.subscribe();
        if out.is_empty() {
            return Ok(());
        }
        let delay = shape.borrow().delay;
        if !delay.is_zero() {
            sleep(delay).await;
        }
        while !out.is_empty() {
            let _ = shape.wait_for(|s| !s.silent).await;
            let thin = shape.borrow().bytes_per_s;
            let (piece, pause) = match thin {
                Some(rate) => (usize::try_from(rate / 50).unwrap_or(1).max(1), Duration::from_millis(20)),
                None => (out.len(), Duration::ZERO),
            };
            let (now, later) = out.split_at(piece.min(out.len()));
            to.write_all(now).await?;
            out = later;
            if !pause.is_zero() {
                sleep(pause).await;
            }
        }
        Ok(())
    }
}
