//! Installing, the order of versions, what is chosen at a start, and the trial.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod rig;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::Duration;

use gateway_update::{
    Allowed, Ended, Health, Patience, Restart, State, Took, What, choose, forget, install, programs,
    rollback, take_incoming, tidy, watch,
};
use rig::Rig;

const NO: Allowed = Allowed { downgrade: false, other_store: false, again: false };

fn state(rig: &Rig) -> State {
    State::load(&rig.site.folder.state_file()).unwrap()
}

fn slot(rig: &Rig) -> String {
    state(rig).installed.unwrap().slot()
}

fn refused(rig: &Rig, path: &Path, allowed: Allowed) -> String {
    install(&rig.site, path, allowed).unwrap_err().to_string()
}

/// It runs, and fares well.
fn good(rig: &Rig, runs: &str) -> Health {
    let health = Health { pid: 7, runs: runs.to_owned(), ready: true, polled: true, ..Health::default() };
    rig.fares(&health);
    health
}

async fn watched(rig: &Rig, reach_s: u64) -> Ended {
    let patience = Patience { reach: Duration::from_secs(reach_s), stay: Duration::ZERO };
    watch(&rig.site, patience, &Restart(vec!["true".to_owned()]), true).await.unwrap()
}

async fn proven(rig: &Rig, version: &str) {
    let took = install(&rig.site, &rig.bundle(version, |_| {}), NO).unwrap();
    assert_eq!(took, Took::Installed(version.parse().unwrap()));
    good(rig, &slot(rig));
    assert_eq!(watched(rig, 60).await, Ended::Proven);
}

#[tokio::test]
async fn versions_come_one_after_the_other_and_two_stay() {
    let rig = Rig::new();
    for version in ["1.1.0", "1.2.0", "1.3.0-rc.1", "1.3.0"] {
        proven(&rig, version).await;
    }
    let kept: Vec<_> =
        fs::read_dir(rig.path("update/versions")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(kept.len(), 2, "{kept:?}");
    let runs = programs(&rig.site.folder, &rig.site.packaged);
    assert_eq!(runs.len(), 3);
    assert!(runs[0].runs.starts_with("1.3.0_") && runs[1].runs.starts_with("1.3.0-rc.1_"), "{runs:?}");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let program = runs[0].path.as_ref().unwrap();
    assert_eq!((mode(program), mode(program.parent().unwrap())), (0o755, 0o755));
    // Back twice: the one before, then the package; then there is nothing left.
    assert_eq!(rollback(&rig.site, "test").unwrap().unwrap().to_string(), "1.3.0-rc.1");
    assert_eq!(rollback(&rig.site, "test").unwrap(), None);
    assert!(rollback(&rig.site, "test").unwrap_err().to_string().contains("nothing is behind it"));
    assert_eq!(fs::read_dir(rig.path("update/versions")).unwrap().count(), 0);
    // What gave way is not taken again unless a person says so.
    let path = rig.path("1.3.0.twup");
    assert!(refused(&rig, &path, NO).contains("gave way before: test"));
    install(&rig.site, &path, Allowed { again: true, ..NO }).unwrap();
}

#[tokio::test]
async fn what_is_not_for_this_box_is_refused_with_the_reason() {
    let rig = Rig::new();
    proven(&rig, "1.2.0").await;
    let told = |name: &str, change: &dyn Fn(&mut gateway_update::Manifest)| {
        refused(&rig, &rig.bundle(name, |m| change(m)), NO)
    };
    assert!(told("1.3.0", &|m| m.arch = "sparc".to_owned()).contains("for sparc, this machine is"));
    assert!(told("1.3.0", &|m| m.product = "twinway-cloud".to_owned()).contains("a bundle of twinway-cloud"));
    assert!(
        told("1.3.0", &|m| m.min_from = Some("1.2.1".parse().unwrap())).contains("install one between first")
    );
    assert!(told("1.3.0", &|m| m.store_format = 2).contains("--allow-other-store"));
    assert!(told("1.3.0", &|m| m.config_schema = 0).contains("schema"));
    assert!(told("1.1.9", &|_| {}).contains("not newer than 1.2.0"));
    assert!(
        told("1.2.0", &|m| m.commit = "other".to_owned()).contains("not newer"),
        "the version, another build"
    );
    assert_eq!(
        install(&rig.site, &rig.bundle("1.2.0", |_| {}), NO).unwrap(),
        Took::Already("1.2.0".parse().unwrap())
    );
    let all = state(&rig).log;
    assert_eq!(all.iter().filter(|l| l.what == What::Refused).count(), 7, "each is told");
    let other = rig.bundle("1.2.0", |m| m.commit = "other".to_owned());
    install(&rig.site, &other, Allowed { downgrade: true, ..NO }).unwrap();
    assert!(refused(&rig, &rig.bundle("1.4.0", |_| {}), NO).contains("on trial"), "one at a time");
    rollback(&rig.site, "test").unwrap();
    install(&rig.site, &rig.bundle("1.3.0", |m| m.store_format = 2), Allowed { other_store: true, ..NO })
        .unwrap();
}

/// Readers of the log, the gateway's note for the cloud among them, take entries for new that are newer than what they saw.
#[tokio::test]
async fn what_is_done_after_the_clock_was_set_back_is_newer_all_the_same() {
    let mut rig = Rig::new();
    proven(&rig, "1.1.0").await;
    rig.site.clock = common::Clock::simulated(1_600_000_000_000_000);
    let seen_us = state(&rig).log.last().unwrap().at_us;
    proven(&rig, "1.2.0").await;
    rollback(&rig.site, "test").unwrap();
    refused(&rig, &rig.bundle("0.9.0", |_| {}), NO);
    let log = state(&rig).log;
    let what: Vec<_> = log.iter().filter(|l| l.at_us > seen_us).map(|l| l.what).collect();
    assert_eq!(what, [What::Installed, What::Proven, What::RolledBack, What::Refused], "{log:?}");
    assert!(log.is_sorted_by(|a, b| a.at_us < b.at_us), "{log:?}");
    // And what is done when it is right again, at its time.
    rig.site.clock = common::Clock::simulated(1_800_000_000_000_000);
    refused(&rig, &rig.bundle("0.9.0", |_| {}), NO);
    let last = state(&rig).log.last().unwrap().at_us;
    assert!((1_800_000_000_000_000..1_800_000_060_000_000).contains(&last), "{last}");
}

#[tokio::test]
async fn what_ran_before_can_be_installed_over_what_runs() {
    let rig = Rig::new();
    proven(&rig, "1.1.0").await;
    proven(&rig, "1.2.0").await;
    // Spoilt meanwhile, as a worn card does it: what is installed is what was signed.
    let before = programs(&rig.site.folder, &rig.site.packaged)[1].path.clone().unwrap();
    let sound = fs::read(&before).unwrap();
    fs::write(&before, "spoilt").unwrap();
    let downgrade = Allowed { downgrade: true, ..NO };
    let took = install(&rig.site, &rig.path("1.1.0.twup"), downgrade).unwrap();
    assert_eq!(took, Took::Installed("1.1.0".parse().unwrap()));
    assert_eq!(fs::read(&before).unwrap(), sound);
    assert_eq!(rollback(&rig.site, "test").unwrap().unwrap().to_string(), "1.2.0");
    let runs = programs(&rig.site.folder, &rig.site.packaged);
    assert!(runs[0].runs.starts_with("1.2.0_") && runs[1].runs.starts_with("1.1.0_"), "{runs:?}");
}

#[tokio::test]
async fn many_refusals_do_not_push_out_what_gave_way() {
    let rig = Rig::new();
    let bad = rig.bundle("1.1.0", |_| {});
    install(&rig.site, &bad, NO).unwrap();
    rollback(&rig.site, "it crashed").unwrap();
    let other = rig.bundle("1.2.0", |m| m.arch = "sparc".to_owned());
    for _ in 0..100 {
        refused(&rig, &other, NO);
    }
    assert!(refused(&rig, &bad, NO).contains("it crashed"));
    assert!(state(&rig).log.len() <= 50);
}

#[tokio::test]
async fn a_newer_package_comes_first_and_an_older_one_does_not() {
    let mut rig = Rig::new();
    proven(&rig, "1.5.0").await;
    let runs =
        |rig: &Rig, packaged: &str| programs(&rig.site.folder, &packaged.parse().unwrap())[0].runs.clone();
    assert!(runs(&rig, "1.0.0").starts_with("1.5.0_"));
    assert!(runs(&rig, "1.4.0").starts_with("1.5.0_"));
    assert_eq!((runs(&rig, "1.5.0").as_str(), runs(&rig, "2.0.0").as_str()), ("packaged", "packaged"));
    rig.site.packaged = "2.0.0".parse().unwrap();
    assert!(refused(&rig, &rig.bundle("1.6.0", |_| {}), NO).contains("not newer than 2.0.0"));
    // An older one that a person wants holds over the package that it was put over.
    install(&rig.site, &rig.bundle("1.6.0", |_| {}), Allowed { downgrade: true, ..NO }).unwrap();
    assert!(runs(&rig, "2.0.0").starts_with("1.6.0_"));
    assert_eq!(runs(&rig, "2.0.1"), "packaged");
}

#[tokio::test]
async fn three_starts_on_trial_then_the_version_before() {
    let rig = Rig::new();
    proven(&rig, "1.1.0").await;
    install(&rig.site, &rig.bundle("1.2.0", |_| {}), NO).unwrap();
    let notes = rig.path("notes");
    fs::create_dir(&notes).unwrap();
    let start = || choose(&rig.site.folder, &rig.site.packaged, &notes);
    for _ in 0..3 {
        assert!(start()[0].on_trial.is_some());
    }
    forget(&notes).unwrap();
    for n in 0..3 {
        let best = start();
        assert!(best[0].runs.starts_with("1.2.0_") && best[1].gave_way.is_some(), "{n}: {best:?}");
    }
    let fallen = start();
    assert!(fallen[0].runs.starts_with("1.1.0_") && fallen[0].on_trial.is_none(), "{fallen:?}");
    // The updater sees it, and makes it so.
    rig.fares(&Health {
        runs: fallen[0].runs.clone(),
        gave_way: fallen[0].gave_way.clone().unwrap(),
        ready: true,
        ..Health::default()
    });
    let Ended::RolledBack { why } = watched(&rig, 60).await else { panic!("it stayed") };
    assert!(why.contains("three starts"), "{why}");
    assert!(start()[0].runs.starts_with("1.1.0_") && start()[0].gave_way.is_none());
    // Another trial has its own starts.
    install(&rig.site, &rig.path("1.2.0.twup"), Allowed { again: true, ..NO }).unwrap();
    assert!(start()[0].runs.starts_with("1.2.0_"));
    // A trial that cannot be counted is none.
    let starts = notes.join("version-starts.json");
    fs::remove_file(&starts).unwrap();
    fs::create_dir_all(starts.join("x")).unwrap();
    assert!(start()[0].runs.starts_with("1.1.0_"));
}

#[tokio::test]
async fn a_version_that_the_disk_has_spoilt_gives_way_and_can_be_installed_again() {
    let rig = Rig::new();
    proven(&rig, "1.1.0").await;
    proven(&rig, "1.2.0").await;
    let notes = rig.path("notes");
    fs::create_dir(&notes).unwrap();
    let start = || choose(&rig.site.folder, &rig.site.packaged, &notes);
    let (runs, before) = (start()[0].clone(), start()[1].clone());
    // However often it fails: a configuration that is wrong is no fault of its version.
    for _ in 0..20 {
        assert_eq!(start()[0], runs);
    }
    let spoil = |program: &gateway_update::Program| {
        let path = program.path.as_ref().unwrap();
        let mut bytes = fs::read(path).unwrap();
        bytes[3] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    spoil(&runs);
    let now = start();
    assert!(now[0].runs == before.runs && now[0].spoilt == [runs.runs.clone()], "{now:?}");
    // Another one is started for the first time: its sum is not taken yet. A note that cannot be written is one start more.
    fs::remove_file(notes.join("version-started")).unwrap();
    assert_eq!(start()[0].runs, runs.runs);
    spoil(&before);
    let now = start();
    assert!(now[0].runs == "packaged" && now[0].path.is_none() && now[0].spoilt.len() == 2, "{now:?}");

    // The updater makes it so once it sees what runs instead; it is told, and no reason to refuse the version.
    good(&rig, &runs.runs);
    tidy(&rig.site).unwrap();
    assert_eq!(slot(&rig), runs.runs, "it runs");
    good(&rig, "packaged");
    tidy(&rig.site).unwrap();
    tidy(&rig.site).unwrap();
    assert_eq!(state(&rig).installed, None);
    let log = state(&rig).log.pop().unwrap();
    assert!(log.what == What::RolledBack && log.detail.contains("not what was installed"), "{log:?}");
    assert_eq!(fs::read_dir(rig.path("update/versions")).unwrap().count(), 0);
    proven(&rig, "1.2.0").await;
    // By hand over the one that is spoilt and still said to run.
    spoil(&start()[0]);
    assert_eq!(
        install(&rig.site, &rig.path("1.2.0.twup"), NO).unwrap(),
        Took::Installed("1.2.0".parse().unwrap())
    );
    assert!(state(&rig).trial.is_some() && state(&rig).previous.is_none());
}

#[tokio::test]
async fn a_trial_must_reach_what_the_version_before_had() {
    for (had_poll, had_session, now_poll, now_session, lacking) in [
        (true, true, true, false, Some("no session with the cloud")),
        (true, true, false, true, Some("no device answered")),
        (true, true, true, true, None),
        (false, false, false, false, None),
        (true, false, true, false, None),
    ] {
        let rig = Rig::new();
        rig.fares(&Health {
            runs: "packaged".to_owned(),
            ready: true,
            polled: had_poll,
            session: had_session,
            ..Health::default()
        });
        install(&rig.site, &rig.bundle("1.1.0", |_| {}), NO).unwrap();
        let runs = slot(&rig);
        let now = Health { runs, ready: true, polled: now_poll, session: now_session, ..Health::default() };
        rig.fares(&now);
        let reach_s = if lacking.is_some() { 0 } else { 60 };
        match (lacking, watched(&rig, reach_s).await) {
            (None, Ended::Proven) => assert!(state(&rig).trial.is_none() && state(&rig).installed.is_some()),
            (Some(lacking), Ended::RolledBack { why }) => {
                assert!(why.contains(lacking), "{why}");
                assert!(state(&rig).installed.is_none());
                assert_eq!(state(&rig).log.last().unwrap().detail, why);
            }
            (_, ended) => panic!("{now:?}: {ended:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_that_goes_on_has_its_time_and_one_that_stands_still_has_not() {
    let reads = |rig: &Rig, step: u64| {
        let health = Health { pid: 7, runs: slot(rig), start_step: step, ..Health::default() };
        rig.fares(&health);
    };
    let patience = Patience { reach: Duration::from_secs(180), stay: Duration::from_secs(60) };
    let restart = Restart(vec!["true".to_owned()]);
    // Ten minutes of reading, then it is ready.
    let rig = Rig::new();
    install(&rig.site, &rig.bundle("1.1.0", |_| {}), NO).unwrap();
    reads(&rig, 1);
    let goes_on = async {
        for step in 2..12 {
            tokio::time::sleep(Duration::from_secs(60)).await;
            reads(&rig, step);
        }
        tokio::time::sleep(Duration::from_secs(120)).await;
        good(&rig, &slot(&rig));
    };
    let watched = async { tokio::join!(watch(&rig.site, patience, &restart, false), goes_on).0.unwrap() };
    assert_eq!(watched.await, Ended::Proven);

    // It comes to a step, and no further.
    let rig = Rig::new();
    install(&rig.site, &rig.bundle("1.1.0", |_| {}), NO).unwrap();
    reads(&rig, 1);
    let stands_still = async {
        tokio::time::sleep(Duration::from_secs(150)).await;
        reads(&rig, 2);
        tokio::time::sleep(Duration::from_millis(179_500)).await;
        assert!(state(&rig).trial.is_some(), "it has its time since the last step");
        // The restart is a process, for which time cannot be made to pass.
        tokio::time::resume();
    };
    let watched = tokio::join!(watch(&rig.site, patience, &restart, false), stands_still).0.unwrap();
    let Ended::RolledBack { why } = watched else { panic!("it stayed") };
    assert!(why.contains("reads the buffer, did not go on within 180 s"), "{why}");
}

#[tokio::test]
async fn one_that_says_nothing_gives_way_and_a_restart_that_fails_leaves_the_trial() {
    let rig = Rig::new();
    install(&rig.site, &rig.bundle("1.1.0", |_| {}), NO).unwrap();
    let patience = Patience { reach: Duration::ZERO, stay: Duration::ZERO };
    let told = watch(&rig.site, patience, &Restart(vec!["false".to_owned()]), true).await.unwrap_err();
    assert!(told.to_string().contains("cannot restart"), "{told}");
    assert!(state(&rig).trial.is_some(), "whoever watches next goes on");
    let Ended::RolledBack { why } = watched(&rig, 0).await else { panic!("it stayed") };
    assert!(why.contains("does not run"), "{why}");
    assert_eq!(watched(&rig, 0).await, Ended::NoTrial);
}

#[tokio::test(start_paused = true)]
async fn what_gave_way_does_not_go_on_if_its_restart_was_cut() {
    let rig = Rig::new();
    install(&rig.site, &rig.bundle("1.1.0", |_| {}), NO).unwrap();
    good(&rig, &slot(&rig));
    rollback(&rig.site, "test").unwrap();
    // The restart is a process, for which time cannot be made to pass.
    let waited = async {
        tokio::time::sleep(Duration::from_millis(29_500)).await;
        tokio::time::resume();
    };
    let patience = Patience { reach: Duration::ZERO, stay: Duration::ZERO };
    let done = rig.path("restarted").display().to_string();
    let restart = Restart(vec!["touch".to_owned(), done.clone()]);
    assert_eq!(tokio::join!(watch(&rig.site, patience, &restart, false), waited).0.unwrap(), Ended::NoTrial);
    assert!(Path::new(&done).exists());
    // Once another one runs, or says nothing, there is nothing to do.
    let fails = Restart(vec!["false".to_owned()]);
    good(&rig, "packaged");
    assert_eq!(watch(&rig.site, patience, &fails, false).await.unwrap(), Ended::NoTrial);
    fs::remove_file(&rig.site.health).unwrap();
    assert_eq!(watch(&rig.site, patience, &fails, false).await.unwrap(), Ended::NoTrial);
}

#[tokio::test]
async fn the_folder_of_bundles_is_emptied_whatever_is_in_it() {
    let rig = Rig::new();
    let incoming = rig.site.folder.incoming();
    let sound = rig.bundle("1.1.0", |_| {});
    symlink(&sound, incoming.join("a.twup")).unwrap();
    fs::create_dir_all(incoming.join("b.twup/x")).unwrap();
    fs::write(incoming.join("c.twup"), "no bundle").unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        incoming.join("d.twup"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    fs::copy(&sound, incoming.join("e.twup")).unwrap();
    fs::copy(&sound, incoming.join("f.part")).unwrap();
    fs::copy(&sound, incoming.join("g.twup")).unwrap();
    let mut told = Vec::new();
    let took = take_incoming(&rig.site, &mut |path, took| {
        told.push((path.file_name().unwrap().to_owned(), took.is_ok()));
    });
    assert_eq!(took.unwrap(), Some(Took::Installed("1.1.0".parse().unwrap())));
    assert_eq!(told.iter().map(|t| t.1).collect::<Vec<_>>(), [false, false, false, false, true], "{told:?}");
    assert!(sound.exists(), "what a link leads to stays");
    assert_eq!(take_incoming(&rig.site, &mut |_, took| assert!(took.is_ok())).unwrap(), None);
    let mut left: Vec<_> = fs::read_dir(&incoming).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["b.refused", "f.part"], "a folder is moved aside, what is not complete waits");
}

#[tokio::test]
async fn what_a_cut_left_and_a_state_that_cannot_be_read_stop_nothing() {
    let rig = Rig::new();
    let new = rig.path("update/versions/.new");
    fs::create_dir_all(new.join("usr/bin")).unwrap();
    fs::write(new.join("usr/bin/twinway-gateway"), "half").unwrap();
    fs::create_dir_all(rig.path("update/versions/0.9.0_00000000/usr")).unwrap();
    proven(&rig, "1.1.0").await;
    assert_eq!(fs::read_dir(rig.path("update/versions")).unwrap().count(), 1);
    let runs = slot(&rig);
    fs::remove_file(rig.path(&format!("update/versions/{runs}/usr/bin/twinway-gateway"))).unwrap();
    assert_eq!(programs(&rig.site.folder, &rig.site.packaged)[0].runs, "packaged", "its program is gone");
    for text in ["{", "{\"format\":2,\"installed\":null,\"previous\":null,\"trial\":null}"] {
        fs::write(rig.site.folder.state_file(), text).unwrap();
        assert_eq!(programs(&rig.site.folder, &rig.site.packaged)[0].runs, "packaged");
        assert!(refused(&rig, &rig.bundle("1.2.0", |_| {}), NO).contains("state.json"));
        let waiting = rig.site.folder.incoming().join("a.twup");
        fs::copy(rig.path("1.2.0.twup"), &waiting).unwrap();
        assert!(take_incoming(&rig.site, &mut |_, _| {}).is_err());
        assert!(waiting.exists(), "it waits for whoever mends it");
    }
}

#[test]
fn one_updater_at_a_time() {
    let rig = Rig::new();
    let held = rig.site.folder.lock().unwrap();
    assert!(rig.site.folder.lock().unwrap_err().to_string().contains("another update is at work"));
    // Who waits has it as soon as it is free, and is refused when that takes too long.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.unwrap();
    let within = |s| rig.site.folder.lock_within(Duration::from_secs(s));
    assert!(runtime.block_on(within(5)).unwrap_err().to_string().contains("another update is at work"));
    let ends = async {
        tokio::time::sleep(Duration::from_secs(4)).await;
        drop(held);
    };
    drop(runtime.block_on(async { tokio::join!(within(5), ends).0 }).unwrap());
    rig.site.folder.lock().unwrap();
}
