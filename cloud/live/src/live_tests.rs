//! Tests of the channel as clients see it, on paused time.

use std::sync::Arc;

use cloud_core::{PointState, TwinState};
use common::api::{GrantView, LiveFrame};
use common::command::{LogEntry, Severity};
use common::{GatewayId, PointId, PointKind, Quality, Sample, TwinId, Value, ValueType};
use proptest::prelude::*;

use super::*;
use crate::client::ClientItem;

fn twin_id(n: u128) -> TwinId {
    TwinId(uuid::Uuid::from_u128(n))
}

fn point(name: &str, value_type: ValueType) -> PointState {
    PointState::new(PointKind { stale_ms: 1000, ..PointKind::new(value_type) }.named(name))
}

fn add_twin(world: &World, id: u128, asset: &str, points: Vec<PointState>) {
    let twin = TwinState {
        id: twin_id(id),
        asset: asset.into(),
        description: String::new(),
        binding: None,
        bound_from: 0,
        online: true,
        desired_version: 0,
        index: points.iter().enumerate().map(|(i, p)| (p.schema.name.clone(), i)).collect(),
        points,
    };
    world.write().twins.insert(twin.id, twin);
}

/// Two areas: `p/a` with a number and a text, `p/b` with two numbers.
fn world() -> World {
    let world = World::default();
    let f = |name| point(name, ValueType::F64);
    add_twin(&world, 1, "p/a/line/oven", vec![f("t"), point("recipe", ValueType::Text)]);
    add_twin(&world, 2, "p/b/line/press", vec![f("x"), f("y")]);
    world
}

struct Rig {
    live: Live,
    world: World,
    drain: Drain,
}

impl Rig {
    fn new() -> Self {
        let world = world();
        let options = Options { queue: 4, ..Options::default() };
        let live = Live::new(world.clone(), Clock::simulated(1_000_000), options);
        let drain = Drain::new();
        let (run, until) = (live.clone(), drain.clone());
        tokio::spawn(async move { run.run(until).await });
        Self { live, world, drain }
    }

    fn client(&self, grants: &[&str]) -> Client {
        let grant = |path: &&str| GrantView { path: (*path).into(), role: Role::Viewer };
        self.live.connect(Access { name: "c".into(), grants: grants.iter().map(grant).collect() })
    }

    fn put(&self, twin: u128, point: u32, value: impl Into<Value>) {
        let sample = Sample {
            point: PointId(99),
            value: Some(value.into()),
            quality: Quality::GOOD,
            source_us: 1_000_000,
            received_us: 0,
        };
        self.live.values(&[Applied { twin: twin_id(twin), point, sample }]);
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.drain.start();
    }
}

fn event(n: i64) -> ServerMessage {
    let entry = LogEntry {
        at_us: n,
        actor: "system".into(),
        action: "test".into(),
        target: String::new(),
        twin: None,
        severity: Severity::Info,
        code: None,
        detail: String::new(),
    };
    ServerMessage::Event { event: entry }
}

async fn next(client: &mut Client) -> ClientItem {
    tokio::time::timeout(Duration::from_secs(5), client.next()).await.expect("an item in time")
}

async fn text(client: &mut Client) -> ServerMessage {
    match next(client).await {
        ClientItem::Text(text) => serde_json::from_str(&text).unwrap(),
        ClientItem::Binary(b) => panic!("a frame: {:?}", LiveFrame::decode(&b)),
    }
}

async fn frame(client: &mut Client) -> LiveFrame {
    match next(client).await {
        ClientItem::Binary(bytes) => LiveFrame::decode(&bytes).unwrap(),
        ClientItem::Text(text) => panic!("a text: {text}"),
    }
}

async fn is_quiet(client: &mut Client) -> bool {
    tokio::time::timeout(Duration::from_secs(30), client.next()).await.is_err()
}

/// Reads the first schema and frame of an area without texts.
async fn start(client: &mut Client, hz: f64) -> u32 {
    client.subscribe(Some(hz));
    let ServerMessage::Schema { epoch, .. } = text(client).await else { panic!("a schema first") };
    frame(client).await;
    epoch
}

#[tokio::test(start_paused = true)]
async fn after_subscribing_schema_and_all_rows_come_first_and_then_changes_only() {
    let rig = Rig::new();
    let mut c = rig.client(&["p/b"]);
    c.subscribe(Some(50.0));
    let ServerMessage::Schema { area, path, rows, epoch } = text(&mut c).await else { panic!() };
    assert_eq!((path.as_str(), rows), ("p/b", vec![(twin_id(2), "x".into()), (twin_id(2), "y".into())]));
    let all = frame(&mut c).await;
    assert_eq!((all.area, all.epoch, all.rows.len()), (area, epoch, 2));
    assert!(all.rows[0].value.is_nan() && all.rows[0].quality == Quality::BAD_NO_DATA);
    rig.put(2, 1, 4.5);
    let changed = frame(&mut c).await;
    assert_eq!(changed.rows.iter().map(|r| (r.row, r.value)).collect::<Vec<_>>(), [(1, 4.5)]);
    assert!(is_quiet(&mut c).await, "nothing changed, nothing is sent");
    c.subscribe(Some(50.0));
    assert!(matches!(text(&mut c).await, ServerMessage::Schema { .. }));
    assert_eq!(frame(&mut c).await.rows.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_first_change_after_a_pause_comes_at_once_and_a_stream_in_one_tick() {
    let rig = Rig::new();
    let mut c = rig.client(&["p/b"]);
    start(&mut c, 50.0).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let began = Instant::now();
    rig.put(2, 0, 1.0);
    frame(&mut c).await;
    assert!(began.elapsed() <= Duration::from_millis(2), "{:?}", began.elapsed());
    let mut slowest = Duration::ZERO;
    for i in 0..200 {
        let put = Instant::now();
        rig.put(2, 0, f64::from(i));
        assert!(frame(&mut c).await.rows.iter().any(|r| r.value == f64::from(i)));
        slowest = slowest.max(put.elapsed());
    }
    assert!(slowest <= Duration::from_millis(25), "{slowest:?}");
}

#[tokio::test(start_paused = true)]
async fn a_client_gets_no_more_frames_than_it_asked_for_and_always_the_last_value() {
    let rig = Rig::new();
    let mut c = rig.client(&["p/b"]);
    start(&mut c, 10.0).await;
    let (live, began) = (rig.live.clone(), Instant::now());
    let feed = tokio::spawn(async move {
        for i in 0..1000 {
            let sample = Sample {
                point: PointId(0),
                value: Some(Value::F64(f64::from(i))),
                quality: Quality::GOOD,
                source_us: 0,
                received_us: 0,
            };
            live.values(&[Applied { twin: twin_id(2), point: 0, sample }]);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    let mut frames = 0;
    loop {
        let f = frame(&mut c).await;
        frames += 1;
        if f.rows.iter().any(|r| r.value == 999.0) {
            break;
        }
    }
    let per_second = f64::from(frames) / began.elapsed().as_secs_f64();
    assert!((8.0..=10.6).contains(&per_second), "{per_second}");
    feed.await.unwrap();
    assert_eq!(rig.live.metrics().skipped.get(), 0, "by its rate, not by its slowness");
}

#[tokio::test(start_paused = true)]
async fn a_slow_client_gets_one_merged_frame_and_a_current_one_is_not_held_up() {
    let rig = Rig::new();
    let (mut slow, mut fast) = (rig.client(&["p/b"]), rig.client(&["p/b"]));
    start(&mut slow, 50.0).await;
    start(&mut fast, 50.0).await;
    for i in 0..50 {
        rig.put(2, i % 2, f64::from(i));
        assert_eq!(frame(&mut fast).await.rows.len(), 1);
    }
    let merged = frame(&mut slow).await;
    assert_eq!(merged.rows.iter().map(|r| r.value).collect::<Vec<_>>(), [48.0, 49.0]);
    assert!(is_quiet(&mut slow).await, "no queue of old values behind it");
    assert!(rig.live.metrics().skipped.get() > 40);
}

#[tokio::test(start_paused = true)]
async fn clients_that_stand_alike_share_the_bytes() {
    let rig = Rig::new();
    let (mut a, mut b) = (rig.client(&["p/b"]), rig.client(&[""]));
    start(&mut a, 50.0).await;
    b.subscribe(Some(50.0));
    while !is_quiet(&mut b).await {}
    rig.put(2, 0, 1.0);
    let (ClientItem::Binary(x), ClientItem::Binary(y)) = (next(&mut a).await, next(&mut b).await) else {
        panic!("frames")
    };
    assert_eq!(x.as_ptr(), y.as_ptr());
}

#[tokio::test(start_paused = true)]
async fn an_area_that_the_account_may_not_see_is_never_sent() {
    let rig = Rig::new();
    let mut narrow = rig.client(&["p/b/line"]);
    narrow.subscribe(None);
    assert!(is_quiet(&mut narrow).await, "a grant below an area gives no area");
    let mut b = rig.client(&["p/b"]);
    start(&mut b, 50.0).await;
    rig.put(1, 0, 1.0);
    rig.live.message(&Scope::Asset("p/a/line/oven".into()), event(1));
    rig.live.message(&Scope::Whole, event(2));
    assert!(is_quiet(&mut b).await);
    rig.live.message(&Scope::Asset("p/b/line/press".into()), event(3));
    assert_eq!(text(&mut b).await, event(3));
    let mut all = rig.client(&[""]);
    rig.live.message(&Scope::Whole, event(4));
    assert_eq!(text(&mut all).await, event(4), "messages come without subscribing");
}

#[tokio::test(start_paused = true)]
async fn a_value_that_is_no_number_comes_as_text_beside_its_row() {
    let rig = Rig::new();
    let mut c = rig.client(&["p/a"]);
    c.subscribe(Some(50.0));
    assert!(matches!(text(&mut c).await, ServerMessage::Schema { .. }));
    assert_eq!(frame(&mut c).await.rows.len(), 2);
    let ServerMessage::Texts { values, .. } = text(&mut c).await else { panic!() };
    assert_eq!((values.len(), values[0].row, values[0].value.clone()), (1, 1, None));
    rig.put(1, 1, "NMC-811");
    let f = frame(&mut c).await;
    assert!(f.rows[0].row == 1 && f.rows[0].value.is_nan() && f.rows[0].quality.is_good());
    let ServerMessage::Texts { values, .. } = text(&mut c).await else { panic!() };
    assert_eq!(values[0].value, Some("NMC-811".into()));
    rig.put(1, 0, 3.0);
    assert_eq!(frame(&mut c).await.rows.len(), 1);
    assert!(is_quiet(&mut c).await, "a text that did not change is not sent again");
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_loses_the_oldest_and_says_how_many() {
    let rig = Rig::new();
    let mut c = rig.client(&[""]);
    for n in 0..7 {
        rig.live.message(&Scope::Whole, event(n));
    }
    assert_eq!(text(&mut c).await, ServerMessage::Lost { count: 3 });
    for n in 3..7 {
        assert_eq!(text(&mut c).await, event(n));
    }
    assert_eq!(rig.live.metrics().lost.get(), 3);
    rig.live.message(&Scope::Whole, event(9));
    assert_eq!(text(&mut c).await, event(9), "told once");
}

#[tokio::test(start_paused = true)]
async fn words_about_one_gateway_take_one_place_in_the_queue() {
    let rig = Rig::new();
    let mut c = rig.client(&[""]);
    let view = |name: &str, at| ServerMessage::Gateway {
        gateway: Box::new(common::api::GatewayView {
            id: name.parse::<GatewayId>().unwrap(),
            connected: true,
            since_us: 0,
            last_seen_us: at,
            twins: 0,
            health: None,
            held: vec![],
        }),
    };
    for at in 0..100 {
        rig.live.message(&Scope::Whole, view("g1", at));
        rig.live.message(&Scope::Whole, view("g2", at));
    }
    assert_eq!(text(&mut c).await, view("g1", 99));
    assert_eq!(text(&mut c).await, view("g2", 99));
    assert_eq!(rig.live.metrics().lost.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn new_rows_get_a_new_schema_and_other_areas_keep_theirs() {
    let rig = Rig::new();
    let (mut a, mut b) = (rig.client(&["p/a"]), rig.client(&["p/b"]));
    let epoch = start(&mut b, 50.0).await;
    a.subscribe(Some(50.0));
    for _ in 0..3 {
        next(&mut a).await;
    }
    rig.put(2, 0, 7.0);
    frame(&mut b).await;
    rig.world.write().twins.get_mut(&twin_id(2)).unwrap().points[0].value = Some(7.0.into());
    add_twin(&rig.world, 3, "p/b/line/winder", vec![point("speed", ValueType::F64)]);
    rig.live.twins_changed();
    assert_eq!(text(&mut a).await, ServerMessage::Twins);
    assert!(is_quiet(&mut a).await);
    assert_eq!(text(&mut b).await, ServerMessage::Twins);
    let ServerMessage::Schema { epoch: new, rows, .. } = text(&mut b).await else { panic!() };
    assert!(new != epoch && rows.len() == 3);
    let all = frame(&mut b).await;
    assert_eq!((all.epoch, all.rows.len(), all.rows[0].value), (new, 3, 7.0));
    rig.put(3, 0, 1.5);
    assert_eq!(frame(&mut b).await.rows[0].row, 2);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_left_is_forgotten() {
    let rig = Rig::new();
    let c = rig.client(&[""]);
    assert_eq!(rig.live.metrics().clients.get(), 1);
    drop(c);
    assert_eq!(rig.live.metrics().clients.get(), 0);
    drop(rig.client(&[""]));
    assert!(rig.live.0.mailboxes.lock().unwrap().len() <= 1);
}

#[tokio::test(start_paused = true)]
async fn a_sample_that_no_row_has_a_place_for_is_ignored() {
    let rig = Rig::new();
    let mut c = rig.client(&[""]);
    c.subscribe(Some(50.0));
    for _ in 0..5 {
        next(&mut c).await;
    }
    rig.put(2, 9, 1.0);
    rig.put(77, 0, 1.0);
    assert!(is_quiet(&mut c).await);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// However values and reads interleave, in the end the client shows what was put last.
    #[test]
    fn whatever_the_interleaving_the_client_ends_with_the_last_values(
        steps in prop::collection::vec((0..2u32, any::<i16>(), 0..4u8, 0..60u64), 1..60)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let rig = Rig::new();
            let mut c = rig.client(&["p/b"]);
            c.subscribe(Some(50.0));
            let mut shown = [f64::NAN; 2];
            let mut put = [f64::NAN; 2];
            let mut show = |item: ClientItem| if let ClientItem::Binary(b) = item {
                for r in LiveFrame::decode(&b).unwrap().rows {
                    shown[r.row as usize] = r.value;
                }
            };
            for (row, value, reads, ms) in steps {
                put[row as usize] = f64::from(value);
                rig.put(2, row, f64::from(value));
                tokio::time::sleep(Duration::from_millis(ms)).await;
                for _ in 0..reads {
                    if let Ok(item) = tokio::time::timeout(Duration::from_millis(1), c.next()).await {
                        show(item);
                    }
                }
            }
            while let Ok(item) = tokio::time::timeout(Duration::from_secs(1), c.next()).await {
                show(item);
            }
            let bits = |x: [f64; 2]| x.map(f64::to_bits);
            assert_eq!(bits(shown), bits(put));
            let _ = Arc::strong_count(&rig.live.0);
        });
    }
}
