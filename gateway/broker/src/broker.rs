//! The part that the supervisor runs: takes ports and what the journal tells at the start, then serves clients until
//! drained.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::Drain;
use common::supervise::PartError;
use gateway_core::DropCounts;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::auth::Auth;
use crate::core::{Core, Losses, lock};
use crate::handle::{Handle, Hub};
use crate::journal::{self, Journal, Writer};
use crate::net::{self, Door, Newcomers};
use crate::options::{Error, Options};

/// Connections that have not said CONNECT yet, beside the clients.
const NEWCOMERS: usize = 64;
/// What clients get to leave in when the gateway stops.
const GOODBYE: Duration = Duration::from_millis(500);
/// How often time alone is looked after: wills, expiries.
const TICK: Duration = Duration::from_millis(500);

/// The broker. Its ports are taken once, for all runs.
pub struct Broker {
    hub: Arc<Hub>,
    listeners: Vec<(TcpListener, Door)>,
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
        let mut listeners = Vec::new();
        let mut addrs: Vec<SocketAddr> = Vec::new();
        for listener in &options.listeners {
            let listen = listener.listen;
            let local = listen.ip().is_loopback();
            if !local && !listener.allow_anonymous && options.users.is_empty() {
                return Err(Error::Open { listen });
            }
            if !local && listener.allow_anonymous {
                tracing::warn!(%listen, "the broker takes clients of the network without a password");
            }
            if !local && listener.tls.is_none() {
                tracing::warn!(%listen, "the broker takes passwords and messages of the network without tls");
            }
            let door = Door::new(listener)?;
            let bind = |source| Error::Bind { listen, source };
            let socket = TcpListener::bind(listen).await.map_err(bind)?;
            addrs.push(socket.local_addr().map_err(bind)?);
            listeners.push((socket, door));
        }
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
        let hub = Arc::new(Hub {
            auth: Auth::new(options.users.clone()),
            newcomers: Newcomers::new(NEWCOMERS),
            addrs,
            core,
            durable,
            refused: std::sync::atomic::AtomicU64::new(0),
            base_us,
            options,
        });
        let writer = tokio::sync::Mutex::new(writer);
        Ok((Self { hub: hub.clone(), listeners, writer }, Handle(hub)))
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
            self.serve(&drain).await;
            closing.start();
        };
        tokio::join!(write, serve);
        Ok(())
    }

    async fn serve(&self, drain: &Drain) {
        let mut doors = JoinSet::new();
        let accepting = self.listeners.iter().map(|(socket, door)| self.accept(socket, door.clone(), drain));
        let accepting = futures_util::future::join_all(accepting);
        let hub = self.hub.clone();
        let stop = drain.clone();
        doors.spawn(async move {
            let mut tick = interval(TICK);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = tick.tick() => hub.with(|core| core.tick(hub.now_us())),
                    () = stop.started() => return,
                }
            }
        });
        accepting.await;
        doors.shutdown().await;
    }

    async fn accept(&self, socket: &TcpListener, door: Door, drain: &Drain) {
        let mut clients = JoinSet::new();
        loop {
            tokio::select! {
                () = drain.started() => break,
                accepted = socket.accept() => match accepted {
                    Ok((stream, _)) => self.admit(stream, &door, &mut clients, drain),
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept an mqtt connection");
                        sleep(Duration::from_millis(100)).await;
                    }
                },
                _ = clients.join_next(), if !clients.is_empty() => {}
            }
        }
        // Clients see the drain themselves.
        lock(&self.hub.core).stop_all();
        if timeout(GOODBYE, async { while clients.join_next().await.is_some() {} }).await.is_err() {
            tracing::warn!(clients = clients.len(), "mqtt clients cut off");
        }
        clients.shutdown().await;
    }

    fn admit(&self, stream: TcpStream, door: &Door, clients: &mut JoinSet<()>, drain: &Drain) {
        let (hub, door, drain) = (self.hub.clone(), door.clone(), drain.clone());
        clients.spawn(Box::pin(net::serve(hub, stream, door, drain)));
    }
}
