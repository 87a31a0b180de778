//! A backup is of one moment, whole, and told from what it was; damage is found before anything is put back.

#![allow(clippy::unwrap_used, clippy::expect_used)] // all of it is tests

#[allow(dead_code, unused_macros)]
mod contract;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cloud_core::Storage;
use cloud_core::enrol::{Certificate, KeptCode};
use cloud_core::storage::Room;
use cloud_store::{Options, Place, Store, backup, deleted_since, restore, shrink, verify};
use common::command::Severity;
use common::enrol::Key;
use common::names::action;
use common::{Clock, Sample};
use contract::fixtures::*;

fn open(path: &Path) -> Arc<dyn Storage> {
    Store::open(Options { chunk_rows: 50, merge_chunks: 3, ..Options::new(path) }, Clock::system()).unwrap()
}

async fn samples(storage: &Arc<dyn Storage>) -> Vec<i64> {
    let h = storage.history(twin(1), "temp", T0, T0 + 1_000_000 * SECOND, 10_000_000).await.unwrap();
    h.points.iter().map(|p| (p.t_us - T0) / SECOND).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_beside_a_writer_is_of_one_moment() {
    let dir = tempfile::tempdir().unwrap();
    let (path, file) = (dir.path().join("cloud.db"), dir.path().join("backup.db"));
    let storage = open(&path);
    let s = oven(&storage).await;
    let sent = Arc::new(AtomicU64::new(0));
    let writing = {
        let (storage, s, sent) = (Arc::clone(&storage), s.clone(), Arc::clone(&sent));
        tokio::spawn(async move {
            for seq in 1..=600u64 {
                let t = T0 + i64::try_from(seq).unwrap() * SECOND;
                storage.accept(&[s.samples(seq, vec![sample(0, t, 1.5)])]).await.unwrap();
                sent.store(seq, Ordering::SeqCst);
                if seq % 7 == 0 {
                    storage.compact(5).await.unwrap();
                }
            }
        })
    };
    while sent.load(Ordering::SeqCst) < 100 {
        tokio::task::yield_now().await;
    }
    let (from, to) = (path.clone(), file.clone());
    let before = sent.load(Ordering::SeqCst);
    let made = tokio::task::spawn_blocking(move || backup(&from, &to)).await.unwrap().unwrap();
    writing.await.unwrap();
    assert_eq!(verify(&file).unwrap(), made);
    assert!(made.chunks > 0 && made.frames > 0, "{made:?}");
    let sum = std::fs::read_to_string(dir.path().join("backup.db.sha256")).unwrap();
    assert_eq!(sum, format!("{}  backup.db\n", made.digest));
    let again = backup(&path, &file).unwrap_err().to_string();
    assert!(again.contains("there already"), "{again}");

    let other = dir.path().join("elsewhere/cloud.db");
    assert_eq!(restore(&file, &other, false).unwrap(), None);
    let restored = open(&other);
    let found = samples(&restored).await;
    let n = i64::try_from(found.len()).unwrap();
    assert!(n >= i64::try_from(before).unwrap(), "{n} of at least {before}");
    assert_eq!(found, (1..=n).collect::<Vec<_>>(), "all up to one moment");
    let known = restored.hello(&s.key, &[s.incarnation]).await.unwrap();
    assert_eq!((known[0].rank, known[0].seqs.last()), (s.rank, Some(found.len() as u64)), "as its marks say");
    assert_ne!(restored.store_id(), storage.store_id());
    assert!(!restored.store_id().is_nil());
    let id = restored.store_id();
    drop(restored);
    assert_eq!(open(&other).store_id(), id, "the new identity stays");
}

#[tokio::test]
async fn nothing_is_put_over_a_database_that_is_used_or_not_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let (path, file) = (dir.path().join("cloud.db"), dir.path().join("backup.db"));
    let storage = open(&path);
    let s = oven(&storage).await;
    storage.accept(&[s.samples(1, vec![sample(0, T0 + SECOND, 1.0)])]).await.unwrap();
    let put = entry(T0, "configuration.put", None, Severity::Warning);
    storage.put_configuration(&key("g1"), &contract::configurations::document(1), &put).await.unwrap();
    backup(&path, &file).unwrap();
    storage.accept(&[s.samples(2, vec![sample(0, T0 + 2 * SECOND, 1.0)])]).await.unwrap();
    let told = restore(&file, &path, true).unwrap_err().to_string();
    assert!(told.contains("in use"), "{told}");
    drop(storage);
    let told = restore(&file, &path, false).unwrap_err().to_string();
    assert!(told.contains("replace"), "{told}");
    assert_eq!(samples(&open(&path)).await, [1, 2]);
    let aside = restore(&file, &path, true).unwrap().unwrap();
    assert_eq!(samples(&open(&path)).await, [1]);
    let document = open(&path).configuration(&key("g1"), None).await.unwrap();
    assert_eq!(document, Some(contract::configurations::document(1)));
    assert_eq!(samples(&open(&aside)).await, [1, 2], "what was there is kept");
    let told = restore(&file, &path, true).unwrap_err().to_string();
    assert!(told.contains("last time"), "{told}");
}

#[tokio::test]
async fn a_database_is_shrunk_when_nobody_uses_it_and_is_the_same_then() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cloud.db");
    let missing = shrink(&path).unwrap_err().to_string();
    assert!(missing.contains("cannot be opened") && !path.exists(), "{missing}");
    let storage = open(&path);
    let s = oven(&storage).await;
    // Texts that do not pack well.
    let mut x = 7u64;
    let mut text = |n: i64| {
        let letter = || {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            char::from(32 + u8::try_from(x >> 58).unwrap())
        };
        let text: String = std::iter::repeat_with(letter).take(2000).collect();
        Sample { value: Some(text.as_str().into()), ..sample(3, T0 + n * SECOND, 0.0) }
    };
    for n in 1..=1000 {
        let rows = vec![sample(0, T0 + n * SECOND, 1.5), text(n)];
        storage.accept(&[s.samples(u64::try_from(n).unwrap(), rows)]).await.unwrap();
    }
    compact_all(&storage).await;
    storage.accept(&[s.samples(1001, vec![sample(0, T0 + 1001 * SECOND, 2.5)])]).await.unwrap();
    let range = (T0, T0 + 2000 * SECOND);
    let audit = entry(T0, "history.deleted", None, Severity::Warning);
    let gone = storage.delete_history(twin(1), POINTS[3].0, range.0, range.1, &audit).await.unwrap();
    assert_eq!(gone, 1000);
    let id = storage.store_id();
    let room = storage.room().await.unwrap();
    assert!(room.free * 2 > room.bytes, "{room:?}");
    let told = shrink(&path).unwrap_err().to_string();
    assert!(told.contains("in use"), "{told}");
    drop(storage);
    let (before, after) = shrink(&path).unwrap();
    assert!(after * 2 < before, "{before} to {after}");
    assert_eq!(std::fs::metadata(&path).unwrap().len(), after);
    let storage = open(&path);
    assert_eq!(samples(&storage).await, (1..=1001).collect::<Vec<_>>());
    assert_eq!(storage.store_id(), id, "it is the same one");
    assert_eq!(storage.room().await.unwrap(), Room { bytes: after, free: 0 });
    let known = storage.hello(&s.key, &[s.incarnation]).await.unwrap();
    assert_eq!((known[0].rank, known[0].seqs.last()), (s.rank, Some(1001)));
    drop(storage);
    // What is damaged stays as it is.
    let conn = rusqlite::Connection::open(&path).unwrap();
    conn.execute_batch("PRAGMA journal_mode = DELETE; UPDATE chunks SET blob = x'00' WHERE level = 0")
        .unwrap();
    drop(conn);
    let damaged = std::fs::read(&path).unwrap();
    assert!(shrink(&path).is_err());
    assert!(std::fs::read(&path).unwrap() == damaged);
    assert!(!dir.path().join("cloud.db.shrinking").exists());
}

#[tokio::test]
async fn damage_is_found_wherever_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (path, file) = (dir.path().join("cloud.db"), dir.path().join("backup.db"));
    let storage = open(&path);
    let s = oven(&storage).await;
    let rows = |seq: i64| {
        (0..100).map(|i| sample(0, T0 + seq * SECOND + i, f64::from(u32::try_from(i).unwrap()))).collect()
    };
    for seq in 1..20 {
        storage.accept(&[s.samples(u64::try_from(seq).unwrap(), rows(seq))]).await.unwrap();
    }
    compact_all(&storage).await;
    storage.accept(&[s.samples(20, rows(20))]).await.unwrap();
    backup(&path, &file).unwrap();
    let whole = std::fs::read(&file).unwrap();
    let sum = dir.path().join("backup.db.sha256");
    for at in [0, 100, whole.len() / 2, whole.len() - 1] {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        std::fs::write(&file, bytes).unwrap();
        let told = verify(&file).unwrap_err().to_string();
        assert!(told.contains("digest"), "byte {at}: {told}");
        assert!(restore(&file, &dir.path().join("new.db"), false).is_err());
        assert!(!dir.path().join("new.db").exists());
    }
    // Without the digest what is in it must tell.
    std::fs::remove_file(&sum).unwrap();
    std::fs::write(&file, &whole[..whole.len() - 8192]).unwrap();
    assert!(verify(&file).is_err(), "cut");
    std::fs::write(&file, &whole).unwrap();
    assert_eq!(verify(&file).unwrap().digest_fits, None);
    let conn = rusqlite::Connection::open(&file).unwrap();
    let sql = "SELECT id, blob FROM chunks WHERE level = 0 LIMIT 1";
    let (id, mut blob): (i64, Vec<u8>) = conn.query_row(sql, [], |r| Ok((r.get(0)?, r.get(1)?))).unwrap();
    blob[20] ^= 1;
    assert_eq!(
        conn.execute("UPDATE chunks SET blob = ?2 WHERE id = ?1", rusqlite::params![id, blob]).unwrap(),
        1
    );
    drop(conn);
    let told = verify(&file).unwrap_err().to_string();
    assert!(told.contains("chunk"), "{told}");
}

fn with_list(path: &Path) -> Arc<dyn Storage> {
    let list = path.with_file_name("revocations.jsonl");
    let (options, clock) = contract::small(Place::Sqlite(path.to_owned()));
    Store::open(Options { revocations: Some(list), ..options }, clock).unwrap()
}

fn certificate(gateway: &str, serial: &str, of: u8) -> Certificate {
    let (gateway, serial, key) = (key(gateway), serial.to_owned(), [of; 32]);
    Certificate { gateway, serial, key, issued_us: T0, not_after_us: T0 + 1_000 * SECOND, revoked_us: None }
}

async fn enrolled(storage: &Arc<dyn Storage>, code: &str, certificate: &Certificate) {
    let told = entry(T0, action::GATEWAY_ENROLLED, None, Severity::Warning);
    let (gateway, expires_us) = (certificate.gateway.clone(), T0 + 1_000_000 * SECOND);
    let kept =
        KeptCode { id: code.into(), key: Key([7; 32]), gateway, expires_us, failures: 0, used_by: None };
    storage.create_code(&kept, T0, &told).await.unwrap();
    storage.enrol(code, certificate, &told).await.unwrap();
}

/// Serial numbers of those that are revoked, and of those that are not.
async fn states(storage: &Arc<dyn Storage>, gateway: &str) -> [Vec<String>; 2] {
    let all = storage.certificates(&key(gateway)).await.unwrap();
    let (revoked, good): (Vec<_>, Vec<_>) = all.into_iter().partition(|c| c.revoked_us.is_some());
    [revoked, good].map(|of| of.into_iter().map(|c| c.serial).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_revoked_after_the_backup_is_revoked_in_what_is_restored() {
    let dir = tempfile::tempdir().unwrap();
    let (path, file) = (dir.path().join("cloud.db"), dir.path().join("backup.db"));
    let list = dir.path().join("revocations.jsonl");
    let storage = with_list(&path);
    let told = entry(T0, action::GATEWAY_REVOKED, None, Severity::Warning);
    enrolled(&storage, "AAAAA", &certificate("a", "a1", 1)).await;
    enrolled(&storage, "BBBBB", &certificate("b", "b1", 2)).await;
    enrolled(&storage, "DDDDD", &certificate("d", "d1", 4)).await;
    storage.set_gateway_secret(&key("c"), &[9; 32], T0).await.unwrap();
    storage.set_gateway_secret(&key("e"), &[8; 32], T0).await.unwrap();
    assert!(!list.exists(), "nothing was revoked");
    backup(&path, &file).unwrap();

    // Renewed and stolen; replaced by another box; given another secret; nothing.
    storage.renew(&certificate("a", "a2", 1), &told).await.unwrap();
    assert_eq!(storage.revoke(&key("a"), T0 + 1, &told).await.unwrap(), 2);
    enrolled(&storage, "BBBBC", &certificate("b", "b2", 3)).await;
    storage.set_gateway_secret(&key("c"), &[10; 32], T0 + 1).await.unwrap();
    drop(storage);
    let written = std::fs::read_to_string(&list).unwrap();
    assert_eq!(written.lines().count(), 4, "{written}");
    // A start over what is known already tells nothing and writes nothing.
    let storage = with_list(&path);
    assert_eq!(states(&storage, "b").await, [vec!["b1".to_owned()], vec!["b2".into()]]);
    drop(storage);
    assert_eq!(std::fs::read_to_string(&list).unwrap(), written);

    restore(&file, &path, true).unwrap();
    // What a cut left of a line, and what somebody else wrote.
    std::fs::write(&list, format!("nonsense\n{written}{{\"tenant\":")).unwrap();
    let storage = with_list(&path);
    assert_eq!(states(&storage, "a").await, [vec!["a1".to_owned(), "a2".into()], vec![]]);
    assert_eq!(states(&storage, "b").await, [vec!["b1".to_owned()], vec![]], "the one since is not known");
    assert_eq!(states(&storage, "d").await, [vec![], vec!["d1".to_owned()]]);
    assert_eq!(storage.gateway_secret(&key("c")).await.unwrap(), None);
    assert_eq!(storage.gateway_secret(&key("e")).await.unwrap(), Some([8; 32]));
    assert_eq!(storage.code("AAAAA").await.unwrap(), None, "a code of before the backup");
    let audit = storage.audit(None, Severity::Info, None, 100).await.unwrap().items;
    let again: Vec<_> = audit.iter().filter(|e| e.actor == "system").map(|e| e.target.as_str()).collect();
    assert_eq!(again.len(), 3, "{again:?}");
    drop(storage);
    let storage = with_list(&path);
    assert_eq!(storage.audit(None, Severity::Info, None, 100).await.unwrap().items, audit, "told once");
    // What comes after half a line is a line of its own.
    assert_eq!(storage.revoke(&key("d"), T0 + 2, &told).await.unwrap(), 1);
    let whole = std::fs::read_to_string(&list).unwrap();
    assert!(whole.lines().last().unwrap().contains("d1"), "{whole}");
    drop(storage);

    // A list that is lost is written anew with what the database knows.
    std::fs::remove_file(&list).unwrap();
    drop(with_list(&path));
    let anew = std::fs::read_to_string(&list).unwrap();
    assert!(["a1", "a2", "b1", "d1"].iter().all(|serial| anew.contains(serial)), "{anew}");
}

#[tokio::test]
async fn what_was_deleted_since_the_backup_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (path, file) = (dir.path().join("cloud.db"), dir.path().join("backup.db"));
    let storage = open(&path);
    let s = oven(&storage).await;
    let rows = (0..60).map(|n| sample(0, T0 + n * SECOND, 1.5)).collect();
    storage.accept(&[s.samples(1, rows)]).await.unwrap();
    let audit = entry(T0, "history.deleted", Some(twin(1)), Severity::Warning);
    let delete = async |from: i64, to: i64| {
        storage.delete_history(twin(1), "temp", T0 + from * SECOND, T0 + to * SECOND, &audit).await.unwrap()
    };
    assert_eq!(delete(0, 10).await, 10);
    backup(&path, &file).unwrap();
    assert_eq!(delete(20, 30).await, 10);
    drop(storage);
    let before = restore(&file, &path, true).unwrap().unwrap();
    let deleted = deleted_since(&path, &before).unwrap();
    let found: Vec<_> = deleted.iter().map(|d| (&*d.point, d.from_us, d.to_us)).collect();
    let point = format!("{}:temp", twin(1));
    assert_eq!(found, [(&*point, T0 + 20 * SECOND, T0 + 30 * SECOND)]);
}
