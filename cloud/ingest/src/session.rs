//! One connection: TLS, sign-in, and what MQTT allows a gateway to do. What it says is for `talk`.

use std::net::SocketAddr;
use std::sync::Arc;

use cloud_core::GatewayKey;
use cloud_core::enrol::{Peer, lets_in};
use common::Drain;
use common::names::{Code, topic};
use rumqttc::mqttbytes::v4::{
    ConnAck, Connect, ConnectReturnCode, Packet, Publish, SubAck, Subscribe, SubscribeReasonCode, UnsubAck,
};
use rumqttc::mqttbytes::{Error as CodecError, Protocol, QoS};
use sha2::{Digest, Sha256};
use tokio::io::{ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant};

use crate::committer::Queues;
use crate::handle::Shared;
use crate::mqtt::{self, MAX_PACKET_BYTES, ReadError, Reader};
use crate::outbox::{End, Outbox, QUEUE};
use crate::talk::Talk;
use crate::tls::{self, Acceptor, Stream};

type Input = Reader<ReadHalf<Box<dyn Stream>>>;
type Output = WriteHalf<Box<dyn Stream>>;

/// Serves a connection until it ends.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    tls: Option<Arc<Acceptor>>,
    tcp: TcpStream,
    peer: SocketAddr,
    queues: Queues,
    drain: Drain,
) {
    let sign_in = tokio::time::timeout(shared.options.connect_timeout, sign_in(&shared, tls.as_deref(), tcp));
    let signed_in = tokio::select! {
        () = drain.started() => return,
        signed_in = sign_in => signed_in,
    };
    let SignIn { input, output, key, certificate, keep_alive } = match signed_in {
        Ok(Ok(signed_in)) => signed_in,
        Ok(Err((cause, detail))) => {
            tracing::warn!(%peer, cause, detail, "sign-in refused");
            return shared.parts.metrics.refuse(cause);
        }
        Err(_) => {
            tracing::debug!(%peer, "no sign-in in time");
            return shared.parts.metrics.refuse("connect_timeout");
        }
    };
    let key = Arc::new(key);
    let (packets, to_write) = mpsc::channel(QUEUE);
    let down = topic::down(&key.tenant, &key.gateway);
    let outbox = Arc::new(Outbox::new(shared.session_number(), down.clone(), packets));
    let writer = {
        let (outbox, timeout) = (Arc::downgrade(&outbox), shared.options.write_timeout);
        async move {
            if let Err(error) = mqtt::write_all(output, to_write, timeout).await
                && let Some(outbox) = outbox.upgrade()
            {
                outbox.end(End::Lost(format!("cannot write: {error}")));
            }
        }
    };
    let session = async move {
        // Entered and left together, whatever happens in between.
        let _signed_in = SignedIn::new(&shared, &key, &outbox);
        let talk = Talk::new(shared.clone(), key.clone(), outbox.clone(), peer, queues, certificate);
        let up = topic::up(&key.tenant, &key.gateway);
        let mut session = Session { input, keep_alive, up, down, subscribed: false, outbox, talk };
        let end = session.run(&drain).await;
        if session.subscribed
            && let Some(refusal) = end.refusal()
        {
            session.outbox.message(&common::wire::Down::Refusal(refusal));
        }
        report(&shared, &key, peer, &end);
    };
    // The writer goes on until the last answer to what was accepted is out.
    tokio::join!(session, writer);
}

fn report(shared: &Shared, key: &GatewayKey, peer: SocketAddr, end: &End) {
    match end {
        End::Closed | End::Draining => tracing::info!(gateway = %key, %peer, ?end, "session ended"),
        End::Lost(detail) => tracing::warn!(gateway = %key, %peer, detail, "session lost"),
        End::TakenOver => tracing::warn!(gateway = %key, %peer, "session taken over"),
        End::Refused { cause, code, detail } => {
            shared.parts.metrics.refuse(cause);
            tracing::warn!(gateway = %key, %peer, cause, %code, detail, "session refused");
        }
    }
}

type Refused = (&'static str, String);

/// Who came, and by what.
struct SignIn {
    input: Input,
    output: Output,
    key: GatewayKey,
    /// The certificate that it signed in with, if not by its secret.
    certificate: Option<Peer>,
    keep_alive: Duration,
}

async fn sign_in(shared: &Shared, tls: Option<&Acceptor>, tcp: TcpStream) -> Result<SignIn, Refused> {
    let io = |e: std::io::Error| ("connection", e.to_string());
    tcp.set_nodelay(true).map_err(io)?;
    let (stream, certificate) = tls::open(tls, tcp).await.map_err(|e| ("tls", e.to_string()))?;
    let (read, mut output) = tokio::io::split(stream);
    let mut input = Reader::new(read);
    let answer = match input.next().await {
        Ok(Packet::Connect(connect)) => {
            authenticate(shared, &connect, certificate.as_ref()).await.map(|key| (key, connect.keep_alive))
        }
        Err(ReadError::Codec(e @ CodecError::InvalidProtocolLevel(_))) => {
            Err((ConnectReturnCode::RefusedProtocolVersion, ("protocol", e.to_string())))
        }
        Ok(_) => return Err(("protocol", "first packet is not CONNECT".into())),
        Err(ReadError::Codec(e)) => return Err(("protocol", e.to_string())),
        Err(e) => return Err(("connection", e.to_string())),
    };
    let code = answer.as_ref().map_or_else(|(code, _)| *code, |_| ConnectReturnCode::Success);
    mqtt::write_one(&mut output, &Packet::ConnAck(ConnAck::new(code, false))).await.map_err(io)?;
    let (key, keep_alive) = answer.map_err(|(_, refused)| refused)?;
    input.max_packet = MAX_PACKET_BYTES;
    // Half as long again, as the standard says; 0 means that the client does not want it.
    let keep_alive = match keep_alive {
        0 => Duration::MAX,
        seconds => Duration::from_millis(u64::from(seconds) * 1500),
    };
    Ok(SignIn { input, output, key, certificate, keep_alive })
}

async fn authenticate(
    shared: &Shared,
    connect: &Connect,
    certificate: Option<&Peer>,
) -> Result<GatewayKey, (ConnectReturnCode, Refused)> {
    let refuse = |code, cause, detail: &str| Err((code, (cause, detail.to_owned())));
    if connect.protocol != Protocol::V4 {
        return refuse(
            ConnectReturnCode::RefusedProtocolVersion,
            "protocol",
            "only MQTT 3.1.1 is spoken here",
        );
    }
    if connect.last_will.is_some() {
        return refuse(ConnectReturnCode::NotAuthorized, "will", "a last will is not taken");
    }
    if connect.client_id.is_empty() && !connect.clean_session {
        return refuse(ConnectReturnCode::BadClientId, "protocol", "no client id for a lasting session");
    }
    let Some(login) = &connect.login else {
        return refuse(ConnectReturnCode::BadUserNamePassword, "credentials", "no user name");
    };
    let key = login.username.split_once('/').and_then(|(tenant, gateway)| {
        Some(GatewayKey { tenant: tenant.parse().ok()?, gateway: gateway.parse().ok()? })
    });
    let Some(key) = key else {
        return refuse(
            ConnectReturnCode::BadUserNamePassword,
            "credentials",
            "user is not <tenant>/<gateway>",
        );
    };
    if let Some(peer) = certificate {
        if peer.gateway != key {
            let detail = format!("certificate of {} for {key}", peer.gateway);
            return refuse(ConnectReturnCode::NotAuthorized, "credentials", &detail);
        }
        return match shared.parts.storage.certificates(&key).await {
            Ok(kept) if lets_in(peer, &kept) => Ok(key),
            Ok(_) => {
                let detail = format!("certificate {} of {key} is revoked or forgotten", peer.serial);
                refuse(ConnectReturnCode::NotAuthorized, "credentials", &detail)
            }
            Err(e) => refuse(ConnectReturnCode::ServiceUnavailable, "storage", &e.to_string()),
        };
    }
    let stored = match shared.parts.storage.gateway_secret(&key).await {
        Ok(stored) => stored,
        Err(e) => return refuse(ConnectReturnCode::ServiceUnavailable, "storage", &e.to_string()),
    };
    let given: [u8; 32] = Sha256::digest(login.password.as_bytes()).into();
    // An unknown gateway takes as long as a wrong secret.
    let same = is_same(&given, &stored.unwrap_or_default());
    if stored.is_none() || !same {
        let detail = format!("no such gateway, or wrong secret: {key}");
        return refuse(ConnectReturnCode::NotAuthorized, "credentials", &detail);
    }
    Ok(key)
}

/// Compares in a time that does not tell where they differ.
fn is_same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    std::hint::black_box(a.iter().zip(b).fold(0, |all, (x, y)| all | (x ^ y))) == 0
}

/// A session's place in the table; given up when dropped.
struct SignedIn<'a> {
    shared: &'a Shared,
    key: &'a GatewayKey,
    session: u64,
}

impl<'a> SignedIn<'a> {
    fn new(shared: &'a Shared, key: &'a GatewayKey, outbox: &Arc<Outbox>) -> Self {
        shared.wait(key, outbox.clone());
        Self { shared, key, session: outbox.session }
    }
}

impl Drop for SignedIn<'_> {
    fn drop(&mut self) {
        self.shared.leave(self.key, self.session);
    }
}

struct Session {
    input: Input,
    keep_alive: Duration,
    up: String,
    down: String,
    subscribed: bool,
    outbox: Arc<Outbox>,
    talk: Talk,
}

impl Session {
    async fn run(&mut self, drain: &Drain) -> End {
        let ended = self.outbox.ended.clone();
        tokio::select! {
            biased;
            () = ended.cancelled() => self.outbox.why(),
            () = drain.started() => End::Draining,
            Err(end) = self.read() => end,
        }
    }

    /// Reads until something ends the session.
    async fn read(&mut self) -> Result<std::convert::Infallible, End> {
        let hello_by = Instant::now() + self.talk.shared.options.connect_timeout;
        let mut last_word = Instant::now();
        loop {
            while let Some(packet) = self.input.parse().map_err(|e| read_end(&e))? {
                let is_word = !matches!(packet, Packet::PingReq);
                self.packet(packet).await?;
                if is_word {
                    // After the packet: time in which we were busy is not the gateway's silence.
                    last_word = Instant::now();
                }
            }
            if self.input.is_amid_packet() {
                last_word = last_word.max(self.input.last_bytes);
            }
            let silent_by = self.talk.silence().map_or(hello_by, |silence| last_word + silence);
            let keep_alive = self.input.last_bytes.checked_add(self.keep_alive).unwrap_or(silent_by);
            tokio::time::timeout_at(silent_by.min(keep_alive), self.input.fill())
                .await
                .map_err(|_| End::Lost("nothing heard in time".into()))?
                .map_err(|e| read_end(&e))?;
        }
    }

    async fn packet(&mut self, packet: Packet) -> Result<(), End> {
        let sent = match packet {
            Packet::Publish(publish) => return self.publish(publish).await,
            Packet::Subscribe(subscribe) => self.subscribe(&subscribe),
            Packet::PingReq => self.outbox.packet(Packet::PingResp),
            Packet::Unsubscribe(unsubscribe) => {
                self.subscribed &= !unsubscribe.topics.contains(&self.down);
                self.outbox.packet(Packet::UnsubAck(UnsubAck::new(unsubscribe.pkid)))
            }
            Packet::Disconnect => return Err(End::Closed),
            // Nothing is sent to the client that it would acknowledge.
            other => {
                let detail = format!("unexpected packet of {} bytes", other.size());
                return Err(End::refused("protocol", Code::InvalidRequest, detail));
            }
        };
        if !sent {
            self.outbox.overrun();
        }
        Ok(())
    }

    fn subscribe(&mut self, subscribe: &Subscribe) -> bool {
        let mut codes = Vec::new();
        for filter in &subscribe.filters {
            if filter.path == self.down {
                self.subscribed = true;
                codes.push(SubscribeReasonCode::Success(QoS::AtMostOnce));
            } else {
                self.talk.shared.parts.metrics.refuse("subscribe");
                tracing::warn!(gateway = %self.talk.key, filter = filter.path, "subscription refused");
                codes.push(SubscribeReasonCode::Failure);
            }
        }
        self.outbox.packet(Packet::SubAck(SubAck::new(subscribe.pkid, codes)))
    }

    async fn publish(&mut self, publish: Publish) -> Result<(), End> {
        let refused = |cause, detail: &str| Err(End::refused(cause, Code::Forbidden, detail));
        if publish.topic != self.up {
            return refused("topic", &format!("may not publish to `{}`", publish.topic.escape_debug()));
        }
        if publish.qos == QoS::ExactlyOnce {
            return refused("qos2", "quality of service 2 is not taken");
        }
        if publish.retain {
            return refused("retain", "retained messages are not taken");
        }
        if !self.subscribed {
            return refused("subscribe", "subscribe before publishing");
        }
        let pkid = (publish.qos == QoS::AtLeastOnce).then_some(publish.pkid);
        self.outbox.expect(pkid);
        self.talk.hear(&publish.payload, pkid).await
    }
}

fn read_end(error: &ReadError) -> End {
    match error {
        ReadError::Eof => End::Lost("the client closed the connection".into()),
        ReadError::Io(e) => End::Lost(e.to_string()),
        ReadError::Codec(CodecError::PayloadSizeLimitExceeded(size)) => {
            let detail = format!("packet of {size} bytes, limit {MAX_PACKET_BYTES}");
            End::refused("too_large", Code::TooLarge, detail)
        }
        ReadError::Codec(e) => End::refused("protocol", Code::InvalidRequest, e.to_string()),
    }
}
