//! The listener: accepts connections and runs their sessions and the committer until drained.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::Drain;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::committer::{self, Queues};
use crate::handle::{Handle, Shared};
use crate::options::{Error, Options, Parts};
use crate::tls::Acceptor;
use crate::{credit, session};

/// Pause when the system has no more sockets for us.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The ingress, listening.
pub struct Ingress {
    shared: Arc<Shared>,
    listener: TcpListener,
    tls: Option<Arc<Acceptor>>,
}

impl Ingress {
    /// Listens. Connections wait until `run`.
    ///
    /// # Errors
    /// When the address cannot be had, or certificate and key do not do.
    pub async fn bind(options: Options, parts: Parts) -> Result<(Self, SocketAddr), Error> {
        let acceptor = |tls| Acceptor::new(tls, parts.authority.clone()).map(Arc::new);
        let tls = options.tls.clone().map(acceptor).transpose()?;
        let listen = options.listen;
        let failed = |source| Error::Listen { listen, source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        Ok((Self { shared: Arc::new(Shared::new(options, parts)), listener, tls }, addr))
    }

    /// The ways to gateways.
    pub fn handle(&self) -> Handle {
        Handle(self.shared.clone())
    }

    /// Serves until drained: then what was received is committed and acknowledged, and every connection closed.
    pub async fn run(&self, drain: Drain) {
        let (queues, works) = committer::queues();
        tokio::join!(
            self.accept(queues, &drain),
            committer::run(&self.shared, works, &drain),
            credit::run(&self.shared, &drain)
        );
    }

    async fn accept(&self, queues: Queues, drain: &Drain) {
        let room = Arc::new(Semaphore::new(self.shared.options.max_connections));
        let mut sessions = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = drain.started() => break,
                accepted = self.listener.accept() => accepted,
                Some(ended) = sessions.join_next() => {
                    if let Err(error) = ended
                        && error.is_panic()
                    {
                        tracing::error!(%error, "session panicked");
                    }
                    continue;
                }
            };
            let (tcp, peer): (TcpStream, SocketAddr) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(permit) = room.clone().try_acquire_owned() else {
                self.shared.parts.metrics.refuse("connections");
                continue;
            };
            let (shared, tls, queues, drain) =
                (self.shared.clone(), self.tls.clone(), queues.clone(), drain.clone());
            sessions.spawn(async move {
                session::serve(shared, tls, tcp, peer, queues, drain).await;
                drop(permit);
            });
        }
        // The committer ends when the sessions have, each having had its answers.
        drop(queues);
        while sessions.join_next().await.is_some() {}
    }
}
