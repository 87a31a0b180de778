//! Programs of different age: kept frames of every version through the ingest of a real cloud, and a real gateway at a
//! cloud that offers nothing beyond the first version.

// Its folder is that of the vectors.
#[path = "../../common/tests/kept/mod.rs"]
mod kept;

use std::collections::BTreeMap;
use std::time::Duration;

use common::alarm::AlarmView;
use common::api::{GapReason, Page, Resolution, SetAsideList, TwinView, WaveformBlock};
use common::names::{Code, metric, topic};
use common::wire::{Body, Down, Frame, Up, WaveValues, Waveform, split_schema};
use common::{
    DeviceSchema, GatewayId, Incarnation, IntervalSet, PointSchema, Sample, Schema, TenantId, TwinId, Value,
    ValueType,
};
use kept::frames::{T0, odd, regular, waves};
use kept::kept;
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};
use tests::{Cloud, until};

const LIMIT: Duration = Duration::from_secs(60);
/// Of the frame's bytes, what a name of its own and a real schema change.
const SCHEMA_AT: usize = 3;
const INCARNATION_AT: usize = 19;
const SEQ_AT: usize = 35;

/// Points with the types that the vectors' samples have.
fn schema(gateway: &GatewayId, twin: TwinId) -> Schema {
    let value_type = |n: u32| {
        let samples = [odd(), regular()].map(|f| match f.body {
            Body::Samples(rows) => rows,
            _ => unreachable!(),
        });
        let value = samples.concat().into_iter().find(|s| s.point.0 == n).and_then(|s| s.value);
        value.map_or(ValueType::F64, |v| v.value_type())
    };
    let device = DeviceSchema {
        name: "line".into(),
        twin,
        asset: format!("plant/hall/{gateway}"),
        description: String::new(),
        first_point: 0,
        points: (0..=300).map(|n| PointSchema::new(format!("p{n}"), value_type(n))).collect(),
    };
    Schema { tenant: TenantId::default(), gateway: gateway.clone(), devices: vec![device] }
}

/// A gateway of an older program: what it says are kept bytes.
struct Older {
    client: AsyncClient,
    events: EventLoop,
    id: GatewayId,
    schema: Schema,
    twin: TwinId,
    incarnation: Incarnation,
    acked: IntervalSet,
}

impl Older {
    /// Says the kept hello with its own name, as `twin` or one that is derived.
    async fn connect(cloud: &Cloud, name: &str, hello: &str, twin: Option<TwinId>) -> Self {
        let (tenant, id): (_, GatewayId) = (TenantId::default(), name.parse().expect("a name"));
        let secret = cloud.gateway_secret(name).await;
        let twin = twin.unwrap_or_else(|| TwinId::derived(&tenant, &id, "line"));
        let schema = schema(&id, twin);
        let mut options = MqttOptions::new(name, "127.0.0.1", cloud.ingress.port());
        options.set_credentials(format!("{tenant}/{id}"), secret).set_max_packet_size(300_000, 300_000);
        let (client, events) = AsyncClient::new(options, 64);
        client.subscribe(topic::down(&tenant, &id), QoS::AtLeastOnce).await.expect("room");
        let incarnation = Incarnation::random().expect("random numbers");
        let acked = IntervalSet::default();
        let mut older = Self { client, events, id, schema, twin, incarnation, acked };
        older.say(older.hello(&kept(hello))).await;
        let Down::HelloAck(ack) = older.down().await else { panic!("{name}: no answer to its hello") };
        for hash in &ack.want_schemas {
            for part in split_schema(*hash, &older.schema.to_json()) {
                older.say(Up::Schema(part).encode()).await;
            }
        }
        older
    }

    /// A hello as it is kept, but for who says it, and what of: no field more, none less.
    fn hello(&self, kept: &[u8]) -> Vec<u8> {
        let mut json: serde_json::Value = serde_json::from_slice(&kept[2..]).expect("JSON");
        let set = json.as_object_mut().expect("an object");
        let hash = serde_json::to_value(self.schema.hash()).expect("JSON");
        for (key, value) in [
            ("tenant", serde_json::json!(TenantId::default())),
            ("gateway", serde_json::json!(self.id)),
            ("incarnation", serde_json::json!(self.incarnation)),
            ("streams", serde_json::json!([])),
            ("schema", hash.clone()),
            ("schemas", serde_json::json!([hash])),
        ] {
            assert!(set.insert(key.to_owned(), value).is_some(), "{key} is in every hello");
        }
        [&kept[..2], &serde_json::to_vec(&json).expect("JSON")].concat()
    }

    /// Schema and incarnation from `at` on.
    fn name(&self, bytes: &mut [u8], at: usize) {
        bytes[at..at + 16].copy_from_slice(&self.schema.hash().0);
        let at = at + INCARNATION_AT - SCHEMA_AT;
        bytes[at..at + 16].copy_from_slice(&self.incarnation.0.to_le_bytes());
    }

    /// A frame as it is kept, but for its name and its schema.
    async fn frame(&mut self, name: &str, seq: u64) {
        let mut bytes = kept(name);
        self.name(&mut bytes, SCHEMA_AT);
        bytes[SEQ_AT..SEQ_AT + 8].copy_from_slice(&seq.to_le_bytes());
        self.say(Up::encode_frame(&bytes)).await;
        self.acked(seq, name).await;
    }

    async fn acked(&mut self, seq: u64, what: &str) {
        while !self.acked.contains(seq) {
            match self.down().await {
                Down::Ack(ack) => {
                    for known in ack.acked {
                        known.seqs.iter().for_each(|(first, last)| self.acked.insert_range(first, last));
                    }
                }
                other => panic!("{}: {what} was answered by {other:?}", self.id),
            }
        }
    }

    async fn say(&self, message: Vec<u8>) {
        let to = topic::up(&TenantId::default(), &self.id);
        self.client.publish(to, QoS::AtLeastOnce, false, message).await.expect("room");
    }

    async fn down(&mut self) -> Down {
        let next = async {
            loop {
                if let Event::Incoming(Packet::Publish(p)) =
                    self.events.poll().await.unwrap_or_else(|e| panic!("{}: {e}", self.id))
                {
                    return Down::decode(&p.payload).expect("a message");
                }
            }
        };
        tokio::time::timeout(LIMIT, next).await.expect("a message in time")
    }
}

fn rows(frame: Frame) -> Vec<Sample> {
    let Body::Samples(rows) = frame.body else { panic!("samples") };
    rows
}

/// As the API writes it: of a NaN that it is one.
fn json(value: Option<&Value>) -> serde_json::Value {
    serde_json::to_value(value).expect("JSON")
}

/// All samples are in the history and the last of each point in the twin, with time, value and quality.
async fn is_there(cloud: &Cloud, twin: TwinId, samples: &[Sample]) {
    let mut by_point: BTreeMap<u32, Vec<&Sample>> = BTreeMap::new();
    for sample in samples {
        by_point.entry(sample.point.0).or_default().push(sample);
    }
    let path = format!("/api/v1/twins/{twin}");
    let view: TwinView = cloud.api().get(&path).await;
    for (point, of) in by_point {
        let query = format!("from={}&to={}&max_points=1000", T0 - 60_000_000, T0 + 60_000_000);
        let history = cloud.api().history(&twin.to_string(), &format!("p{point}"), &query).await;
        assert_eq!(history.resolution, Resolution::Raw);
        let got: Vec<_> =
            history.points.iter().map(|p| (p.t_us, json(p.value.as_ref()), p.quality)).collect();
        let sent: Vec<_> = of.iter().map(|s| (s.source_us, json(s.value.as_ref()), s.quality)).collect();
        assert_eq!(got, sent, "{} p{point}", view.asset);
        let last = of.last().expect("some");
        let shown = view.points.iter().find(|p| *p.schema.name == *format!("p{point}")).expect("a point");
        assert_eq!(
            (shown.source_us, shown.received_us, json(shown.value.as_ref()), shown.quality),
            (last.source_us, last.received_us, json(last.value.as_ref()), last.quality),
            "{} p{point}",
            view.asset
        );
    }
}

/// Nothing waits to be made into chunks.
async fn compacted(cloud: &Cloud) {
    until("compaction", LIMIT, || async {
        let answer = cloud.api().request(reqwest::Method::GET, "/metrics").send().await.expect("an answer");
        let text = answer.error_for_status().expect("metrics").text().await.expect("text");
        let name = metric::CLOUD_UNCOMPACTED.0;
        let line = text.lines().find(|l| l.starts_with(&format!("{name} "))).expect("its metric");
        line.ends_with(" 0").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_frames_of_every_version_are_stored_as_they_were_measured() {
    let dir = tempfile::tempdir().expect("a folder");
    let history = "[history]\ncompact_ms = 20\n";
    let cloud = Cloud::start_with(&dir.path().join("cloud"), history).await;
    let (mut sent, mut blocks) = (Vec::new(), Vec::new());
    let [plain, features, identity] =
        ["up-1-hello.hex", "up-1-hello-features.hex", "up-1-hello-identity.hex"];
    let [i16s, f32s, f64s] = waves();
    // The last hello names its box's earlier incarnations, so only one gateway can say it.
    let all = [
        ("a", plain, 1, Some(i16s)),
        ("b", plain, 2, None),
        ("c", features, 1, Some(f32s)),
        ("d", features, 2, None),
        ("e", identity, 2, Some(f64s)),
    ];
    for (name, hello, version, wave) in all {
        let mut older = Older::connect(&cloud, name, hello, None).await;
        older.frame(&format!("frame-{version}-samples-odd.hex"), 1).await;
        older.frame(&format!("frame-{version}-samples-regular.hex"), 2).await;
        sent.push((older.twin, [rows(odd()), rows(regular())].concat()));
        if let Some((vector, wave)) = wave {
            older.frame(vector, 3).await;
            blocks.push((older.twin, wave));
        }
    }
    // The same samples as eight frames that go together.
    let mut older = Older::connect(&cloud, "f", features, None).await;
    let mut batch = kept("up-7-batch.hex");
    // Version and kind, the count of frames in one byte.
    older.name(&mut batch, 3);
    older.say(batch).await;
    for seq in 50..58 {
        older.acked(seq, "the batch").await;
    }
    sent.push((older.twin, rows(regular())));
    for again in [false, true] {
        if again {
            compacted(&cloud).await;
        }
        for (twin, samples) in &sent {
            is_there(&cloud, *twin, samples).await;
        }
        for (twin, wave) in &blocks {
            block_is_there(&cloud, *twin, wave).await;
        }
    }
    for name in ["a", "b", "c", "d", "e", "f"] {
        let path = format!("/api/v1/gateways/{name}/set-aside");
        assert_eq!(cloud.api().get::<SetAsideList>(&path).await.items, [], "{path}");
    }
}

/// A part of a block, in its place among values that did not come.
async fn block_is_there(cloud: &Cloud, twin: TwinId, wave: &Waveform) {
    let path = format!("/api/v1/twins/{twin}/points/p300/waveforms/{T0}");
    let block: WaveformBlock = cloud.api().get(&path).await;
    let values: Vec<f64> = match &wave.values {
        WaveValues::I16(v) => v.iter().map(|n| f64::from(*n)).collect(),
        WaveValues::F32(v) => v.iter().map(|x| f64::from(*x)).collect(),
        WaveValues::F64(v) => v.clone(),
    };
    let values = values.into_iter().map(|x| Some(x.mul_add(wave.scale, wave.offset)));
    let (first, count) = (wave.first as usize, values.len());
    assert_eq!(
        (block.quality, block.received_us, block.total, block.stored),
        (wave.quality, wave.received_us, u64::from(wave.total), count as u64)
    );
    assert!(block.values[..first].iter().chain(&block.values[first + count..]).all(Option::is_none));
    assert_eq!(block.values[first..first + count], values.collect::<Vec<_>>());
}

/// Frames of version 1 that hold no samples.
#[tokio::test(flavor = "multi_thread")]
async fn kept_records_are_told_to_people() {
    let dir = tempfile::tempdir().expect("a folder");
    let cloud = Cloud::start(&dir.path().join("cloud")).await;
    // Of whom the vectors speak.
    let twin = TwinId("0191f7a0-1111-7222-8333-444455556666".parse().expect("a uuid"));
    let mut older = Older::connect(&cloud, "box", "up-1-hello.hex", Some(twin)).await;
    let records = ["alarm", "audit", "command", "desired", "event-lz4", "gap"];
    let gaps = ["gap-quota", "gap-overrun", "gap-damaged", "gap-age", "gap-operator", "gap-cloud-lost"];
    older.frame("frame-1-samples-regular.hex", 1).await;
    for (seq, name) in (2..).zip(records.into_iter().chain(gaps)) {
        older.frame(&format!("frame-1-{name}.hex"), seq).await;
    }
    let path = "/api/v1/gateways/box/set-aside";
    assert_eq!(cloud.api().get::<SetAsideList>(path).await.items, []);
    let told = cloud.api().entries("device.offline").await;
    let told: Vec<_> = told.iter().map(|e| (e.at_us, e.detail.len() > 9, e.code)).collect();
    // The event and the audit's entry.
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told.contains(&(T0, true, None)) && told.contains(&(T0, false, Some(Code::Forbidden))),
        "{told:?}"
    );
    let alarms: Page<AlarmView> = cloud.api().get("/api/v1/alarms").await;
    let alarm = alarms.items.first().expect("the alarm");
    assert_eq!(
        (&*alarm.name, alarm.twin, alarm.at_us, alarm.value.clone()),
        ("hot", twin, T0 + 9, Some(Value::F64(812.5)))
    );
    let query = format!("from={}&to={}", T0 - 1_000_000, T0 + 1_000_000);
    let history = cloud.api().history(&twin.to_string(), "p100", &query).await;
    let gap = history.gaps.iter().find(|g| g.cause == GapReason::DiskFull).expect("a gap");
    // Its end is not in it.
    assert_eq!((gap.from_us, gap.to_us, gap.count), (T0, T0 + 6, Some(12)));
}
