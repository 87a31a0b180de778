//! A broker, and a client that says exactly what a test wants.

use std::net::SocketAddr;
use std::time::Duration;

use common::Drain;
use gateway_broker::{Broker, Handle, Options};
use gateway_core::DropCounts;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

pub(crate) const LIMIT: Duration = Duration::from_secs(20);

pub(crate) struct Rig {
    pub(crate) handle: Handle,
    pub(crate) drops: DropCounts,
    drain: Drain,
    run: JoinHandle<()>,
}

impl Rig {
    pub(crate) async fn start(change: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options::new("127.0.0.1:0".parse().unwrap());
        change(&mut options);
        let (drops, drain) = (DropCounts::default(), Drain::new());
        let (broker, handle) = Broker::start(options, drops.clone()).await.unwrap();
        let stop = drain.clone();
        let run = tokio::spawn(async move { broker.run(stop).await.unwrap() });
        Self { handle, drops, drain, run }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.handle.local_addr()
    }

    pub(crate) async fn stop(self) {
        self.drain.start();
        timeout(Duration::from_secs(3), self.run).await.unwrap().unwrap();
    }

    /// As if the process had been killed: nothing is written any more.
    pub(crate) async fn kill(self) {
        self.run.abort();
        let _ = self.run.await;
    }

    pub(crate) fn lost(&self, cause: &str) -> u64 {
        let name = format!("broker:{cause}");
        self.drops.list().into_iter().find(|(n, _)| *n == name).map_or(0, |(_, n)| n)
    }

    pub(crate) async fn tcp(&self) -> Client<TcpStream> {
        Client::new(TcpStream::connect(self.addr()).await.unwrap())
    }

    /// A client of MQTT 3.1.1 that was let in.
    pub(crate) async fn v3(&self, id: &str, clean: bool) -> Client<TcpStream> {
        let mut client = self.tcp().await;
        client.send(&connect3(id, clean, None)).await;
        let ack = client.packet().await;
        assert_eq!((ack[0], ack[3]), (0x20, 0), "{ack:02x?}");
        client
    }

    /// A client of MQTT 5 that was let in, and its CONNACK.
    pub(crate) async fn v5(&self, id: &str, clean: bool, props: &[u8]) -> (Client<TcpStream>, Vec<u8>) {
        let mut client = self.tcp().await;
        client.send(&connect5(id, clean, props)).await;
        let ack = client.packet().await;
        assert_eq!((ack[0], ack[3]), (0x20, 0), "{ack:02x?}");
        (client, ack)
    }
}

pub(crate) async fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !done() {
        assert!(Instant::now() < end, "{what}");
        sleep(Duration::from_millis(2)).await;
    }
}

/// A packet of a first byte and a body.
pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut rest = body.len();
    loop {
        let low = u8::try_from(rest & 0x7f).unwrap();
        rest >>= 7;
        bytes.push(if rest > 0 { low | 0x80 } else { low });
        if rest == 0 {
            break;
        }
    }
    bytes.extend(body);
    bytes
}

pub(crate) fn text(text: &str) -> Vec<u8> {
    let mut bytes = u16::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

pub(crate) fn connect3(id: &str, clean: bool, login: Option<(&str, &str)>) -> Vec<u8> {
    let mut body = text("MQTT");
    let flags = if clean { 2 } else { 0 } | if login.is_some() { 0xc0 } else { 0 };
    body.extend([4, flags, 0, 60]);
    body.extend(text(id));
    if let Some((user, password)) = login {
        body.extend(text(user));
        body.extend(text(password));
    }
    packet(0x10, &body)
}

pub(crate) fn connect5(id: &str, clean: bool, props: &[u8]) -> Vec<u8> {
    let mut body = text("MQTT");
    body.extend([5, if clean { 2 } else { 0 }, 0, 60, u8::try_from(props.len()).unwrap()]);
    body.extend(props);
    body.extend(text(id));
    packet(0x10, &body)
}

pub(crate) fn publish3(topic: &str, payload: &[u8], qos: u8, pkid: u16, retain: bool) -> Vec<u8> {
    let mut body = text(topic);
    if qos > 0 {
        body.extend(pkid.to_be_bytes());
    }
    body.extend(payload);
    packet(0x30 | qos << 1 | u8::from(retain), &body)
}

pub(crate) fn publish5(topic: &str, props: &[u8], payload: &[u8], qos: u8, pkid: u16) -> Vec<u8> {
    let mut body = text(topic);
    if qos > 0 {
        body.extend(pkid.to_be_bytes());
    }
    body.push(u8::try_from(props.len()).unwrap());
    body.extend(props);
    body.extend(payload);
    packet(0x30 | qos << 1, &body)
}

pub(crate) fn subscribe3(filter: &str, qos: u8) -> Vec<u8> {
    let mut body = vec![0, 1];
    body.extend(text(filter));
    body.push(qos);
    packet(0x82, &body)
}

pub(crate) fn subscribe5(filter: &str, options: u8, props: &[u8]) -> Vec<u8> {
    let mut body = vec![0, 1, u8::try_from(props.len()).unwrap()];
    body.extend(props);
    body.extend(text(filter));
    body.push(options);
    packet(0x82, &body)
}

/// A client over any stream.
pub(crate) struct Client<S>(pub(crate) S);

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self(stream)
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
        self.0.flush().await.unwrap();
    }

    /// The next packet, whole.
    pub(crate) async fn packet(&mut self) -> Vec<u8> {
        timeout(LIMIT, self.try_packet()).await.expect("a packet in time").expect("an open connection")
    }

    /// None when the connection is closed.
    pub(crate) async fn try_packet(&mut self) -> Option<Vec<u8>> {
        let mut bytes = vec![self.0.read_u8().await.ok()?];
        let (mut rest, mut shift) = (0, 0);
        loop {
            let byte = self.0.read_u8().await.ok()?;
            bytes.push(byte);
            rest |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let start = bytes.len();
        bytes.resize(start + rest, 0);
        self.0.read_exact(&mut bytes[start..]).await.ok()?;
        Some(bytes)
    }

    pub(crate) async fn subscribe3(&mut self, filter: &str, qos: u8) -> u8 {
        self.send(&subscribe3(filter, qos)).await;
        loop {
            let answer = self.packet().await;
            if answer[0] == 0x90 {
                return answer[4];
            }
        }
    }

    pub(crate) async fn subscribe5(&mut self, filter: &str, options: u8, props: &[u8]) -> u8 {
        self.send(&subscribe5(filter, options, props)).await;
        loop {
            let answer = self.packet().await;
            if answer[0] == 0x90 {
                return answer[5];
            }
        }
    }

    /// The next message of a client of 3.1.1, as topic, payload, QoS and identifier.
    pub(crate) async fn message3(&mut self) -> (String, Vec<u8>, u8, u16) {
        loop {
            let bytes = self.packet().await;
            if bytes[0] >> 4 != 3 {
                continue;
            }
            let start = bytes.iter().skip(1).position(|b| b & 0x80 == 0).unwrap() + 2;
            let length = usize::from(u16::from_be_bytes([bytes[start], bytes[start + 1]]));
            let topic = String::from_utf8(bytes[start + 2..start + 2 + length].to_vec()).unwrap();
            let mut rest = &bytes[start + 2 + length..];
            let qos = bytes[0] >> 1 & 3;
            let mut pkid = 0;
            if qos > 0 {
                pkid = u16::from_be_bytes([rest[0], rest[1]]);
                rest = &rest[2..];
            }
            return (topic, rest.to_vec(), qos, pkid);
        }
    }

    /// Everything until the connection is closed.
    pub(crate) async fn closed(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let end = self.0.read_to_end(&mut rest);
        let _ = timeout(LIMIT, end).await.expect("the broker should close this connection");
        rest
    }
}
