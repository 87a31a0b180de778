//! The fault harness over a handful of fixed seeds, and the check that its judge is one: what is broken on purpose,
//! on the wire or in what was seen, is found. `make faults SEEDS=1000` runs many.

use std::sync::atomic::Ordering;
use std::time::Duration;

use common::CommandState;
use common::api::{GapReason, HistoryGap};
use common::names::action;
use tests::faults::draw::{Fault, Plan, Random, Sizes};
use tests::faults::judge::{Evidence, Kind, Violation, judge};
use tests::faults::link::{Lie, Shape};
use tests::faults::processes::End;
use tests::faults::second::Seen;
use tests::faults::shim::{Number, Shim};
use tests::faults::tasks::Deleted;
use tests::faults::{Report, Site, run};
use tests::gateway::{Setup, registers_device};
use tests::oracle::{Oracle, WatermarkLine};
use tests::{Cloud, Gateway};
use tokio::task::JoinSet;

/// Chosen for many kinds of fault in few seeds.
const SEEDS: [u64; 19] =
    [1, 28, 65, 303, 308, 309, 311, 313, 315, 369, 202, 206, 238, 240, 245, 257, 263, 1018, 1037];

#[tokio::test(flavor = "multi_thread")]
async fn a_handful_of_seeds_lose_double_and_repeat_nothing() {
    let mut reports = Vec::new();
    // So many at a time: each is two programs, beside those of the other tests.
    for seeds in SEEDS.chunks(3) {
        let mut running = JoinSet::new();
        for seed in seeds.iter().copied() {
            running.spawn(async move {
                let dir = tempfile::tempdir().expect("a folder");
                run(seed, dir.path()).await
            });
        }
        reports.extend(running.join_all().await);
    }
    let failures: Vec<String> = reports.iter().filter_map(Report::failure).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    // What was drawn was done, and what was ordered of disks and clocks met some call.
    for name in [
        "gateway loss of power",
        "cloud loss of power",
        "gateway restored backup",
        "gateway full disk",
        "cloud clock at 1970",
        "copy of the box, let in",
        "copy of the box, taken away",
        "gateway restart of the broker",
        "cloud kill -9, torn database",
        "cloud kill -9, torn write-ahead log",
        "cloud kill -9, flipped bits in the database",
        "cloud kill -9, flipped bits in the write-ahead log",
        "cloud kill -9 in backup",
        "cloud kill -9 in restore",
        "cloud kill -9 in migrate-store",
        "cloud kill -9 in a deletion",
        "cloud kill -9 in an upgrade of the database",
        "cloud kill -9 in retention",
    ] {
        assert!(reports.iter().any(|r| r.done.iter().any(|done| done == name)), "{name} was not done");
    }
    for count in [
        "calls refused or shortened for a full disk",
        "writes failed",
        "syncs failed",
        "names failed",
        "short writes",
        "readings of a shifted clock",
    ] {
        let of = |r: &Report| r.shims.iter().filter(|(name, _)| name.ends_with(count)).map(|(_, n)| n).sum();
        let all: u64 = reports.iter().map(of).collect::<Vec<u64>>().iter().sum();
        assert!(all > 0, "no {count}");
    }
    // Files are so small that many are closed and begun, also while processes are killed.
    let segments: Vec<_> = reports.iter().map(|r| r.shims["gateway: segments of the log"]).collect();
    assert!(segments.iter().sum::<u64>() > 2 * segments.len() as u64, "{segments:?}");
}

#[test]
fn the_fixed_seeds_hold_every_kind_of_fault_of_a_process_and_many_of_the_link() {
    let plans = SEEDS.map(Plan::of);
    let has = |lane: fn(&Plan) -> &Vec<(Duration, Fault)>, name: &str| {
        plans.iter().flat_map(lane).any(|(_, fault)| fault.name() == name)
    };
    for name in ["kill -9", "SIGSTOP"] {
        assert!(has(|p| &p.cloud, name), "{name}: {plans:?}");
    }
    for name in ["kill -9", "kill -9 in start"] {
        assert!(has(|p| &p.gateway, name), "{name}: {plans:?}");
    }
    let link: std::collections::BTreeSet<_> =
        plans.iter().flat_map(|p| &p.link).map(|(_, fault)| fault.name()).collect();
    assert!(link.len() >= 7, "{link:?}");
    for name in [
        "loss of power",
        "full disk",
        "write errors",
        "clock at 1970",
        "restored backup",
        "copy of the box, let in",
        "copy of the box, taken away",
    ] {
        assert!(
            plans.iter().flat_map(Plan::steps).any(|(_, fault)| fault.name() == name),
            "{name}: {plans:?}"
        );
    }
}

/// A run without any fault, as the judge sees it; if the link is to lie, it does so of batches and of single frames.
async fn honest(lie: Lie) -> Evidence {
    let dir = tempfile::tempdir().expect("a folder");
    let mut site = Site::start(dir.path(), Sizes::of(0)).await;
    if lie != Lie::None {
        // A backlog goes in batches.
        site.link.shape(Shape { closed: true, ..Shape::default() });
        tokio::time::sleep(Duration::from_millis(1500)).await;
        site.link.lie(lie);
        site.link.shape(Shape::default());
        tests::until("frames and batches that were lied about", Duration::from_secs(40), || async {
            (site.link.lies() >= 3 && site.link.lies_of_batches() >= 1).then_some(())
        })
        .await;
        site.link.lie(Lie::None);
    }
    let mut random = Random::new(1);
    let commands = (0..3).map(|register| (random.ms(0, 300), register)).collect();
    site.suffer(&Plan { commands, ..Plan::default() }).await;
    site.settle().await
}

fn kinds(evidence: &Evidence) -> Vec<Kind> {
    judge(evidence).into_iter().map(|v| v.kind).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_broken_in_what_was_seen_is_found() {
    let honest = honest(Lie::None).await;
    assert_eq!(judge(&honest), []);
    assert_eq!(honest.written.len(), 3, "{:?}", honest.commands);
    let broken = |kind: Kind, by: fn(&mut Evidence)| {
        let mut evidence = honest.clone();
        evidence.oracle = honest.oracle.apart();
        by(&mut evidence);
        let found = kinds(&evidence);
        assert!(found.contains(&kind), "{kind:?} is not among {found:?}");
    };
    fn first(evidence: &mut Evidence) -> &mut Vec<(u64, Option<f64>)> {
        evidence.stored.get_mut(&0).expect("a point")
    }
    broken(Kind::Lost, |e| {
        first(e).remove(20);
    });
    broken(Kind::AckedLost, |e| {
        first(e).remove(20);
    });
    // What a full disk cost is told to the sample, by the gateway and to people: as many, and no more.
    for (told, audited, lost) in [(1, true, 1), (1, true, 2), (1, false, 1)] {
        let mut evidence = honest.clone();
        evidence.oracle = honest.oracle.apart();
        let gap = common::wire::Gap {
            seqs: Some((3, 4)),
            samples: told,
            ..common::wire::Gap::new(common::wire::GapCause::DiskFull)
        };
        if audited {
            evidence.audit.push(gap.entry(&"box1".parse().expect("a name"), 5));
        }
        evidence.wire.gaps.insert((common::Incarnation(1), 5), gap);
        // The end of the twin's way is there; some before it are not.
        first(&mut evidence).drain(20..20 + lost);
        let is_blamed = !audited || told < lost as u64;
        assert_eq!(kinds(&evidence).contains(&Kind::Lost), is_blamed, "{told} told, {audited}, {lost} lost");
    }
    // A watermark that runs ahead of the disk: nothing of it ever arrives.
    broken(Kind::Lost, |e| {
        let at_us = e.base_us + 5_000_000;
        let line = serde_json::json!({
            "incarnation": "ff", "seq": 1,
            "points": { "load/p0": { "samples": 1, "first_us": at_us, "last_us": at_us } },
        });
        e.oracle.take(&serde_json::from_value::<WatermarkLine>(line).expect("a line"));
    });
    broken(Kind::Doubled, |e| {
        let again = first(e)[20];
        first(e).insert(20, again);
    });
    broken(Kind::Changed, |e| first(e)[20].1 = Some(-1.0));
    broken(Kind::Changed, |e| first(e)[20].1 = None);
    broken(Kind::Reordered, |e| first(e).swap(20, 21));
    broken(Kind::TwinWrong, |e| e.twin.get_mut(&0).expect("a point").0 -= 5);
    broken(Kind::TwinWrong, |e| e.twin.get_mut(&0).expect("a point").1 = None);
    broken(Kind::CommandTwice, |e| e.written.push(e.written[0]));
    broken(Kind::CommandEnd, |e| e.written.push((2, 9999)));
    broken(Kind::CommandEnd, |e| e.written.clear());
    // The cloud took it, and knows it no more; nothing was written.
    broken(Kind::CommandEnd, |e| {
        e.commands[0].cloud = None;
        e.written.clear();
    });
    broken(Kind::Untold, |e| e.wire.lacked.push("frames 1 to 2 of ff".into()));
    broken(Kind::Panicked, |e| e.panics.push("part failed".into()));
    broken(Kind::CommandEnd, |e| state(e, CommandState::Rejected));
    broken(Kind::CommandEnd, |e| state(e, CommandState::Sent));
    broken(Kind::CommandEnd, |e| state(e, CommandState::Executing));
    broken(Kind::CommandEnd, |e| e.commands[0].gateway.as_mut().expect("known").state = CommandState::Failed);
    broken(Kind::UnknownNeedless, |e| state(e, CommandState::Unknown));
    broken(Kind::AuditGap, |e| e.audit.retain(|a| a.action != action::COMMAND_SUCCEEDED));
    broken(Kind::AuditGap, |e| e.audit.retain(|a| a.action != action::COMMAND_ACCEPTED));
    broken(Kind::Untold, |e| {
        e.corrupted = true;
        first(e).remove(20);
    });
    // What the cloud says that it lacks of a spoilt database is not lost; what it does not say is. By samples' times, or by
    // that of their frames, which were cut a minute later.
    let number = first(&mut honest.clone())[20].0;
    let at_us = honest.base_us + number.cast_signed();
    let cut_us = at_us + 60_000_000 + number.cast_signed() * 2000;
    for (from_us, cause, is_told) in [
        (at_us, GapReason::CloudDamaged, true),
        (cut_us, GapReason::SetAside, true),
        (at_us + 1, GapReason::CloudDamaged, false),
        (cut_us + 9_000_000, GapReason::SetAside, false),
        (at_us, GapReason::GatewayDown, false),
    ] {
        let mut evidence = honest.clone();
        evidence.oracle = honest.oracle.apart();
        first(&mut evidence).remove(20);
        evidence.gaps.insert(0, vec![HistoryGap::new(from_us, from_us + 1, cause)]);
        let found = kinds(&evidence);
        let all = [Kind::Lost, Kind::Unaccounted, Kind::AckedLost];
        assert!(
            all.iter().all(|kind| found.contains(kind) != is_told),
            "{cause:?} from {from_us}: {found:?}"
        );
    }
    // What was deleted is not lost, and stays deleted; what stands beside it is there.
    let deleted = Deleted { point: 0, from: number, to: number + 1 };
    for (removed, wanted) in [(20, vec![]), (21, vec![Kind::Undeleted, Kind::Lost])] {
        let mut evidence = honest.clone();
        evidence.oracle = honest.oracle.apart();
        evidence.deleted.push(deleted);
        first(&mut evidence).remove(removed);
        let found = kinds(&evidence);
        assert!(wanted.iter().all(|kind| found.contains(kind)), "{found:?}");
        assert_eq!(found.is_empty(), wanted.is_empty(), "{found:?}");
    }
    // A second box of which nobody was told, or that had what the cloud has not.
    broken(Kind::Untold, |e| e.second = Some(Seen { oracle: None, last: 0 }));
    broken(Kind::AuditGap, |e| e.second = Some(Seen { oracle: Some(Oracle::new(5, e.base_us)), last: 0 }));
    broken(Kind::Lost, |e| {
        let at_us = e.base_us + 40_005;
        let line = serde_json::json!({
            "incarnation": "fe", "seq": 1,
            "points": { "load/p0": { "samples": 1, "first_us": at_us, "last_us": at_us } },
        });
        let oracle = Oracle::new(5, e.base_us);
        oracle.take(&serde_json::from_value::<WatermarkLine>(line).expect("a line"));
        e.second = Some(Seen { oracle: Some(oracle), last: 40_005 });
    });
}

fn state(evidence: &mut Evidence, to: CommandState) {
    evidence.commands[0].cloud.as_mut().expect("accepted").state = to;
}

#[tokio::test(flavor = "multi_thread")]
async fn samples_that_the_broker_acknowledged_and_nobody_has_are_found() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut site = Site::start(dir.path(), Sizes::of(0)).await;
    site.said.lies.store(3, Ordering::SeqCst);
    site.suffer(&Plan::default()).await;
    let evidence = site.settle().await;
    assert_eq!(kinds(&evidence), [Kind::Unaccounted], "{:?}", judge(&evidence));
    let (number, acked) = evidence.acked.iter().find(|(n, _)| !holds(&evidence, **n)).expect("a lie");
    let (number, acked) = (*number, *acked);
    let with = |change: &dyn Fn(&mut Evidence)| {
        let mut evidence = evidence.clone();
        change(&mut evidence);
        kinds(&evidence)
    };
    let end = |after_ms: u64, in_order: bool| End {
        at: acked.at + Duration::from_millis(after_ms),
        since: acked.since - Duration::from_millis(5),
        window: Duration::from_millis(500),
        in_order,
    };
    // What a kill or a loss of power may cost is within its window, by a connection of before, and behind all that was kept.
    assert_eq!(with(&|e| e.ends.push(end(100, false))), []);
    assert_eq!(with(&|e| e.ends.push(end(100, true))), [Kind::Unaccounted], "later ones are there");
    assert_eq!(with(&|e| e.ends.push(end(2000, false))), [Kind::Unaccounted]);
    let of_another = End { since: acked.since + Duration::from_millis(1), ..end(100, false) };
    assert_eq!(with(&|e| e.ends.push(of_another)), [Kind::Unaccounted], "another process's end");
    let behind = |e: &mut Evidence| {
        e.acked.retain(|n, _| *n <= number + 2);
        e.ends.push(end(100, true));
    };
    assert_eq!(with(&behind), []);
    // What is dropped on its way is counted; what is dropped elsewhere is something else.
    for (name, count, found) in [("raw:full", 3, 0), ("raw:full", 2, 1), ("broker:slow_client", 3, 1)] {
        let dropped = |e: &mut Evidence| _ = e.dropped.insert(name.into(), count);
        assert_eq!(with(&dropped).len(), found, "{name} {count}");
    }
}

/// A broker that lets sensors in before anybody listens, or after, says of samples that they are taken and drops them.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_broker_acknowledges_around_ends_and_starts_is_kept() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut site = Site::start(dir.path(), Sizes::of(0)).await;
    // Away for so long that the sensor comes with hundreds of samples at once.
    let end = |n: u64| (Duration::from_millis(900 * n), Fault::End(Duration::from_millis(400)));
    let gateway = (0..6).map(end).collect();
    site.suffer(&Plan { gateway, ..Plan::default() }).await;
    let evidence = site.settle().await;
    assert!(evidence.ends.is_empty(), "{:?}", evidence.ends);
    assert_eq!(judge(&evidence), []);
}

/// Whether the history has a number.
fn holds(evidence: &Evidence, number: u64) -> bool {
    evidence.stored.values().flatten().any(|(n, _)| *n == number)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_acknowledgement_is_found_as_a_loss() {
    let found = kinds(&honest(Lie::SwallowAndAcknowledge).await);
    assert!(found.contains(&Kind::Lost), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_come_again_under_other_numbers_are_found_as_doubled() {
    let found = kinds(&honest(Lie::OtherNumber).await);
    assert!(found.contains(&Kind::Doubled) && found.contains(&Kind::AckForged), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incarnation_that_goes_on_after_a_restart_is_found_as_numbers_used_twice_and_as_a_loss() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut site = Site::start(dir.path(), Sizes::of(0)).await;
    site.link.lie(Lie::OneIncarnation);
    let gateway = vec![(Duration::from_millis(1000), Fault::Kill(Duration::ZERO))];
    site.suffer(&Plan { gateway, ..Plan::default() }).await;
    let found = kinds(&site.settle().await);
    assert!(found.contains(&Kind::NumberReused) && found.contains(&Kind::Lost), "{found:?}");
}

/// Power is lost, and with it all that is not synced; before, syncs do nothing if the disk lies.
async fn without_power(lies: bool, of_gateway: bool) -> Vec<Violation> {
    let dir = tempfile::tempdir().expect("a folder");
    let mut site = Site::start(dir.path(), Sizes::of(0)).await;
    let control = if of_gateway { site.of_gateway() } else { site.of_cloud() };
    control.set(Number::SyncLies, i64::from(lies));
    let power = vec![(Duration::from_millis(1500), Fault::Power(Duration::ZERO, 0))];
    let mut plan = Plan::default();
    if of_gateway {
        // What the cloud has already is lost by no gateway.
        plan.link = vec![(Duration::ZERO, Fault::Cut(Duration::from_millis(2000)))];
        plan.gateway = power;
    } else {
        plan.cloud = power;
    }
    site.suffer(&plan).await;
    judge(&site.settle().await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_whose_syncs_do_nothing_is_found_to_lose_and_one_whose_syncs_work_is_not() {
    assert_eq!(without_power(false, true).await, []);
    let found = without_power(true, true).await;
    assert!(found.iter().any(|v| v.kind == Kind::Lost), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_whose_syncs_do_nothing_is_found_to_forget_and_one_whose_syncs_work_is_not() {
    assert_eq!(without_power(false, false).await, []);
    let found = without_power(true, false).await;
    assert!(found.iter().any(|v| v.kind == Kind::AckForgotten), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shim_sees_all_that_both_programs_do_to_their_folders() {
    let dir = tempfile::tempdir().expect("a folder");
    let (of_box, of_cloud) = (dir.path().join("box"), dir.path().join("cloud"));
    let (mut box_shim, mut cloud_shim) = (Shim::new(&of_box.join("data")), Shim::new(&of_cloud.join("data")));
    let mut cloud = Cloud::start_as(&of_cloud, "", cloud_shim.env()).await;
    let uplink = Some((cloud.ingress, cloud.gateway_secret("box1").await));
    let plc = tests::field::ModbusDevice::start().await;
    let devices = registers_device(plc.addr, 2, 50);
    let setup = Setup { uplink, devices, env: box_shim.env(), ..Setup::default() };
    let mut gateway = Gateway::start(&of_box, &setup).await;
    tests::until("a value in the cloud", Duration::from_secs(20), || cloud.api().value("hall/plc", "r0"))
        .await;
    for process in [&mut gateway.process, &mut cloud.process] {
        process.signal("TERM");
        process.wait(Duration::from_secs(20)).await;
    }
    for shim in [&mut box_shim, &mut cloud_shim] {
        assert_eq!(shim.unseen(), [] as [std::path::PathBuf; 0]);
        let counts = shim.control.counts();
        assert!(counts[..2].iter().all(|(_, count)| *count > 3), "{counts:?}");
        assert!(counts[2..].iter().all(|(_, count)| *count == 0), "{counts:?}");
    }
    // It would have been found.
    let database = of_cloud.join("data/cloud.db");
    let mut bytes = std::fs::read(&database).expect("the database");
    bytes[100] ^= 1;
    std::fs::write(&database, bytes).expect("the database");
    assert_eq!(cloud_shim.unseen(), [database]);
}
