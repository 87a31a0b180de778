//! A cloud by a script: real MQTT 3.1.1 over TCP, one gateway.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;
use common::api::{ConfigurationReport, UpdateReport};
use common::wire::{
    Ack, Batch, Credit, Down, FEATURE_COLUMNS, Frame, FrameKind, Heartbeat, Hello, HelloAck, Known,
    PieceRequest, Refusal, SetAside, Up,
};
use common::{Incarnation, IntervalSet};
use gateway_core::FrameId;
use rumqttc::mqttbytes::v4::{
    ConnAck, ConnectReturnCode, Packet, PubAck, Publish, SubAck, SubscribeReasonCode,
};
use rumqttc::mqttbytes::{Error, QoS};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

const MAX: usize = 1 << 20;

/// What came up, in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Seen {
    Hello(Box<Hello>),
    Schema,
    Snapshot(u64),
    Renewed,
    Frame(FrameId),
    Heartbeat,
    Configuration(Box<ConfigurationReport>),
    Update(Box<UpdateReport>),
    Piece(PieceRequest),
}

/// How the cloud behaves from now on.
pub(crate) struct Script {
    /// What it says that it understands; columns, unless told otherwise.
    pub(crate) features: Vec<&'static str>,
    pub(crate) refusal: Option<Refusal>,
    pub(crate) want_schema: bool,
    /// Reads on and answers nothing, not even pings.
    pub(crate) mute: bool,
    /// Takes frames and says nothing of them; they are lost.
    pub(crate) lose: bool,
    /// Breaks the connection after so many frames of a session; every other one is kept without an ack.
    pub(crate) break_after: Option<usize>,
    /// What the hello's answer tells besides.
    pub(crate) store: Option<uuid::Uuid>,
    pub(crate) seen: Option<Incarnation>,
    pub(crate) set_aside: Vec<Known>,
    /// Batches cannot be read, and it says so.
    pub(crate) apart: bool,
    /// Told with the answer to hello.
    pub(crate) credit: Option<u64>,
    /// What comes is acknowledged so much later, as by a cloud that is busy.
    pub(crate) late: Option<Duration>,
}

impl Default for Script {
    fn default() -> Self {
        let (refusal, want_schema, mute, lose, break_after) = (None, false, false, false, None);
        let (store, seen, set_aside, apart, credit, late) = (None, None, Vec::new(), false, None, None);
        let features = vec![FEATURE_COLUMNS];
        Self {
            features,
            refusal,
            want_schema,
            mute,
            lose,
            break_after,
            store,
            seen,
            set_aside,
            apart,
            credit,
            late,
        }
    }
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) script: Script,
    pub(crate) seen: Vec<Seen>,
    pub(crate) sessions: u64,
    /// How many frames came in each batch.
    pub(crate) batches: Vec<usize>,
    /// How often each frame came.
    pub(crate) stored: BTreeMap<FrameId, u32>,
    pub(crate) known: BTreeMap<Incarnation, IntervalSet>,
    /// Frames that held no samples.
    pub(crate) urgent: Vec<FrameId>,
    pub(crate) beats: Vec<Heartbeat>,
    down: Option<mpsc::Sender<Down>>,
}

#[derive(Clone)]
pub(crate) struct Cloud {
    pub(crate) state: Arc<Mutex<State>>,
    pub(crate) port: u16,
}

impl Cloud {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let cloud = Self { state: Arc::default(), port };
        let serving = cloud.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let cloud = serving.clone();
                tokio::spawn(async move { cloud.serve(stream).await });
            }
        });
        cloud
    }

    pub(crate) fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap())
    }

    pub(crate) fn send(&self, down: Down) {
        self.with(|s| s.down.clone()).unwrap().try_send(down).unwrap();
    }

    /// Ends with the connection; what it cannot write it does not.
    async fn serve(&self, mut stream: TcpStream) {
        stream.set_nodelay(true).unwrap();
        let (to, mut down) = mpsc::channel(100);
        let mut input = BytesMut::new();
        let mut frames = 0;
        loop {
            let packet = match Packet::read(&mut input, MAX) {
                Ok(packet) => packet,
                Err(Error::InsufficientBytes(_)) => {
                    tokio::select! {
                        read = stream.read_buf(&mut input) => if read.unwrap_or(0) == 0 { return },
                        Some(message) = down.recv() => {
                            if write(&mut stream, publish(&message)).await.is_none() { return }
                        }
                    }
                    continue;
                }
                Err(error) => panic!("{error}"),
            };
            if self.with(|s| s.script.mute) {
                continue;
            }
            let (mut answers, mut refused) = (Vec::new(), false);
            match packet {
                Packet::Connect(connect) => {
                    let login = connect.login.unwrap();
                    assert_eq!((&login.username[..], &login.password[..]), ("default/g1", "secret"));
                    assert!(connect.clean_session);
                    answers.push(Packet::ConnAck(ConnAck::new(ConnectReturnCode::Success, false)));
                }
                Packet::Subscribe(subscribe) => {
                    assert_eq!(subscribe.filters[0].path, "twinway/v1/default/g1/down");
                    let code = SubscribeReasonCode::Success(QoS::AtLeastOnce);
                    answers.push(Packet::SubAck(SubAck::new(subscribe.pkid, vec![code])));
                }
                Packet::PingReq => answers.push(Packet::PingResp),
                Packet::PubAck(_) => {}
                Packet::Publish(p) => {
                    assert_eq!(p.topic, "twinway/v1/default/g1/up");
                    if p.qos == QoS::AtLeastOnce {
                        answers.push(Packet::PubAck(PubAck::new(p.pkid)));
                    }
                    let up = Up::decode(&p.payload).unwrap();
                    frames += usize::from(matches!(up, Up::Frame(_)));
                    refused = matches!(up, Up::Hello(_)) && self.with(|s| s.script.refusal.is_some());
                    match self.take(up, frames, &to) {
                        Ok(messages) => match self.with(|s| s.script.late) {
                            Some(late) if matches!(messages[..], [Down::Ack(_)]) => {
                                let to = to.clone();
                                tokio::spawn(async move {
                                    tokio::time::sleep(late).await;
                                    for message in messages {
                                        let _ = to.send(message).await;
                                    }
                                });
                            }
                            _ => answers.extend(messages.iter().map(publish)),
                        },
                        Err(()) => return,
                    }
                }
                _ => return,
            }
            for answer in answers {
                if write(&mut stream, answer).await.is_none() {
                    return;
                }
            }
            // At once, as the cloud does.
            if refused {
                return;
            }
        }
    }

    /// Takes a message; an error breaks the connection.
    fn take(&self, up: Up, frames: usize, to: &mpsc::Sender<Down>) -> Result<Vec<Down>, ()> {
        let s = &mut *self.state.lock().unwrap();
        match up {
            Up::Hello(hello) => {
                let schema = hello.schema;
                s.seen.push(Seen::Hello(hello));
                if let Some(refusal) = &s.script.refusal {
                    return Ok(vec![Down::Refusal(refusal.clone())]);
                }
                s.sessions += 1;
                s.down = Some(to.clone());
                let known = s.known.iter().map(|(i, seqs)| Known { incarnation: *i, seqs: seqs.clone() });
                let want_schemas = if s.script.want_schema { vec![schema] } else { vec![] };
                let ack = Down::HelloAck(HelloAck {
                    session: s.sessions,
                    known: known.collect(),
                    want_schemas,
                    features: s.script.features.iter().map(|f| (*f).to_owned()).collect(),
                    store: s.script.store,
                    seen: s.script.seen,
                    set_aside: s.script.set_aside.clone(),
                    renew: false,
                });
                let credit = s.script.credit.map(|backlog_bytes| Down::Credit(Credit { backlog_bytes }));
                Ok([Some(ack), credit].into_iter().flatten().collect())
            }
            Up::Schema(part) => {
                assert_eq!(part.bytes, super::SCHEMA_JSON);
                s.seen.push(Seen::Schema);
                Ok(vec![])
            }
            Up::Renewed(_) => {
                s.seen.push(Seen::Renewed);
                Ok(vec![])
            }
            Up::Configuration(report) => {
                s.seen.push(Seen::Configuration(report));
                Ok(vec![])
            }
            Up::Update(report) => {
                s.seen.push(Seen::Update(report));
                Ok(vec![])
            }
            Up::Piece(request) => {
                s.seen.push(Seen::Piece(request));
                Ok(vec![])
            }
            Up::Renewal(_) => panic!("a gateway without a certificate asked for a new one"),
            Up::Snapshot(snapshot) => {
                s.seen.push(Seen::Snapshot(snapshot.seq));
                Ok(vec![])
            }
            Up::Heartbeat(beat) => {
                s.seen.push(Seen::Heartbeat);
                s.beats.push(*beat);
                Ok(vec![])
            }
            Up::Frame(bytes) => {
                let header = Frame::peek(&bytes).unwrap();
                let id = FrameId { incarnation: header.incarnation, seq: header.seq };
                let sent = super::frame(id.incarnation, id.seq);
                if Frame::peek_kind(&bytes) != Ok(FrameKind::Samples) {
                    s.urgent.push(id);
                } else if s.script.features.contains(&FEATURE_COLUMNS) {
                    assert_eq!(bytes, sent);
                } else {
                    assert_eq!(bytes, Frame::as_first(&sent).unwrap());
                }
                s.seen.push(Seen::Frame(id));
                if s.script.lose {
                    return Ok(vec![]);
                }
                let broken = s.script.break_after.is_some_and(|n| frames > n);
                if broken && id.seq.is_multiple_of(2) {
                    return Err(());
                }
                *s.stored.entry(id).or_default() += 1;
                s.known.entry(id.incarnation).or_default().insert(id.seq);
                if broken {
                    return Err(());
                }
                let seqs = vec![(id.seq, id.seq)].into();
                Ok(vec![Down::Ack(Ack { acked: vec![Known { incarnation: id.incarnation, seqs }] })])
            }
            Up::Batch(_) if s.script.apart => {
                s.batches.push(0);
                let detail = "a text".to_owned();
                Ok(vec![Down::SetAside(SetAside { frames: vec![], detail, apart: true })])
            }
            Up::Batch(bytes) => {
                let batch = Batch::decode(&bytes).unwrap();
                s.batches.push(batch.len());
                let mut acked = Vec::new();
                for frame in batch {
                    let id = FrameId { incarnation: frame.header.incarnation, seq: frame.header.seq };
                    assert_eq!(frame.encode(), super::frame(id.incarnation, id.seq));
                    *s.stored.entry(id).or_default() += 1;
                    s.known.entry(id.incarnation).or_default().insert(id.seq);
                    acked.push(Known { incarnation: id.incarnation, seqs: vec![(id.seq, id.seq)].into() });
                }
                Ok(vec![Down::Ack(Ack { acked })])
            }
        }
    }
}

fn publish(message: &Down) -> Packet {
    let mut publish = Publish::new("twinway/v1/default/g1/down", QoS::AtLeastOnce, message.encode());
    publish.pkid = 1;
    Packet::Publish(publish)
}

async fn write(stream: &mut TcpStream, packet: Packet) -> Option<()> {
    let mut out = BytesMut::new();
    packet.write(&mut out, MAX).unwrap();
    stream.write_all(&out).await.ok()
}
