//! The PostgreSQL server and its moods: who may have the database, what survives a kill of the server within
//! anything, and what is told of a database that cannot be used.

#![allow(clippy::unwrap_used, clippy::expect_used)] // all of it is tests

#[allow(dead_code, unused_macros)]
mod contract;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use cloud_core::{Storage, StoreError};
use cloud_store::{Options, Place, Server, ServerError, Store};
use common::Clock;
use contract::fixtures::*;

fn shared() -> &'static test_postgres::Server {
    test_postgres::Server::shared()
}

fn open_url(url: &str, password: Option<&str>) -> Result<Arc<Store>, StoreError> {
    let place = Place::Postgres(Server::new(url, password, None).unwrap());
    let options = Options { chunk_rows: 40, merge_chunks: 3, ..Options::at(place) };
    std::thread::spawn(move || Store::open(options, Clock::system())).join().unwrap()
}

fn why(result: Result<Arc<Store>, StoreError>) -> String {
    result.err().map(|e| e.to_string()).unwrap_or_default()
}

#[tokio::test]
async fn a_database_in_use_or_of_a_newer_program_is_left_alone() {
    let name = shared().create();
    let url = shared().url(&name);
    let first = open_url(&url, None).unwrap();
    let told = why(open_url(&url, None));
    assert!(told.contains("in use") && told.contains(&name), "{told}");
    drop(first);
    shared().sql(&name, "UPDATE twinway SET version = 99");
    let told = why(open_url(&url, None));
    assert!(told.contains("99") && told.contains("newer") && told.contains(&name), "{told}");
}

#[tokio::test]
async fn what_is_wrong_with_a_database_is_told() {
    let told = why(open_url(&shared().url("nowhere"), None));
    assert!(told.contains("nowhere") && told.contains("does not exist"), "{told}");
    let name = shared().create_with("ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'");
    let told = why(open_url(&shared().url(&name), None));
    assert!(told.contains("LATIN1") && told.contains("UTF8"), "{told}");
    let name = shared().create();
    shared().sql(&name, "CREATE TABLE users (id int)");
    let told = why(open_url(&shared().url(&name), None));
    assert!(told.contains("users") && told.contains("exists"), "{told}");
    let (user, password) = test_postgres::PASSWORD_USER;
    let name = shared().create_with(&format!("OWNER {user}"));
    let url = shared().url_of(user, &name);
    let told = why(open_url(&url, Some("wrong")));
    assert!(told.contains("password") && !told.contains("wrong"), "{told}");
    open_url(&url, Some(password)).unwrap();
}

#[test]
fn what_is_wrong_with_a_url_is_told() {
    let told = |url: &str| Server::new(url, None, None).err().unwrap();
    assert!(matches!(told("mysql://x/y"), ServerError::Url(_)));
    assert!(matches!(told("postgresql:///db?user=u"), ServerError::Url(_)));
    assert!(matches!(told("postgresql://db.example.com/x"), ServerError::Url(_)));
    assert_eq!(told("postgresql://u:p@db.example.com/x"), ServerError::Password);
    assert_eq!(told("postgresql://u@db.example.com/x?sslmode=require"), ServerError::NoAuthorities);
    let missing = Server::new("postgresql://u@h/x", None, Some("/nowhere/ca.pem".as_ref())).err().unwrap();
    assert!(missing.to_string().contains("/nowhere/ca.pem"), "{missing}");
    let shown = format!("{:?}", Server::new("postgresql://u@h/x", Some("secret"), None).unwrap());
    assert_eq!(shown, "postgresql://u@h/x");
}

#[tokio::test]
async fn over_tls_only_a_server_that_the_authority_vouches_for_is_spoken_to() {
    let server = test_postgres::Server::start_tls();
    let name = server.create();
    let open = |url: String, ca: Option<&std::path::Path>| {
        let place = Place::Postgres(Server::new(&url, None, ca).unwrap());
        let open = move || Store::open(Options::at(place), Clock::system());
        std::thread::spawn(open).join().unwrap()
    };
    let ca = server.folder().join("ca.pem");
    let told = why(open(server.tcp_url("localhost", &name), None));
    assert!(told.contains("no encryption"), "the server takes nothing else: {told}");
    let told = why(open(server.tcp_url("127.0.0.1", &name), Some(&ca)));
    assert!(told.contains("certificate not valid for name"), "{told}");
    let other = test_postgres::Server::start_tls();
    let told = why(open(server.tcp_url("localhost", &name), Some(&other.folder().join("ca.pem"))));
    assert!(told.contains("invalid peer certificate"), "{told}");
    let storage: Arc<dyn Storage> = open(server.tcp_url("localhost", &name), Some(&ca)).unwrap();
    let s = oven(&storage).await;
    assert_eq!(storage.accept(&[s.samples(1, vec![sample(0, T0, 1.0)])]).await.unwrap(), [true]);
}

#[tokio::test]
async fn the_log_cannot_be_changed() {
    let name = shared().create();
    let storage: Arc<dyn Storage> = open_url(&shared().url(&name), None).unwrap();
    let note = entry(T0, "user.login", None, common::command::Severity::Info);
    storage.append_audit(&note).await.unwrap();
    for sql in ["DELETE FROM log", "UPDATE log SET severity = 0", "TRUNCATE log"] {
        let (done, told) = shared().try_sql(&name, sql);
        assert!(!done && told.contains("append-only"), "{told}");
    }
}

/// A connection that was cut within the work is made again, unless another process has had the database since.
#[tokio::test]
async fn a_cut_connection_is_made_again_if_nobody_else_wrote() {
    let name = shared().create();
    let storage: Arc<dyn Storage> = open_url(&shared().url(&name), None).unwrap();
    let s = oven(&storage).await;
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let one = |seq: u64| s.samples(seq, vec![sample(0, T0 + i64::try_from(seq).unwrap(), 1.0)]);
    for seq in 1..=5 {
        shared().sql(&name, cut);
        assert_eq!(storage.accept(&[one(seq)]).await.unwrap(), [true], "waited for, and stored once");
    }
    shared().sql(&name, cut);
    // A request that cannot be repeated is told that nothing was done; the next one finds a connection.
    let note = entry(T0, "user.login", None, common::command::Severity::Info);
    let _ = storage.append_audit(&note).await;
    storage.append_audit(&note).await.unwrap();
    shared().sql(&name, &format!("UPDATE twinway SET owner = 'another'; {cut}"));
    let told = loop {
        match storage.accept(&[one(6)]).await {
            Ok(_) => tokio::time::sleep(Duration::from_millis(10)).await, // not cut yet
            Err(told) => break told.to_string(),
        }
    };
    assert!(told.contains("another process"), "{told}");
}

/// The server is killed again and again while frames are accepted and compacted. What was acknowledged is there, each
/// sample once; no frame is new twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_loses_and_doubles_nothing() {
    let server = Arc::new(test_postgres::Server::start(&[]));
    let name = server.create();
    let storage: Arc<dyn Storage> = open_url(&server.url(&name), None).unwrap();
    let s = oven(&storage).await;
    let acked = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let sender = tokio::spawn({
        let (storage, s, acked, stop) = (storage.clone(), s.clone(), acked.clone(), stop.clone());
        async move {
            let mut seq = 1;
            while !stop.load(Ordering::Relaxed) {
                let frame = s.samples(seq, vec![sample(0, T0 + i64::try_from(seq).unwrap(), 1.0)]);
                // As a gateway: without an acknowledgement the same once more.
                if let Ok(new) = storage.accept(&[frame]).await {
                    assert_eq!(new, [true], "frame {seq} was refused to its sender and stored");
                    acked.store(seq, Ordering::Relaxed);
                    seq += 1;
                }
            }
        }
    });
    let compactor = tokio::spawn({
        let (storage, stop) = (storage.clone(), stop.clone());
        async move {
            while !stop.load(Ordering::Relaxed) {
                if storage.compact(7).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    });
    for round in 1..=5u64 {
        let until = acked.load(Ordering::Relaxed) + 30 * round;
        while acked.load(Ordering::Relaxed) < until {
            assert!(!sender.is_finished(), "the sender failed");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let server = Arc::clone(&server);
        let killed = move || {
            server.kill();
            server.resume();
        };
        tokio::task::spawn_blocking(killed).await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    sender.await.unwrap();
    compactor.await.unwrap();
    let last = acked.load(Ordering::Relaxed);
    let check = async |storage: &Arc<dyn Storage>| {
        let h = storage.history(twin(1), "temp", T0, T0 + 1_000_000, 1_000_000).await.unwrap();
        let times: Vec<_> = h.points.iter().map(|p| (p.t_us - T0).unsigned_abs()).collect();
        assert_eq!(times, (1..=last).collect::<Vec<_>>(), "each exactly once");
    };
    check(&storage).await;
    drop(storage);
    let storage: Arc<dyn Storage> = open_url(&server.url(&name), None).unwrap();
    check(&storage).await;
    let known = storage.hello(&s.key, &[s.incarnation]).await.unwrap();
    assert_eq!(known[0].seqs.iter().collect::<BTreeSet<_>>(), BTreeSet::from([(1, last)]));
}
