//! The part that the supervisor runs: takes connections, starts a router, and ends with an error when the
//! router has ended, so that it is started again on the same port.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::Drain;
use common::supervise::PartError;
use gateway_core::DropCounts;
use rumqttd::protocol::Packet;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::client;
use crate::hub::{Handle, Hub};
use crate::options::{Error, Options};
use crate::router::{Link, Router};

/// How often the router is asked for a sign of life.
const NUDGE: Duration = Duration::from_millis(250);
/// Packets from inside of the gateway given to the router at a time.
const BATCH: usize = 512;
/// Connections that have not said CONNECT yet, beside the clients.
const NEWCOMERS: usize = 64;
/// What clients get to leave in when the gateway stops.
const GOODBYE: Duration = Duration::from_secs(1);

/// The broker. Its port is taken once, for all runs.
pub struct Broker {
    hub: Arc<Hub>,
    listener: TcpListener,
}

impl Broker {
    /// Takes the port. Clients are served while `run` runs.
    ///
    /// # Errors
    /// When the address is not on loopback or cannot be had.
    pub async fn start(options: Options, drops: DropCounts) -> Result<(Self, Handle), Error> {
        let listen = options.listen;
        if !listen.ip().is_loopback() {
            return Err(Error::NotLoopback { listen });
        }
        let bind = |source| Error::Bind { listen, source };
        let listener = TcpListener::bind(listen).await.map_err(bind)?;
        let addr: SocketAddr = listener.local_addr().map_err(bind)?;
        let hub = Arc::new(Hub::new(options, addr, &drops));
        Ok((Self { hub: hub.clone(), listener }, Handle(hub)))
    }

    /// Serves clients until drained.
    ///
    /// # Errors
    /// When the router has ended. Run it again: readers, retained messages and the `Handle` stay, and clients
    /// find the same port.
    pub async fn run(&self, drain: Drain) -> Result<(), PartError> {
        // Held for the whole run: two runs at a time would be two routers.
        let mut outgoing = self.hub.outgoing.lock().await;
        let router = Router::start(&self.hub.options);
        let mut link = router.link("gateway".to_owned(), true).await?;
        self.hub.set_router(Some(router));
        let mut clients = JoinSet::new();
        let ended = self.serve(&drain, &mut outgoing, &mut link, &mut clients).await;
        self.hub.set_router(None);
        // Clients see the drain or the router's end themselves, and put away their sessions.
        if timeout(GOODBYE, async { while clients.join_next().await.is_some() {} }).await.is_err() {
            tracing::warn!(clients = clients.len(), "mqtt clients cut off");
        }
        clients.shutdown().await;
        Ok(ended?)
    }

    async fn serve(
        &self,
        drain: &Drain,
        outgoing: &mut mpsc::Receiver<Packet>,
        link: &mut Link,
        clients: &mut JoinSet<()>,
    ) -> Result<(), Error> {
        let mut nudge = interval(NUDGE);
        nudge.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                () = drain.started() => return Ok(()),
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => self.admit(stream, clients, drain),
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept an mqtt connection");
                        sleep(Duration::from_millis(100)).await;
                    }
                },
                _ = clients.join_next(), if !clients.is_empty() => {}
                n = outgoing.recv_many(&mut batch, BATCH) => {
                    if n > 0 {
                        link.send(&mut batch).await?;
                    }
                }
                // Answers to the nudges; the end of the router shows here.
                answer = link.rx.next() => {
                    answer.map_err(|_| Error::Router)?;
                }
                _ = nudge.tick() => link.nudge().await?,
            }
        }
    }

    fn admit(&self, stream: TcpStream, clients: &mut JoinSet<()>, drain: &Drain) {
        if clients.len() >= self.hub.options.max_connections + NEWCOMERS {
            self.hub.refused.fetch_add(1, Ordering::Relaxed);
            return;
        }
        clients.spawn(Box::pin(client::serve(self.hub.clone(), stream, drain.clone())));
    }
}

#[cfg(test)]
#[path = "broker_tests.rs"]
mod tests;
