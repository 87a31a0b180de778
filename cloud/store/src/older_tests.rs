//! Roll-ups of older programs in a database: what they do not know is found in the samples.

use std::path::Path;

use cloud_core::align::Grid;
use cloud_core::history::{AlignedPoint, HistoryStorage as _, Spans};
use cloud_core::storage::FrameStorage as _;
use cloud_core::{GatewayKey, NewFrame};
use common::api::Interpolation;
use common::wire::{Body, Frame, FrameHeader};
use common::{DeviceSchema, Incarnation, PointId, PointSchema, Quality, Sample, Schema, Value, ValueType};

use super::*;

const T0: i64 = 1_795_046_400_000_000;
const SECOND: i64 = 1_000_000;

/// A state that changes every few seconds and is bad now and then.
fn row(n: i64) -> Sample {
    let quality = if n % 50 == 7 { Quality::BAD_TIMEOUT } else { Quality::GOOD };
    let value = (!quality.is_bad()).then_some(Value::Bool(n / 40 % 2 == 0));
    let t = T0 + n * SECOND / 10 + n % 3;
    Sample { point: PointId(0), value, quality, source_us: t, received_us: t + 9 }
}

async fn fill(storage: &Store) {
    let points = vec![PointSchema::new("on", ValueType::Bool)];
    let (name, asset) = ("d".to_owned(), "plant/d".to_owned());
    let device =
        DeviceSchema { name, twin: twin(), asset, description: String::new(), first_point: 0, points };
    let gateway = "g".parse().unwrap();
    let schema = Arc::new(Schema { tenant: Default::default(), gateway, devices: vec![device] });
    let key = Arc::new(GatewayKey { tenant: schema.tenant.clone(), gateway: schema.gateway.clone() });
    let incarnation = Incarnation(1);
    let rank = storage.hello(&key, &[incarnation]).await.unwrap()[0].rank;
    storage.put_schema(&key, &schema, rank, T0).await.unwrap();
    for seq in 1..=20i64 {
        let (schema_hash, cut_us) = (schema.hash(), T0 + seq * 10 * SECOND);
        let seq_u = seq.unsigned_abs();
        let header = FrameHeader {
            schema: schema_hash,
            incarnation,
            seq: seq_u,
            cut_us,
            cut_mono_us: seq_u,
            synchronised: true,
        };
        let rows = ((seq - 1) * 100..seq * 100).map(row).collect();
        let frame = Frame { header, body: Body::Samples(rows) };
        let new = NewFrame {
            gateway: Arc::clone(&key),
            rank,
            bytes: frame.encode().into(),
            frame: Arc::new(frame),
            schema: Arc::clone(&schema),
            received_us: cut_us,
        };
        storage.accept(&[new]).await.unwrap();
        storage.compact(1).await.unwrap();
    }
}

fn twin() -> TwinId {
    TwinId(uuid::Uuid::from_u128(1))
}

fn open(path: &Path) -> Arc<Store> {
    let options = Options { chunk_rows: 300, merge_chunks: 4, ..Options::new(path) };
    Store::open(options, Clock::simulated(T0)).unwrap()
}

type Answers = (Vec<cloud_core::align::Column>, cloud_core::history::Durations);

async fn ask(storage: &Store) -> Answers {
    let grid = Grid::within(T0 + 500_000, T0 + 190 * SECOND, 2 * SECOND);
    let point = [AlignedPoint { twin: twin(), point: "on".into(), online: true }];
    let columns = storage.aligned(&point, grid, Interpolation::Previous, i64::MAX).await.unwrap();
    let spans = Spans {
        from_us: T0 + 333_333,
        to_us: T0 + 197 * SECOND,
        starts_us: (0..20).map(|n| T0 + n * 10 * SECOND).collect(),
        width_us: 10 * SECOND,
        now_us: i64::MAX,
        online: true,
    };
    (columns, storage.durations(twin(), "on", spans).await.unwrap())
}

#[tokio::test]
async fn what_older_roll_ups_lack_is_found_in_the_samples() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cloud.db");
    let storage = open(&path);
    fill(&storage).await;
    let new = ask(&storage).await;
    assert!(new.1.total.unsettled_us == 0 && new.1.total.bad_us > 0 && new.1.total.states.len() == 2);
    drop(storage);
    let conn = rusqlite::Connection::open(&path).unwrap();
    let mut select = conn.prepare("SELECT id, blob FROM chunks WHERE level > 0").unwrap();
    let chunks: Vec<(i64, Vec<u8>)> = select
        .query_map([], |r| Ok((r.get(0)?, r.get(1)?)))
        .unwrap()
        .map(std::result::Result::unwrap)
        .collect();
    assert!(chunks.len() > 3, "{} chunks of roll-ups", chunks.len());
    for (id, blob) in chunks {
        let old = first::tests::put_buckets(&bucket_codec::decode(&blob).unwrap());
        conn.execute("UPDATE chunks SET blob = ?2 WHERE id = ?1", (id, old)).unwrap();
    }
    drop(select);
    drop(conn);
    assert_eq!(ask(&open(&path)).await, new);
}
