//! A box without a clock of its own: it starts at 1970 and is set later. What it reads by then says that its time is not to be
//! trusted, the box controls as ever, and when its clock is right the history is as well.

use std::time::Duration;

use common::api::{GapReason, HistoryResponse};
use common::{Clock, Quality, Value};
use tests::faults::shim::{Number, Shim};
use tests::field::ModbusDevice;
use tests::gateway::{Setup, registers_device};
use tests::{Api, Cloud, Gateway, until};

const LIMIT: Duration = Duration::from_secs(40);
const S: i64 = 1_000_000;

struct Site {
    dir: tempfile::TempDir,
    plc: ModbusDevice,
    shim: Shim,
    setup: Setup,
    cloud: Cloud,
    gateway: Gateway,
    /// UTC us when it began.
    began: i64,
}

/// A box whose clock says that it is an hour into 1970. Each value of its point is read once.
async fn site() -> Site {
    let dir = tempfile::tempdir().expect("a folder");
    let plc = ModbusDevice::start().await;
    plc.count_reads_of(0);
    let cloud = Cloud::start(&dir.path().join("cloud")).await;
    let secret = cloud.gateway_secret("box1").await;
    let shim = Shim::new(&dir.path().join("box/data"));
    let began = Clock::system().now_us();
    shim.control.set(Number::ClockUs, 3600 * S - began);
    let devices = registers_device(plc.addr, 1, 50);
    let setup = Setup { uplink: Some((cloud.ingress, secret)), devices, env: shim.env(), ..Setup::default() };
    let gateway = Gateway::start(&dir.path().join("box"), &setup).await;
    until("a first value", LIMIT, || cloud.api().value("hall/plc", "r0")).await;
    Site { dir, plc, shim, setup, cloud, gateway, began }
}

async fn history(api: &Api, from: i64, to: i64) -> HistoryResponse {
    api.history("hall/plc", "r0", &format!("from={from}&to={to}&max_points=10000")).await
}

impl Site {
    /// What the cloud has from 1970.
    async fn of_1970(&self) -> HistoryResponse {
        history(self.cloud.api(), 0, 86_400 * S).await
    }

    /// What it has since the site began, as numbers of reads, once there is one of quality good among the newest.
    async fn since(&self) -> Vec<(i64, u64, Quality)> {
        let rows = history(self.cloud.api(), self.began - S, self.began + 600 * S).await.points;
        let number = |v: &Value| (v.as_f64().expect("a number") * 10.0).round() as u64;
        rows.iter().filter_map(|p| Some((p.t_us, number(p.value.as_ref()?), p.quality))).collect()
    }

    /// Waits until nothing is left of 1970.
    async fn corrected(&self) -> Vec<(i64, u64, Quality)> {
        until("nothing from 1970", LIMIT, || async {
            let left = self.of_1970().await.points;
            left.is_empty().then_some(())
        })
        .await;
        self.since().await
    }
}

/// Each read once, in its order, about as long after the one before as the period is.
fn is_whole(rows: &[(i64, u64, Quality)], first: u64) {
    let numbers: Vec<u64> = rows.iter().map(|(_, n, _)| *n).collect();
    let expected: Vec<u64> = (first..).take(rows.len()).collect();
    assert_eq!(numbers, expected);
    assert!(rows.iter().all(|(_, _, quality)| *quality == Quality::GOOD), "{rows:?}");
    assert!(rows.windows(2).all(|pair| pair[0].0 < pair[1].0), "{rows:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn samples_of_an_unset_clock_are_told_and_have_their_time_once_it_is_set() {
    let site = site().await;
    let early = until("samples of 1970", LIMIT, || async {
        let history = site.of_1970().await;
        (history.points.len() >= 20).then_some(history)
    })
    .await;
    assert!(early.points.iter().all(|p| p.quality == Quality::UNCERTAIN_TIME && p.value.is_some()));
    assert!(early.gaps.iter().any(|g| g.cause == GapReason::ClockUnsynchronised), "{:?}", early.gaps);
    let twin = site.cloud.api().twin("hall/plc").await.expect("the twin");
    assert_eq!(twin.points[0].quality, Quality::UNCERTAIN_TIME);
    // At the box the value is as good as ever: interlocks, formulas and alarms go on.
    let own = site.gateway.api().twin("hall/plc").await.expect("the twin");
    assert_eq!(own.points[0].quality, Quality::GOOD);
    assert!(!site.gateway.health().await.clock_synchronised);

    site.shim.control.set(Number::ClockUs, 0);
    let set = Clock::system().now_us();
    until("a good sample in the twin", LIMIT, || async {
        let twin = site.cloud.api().twin("hall/plc").await?;
        (twin.points[0].quality == Quality::GOOD).then_some(())
    })
    .await;
    let rows = site.corrected().await;
    is_whole(&rows, rows[0].1);
    assert!(rows.iter().filter(|(at, ..)| *at < set).count() >= 20, "{rows:?}");
    let gaps = history(site.cloud.api(), rows[0].0, set).await.gaps;
    assert!(!gaps.iter().any(|g| g.cause == GapReason::ClockUnsynchronised), "{gaps:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_without_a_cloud_and_before_the_clock_was_set_arrives_with_its_time() {
    let mut site = site().await;
    site.cloud.process.kill();
    let seq = site.gateway.health().await.buffer.last_seq;
    until("frames of 1970", LIMIT, || async {
        (site.gateway.health().await.buffer.durable_seq > seq + 40).then_some(())
    })
    .await;
    site.shim.control.set(Number::ClockUs, 0);
    let seq = site.gateway.health().await.buffer.last_seq;
    until("frames of now", LIMIT, || async {
        (site.gateway.health().await.buffer.durable_seq > seq + 20).then_some(())
    })
    .await;
    site.cloud = site.cloud.restart().await;
    site.gateway.emptied().await;
    let rows = site.corrected().await;
    is_whole(&rows, rows[0].1);
    assert!(rows.len() > 60, "{rows:?}");
    // A box that is killed begins another run. What it read before keeps its time.
    site.gateway.process.kill();
    site.gateway = Gateway::start(&site.dir.path().join("box"), &site.setup).await;
    let reads = u64::from(site.plc.get(0));
    until("later samples", LIMIT, || async {
        let last = site.since().await.last().map(|(_, n, _)| *n);
        (last > Some(reads)).then_some(())
    })
    .await;
    let again = site.since().await;
    assert_eq!(again[..rows.len()], rows);
}
