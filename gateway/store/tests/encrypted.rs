//! A buffer with a key: what stands on the disk says nothing without it, and a key that is missing costs nothing but the start.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests may

mod rig;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{Clock, Incarnation};
use gateway_core::FrameLog;
use gateway_store::{Key, Keys, OpenError, Options, Store};
use rig::disk::ModelDisk;
use rig::*;

fn encrypted(dir: &Path, keys: Keys) -> Options {
    Options { keys, segment_bytes: 16 << 10, ..options(dir) }
}

/// All files of a folder and below it.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            found.insert(path, bytes);
        }
    }
    found
}

fn contains(bytes: &[u8], word: &str) -> bool {
    bytes.windows(word.len()).any(|w| w == word.as_bytes())
}

type Written = (Incarnation, Vec<(u64, Vec<u8>)>);

async fn filled(options: Options, from: u64) -> Written {
    let store = open(options);
    for n in from..from + 12 {
        store.append(samples(500, n)).unwrap();
        store.append(audit("hall/press/pressure")).unwrap();
    }
    store.set_note("seen", b"hall/press/pressure").unwrap();
    synced(&store).await;
    let written = (store.incarnation(), read_all(&store, store.incarnation()));
    store.close();
    written
}

#[tokio::test]
async fn what_stands_on_the_disk_says_nothing_and_is_all_there_with_the_key() {
    let (plain, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    filled(encrypted(plain.path(), keys(false)), 0).await;
    let told: Vec<_> = files(plain.path()).into_values().filter(|b| contains(b, "pressure")).collect();
    assert!(told.len() >= 2, "the log and the note say it without a key");
    let (incarnation, written) = filled(encrypted(dir.path(), keys(true)), 0).await;
    for (path, bytes) in files(dir.path()) {
        assert!(!contains(&bytes, "pressure"), "{}", path.display());
    }
    let store = open(encrypted(dir.path(), keys(true)));
    assert_eq!(store.note("seen").unwrap(), b"hall/press/pressure");
    assert_eq!(read_all(&store, incarnation), written);
}

#[tokio::test]
async fn without_the_right_key_the_start_is_refused_and_nothing_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let (incarnation, written) = filled(encrypted(dir.path(), keys(true)), 0).await;
    let before = files(dir.path());
    for wrong in [Keys::default(), vec![Key::new([9; 32])].into()] {
        let refused = Store::open(encrypted(dir.path(), wrong), Clock::system(), registry(50, "Cel"));
        let error = refused.expect_err("refused");
        assert!(matches!(error, OpenError::Key { .. }), "{error}");
        assert!(error.to_string().contains("give the key that it was written with"), "{error}");
        assert!(!error.to_string().contains("9, 9"), "{error}");
    }
    let log = dir.path().join("log");
    let of_log = |all: &BTreeMap<PathBuf, Vec<u8>>| -> Vec<_> {
        all.iter().filter(|(p, _)| p.starts_with(&log)).map(|(p, b)| (p.clone(), b.clone())).collect()
    };
    assert_eq!(of_log(&files(dir.path())), of_log(&before));
    let store = open(encrypted(dir.path(), keys(true)));
    assert!(gaps(&store).is_empty());
    assert_eq!(read_all(&store, incarnation), written);
}

#[tokio::test]
async fn a_plain_buffer_goes_on_encrypted_and_a_key_is_changed_for_another() {
    let dir = tempfile::tempdir().unwrap();
    let one = Key::new([1; 32]);
    let two = Key::new([2; 32]);
    let mut all = Vec::new();
    for (n, keys) in [vec![], vec![one.clone()], vec![two.clone(), one]].into_iter().enumerate() {
        all.push(filled(encrypted(dir.path(), keys.into()), n as u64 * 100).await);
    }
    let refused =
        Store::open(encrypted(dir.path(), vec![two.clone()].into()), Clock::system(), registry(50, "Cel"));
    assert!(matches!(refused, Err(OpenError::Key { .. })), "the old one is still wanted");
    let store = open(encrypted(dir.path(), vec![two, Key::new([1; 32])].into()));
    for (incarnation, written) in all {
        assert_eq!(read_all(&store, incarnation), written);
    }
}

/// Damage costs what it hits, as without encryption; a spoilt block at the beginning of a file costs nothing.
#[tokio::test]
async fn damage_costs_what_it_hits() {
    for (at, most) in [(5usize, 0usize), (100, 0), (4096 + 30, 0), (8192 + 9000, 2)] {
        let dir = tempfile::tempdir().unwrap();
        let (incarnation, written) = filled(encrypted(dir.path(), keys(true)), 0).await;
        let path = files(&dir.path().join("log")).into_keys().next().unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[at] ^= 0x10;
        std::fs::write(&path, bytes).unwrap();
        let store = open(encrypted(dir.path(), keys(true)));
        synced(&store).await;
        let read = read_all(&store, incarnation).len();
        assert!(written.len() - read <= most, "{at}: {read} of {}", written.len());
        let told: u64 = gaps(&store).iter().filter_map(|g| g.seqs).map(|(a, b)| b - a + 1).sum();
        assert_eq!(told, (written.len() - read) as u64, "{at}");
    }
}

/// Nor does a block that the disk cannot read, whether the file is encrypted or not.
#[tokio::test]
async fn a_beginning_that_cannot_be_read_does_not_cost_the_file() {
    for (is_encrypted, at, most) in [(true, 0, 0), (true, 4096, 0), (false, 0, 3)] {
        let dir = memory_dir();
        let disk = ModelDisk::new(dir.path());
        let options =
            || Options { disk: Arc::new(disk.clone()), ..encrypted(dir.path(), keys(is_encrypted)) };
        let (incarnation, written) = filled(options(), 0).await;
        let first = disk.files(&dir.path().join("log")).remove(0);
        disk.spoil(&first, at..at + 1);
        let store = open(options());
        synced(&store).await;
        let read = read_all(&store, incarnation);
        assert!(read.iter().all(|frame| written.contains(frame)));
        assert!(
            written.len() - read.len() <= most,
            "{is_encrypted} {at}: {} of {}",
            read.len(),
            written.len()
        );
    }
}
