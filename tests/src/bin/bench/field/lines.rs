//! `scatter`, `jitter_10ms`, `dead_unit`: how requests are put together and kept to their times, as the plant sees it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use tests::Gateway;
use tests::gateway::Setup;

use super::plant::Plant;
use super::tags::device;
use crate::figure::{Beside, Percentiles, print_beside};

/// Most registers in a request.
const MAX_REGISTERS: u16 = 125;

/// `scatter_requests_over_optimum`, `scatter_cycle_ratio`: 200 registers with gaps of 1 to 4 between them, on a device
/// that takes 2 ms for an answer.
pub async fn scatter(previous: Option<&Path>) {
    let registers: Vec<u16> = (0..200u16)
        .scan(0, |next, n| {
            let at = *next;
            *next = at + 2 + (n * 7 + n / 3) % 4;
            Some(at)
        })
        .collect();
    let plant = Plant::start(1, Duration::from_millis(2));
    let optimum = optimum(&registers) as f64;
    let requests = cycle(&plant, &registers, None).await;
    let single_ms = one_by_one(plant.addrs[0], &registers);
    let of_one = |requests: f64| requests / registers.len() as f64;
    let old = match previous {
        Some(program) => Some(cycle(&plant, &registers, Some(program)).await),
        None => None,
    };
    let best = Beside::floor("optimum, requests", optimum);
    let was = Beside::previous(old.map(|requests| requests / optimum));
    print_beside("scatter_requests_over_optimum", requests / optimum, "x", "<= 1.1", &[best, was]);
    let single = Beside::floor("one request a tag, ms", single_ms);
    let was = Beside::previous(old.map(of_one));
    print_beside(
        "scatter_cycle_ratio",
        of_one(requests),
        "x of the time on the line",
        "<= 0.05",
        &[single, was],
    );
}

/// The fewest requests: each begins at the first register that no earlier one covers.
fn optimum(registers: &[u16]) -> usize {
    let mut covered = 0;
    registers
        .iter()
        .filter(|r| {
            let begins = **r >= covered;
            if begins {
                covered = **r + MAX_REGISTERS;
            }
            begins
        })
        .count()
}

/// Requests in a period of 1 s.
async fn cycle(plant: &Plant, registers: &[u16], program: Option<&Path>) -> f64 {
    let devices = device("l0u1", plant.addrs[0], 1, registers.iter().map(|r| (*r, 1000)));
    let dir = tempfile::tempdir().expect("a folder");
    let setup = Setup { devices, program: program.map(Path::to_owned), ..Setup::default() };
    let _gateway = Gateway::start(dir.path(), &setup).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    plant.note_arrivals(0, 1);
    tokio::time::sleep(Duration::from_secs(10)).await;
    // Requests of a device are spread over its period: they are counted, and what they take on the line is told by
    // what single ones take.
    plant.arrivals(0, 1).len() as f64 / 10.0
}

/// The same registers, each with its own request.
fn one_by_one(addr: SocketAddr, registers: &[u16]) -> f64 {
    let mut stream = TcpStream::connect(addr).expect("the plant");
    stream.set_nodelay(true).expect("an option");
    let began = Instant::now();
    for register in registers {
        let [high, low] = register.to_be_bytes();
        stream.write_all(&[0, 0, 0, 0, 0, 6, 1, 3, high, low, 0, 1]).expect("sent");
        stream.read_exact(&mut [0; 11]).expect("an answer");
    }
    began.elapsed().as_secs_f64() * 1e3
}

/// `jitter_10ms_p99_ms`: a register at 10 ms on a connection with ten other units, beside 10,000 at 1 s.
pub async fn jitter(previous: Option<&Path>) {
    const FAST: u8 = 200;
    let plant = Plant::start(10, Duration::ZERO);
    let mut devices = device("fast", plant.addrs[0], FAST, [(0, 10)].into_iter());
    for (line, addr) in plant.addrs.iter().enumerate() {
        for unit in 1..=10 {
            devices += &device(&format!("l{line}u{unit}"), *addr, unit, (0..100).map(|n| (n, 1000)));
        }
    }
    let (p, floor) = intervals(&plant, &devices, FAST, None).await;
    let old = match previous {
        Some(program) => Some(intervals(&plant, &devices, FAST, Some(program)).await.0),
        None => None,
    };
    for (what, percent, goal) in [("p50", 50.0, "report"), ("p99", 99.0, "<= 2"), ("p999", 99.9, "report")] {
        let was = Beside::previous(old.as_ref().map(|o| o.at(percent)));
        let bare = Beside::floor("a thread that only sleeps, beside it, ms", floor.at(percent));
        print_beside(&format!("jitter_10ms_{what}_ms"), p.at(percent), "ms", goal, &[bare, was]);
    }
}

/// How far the times between requests are from 10 ms; and those between the wakes of a thread that does nothing but
/// sleep to the same grid meanwhile.
async fn intervals(
    plant: &Plant,
    devices: &str,
    unit: u8,
    program: Option<&Path>,
) -> (Percentiles, Percentiles) {
    let dir = tempfile::tempdir().expect("a folder");
    let setup =
        Setup { devices: devices.to_owned(), program: program.map(Path::to_owned), ..Setup::default() };
    let _gateway = Gateway::start(dir.path(), &setup).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    plant.note_arrivals(0, unit);
    let sleeping = tokio::task::spawn_blocking(|| sleeper(Duration::from_secs(20)));
    let wakes = sleeping.await.expect("no panic");
    let arrivals = plant.arrivals(0, unit);
    let of = |times: &[u64]| {
        Percentiles::of(times.windows(2).map(|w| ((w[1] - w[0]) as f64 / 1e6 - 10.0).abs()).collect())
    };
    (of(&arrivals), of(&wakes))
}

/// Wakes every 10 ms, ns.
#[allow(clippy::cast_possible_truncation)] // some seconds
fn sleeper(span: Duration) -> Vec<u64> {
    let (began, mut due, mut wakes) = (Instant::now(), Duration::ZERO, Vec::new());
    while due < span {
        due += Duration::from_millis(10);
        std::thread::sleep(due.saturating_sub(began.elapsed()));
        wakes.push(began.elapsed().as_nanos() as u64);
    }
    wakes
}

/// `dead_unit_period_stretch_pct`: 30 units at 1 s on one connection, one of them says nothing.
pub async fn dead_unit(previous: Option<&Path>) {
    const UNITS: u8 = 30;
    const DEAD: u8 = 17;
    let plant = Plant::start(1, Duration::ZERO);
    plant.kill(0, DEAD);
    let mut devices = String::new();
    for unit in 1..=UNITS {
        devices += &device(&format!("l0u{unit}"), plant.addrs[0], unit, (0..10).map(|n| (n, 1000)));
    }
    let living = || (1..=UNITS).filter(|u| *u != DEAD);
    let mut found = Vec::new();
    for program in std::iter::once(None).chain(previous.map(Some)) {
        let dir = tempfile::tempdir().expect("a folder");
        let setup =
            Setup { devices: devices.clone(), program: program.map(Path::to_owned), ..Setup::default() };
        let _gateway = Gateway::start(dir.path(), &setup).await;
        // The dead one is found and left aside meanwhile.
        tokio::time::sleep(Duration::from_secs(15)).await;
        living().for_each(|unit| plant.note_arrivals(0, unit));
        tokio::time::sleep(Duration::from_secs(30)).await;
        let periods: Vec<f64> = living()
            .map(|unit| {
                let arrivals = plant.arrivals(0, unit);
                assert!(arrivals.len() > 2, "unit {unit} is not read");
                (arrivals[arrivals.len() - 1] - arrivals[0]) as f64 / 1e6 / (arrivals.len() - 1) as f64
            })
            .collect();
        let worst = periods.iter().copied().fold(0.0, f64::max);
        found.push((worst / 1000.0 - 1.0) * 100.0);
    }
    let was = Beside::previous(found.get(1).copied());
    print_beside(
        "dead_unit_period_stretch_pct",
        found[0],
        "% of the worst unit's mean period",
        "<= 10",
        &[was],
    );
}
