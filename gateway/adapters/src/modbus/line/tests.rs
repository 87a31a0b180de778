//! A line with a clock of its own: what takes minutes is over at once, and counts are exact.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex as Guard;

use common::command::LogEntry;
use common::{Clock, DeviceSchema, PointSchema, Quality, Sample, Schema, ValueType};
use gateway_core::{Adapter as _, DropCounts, Health, Notes, PointDefinition, RawRange, RawSender, Registry};
use gateway_modbus::frame::{Decoder, Framing, Reads};
use gateway_modbus::pdu::{Answer, Exception, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::{Instant, sleep, sleep_until};

use super::*;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// What stands behind the line: every register of a unit holds the unit's number.
#[derive(Default)]
struct Plant {
    /// Units that are silent.
    dead: HashSet<u8>,
    /// Units behind a gateway that tells their silence.
    told_dead: HashSet<u8>,
    /// How long an answer takes.
    takes: HashMap<u8, Duration>,
    usual: Duration,
    /// Registers that no unit has.
    holes: HashSet<u16>,
    /// Unit, first register, count and time of each request.
    log: Vec<(u8, u16, u16, Instant)>,
    connections: u32,
}

type Shop = Arc<Guard<Plant>>;

async fn serve(mut stream: DuplexStream, shop: Shop) {
    let mut decoder = Decoder::new(Framing::Mbap, Reads::Requests);
    let mut out = Vec::new();
    loop {
        while let Ok(Some(head)) = decoder.next() {
            let Ok(Request::Read { table, address, count }) = Request::decode(decoder.pdu(head)) else {
                return;
            };
            let (dead, told, takes, refused) = {
                let mut plant = shop.lock().unwrap();
                plant.log.push((head.unit, address, count, Instant::now()));
                let takes = plant.takes.get(&head.unit).copied().unwrap_or(plant.usual);
                let refused = (address..address + count).any(|a| plant.holes.contains(&a));
                (plant.dead.contains(&head.unit), plant.told_dead.contains(&head.unit), takes, refused)
            };
            if dead {
                continue;
            }
            sleep(takes).await;
            let data = vec![head.unit; usize::from(count) * 2];
            let answer = if told {
                Answer::Refused { function: 3, exception: Exception::GATEWAY_TARGET }
            } else if refused {
                Answer::Refused { function: 3, exception: Exception::ILLEGAL_ADDRESS }
            } else {
                Answer::Read { table, data: &data }
            };
            out.clear();
            Framing::Mbap.encode(&mut out, head.transaction, head.unit, |o| answer.encode(o)).unwrap();
            if stream.write_all(&out).await.is_err() {
                return;
            }
        }
        match stream.read(decoder.room()).await {
            Ok(0) | Err(_) => return,
            Ok(n) => decoder.advance(n),
        }
    }
}

/// Notes in memory.
#[derive(Default)]
struct Memory(Guard<HashMap<String, Vec<u8>>>);

impl Notes for Memory {
    fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.0.lock().unwrap().get(key).cloned()
    }
    fn set(&self, key: &str, value: &[u8]) {
        self.0.lock().unwrap().insert(key.to_owned(), value.to_vec());
    }
}

struct Rig {
    shop: Shop,
    /// What there is to connect to: the first host, and the backup.
    there: Arc<Guard<[bool; 2]>>,
    health: Health,
    samples: mpsc::Receiver<Vec<Sample>>,
    _events: mpsc::Receiver<LogEntry>,
    adapter: Arc<Adapter>,
    drain: Drain,
}

/// One device for each list of points (`register`, `period_ms`), its unit counted from 1.
fn registry(devices: &[Vec<(u16, u64)>]) -> Registry {
    let (mut points, mut made, mut schemas) = (Vec::new(), Vec::new(), Vec::new());
    for (index, own) in devices.iter().enumerate() {
        let first = points.len() as u32;
        for (n, _) in own.iter().enumerate() {
            let schema = PointSchema::new(format!("p{n}"), ValueType::U64);
            let raw = RawRange { value_type: ValueType::U64, min: 0.0, max: 65_535.0 };
            points.push(PointDefinition::new(schema, raw).at(PointId(points.len() as u32), index));
        }
        let name = format!("unit{}", index + 1);
        made.push(gateway_core::Device {
            name: name.clone(),
            protocol: "modbus",
            points: first..points.len() as u32,
        });
        schemas.push(DeviceSchema {
            name: name.clone(),
            twin: format!("7e57ab1e-0000-4000-8000-{index:012}").parse().unwrap(),
            asset: format!("site/{name}"),
            description: String::new(),
            first_point: first,
            points: vec![],
        });
    }
    let (tenant, gateway) = ("t".parse().unwrap(), "g".parse().unwrap());
    Registry::new(Schema { tenant, gateway, devices: schemas }, made, points).unwrap()
}

impl Rig {
    fn start(
        devices: &[Vec<(u16, u64)>],
        keys: &str,
        line: &str,
        plant: Plant,
        notes: Option<Arc<dyn Notes>>,
    ) -> Self {
        let registry = Arc::new(registry(devices));
        let (clock, drops) = (Clock::system(), DropCounts::default());
        let (raw, samples) = RawSender::new(100_000, &drops);
        let (events, _events) = mpsc::channel(1000);
        let health = Health::new(clock.clone(), &registry);
        let context = Context {
            pulse: gateway_core::Pulse::new(clock.clone()),
            registry: registry.clone().into(),
            raw,
            health: health.clone(),
            clock,
            events,
            drops: drops.clone(),
            notes,
            modems: crate::modbus::Modems::default(),
        };
        let mut next = 0;
        let specs = devices.iter().enumerate().map(|(device, own)| DeviceSpec {
            device,
            config: toml::from_str(&format!("line = \"l\"\nunit = {}\n{keys}", device + 1)).unwrap(),
            points: own
                .iter()
                .map(|(register, period)| {
                    let text = format!("table = \"holding\"\naddress = {register}\nperiod_ms = {period}");
                    next += 1;
                    (PointId(next - 1), toml::from_str(&text).unwrap(), Access::Read)
                })
                .collect(),
        });
        let text = format!("name = \"l\"\ntransport = \"tcp\"\nhost = \"h\"\n{line}");
        let Adapter(shared) =
            Adapter::line(toml::from_str(&text).unwrap(), specs.collect(), context).unwrap();
        let mut shared = Arc::into_inner(shared).unwrap();
        let (shop, there) = (Arc::new(Guard::new(plant)), Arc::new(Guard::new([true, true])));
        let (of, at) = (shop.clone(), there.clone());
        let mut opener = Opener::new(shared.config.clone(), None);
        opener.instead = Some(Box::new(move |backup| {
            if !at.lock().unwrap()[usize::from(backup)] {
                return None;
            }
            of.lock().unwrap().connections += 1;
            let (ours, theirs) = duplex(4096);
            tokio::spawn(serve(theirs, of.clone()));
            Some(ours)
        }));
        shared.opener = Arc::new(opener);
        let adapter = Arc::new(Adapter(Arc::new(shared)));
        let (drain, running) = (Drain::new(), adapter.clone());
        let stop = drain.clone();
        tokio::spawn(async move { running.run(stop).await.unwrap() });
        Self { shop, there, health, samples, _events, adapter, drain }
    }

    /// How often each unit was asked from now on, for `span`.
    async fn watch(&mut self, span: Duration) -> HashMap<u8, usize> {
        self.shop.lock().unwrap().log.clear();
        let until = Instant::now() + span;
        // Samples are taken as they come, so that nothing is dropped.
        loop {
            tokio::select! {
                _ = self.samples.recv() => {}
                () = sleep_until(until) => break,
            }
        }
        let mut counts = HashMap::new();
        for (unit, ..) in &self.shop.lock().unwrap().log {
            *counts.entry(*unit).or_default() += 1;
        }
        counts
    }

    async fn until(&mut self, limit: Duration, wanted: impl Fn(&Sample) -> bool) -> Sample {
        let found = tokio::time::timeout(limit, async {
            loop {
                let batch = self.samples.recv().await.unwrap();
                if let Some(sample) = batch.into_iter().find(|s| wanted(s)) {
                    return sample;
                }
            }
        });
        found.await.expect("a sample in time")
    }
}

fn units(count: usize, period: u64) -> Vec<Vec<(u16, u64)>> {
    (0..count).map(|_| (0..10).map(|r| (r, period)).collect()).collect()
}

#[tokio::test(start_paused = true)]
async fn one_dead_unit_of_thirty_costs_the_others_nothing_they_can_notice() {
    for line in ["", "reopen_after_timeout = true"] {
        let plant = Plant { usual: ms(10), dead: [7].into(), ..Plant::default() };
        let mut rig = Rig::start(&units(30, 1000), "", line, plant, None);
        rig.watch(ms(20_000)).await;
        let counts = rig.watch(ms(300_000)).await;
        for unit in (1..=30).filter(|u| *u != 7) {
            assert!(counts[&unit] >= 294, "unit {unit} was asked {} times in 300 s", counts[&unit]);
        }
        assert!((5..60).contains(&counts[&7]), "probes: {}", counts[&7]);
        // Told all the time, and found again.
        rig.until(ms(2000), |s| s.point.0 == 60 && s.quality == Quality::BAD_TIMEOUT).await;
        let health = rig.health.list();
        assert!(health[6].poll.as_ref().unwrap().parked && !health[6].connected && health[7].connected);
        rig.shop.lock().unwrap().dead.clear();
        rig.until(ms(40_000), |s| s.point.0 == 60 && s.quality.is_good()).await;
        rig.drain.start();
    }
}

#[tokio::test(start_paused = true)]
async fn a_busy_line_with_a_dead_unit_keeps_its_periods_within_a_tenth() {
    // 29 units of 30 ms leave 13 % of each second; probes have to fit beside them.
    let plant = Plant { usual: ms(30), dead: [7].into(), ..Plant::default() };
    let mut rig = Rig::start(&units(30, 1000), "", "", plant, None);
    rig.watch(ms(20_000)).await;
    let counts = rig.watch(ms(300_000)).await;
    for unit in (1..=30).filter(|u| *u != 7) {
        assert!(counts[&unit] >= 285, "unit {unit} was asked {} times in 300 s", counts[&unit]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_unit_that_a_gateway_calls_dead_is_parked_as_well() {
    let plant = Plant { usual: ms(10), told_dead: [2].into(), ..Plant::default() };
    let mut rig = Rig::start(&units(3, 100), "", "", plant, None);
    rig.watch(ms(5000)).await;
    let counts = rig.watch(ms(60_000)).await;
    assert!(counts[&1] >= 590 && counts[&3] >= 590 && counts[&2] < 100, "{counts:?}");
    rig.until(ms(2000), |s| s.point.0 == 10 && s.quality == Quality::BAD_TIMEOUT).await;
    assert_eq!(rig.shop.lock().unwrap().connections, 1);
}

#[tokio::test(start_paused = true)]
async fn a_slow_unit_takes_what_the_others_leave() {
    // Five requests of 400 ms a second are more than there is time for.
    let mut devices = units(20, 1000);
    devices[4] = (0..5).map(|n| (n * 500, 1000)).collect();
    let plant = Plant { usual: ms(10), takes: [(5, ms(400))].into(), ..Plant::default() };
    let mut rig = Rig::start(&devices, "timeout_ms = 2000", "", plant, None);
    rig.watch(ms(20_000)).await;
    let counts = rig.watch(ms(200_000)).await;
    for unit in (1..=20).filter(|u| *u != 5) {
        assert!(counts[&unit] >= 180, "unit {unit} was asked {} times in 200 s", counts[&unit]);
    }
    assert!(counts[&5] > 250, "the slow one gets the rest: {}", counts[&5]);
    assert!(rig.health.list()[4].poll.as_ref().unwrap().overruns > 100);
}

#[tokio::test(start_paused = true)]
async fn a_point_of_10_ms_keeps_its_time_beside_ten_thousand_slow_ones() {
    let mut devices: Vec<Vec<(u16, u64)>> = (0..100).map(|_| (0..100).map(|r| (r, 1000)).collect()).collect();
    devices.push(vec![(0, 10)]);
    let plant = Plant { usual: ms(1), ..Plant::default() };
    let mut rig = Rig::start(&devices, "", "", plant, None);
    rig.watch(ms(5000)).await;
    let counts = rig.watch(ms(20_000)).await;
    assert!((1..=100).all(|unit| counts[&unit] >= 20), "{counts:?}");
    let log = &rig.shop.lock().unwrap().log;
    let fast: Vec<Instant> = log.iter().filter(|l| l.0 == 101).map(|l| l.3).collect();
    let mut off: Vec<u128> = fast.windows(2).map(|p| (p[1] - p[0]).as_millis().abs_diff(10)).collect();
    off.sort_unstable();
    assert!(fast.len() >= 1990, "{}", fast.len());
    assert!(off[off.len() * 99 / 100] <= 2, "{:?}", &off[off.len() - 20..]);
}

#[tokio::test(start_paused = true)]
async fn what_is_missed_is_counted_and_never_queued() {
    let plant = Plant { usual: ms(50), ..Plant::default() };
    let mut rig = Rig::start(&units(1, 20), "", "", plant, None);
    let counts = rig.watch(ms(10_000)).await;
    assert!((190..=201).contains(&counts[&1]), "{counts:?}");
    let overruns = rig.adapter.overruns();
    assert!((280..=310).contains(&overruns), "{overruns}");
}

#[tokio::test(start_paused = true)]
async fn holes_are_remembered_over_a_restart() {
    let notes = Arc::new(Memory::default());
    let devices = vec![(0..50).map(|r| (r, 1000)).collect::<Vec<_>>()];
    let holes: HashSet<u16> = [17, 31, 32].into();
    let plant = || Plant { usual: ms(2), holes: holes.clone(), ..Plant::default() };
    let mut rig = Rig::start(&devices, "", "", plant(), Some(notes.clone()));
    rig.until(ms(20_000), |s| s.point.0 == 32 && s.quality == Quality::BAD_DEVICE).await;
    rig.until(ms(5000), |s| s.point.0 == 18 && s.quality.is_good()).await;
    rig.watch(ms(10_000)).await;
    let counts = rig.watch(ms(20_000)).await;
    assert!(counts[&1] <= 3 * 21, "three requests a second: {counts:?}");
    let told = rig.health.list().remove(0).poll.unwrap();
    assert_eq!((told.holes, told.holes_named.len(), told.refused > 0), (3, 3, true), "{told:?}");
    rig.drain.start();
    let mut again = Rig::start(&devices, "", "", plant(), Some(notes));
    again.until(ms(5000), |s| s.point.0 == 49 && s.quality.is_good()).await;
    again.until(ms(5000), |s| s.point.0 == 17 && s.quality == Quality::BAD_DEVICE).await;
    // Known from the start: each was looked at once, alone, and nothing was searched.
    again.watch(ms(2000)).await;
    let log = again.shop.lock().unwrap().log.clone();
    assert!(log.iter().all(|(_, at, n, _)| *n == 1 || !(*at..at + n).any(|a| holes.contains(&a))), "{log:?}");
}

#[tokio::test(start_paused = true)]
async fn the_backup_host_stands_in_until_the_first_is_back() {
    let line = "backup_host = \"b\"\nfailback_ms = 5000";
    let mut rig = Rig::start(&units(2, 100), "", line, Plant { usual: ms(1), ..Plant::default() }, None);
    rig.until(ms(5000), |s| s.quality.is_good()).await;
    *rig.there.lock().unwrap() = [false, true];
    // The first host's connection ends: its end of the stream is dropped with the request that never returns.
    rig.shop.lock().unwrap().dead = [1, 2].into();
    rig.until(ms(20_000), |s| s.quality == Quality::BAD_TIMEOUT).await;
    rig.shop.lock().unwrap().dead.clear();
    rig.until(ms(60_000), |s| s.quality.is_good()).await;
    let before = rig.shop.lock().unwrap().connections;
    *rig.there.lock().unwrap() = [true, true];
    rig.watch(ms(20_000)).await;
    assert!(rig.shop.lock().unwrap().connections >= before);
    rig.until(ms(1000), |s| s.quality.is_good()).await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_given_back_between_polls_if_the_device_wants_that() {
    let plant = Plant { usual: ms(1), ..Plant::default() };
    let mut rig = Rig::start(&units(2, 10_000), "", "close_after_poll = true", plant, None);
    rig.watch(ms(30_000)).await;
    let before = rig.shop.lock().unwrap().connections;
    let counts = rig.watch(ms(100_000)).await;
    let opened = rig.shop.lock().unwrap().connections - before;
    assert!((9..=11).contains(&counts[&1]) && (9..=11).contains(&counts[&2]), "{counts:?}");
    assert!((9..=22).contains(&opened), "{opened}");
    while let Ok(batch) = rig.samples.try_recv() {
        assert!(batch.iter().all(|s| s.quality.is_good()), "{batch:?}");
    }
}
