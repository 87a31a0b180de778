//! Readers that take long keep neither writers nor short reads waiting.

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
