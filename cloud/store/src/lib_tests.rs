//! Readers that take long keep neither writers nor short reads waiting; an opening tells that it goes on.

use std::sync::mpsc::channel;
use std::time::Duration;

use super::*;

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn many_long_reads_leave_threads_to_writers_and_a_connection_to_short_reads() {
    let dir = tempfile::tempdir().unwrap();
    // Fewer threads than long reads that wait: as many as these would take them all.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(8).build().unwrap();
    runtime.block_on(async {
        let store = Store::open(Options::new(dir.path().join("cloud.db")), Clock::system()).unwrap();
        let (running, begun) = channel();
        let (ends, long): (Vec<_>, Vec<_>) = (0..32)
            .map(|_| {
                let (end, wait) = channel::<()>();
                let (store, running) = (Arc::clone(&store), running.clone());
                let read = async move {
                    let read = move |_: &Conn| {
                        let _ = running.send(());
                        let _ = wait.recv();
                        Ok(())
                    };
                    store.read_long(read).await
                };
                (end, tokio::spawn(read))
            })
            .unzip();
        tokio::task::spawn_blocking(move || begun.recv_timeout(LIMIT)).await.unwrap().unwrap();
        let short = tokio::time::timeout(LIMIT, store.read(|_| Ok(1)));
        assert_eq!(short.await.expect("a connection").unwrap(), 1);
        let write = tokio::time::timeout(LIMIT, store.write(|_| Ok(2)));
        assert_eq!(write.await.expect("a thread").unwrap(), 2);
        drop(ends);
        for read in long {
            read.await.unwrap().unwrap();
        }
    });
}

#[test]
fn an_opening_tells_that_it_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cloud.db");
    let old = rusqlite::Connection::open(&path).unwrap();
    old.pragma_update(None, "foreign_keys", false).unwrap();
    let before = crate::db::STAMPS_SINCE - 1;
    crate::db::MIGRATIONS[..before].iter().for_each(|(sql, _)| old.execute_batch(sql).unwrap());
    old.pragma_update(None, "user_version", before).unwrap();
    // Of small chunks, which have another index since.
    let rows = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
                INSERT INTO chunks (series, level, class, t_min, t_max, n, rolled, first_rank, first_seq, blob)
                SELECT i, 0, 0, 0, 0, 1, 0, 1, 1, x'' FROM n";
    assert_eq!(old.execute(rows, []).unwrap(), 2000);
    drop(old);
    let steps = || {
        let opening = Opening::default();
        let options = Options { opening: opening.clone(), ..Options::new(&path) };
        Store::open(options, Clock::system()).unwrap();
        opening.steps()
    };
    assert!(steps() > 10);
    // It is of this version by now.
    assert_eq!(steps(), 0);
}
