//! Updates from the cloud, with real processes: a bundle that is given to the cloud goes through groups of boxes one after the other,
//! over a restart of the cloud and to a box that was away; one that does not fare well gives way and halts the rollout; a link that is
//! cut amid a bundle goes on where it was; and what a box does not want or trust never reaches its updater.

mod rig;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::Value;
use common::api::{Page, RolloutBoxState, RolloutState, UpdateState};
use common::command::LogEntry;
use common::names::action;
use rig::{LIMIT, Managed, Signer, done, rollout, same, update};
use tests::cli::twinway;
use tests::faults::link::{Link, Shape};
use tests::field::ModbusDevice;
use tests::{Cloud, relay, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

const ACCEPTS: &str = "accept_updates = true";

/// Waits until the cloud knows what a box runs, and puts it into a group.
async fn into_group(cloud: &Cloud, gateway: &str, group: &str, of_box: &Managed) {
    until(&format!("{gateway} in the cloud"), LIMIT, || async {
        let said = twinway(cloud, &["gateway", "show", gateway]).await;
        (said.code == 0 && said.out.contains(" for ")).then_some(())
    })
    .await;
    done(cloud, &["gateway", "group", gateway, group]).await;
    assert!(!of_box.log().contains("panicked"), "{}", of_box.log());
}

async fn audit(cloud: &Cloud, action: &str) -> Vec<LogEntry> {
    let page: Page<LogEntry> = cloud.api().get("/api/v1/audit?limit=1000").await;
    page.items.into_iter().filter(|e| e.action == action).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_goes_from_group_to_group_and_one_that_gives_way_halts_there() {
    let dir = tempfile::tempdir().expect("a folder");
    let signer = Signer::new(&dir.path().join("signer"));
    let plc = ModbusDevice::start().await;
    let mut cloud = Cloud::start(&dir.path().join("cloud")).await;
    let mut boxes = Vec::new();
    for (name, group) in [("a", "canary"), ("b", "rest"), ("c", "rest")] {
        let trusts = (Some(&signer), ACCEPTS);
        let mut of_box = Managed::new(dir.path(), (&cloud, cloud.ingress), (name, plc.addr), trusts).await;
        of_box.start();
        of_box.with_updater();
        into_group(&cloud, name, group, &of_box).await;
        boxes.push(of_box);
    }
    // One is away when it begins.
    boxes[2].stop();

    let said = done(&cloud, &["release", "add", &signer.bundle("1.0.0", &same(), 300_000)]).await;
    assert!(said.out.contains("1.0.0 for"), "{said:?}");
    let start = ["rollout", "start", "1.0.0", "--groups", "canary,rest", "--stay", "2s"];
    done(&cloud, &start).await;
    until("the second group", LIMIT, || async {
        let now = rollout(&cloud).await;
        let is_first = now.rollout.stage == 0;
        let later = |b: &&common::api::RolloutBox| b.group == "rest" && b.state != RolloutBoxState::Later;
        assert!(!is_first || now.boxes.iter().find(later).is_none(), "{now:?}");
        assert_eq!(now.rollout.state, RolloutState::Running, "{now:?}\n{}", boxes[0].log());
        (!is_first).then_some(())
    })
    .await;
    assert_eq!(update(&cloud, "a").await.report.map(|r| r.state), Some(UpdateState::Installed));

    // The cloud starts again; then who was away comes back.
    cloud = cloud.restart().await;
    until("the second box", LIMIT, || async {
        let now = rollout(&cloud).await;
        let is_done = now.boxes.iter().any(|b| b.gateway.as_str() == "b" && b.state == RolloutBoxState::Done);
        assert_eq!(now.rollout.state, RolloutState::Running, "{now:?}");
        is_done.then_some(())
    })
    .await;
    boxes[2].start();
    until("the end of the rollout", LIMIT, || async {
        (rollout(&cloud).await.rollout.state == RolloutState::Done).then_some(())
    })
    .await;
    let said = done(&cloud, &["gateway", "list"]).await;
    assert_eq!(said.out.matches("1.0.0 installed").count(), 3, "{said:?}");
    assert_eq!(audit(&cloud, action::ROLLOUT_STARTED).await.len(), 1);
    assert_eq!(audit(&cloud, action::ROLLOUT_DONE).await.len(), 1);

    // The next one crashes on the first box: it gives way there, and no other box hears of it.
    done(&cloud, &["release", "add", &signer.bundle("1.1.0", "exit 1", 1000)]).await;
    done(&cloud, &["rollout", "start", "1.1.0", "--groups", "canary,rest", "--stay", "1s"]).await;
    let halted = until("the halt", LIMIT, || async {
        let now = rollout(&cloud).await;
        (now.rollout.state == RolloutState::Halted).then_some(now)
    })
    .await;
    assert!(halted.rollout.reason.contains("a (group canary): gave way: three starts"), "{halted:?}");
    let said = twinway(&cloud, &["rollout", "status"]).await;
    assert!(said.code == 1 && said.out.contains("gave way"), "{said:?}");
    for name in ["b", "c"] {
        let report = update(&cloud, name).await.report.expect("a report");
        assert_eq!((report.version.as_str(), report.offer.expect("the first").rollout), ("1.0.0", 1));
    }
    let told = until("the box's own word", LIMIT, || async {
        audit(&cloud, action::UPDATE_GAVE_WAY).await.into_iter().next()
    })
    .await;
    assert!(told.detail.contains("1.1.0 gave way"), "{told:?}");
    assert_eq!(audit(&cloud, action::ROLLOUT_HALTED).await.len(), 1);
    until("the version before on the first box", LIMIT, || async {
        (update(&cloud, "a").await.report?.version == "1.0.0").then_some(())
    })
    .await;

    // It goes on: who asks for that is told who is left out, and how they are tried anew.
    let said = twinway(&cloud, &["rollout", "status"]).await;
    assert!(said.out.contains("failed   a: `twinway rollout go-on` passes it over"), "{said:?}");
    let said = done(&cloud, &["rollout", "go-on", "--reason", "a is looked at"]).await;
    assert!(said.out.contains("left out a: passed over, it is without 1.1.0"), "{said:?}");
    assert!(said.out.contains("twinway rollout start 1.1.0 --groups canary"), "{said:?}");
    done(&cloud, &["rollout", "halt", "--reason", "not to the others"]).await;
    assert_eq!(rollout(&cloud).await.left_out, ["a".parse().expect("a name")]);
    done(&cloud, &["rollout", "start", "1.1.0", "--groups", "canary"]).await;
    let again = until("the halt of the third one", LIMIT, || async {
        let now = rollout(&cloud).await;
        (now.rollout.state == RolloutState::Halted).then_some(now)
    })
    .await;
    assert_eq!((again.rollout.id, again.left_out.len()), (3, 0));
    // It was offered anew, and the box judged it anew.
    assert!(again.rollout.reason.contains("a (group canary): refused: 1.1.0 gave way before"), "{again:?}");
    let said = twinway(&cloud, &["release", "remove", "1.1.0"]).await;
    assert_eq!(said.code, 0, "{said:?}");
}

/// The way between box and cloud: counts what the cloud sends, and cuts each connection after so many bytes of it while it may.
struct Way {
    addr: SocketAddr,
    carried: Arc<AtomicU64>,
    cuts: Arc<AtomicU64>,
}

async fn way(to: SocketAddr, cut_after: u64, cuts: u64) -> Way {
    let (carried, left) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(cuts)));
    let counts = (carried.clone(), left.clone());
    let addr = relay::listen(to, move |(mut box_in, mut cloud_out), (mut cloud_in, mut box_out)| {
        let (carried, left) = counts.clone();
        async move {
            let down = async {
                let (mut bytes, mut sent) = (vec![0; 16 << 10], 0_u64);
                while let Ok(n @ 1..) = cloud_in.read(&mut bytes).await {
                    sent += n as u64;
                    carried.fetch_add(n as u64, Ordering::SeqCst);
                    let may_cut = sent > cut_after
                        && left
                            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
                            .is_ok();
                    // A part of what came still arrives: a piece is cut in its middle.
                    let n = if may_cut { n / 2 } else { n };
                    if box_out.write_all(&bytes[..n]).await.is_err() || may_cut {
                        return;
                    }
                }
            };
            tokio::select! {
                () = down => {}
                _ = tokio::io::copy(&mut box_in, &mut cloud_out) => {}
            }
        }
    })
    .await;
    Way { addr, carried, cuts: left }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_goes_on_after_each_cut_where_it_was_and_values_go_on_meanwhile() {
    const SIZE: usize = 3_000_000;
    let dir = tempfile::tempdir().expect("a folder");
    let signer = Signer::new(&dir.path().join("signer"));
    let plc = ModbusDevice::start().await;
    let cloud = Cloud::start(&dir.path().join("cloud")).await;
    let way = way(cloud.ingress, SIZE as u64 / 4, 3).await;
    let trusts = (Some(&signer), ACCEPTS);
    let mut of_box = Managed::new(dir.path(), (&cloud, way.addr), ("a", plc.addr), trusts).await;
    of_box.start();
    into_group(&cloud, "a", "canary", &of_box).await;
    let path = signer.bundle("1.0.0", &same(), SIZE);
    let size = std::fs::metadata(&path).expect("a bundle").len();
    done(&cloud, &["release", "add", &path]).await;
    let before = way.carried.load(Ordering::SeqCst);
    done(&cloud, &["rollout", "start", "1.0.0", "--groups", "canary"]).await;
    let mut value = 0_u16;
    let mut is_killed = false;
    until("the bundle at the box", LIMIT, || {
        value += 1;
        plc.set(0, value);
        // And once the power of the process goes, in the midst.
        if !is_killed && way.cuts.load(Ordering::SeqCst) == 0 {
            is_killed = of_box.kill();
        }
        let (cloud, of_box) = (&cloud, &of_box);
        async move {
            until("a value that changed", LIMIT, || async {
                let expected = Value::F64(f64::from(value) * 0.1);
                (cloud.api().value("a/plc", "r0").await.as_ref() == Some(&expected)).then_some(())
            })
            .await;
            let names = of_box.incoming();
            names.iter().any(|n| n.ends_with(".twup")).then_some(())
        }
    })
    .await;
    assert!(is_killed && way.cuts.load(Ordering::SeqCst) == 0, "it was cut three times, and killed");
    // Each cut loses a piece at most; the rest is what a session says.
    let carried = way.carried.load(Ordering::SeqCst) - before;
    assert!(carried >= size && carried < size + 700_000, "{carried} bytes for a bundle of {size}");
    let names = of_box.incoming();
    assert!(names.len() == 1 && names[0].starts_with("1.0.0-"), "nothing half is left: {names:?}");
    let placed = std::fs::read(of_box.dir.join("update/incoming").join(&names[0])).expect("a bundle");
    assert!(placed == std::fs::read(&path).expect("a bundle"), "it is what was given to the cloud");
    let said = done(&cloud, &["gateway", "show", "a"]).await;
    assert!(said.out.contains("1.0.0 waiting for the updater"), "{said:?}");
    // Its updater takes it now.
    of_box.with_updater();
    until("the version", LIMIT, || async {
        (update(&cloud, "a").await.report?.state == UpdateState::Installed).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_thin_link_a_bundle_leaves_room_for_values() {
    /// From the device to the cloud, beside a bundle.
    const MOST: Duration = Duration::from_secs(3);
    let dir = tempfile::tempdir().expect("a folder");
    let signer = Signer::new(&dir.path().join("signer"));
    let plc = ModbusDevice::start().await;
    let cloud = Cloud::start(&dir.path().join("cloud")).await;
    let link = Link::unnoted(cloud.ingress).await;
    let trusts = (Some(&signer), ACCEPTS);
    let mut of_box = Managed::new(dir.path(), (&cloud, link.addr), ("a", plc.addr), trusts).await;
    of_box.start();
    into_group(&cloud, "a", "canary", &of_box).await;
    let bundle = signer.bundle("1.0.0", &same(), 50_000);
    let size = std::fs::metadata(&bundle).expect("a bundle").len();
    done(&cloud, &["release", "add", &bundle]).await;
    link.shape(Shape { delay: Duration::from_millis(50), bytes_per_s: Some(20_000), ..Shape::default() });
    done(&cloud, &["rollout", "start", "1.0.0", "--groups", "canary"]).await;
    until("the first bytes", LIMIT, || async {
        (update(&cloud, "a").await.report?.state == UpdateState::Receiving).then_some(())
    })
    .await;
    let (began, mut longest, mut values) = (Instant::now(), Duration::ZERO, 0_u16);
    while update(&cloud, "a").await.report.is_some_and(|r| r.state == UpdateState::Receiving) {
        values += 1;
        plc.set(0, values);
        let set = Instant::now();
        until("a value that changed", LIMIT, || async {
            let expected = Value::F64(f64::from(values) * 0.1);
            (cloud.api().value("a/plc", "r0").await.as_ref() == Some(&expected)).then_some(())
        })
        .await;
        longest = longest.max(set.elapsed());
    }
    let took = began.elapsed();
    println!("{size} bytes in {took:?}, {values} values, the slowest after {longest:?}");
    assert!(values > 10 && longest < MOST, "{values} values, the slowest after {longest:?}");
    // A quarter of 20 kB/s and a little; and not much less.
    let rate = f64::from(u32::try_from(size).expect("small")) / took.as_secs_f64();
    assert!((500.0..8_000.0).contains(&rate), "{rate} bytes a second");
    assert_eq!(of_box.log().matches("uplink connected").count(), 1, "{}", of_box.log());
    let report = update(&cloud, "a").await.report.expect("a report");
    assert_eq!(report.state, UpdateState::Waiting, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_box_does_not_want_or_trust_never_reaches_its_updater() {
    let dir = tempfile::tempdir().expect("a folder");
    let (signer, other) = (Signer::new(&dir.path().join("signer")), Signer::new(&dir.path().join("other")));
    let plc = ModbusDevice::start().await;
    let cloud = Cloud::start(&dir.path().join("cloud")).await;
    let mut boxes = Vec::new();
    for (name, trusted, keys) in
        [("off", &signer, ""), ("strict", &other, ACCEPTS), ("good", &signer, ACCEPTS)]
    {
        let trusts = (Some(trusted), keys);
        let mut of_box = Managed::new(dir.path(), (&cloud, cloud.ingress), (name, plc.addr), trusts).await;
        of_box.start();
        into_group(&cloud, name, name, &of_box).await;
        boxes.push(of_box);
    }
    let said = twinway(&cloud, &["rollout", "status"]).await;
    assert!(said.code != 0 && said.err.contains("nothing has been rolled out"), "{said:?}");
    let bundle = signer.bundle("1.0.0", &same(), 100_000);
    // What is no bundle, is cut or was changed is not kept.
    let mut spoilt = std::fs::read(&bundle).expect("a bundle");
    spoilt.truncate(spoilt.len() - 1);
    let path = dir.path().join("cut.twup");
    for (bytes, word) in
        [(spoilt.clone(), "cut when it was copied"), (b"PK\x03\x04".to_vec(), "not a bundle")]
    {
        std::fs::write(&path, bytes).expect("a file");
        let said = twinway(&cloud, &["release", "add", path.to_str().expect("a UTF-8 path")]).await;
        assert!(said.code != 0 && said.err.contains(word), "{said:?}");
    }
    done(&cloud, &["release", "add", &bundle]).await;
    let said = twinway(&cloud, &["release", "add", &bundle]).await;
    assert!(said.code != 0 && said.err.contains("there is a bundle of 1.0.0"), "{said:?}");
    let said = done(&cloud, &["release", "list"]).await;
    assert_eq!(said.out.matches("1.0.0").count(), 1, "{said:?}");

    let halts = async |group: &str, version: &str, word: &str| {
        done(&cloud, &["rollout", "start", version, "--groups", group, "--stay", "1s"]).await;
        let halted = until(&format!("{group} halts it"), LIMIT, || async {
            let now = rollout(&cloud).await;
            (now.rollout.state == RolloutState::Halted).then_some(now)
        })
        .await;
        assert!(halted.rollout.reason.contains(word), "{halted:?}");
    };
    halts("off", "1.0.0", "`accept_updates` in its `[uplink]` is not true").await;
    halts("strict", "1.0.0", "which is not in").await;
    // Older than what runs: it is not even received.
    done(&cloud, &["release", "add", &signer.bundle("0.0.1", &same(), 10)]).await;
    halts("good", "0.0.1", "0.0.1 is not newer than").await;
    let said = twinway(&cloud, &["rollout", "start", "2.0.0", "--groups", "good"]).await;
    assert!(said.code != 0 && said.err.contains("no bundle of 2.0.0"), "{said:?}");
    let said = twinway(&cloud, &["rollout", "start", "1.0.0", "--groups", "nobody"]).await;
    assert!(said.code != 0 && said.err.contains("no gateway is in group nobody"), "{said:?}");
    for of_box in &boxes {
        assert_eq!(of_box.incoming(), Vec::<String>::new(), "{}", of_box.dir.display());
    }
    // Passed over by a person, a group that failed no longer holds it up.
    done(&cloud, &["rollout", "go-on", "--reason", "it is newer"]).await;
    until("the end", LIMIT, || async {
        (rollout(&cloud).await.rollout.state == RolloutState::Done).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_as_large_as_a_real_one_goes_through_a_cloud_on_postgres() {
    /// A little more than the largest package.
    const SIZE: usize = 12_000_000;
    let dir = tempfile::tempdir().expect("a folder");
    let signer = Signer::new(&dir.path().join("signer"));
    let plc = ModbusDevice::start().await;
    let server = Arc::new(test_postgres::Server::start(&[]));
    let section = format!("[store]\npostgres = {:?}\n", server.url(&server.create()));
    let mut cloud = Cloud::start_with(&dir.path().join("cloud"), &section).await;
    let trusts = (Some(&signer), ACCEPTS);
    let mut of_box = Managed::new(dir.path(), (&cloud, cloud.ingress), ("a", plc.addr), trusts).await;
    of_box.start();
    into_group(&cloud, "a", "canary", &of_box).await;
    let path = signer.bundle("1.0.0", &same(), SIZE);
    done(&cloud, &["release", "add", &path]).await;
    done(&cloud, &["rollout", "start", "1.0.0", "--groups", "canary", "--stay", "1s"]).await;
    until("a tenth of it", LIMIT, || async {
        let report = update(&cloud, "a").await.report?;
        assert!(of_box.incoming().iter().all(|n| !n.ends_with(".twup")), "{report:?}");
        (report.state == UpdateState::Receiving && report.received > SIZE as u64 / 10).then_some(())
    })
    .await;
    cloud = cloud.restart().await;
    until("the bundle at the box", LIMIT, || async {
        of_box.incoming().iter().any(|n| n.ends_with(".twup")).then_some(())
    })
    .await;
    let placed = std::fs::read(of_box.dir.join("update/incoming").join(&of_box.incoming()[0]));
    assert!(placed.expect("a bundle") == std::fs::read(&path).expect("a bundle"));
    of_box.with_updater();
    until("the end of the rollout", LIMIT, || async {
        let now = rollout(&cloud).await;
        assert_ne!(now.rollout.state, RolloutState::Halted, "{now:?}\n{}", of_box.log());
        (now.rollout.state == RolloutState::Done).then_some(())
    })
    .await;
    let report = update(&cloud, "a").await.report.expect("a report");
    assert_eq!((report.state, report.version.as_str()), (UpdateState::Installed, "1.0.0"));
}
