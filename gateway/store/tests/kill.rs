//! Crashes: what was durable is there after a kill. In a program of its own: a process that is just being started holds the
//! files of the one that starts it for a moment, and with them the lock of a store that is open there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)] // tests may

mod rig;

use std::collections::BTreeMap;
use std::path::Path;

use gateway_core::FrameLog;
use rig::*;

const CHILD: &str = "STORE_TEST_CHILD_DIR";

/// Not a test of its own: the process that is killed. It prints `<incarnation> <durable>` as it goes.
#[test]
fn child_appends_until_killed() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    let rt = runtime();
    let _in = rt.enter();
    let mut o = options(Path::new(&dir));
    o.segment_bytes = 32 << 10;
    let store = open(o);
    let mut watermark = store.watermark();
    rt.block_on(async {
        for n in 0.. {
            let id = store.append(samples(200, n)).unwrap();
            if n % 5 == 0 {
                store.durable(id).await.unwrap();
            }
            if watermark.has_changed().unwrap() {
                println!("at {} {}", store.incarnation(), watermark.borrow_and_update().durable);
            }
        }
    });
}

#[test]
fn what_was_durable_survives_kill_9() {
    use std::io::{BufRead as _, BufReader};
    let dir = tempfile::tempdir().unwrap();
    let mut durable: BTreeMap<common::Incarnation, u64> = BTreeMap::new();
    for round in 0..12u64 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_appends_until_killed", "--nocapture"])
            .env(CHILD, dir.path())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let parse = |line: &str| {
            let mut words = line.split_once("at ")?.1.split(' ');
            Some((words.next()?.parse().ok()?, words.next()?.parse::<u64>().ok()?))
        };
        // Killed after a number of words that differs by round, so that it is caught at different work.
        for line in lines.by_ref().filter_map(|l| parse(&l)).take(3 + usize::try_from(round).unwrap() * 5) {
            durable.insert(line.0, line.1);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        lines.filter_map(|l| parse(&l)).for_each(|(incarnation, seq)| {
            durable.insert(incarnation, seq);
        });
    }
    assert_eq!(durable.len(), 12);
    let rt = runtime();
    let _in = rt.enter();
    let store = open(options(dir.path()));
    for (incarnation, last) in durable {
        let seqs: Vec<u64> = read_all(&store, incarnation).into_iter().map(|(seq, _)| seq).collect();
        assert!(seqs.len() as u64 >= last, "{} of {last} frames of {incarnation}", seqs.len());
        assert!((1..).zip(&seqs).all(|(n, seq)| n == *seq), "hole in {incarnation}");
    }
}
