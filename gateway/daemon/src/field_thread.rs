//! A thread of its own for the field: Modbus lines and the pipeline, up to the bus. Requests of the API, the cloud's
//! link, TLS handshakes and whatever else takes a while run elsewhere, and so does what holds locks that they hold: no
//! poll waits for them. One thread, and not several, because what many lines read in the same moment is then judged
//! together, without waking another thread for each.

use std::sync::mpsc;
use std::time::Duration;

use common::Drain;
use tokio::runtime::{Builder, Handle};

/// Nice value that the thread asks for: a poll comes before what else the box does. A service may ask for it with
/// `LimitNICE=`; where it is refused, all stays as it was.
const NICE: i32 = -10;
/// Notes of lines are written by such threads, rarely.
const BLOCKING_THREADS: usize = 2;

/// The thread. It ends when this is dropped, and with it what runs on it.
#[derive(Debug)]
pub(crate) struct FieldThread {
    handle: Handle,
    stop: Drain,
}

impl FieldThread {
    /// Starts it; none, and told, if the system has no thread left: the field then runs with all else.
    pub(crate) fn start() -> Option<Self> {
        let (to, from) = mpsc::sync_channel(1);
        let stop = Drain::new();
        let until = stop.clone();
        let run = move || {
            let runtime = Builder::new_current_thread()
                .max_blocking_threads(BLOCKING_THREADS)
                .thread_keep_alive(Duration::from_secs(2))
                .enable_all()
                .build();
            match runtime {
                Ok(runtime) => {
                    ask_for_priority();
                    // Who started this waits for it.
                    let _ = to.send(Ok(runtime.handle().clone()));
                    runtime.block_on(until.started());
                    runtime.shutdown_background();
                }
                Err(error) => drop(to.send(Err(error))),
            }
        };
        let started = std::thread::Builder::new().name("field".to_owned()).spawn(run);
        let handle = started.and_then(|_| from.recv().unwrap_or_else(|e| Err(std::io::Error::other(e))));
        match handle {
            Ok(handle) => Some(Self { handle, stop }),
            Err(error) => {
                tracing::warn!(%error, "no thread of its own for the field: it runs with all else");
                None
            }
        }
    }

    /// Where to start what belongs on it.
    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for FieldThread {
    fn drop(&mut self) {
        self.stop.start();
    }
}

fn ask_for_priority() {
    let own = rustix::thread::gettid();
    match rustix::process::setpriority_process(Some(own), NICE) {
        Ok(()) => tracing::debug!(nice = NICE, "field thread has its priority"),
        Err(error) => tracing::debug!(%error, "field thread runs at the usual priority"),
    }
}
