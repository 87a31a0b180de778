//! The files: snapshots and logs, generations, and damage of every kind.

use super::*;
use crate::core::Message;
use crate::journal::record::Body;

fn retained(n: u32) -> Message {
    Message::new(&format!("t/{n}"), n.to_string().into(), 1, true)
}

fn topics(recovered: &Recovered) -> Vec<String> {
    recovered.image.retained.keys().map(ToString::to_string).collect()
}

fn log(dir: &Path, n: u64, of: std::ops::Range<u32>) {
    let mut log = Log::create(dir, n).unwrap();
    let mut bytes = Vec::new();
    for n in of {
        encode(&Record::Retained { message: Body::of(&retained(n)) }, &mut bytes);
    }
    log.write(&bytes).unwrap();
}

fn snapshot(dir: &Path, n: u64, of: std::ops::Range<u32>) {
    let all: Vec<_> = of.map(retained).collect();
    write_snapshot(dir, n, all.iter().map(|m| Record::Retained { message: Body::of(m) })).unwrap();
}

fn files(dir: &Path) -> Vec<String> {
    let mut all: Vec<_> =
        std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    all.retain(|n| n != "lock");
    all.sort();
    all
}

#[test]
fn a_folder_is_for_one_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let first = recover(dir.path()).unwrap();
    assert_eq!(recover(dir.path()).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
    drop(first);
    recover(dir.path()).unwrap();
}

#[test]
fn the_newest_snapshot_and_its_logs_are_read() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(recover(dir.path()).unwrap().next, 1);
    snapshot(dir.path(), 1, 0..1);
    log(dir.path(), 1, 1..2);
    snapshot(dir.path(), 2, 5..7);
    log(dir.path(), 2, 7..8);
    let recovered = recover(dir.path()).unwrap();
    assert_eq!(topics(&recovered), ["t/5", "t/6", "t/7"]);
    assert_eq!((recovered.damaged, recovered.next), (0, 3));
    remove_before(dir.path(), 2);
    assert_eq!(files(dir.path()), ["log.2", "state.2"]);
}

#[test]
fn a_damaged_snapshot_is_set_aside_and_the_one_before_tells_the_rest() {
    for damage in [0, 1] {
        let dir = tempfile::tempdir().unwrap();
        snapshot(dir.path(), 1, 0..2);
        log(dir.path(), 1, 2..3);
        snapshot(dir.path(), 2, 0..3);
        log(dir.path(), 2, 3..4);
        let path = snapshot_path(dir.path(), 2);
        let mut bytes = std::fs::read(&path).unwrap();
        match damage {
            0 => bytes.truncate(bytes.len() / 2),
            _ => bytes[20] ^= 0xff,
        }
        std::fs::write(&path, bytes).unwrap();
        let recovered = recover(dir.path()).unwrap();
        assert_eq!(topics(&recovered), ["t/0", "t/1", "t/2", "t/3"]);
        assert_eq!(recovered.damaged, 1);
        assert!(files(dir.path()).contains(&"state.2.damaged".to_owned()));
    }
}

#[test]
fn a_torn_end_is_cut_and_a_damaged_record_costs_itself_alone() {
    let dir = tempfile::tempdir().unwrap();
    log(dir.path(), 1, 0..3);
    let path = log_path(dir.path(), 1);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
    let recovered = recover(dir.path()).unwrap();
    assert_eq!((topics(&recovered).len(), recovered.damaged), (2, 0));
    drop(recovered);
    let mut bad = bytes.clone();
    let middle = bytes.len() / 2;
    bad[middle] ^= 1;
    std::fs::write(&path, &bad).unwrap();
    let recovered = recover(dir.path()).unwrap();
    assert_eq!((topics(&recovered), recovered.damaged), (vec!["t/0".to_owned(), "t/2".to_owned()], 1));
    assert_eq!(files(dir.path()), ["log.1.damaged"]);
}

#[test]
fn files_full_of_nonsense_are_never_fatal() {
    let dir = tempfile::tempdir().unwrap();
    for (n, bytes) in [vec![], vec![0; 5000], vec![0xff; 5000], (0..=255).cycle().take(9999).collect()]
        .into_iter()
        .enumerate()
    {
        std::fs::write(snapshot_path(dir.path(), n as u64), &bytes).unwrap();
        std::fs::write(log_path(dir.path(), n as u64), &bytes).unwrap();
    }
    let recovered = recover(dir.path()).unwrap();
    assert!(topics(&recovered).is_empty());
    assert_eq!(recovered.next, 4);
}
