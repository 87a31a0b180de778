//! The places where clients connect. They can be changed while the broker runs: what stays the same keeps its clients,
//! what cannot be had is refused before anything is changed.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use common::Drain;
use tokio::net::TcpListener;

use crate::lock;
use crate::net::Door;
use crate::options::{Error, Listener, Options};

/// One listener with its socket.
pub(crate) struct Place {
    /// As the options say.
    listener: Listener,
    /// Where it really is.
    pub(crate) addr: SocketAddr,
    pub(crate) socket: Arc<TcpListener>,
    door: Mutex<Door>,
    /// Ends it and the connections that came by it.
    pub(crate) closing: Drain,
}

/// Listeners that are ready to take the place of those that run.
pub(crate) struct Prepared {
    /// In the order of the options; with a new door where one stays, since its certificate may be a new one.
    places: Vec<(Arc<Place>, Option<Door>)>,
}

impl Place {
    fn new(listener: Listener, socket: Arc<TcpListener>, addr: SocketAddr, door: Door) -> Self {
        Self { listener, addr, socket, door: Mutex::new(door), closing: Drain::new() }
    }

    /// What the next client goes through.
    pub(crate) fn door(&self) -> Door {
        lock(&self.door).clone()
    }

    fn is_at(&self, listen: SocketAddr) -> bool {
        self.listener.listen == listen || self.addr == listen
    }

    /// Whether a client finds the same there, wherever it is.
    fn is_like(&self, other: &Listener) -> bool {
        self.listener == Listener { listen: self.listener.listen, ..other.clone() }
    }
}

/// Takes the sockets of all listeners of `options`; those that `running` has stay.
///
/// # Errors
/// When an address cannot be had, is open to the network without users, or has no usable certificate.
pub(crate) async fn prepare(options: &Options, running: &[Arc<Place>]) -> Result<Prepared, Error> {
    // Those that are as they were first: one with any port could be taken for another.
    let mut left: Vec<&Arc<Place>> = running.iter().collect();
    let mut take = |wanted: &dyn Fn(&Place) -> bool| {
        left.iter().position(|p| wanted(p)).map(|at| left.remove(at).clone())
    };
    let mut known: Vec<Option<Arc<Place>>> =
        options.listeners.iter().map(|l| take(&|p| p.is_at(l.listen) && p.is_like(l))).collect();
    for (listener, place) in options.listeners.iter().zip(&mut known) {
        if place.is_none() {
            *place = take(&|p| p.is_at(listener.listen));
        }
    }
    let mut places = Vec::with_capacity(known.len());
    for (listener, known) in options.listeners.iter().zip(known) {
        let listen = listener.listen;
        let local = listen.ip().is_loopback();
        if !local && !listener.allow_anonymous && options.users.is_empty() {
            return Err(Error::Open { listen });
        }
        let door = Door::new(listener)?;
        let place = match known {
            Some(place) if place.is_like(listener) => (place, Some(door)),
            Some(place) => {
                warn(listener);
                let (socket, addr) = (place.socket.clone(), place.addr);
                (Arc::new(Place::new(listener.clone(), socket, addr, door)), None)
            }
            None => {
                warn(listener);
                let bind = |source| Error::Bind { listen, source };
                let socket = TcpListener::bind(listen).await.map_err(bind)?;
                let addr = socket.local_addr().map_err(bind)?;
                (Arc::new(Place::new(listener.clone(), Arc::new(socket), addr, door)), None)
            }
        };
        places.push(place);
    }
    Ok(Prepared { places })
}

fn warn(listener: &Listener) {
    let listen = listener.listen;
    let local = listen.ip().is_loopback();
    if !local && listener.allow_anonymous {
        tracing::warn!(%listen, "the broker takes clients of the network without a password");
    }
    if !local && listener.tls.is_none() {
        tracing::warn!(%listen, "the broker takes passwords and messages of the network without tls");
    }
}

impl Prepared {
    /// Opens the new doors of what stays; all places.
    pub(crate) fn open(self) -> Vec<Arc<Place>> {
        let opened = self.places.into_iter().map(|(place, door)| {
            if let Some(door) = door {
                *lock(&place.door) = door;
            }
            place
        });
        opened.collect()
    }
}
