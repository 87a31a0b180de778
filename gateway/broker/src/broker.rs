//! The part that the supervisor runs: takes ports and what the journal tells at the start, then serves clients until
//! drained.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::Drain;
use common::supervise::PartError;
use gateway_core::DropCounts;
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::core::{Core, Losses};
use crate::handle::{Handle, Hub};
use crate::journal::{self, Journal, Writer};
use crate::listeners::{self, Place};
use crate::lock;
use crate::net;
use crate::options::{Error, Options};

/// What clients get to leave in when the gateway stops.
const GOODBYE: Duration = Duration::from_millis(500);
/// How often time alone is looked after: wills, expiries.
const TICK: Duration = Duration::from_millis(500);

/// The broker. Its ports are taken once, for all runs.
pub struct Broker {
    hub: Arc<Hub>,
    /// Held for the whole run.
    writer: tokio::sync::Mutex<Option<Writer>>,
}

impl Broker {
    /// Takes the ports and reads what the last run left. Clients are served while `run` runs.
    ///
    /// # Errors
    /// When an address cannot be had, is open to the network without users, or has no usable certificate; when the
    /// folder cannot be read. Damaged files are no error: they are set aside and counted.
    pub async fn start(options: Options, drops: DropCounts) -> Result<(Self, Handle), Error> {
        let places = listeners::prepare(&options, &[]).await?.open();
        let losses = Losses::new(&drops);
        let mut core = Core::new(options.limits.clone(), losses);
        let (to_durable, durable) = watch::channel(0);
        let mut writer = None;
        let base_us = Hub::base(&options.clock);
        let now_us = base_us.saturating_add_unsigned(options.clock.mono_us());
        let core = if let Some(dir) = options.dir.clone() {
            let folder = |source: std::io::Error| match source.kind() {
                std::io::ErrorKind::ResourceBusy => Error::InUse { dir: dir.clone() },
                _ => Error::Folder { dir: dir.clone(), source },
            };
            let (from, to) = (dir.clone(), dir.clone());
            let recovered = tokio::task::spawn_blocking(move || journal::recover(&from)).await;
            let recovered =
                recovered.map_err(|e| folder(std::io::Error::other(e.to_string())))?.map_err(folder)?;
            core.losses.damaged.fetch_add(recovered.damaged, Ordering::Relaxed);
            let wake = Arc::new(Notify::new());
            let journal = Journal::new(recovered.image.highest, wake.clone());
            core.restore(recovered.image, journal, now_us);
            let not_durable = core.losses.not_durable.clone();
            let core = Arc::new(Mutex::new(core));
            let (interval, next) = (options.sync_interval.min(Duration::from_millis(100)), recovered.next);
            let core_of_writer = core.clone();
            writer = Some(Writer {
                core: core_of_writer,
                dir: to,
                interval,
                wake,
                durable: to_durable,
                next,
                _lock: recovered.lock,
                not_durable,
            });
            core
        } else {
            Arc::new(Mutex::new(core))
        };
        let hub = Arc::new(Hub::new(options, places, core, durable, base_us));
        let writer = tokio::sync::Mutex::new(writer);
        Ok((Self { hub: hub.clone(), writer }, Handle(hub)))
    }

    /// Serves clients until drained; what is to survive is on disk then.
    ///
    /// # Errors
    /// None of its own: a panic is the supervisor's, which runs it again with everything still there.
    pub async fn run(&self, drain: Drain) -> Result<(), PartError> {
        let mut writer = self.writer.lock().await;
        let closing = Drain::new();
        let write = async {
            if let Some(writer) = writer.as_mut() {
                journal::run(writer, &closing).await;
            }
        };
        let serve = async {
            let served = serve(&self.hub, &drain).await;
            closing.start();
            served
        };
        let ((), served) = tokio::join!(write, serve);
        served
    }
}

/// Keeps a task for each place until drained, and looks after what time alone brings.
async fn serve(hub: &Arc<Hub>, drain: &Drain) -> Result<(), PartError> {
    let mut ticking = JoinSet::new();
    let (ticks, stop) = (hub.clone(), drain.clone());
    ticking.spawn(async move {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => ticks.with(|core| core.tick(ticks.now_us())),
                () = stop.started() => return,
            }
        }
    });
    let mut doors = JoinSet::new();
    let mut places = hub.places.subscribe();
    let mut served: Vec<Arc<Place>> = Vec::new();
    while !drain.is_started() {
        let now = places.borrow_and_update().clone();
        for place in now.iter().filter(|p| !served.iter().any(|s| Arc::ptr_eq(s, p))) {
            doors.spawn(accept(hub.clone(), place.clone(), drain.clone()));
        }
        // What is gone is not held here: its port is free when its task ends.
        served = now;
        tokio::select! {
            () = drain.started() => {}
            _ = places.changed() => {}
            Some(ended) = doors.join_next() => ended?,
        }
    }
    while let Some(ended) = doors.join_next().await {
        ended?;
    }
    ticking.shutdown().await;
    Ok(())
}

/// Lets clients in by one place until it is closed or the broker is drained.
async fn accept(hub: Arc<Hub>, place: Arc<Place>, drain: Drain) {
    let mut clients = JoinSet::new();
    let closing = place.closing.clone();
    loop {
        tokio::select! {
            biased;
            () = drain.started() => break,
            () = closing.started() => break,
            accepted = place.socket.accept() => match accepted {
                Ok((stream, _)) => admit(&hub, stream, &place, &mut clients),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept an mqtt connection");
                    sleep(Duration::from_millis(100)).await;
                }
            },
            _ = clients.join_next(), if !clients.is_empty() => {}
        }
    }
    drop(place);
    // Clients see it themselves.
    closing.start();
    if drain.is_started() {
        lock(&hub.core).stop_all();
    }
    let all_left = async { while clients.join_next().await.is_some() {} };
    let cut = async {
        drain.started().await;
        sleep(GOODBYE).await;
    };
    let cut_off = tokio::select! {
        () = all_left => false,
        () = cut => true,
    };
    if cut_off {
        tracing::warn!(clients = clients.len(), "mqtt clients cut off");
    }
    clients.shutdown().await;
}

fn admit(hub: &Arc<Hub>, stream: TcpStream, place: &Place, clients: &mut JoinSet<()>) {
    let (hub, door, drain) = (hub.clone(), place.door(), place.closing.clone());
    clients.spawn(Box::pin(net::serve(hub, stream, door, drain)));
}
