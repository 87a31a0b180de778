//! The OPC UA server as a part of the gateway, and who may sign in to it.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use common::api::Role;
use common::supervise::Supervisor;
use gateway_opcua_server::{
    CurrentNameplates, Error, Handle, Nameplate, Nameplates, Options, Parts, Server, SignIn,
};
use sha2::{Digest, Sha256};

use crate::config::sections::DeviceSection;
use crate::config::{Config, Token, opcua_server};
use crate::gateway::StartError;
use crate::stages::Stage;
use crate::vitals::Vitals;
use crate::wiring::Wiring;

/// The part's name.
const PART: &str = "opcua";
/// How long it may take to end.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// The server and what of it a reload changes. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(crate) struct OpcuaServer {
    users: Arc<Users>,
    parts: Parts,
    served: Served,
}

/// The server that runs; none if the configuration wants none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Served(Arc<RwLock<Option<Handle>>>);

impl Served {
    fn now(&self) -> Option<Handle> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, handle: Option<Handle>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = handle;
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> Option<SocketAddr> {
        self.now().map(|h| h.local_addr())
    }
}

/// What a new configuration makes of the server.
pub(crate) enum Change {
    /// Nothing: its clients notice nothing.
    Same,
    /// It ends.
    Off,
    /// This one follows.
    On(Box<(Server, Handle)>),
    /// One of these options follows, on a part of the address that the one that runs must leave first.
    Moved(Box<Options>),
}

impl OpcuaServer {
    /// Whether and where it is served.
    pub(crate) fn served(&self) -> &Served {
        &self.served
    }

    pub(crate) fn addr(&self) -> Option<SocketAddr> {
        self.served.addr()
    }

    /// Before the bus goes over to another generation.
    pub(crate) fn prepare(&self, config: &Config) {
        self.parts.nameplates.set(nameplates(config));
    }

    pub(crate) fn nameplates_now(&self) -> Arc<Nameplates> {
        self.parts.nameplates.now()
    }

    /// What a configuration changes; takes what can fail, so that a reload is refused before it changes anything.
    pub(crate) async fn change(&self, config: &Config) -> Result<Change, String> {
        let (old, new) = (self.served.now(), opcua_server::options(config));
        match (old, new) {
            (None, None) => Ok(Change::Same),
            (Some(_), None) => Ok(Change::Off),
            (Some(old), Some(new)) if *old.options() == new => Ok(Change::Same),
            (Some(old), Some(new)) if overlap(old.options().listen, new.listen) => {
                Ok(Change::Moved(Box::new(new)))
            }
            (old, Some(new)) => {
                let bound = Server::bind(new, self.parts.clone(), old.as_ref()).await;
                bound.map(|both| Change::On(Box::new(both))).map_err(|e| shown(&e))
            }
        }
    }

    /// Goes over to a configuration: who may sign in, and the server itself if its options are others.
    pub(crate) async fn follow(&self, config: &Config, change: Change, supervisor: &mut Supervisor) {
        self.users.set(config);
        let old = self.served.now();
        if matches!(change, Change::Same) {
            return;
        }
        if old.is_some() {
            supervisor.stop(&[PART.to_owned()], STOP_LIMIT).await;
            self.served.set(None);
        }
        let made = match change {
            Change::Same | Change::Off => return,
            Change::On(both) => *both,
            Change::Moved(new) => {
                // Its listener goes with it.
                let before = old.map(|o| o.options().clone());
                match self.moved(*new, before).await {
                    Some(both) => both,
                    None => return,
                }
            }
        };
        self.run(made, supervisor);
    }

    /// Listens elsewhere, or where it did if that cannot be had.
    async fn moved(&self, new: Options, before: Option<Options>) -> Option<(Server, Handle)> {
        for options in [Some(new), before].into_iter().flatten() {
            match Server::bind(options, self.parts.clone(), None).await {
                Ok(both) => return Some(both),
                Err(error) => tracing::error!(error = shown(&error), "the OPC UA server does not listen"),
            }
        }
        None
    }

    fn run(&self, (server, handle): (Server, Handle), supervisor: &mut Supervisor) {
        let server = Arc::new(server);
        self.served.set(Some(handle));
        supervisor.spawn(PART, move |drain| {
            let server = server.clone();
            async move { Box::pin(server.run(drain)).await }
        });
    }
}

/// Whether two addresses cannot be listened at together, though they are not the same.
fn overlap(old: SocketAddr, new: SocketAddr) -> bool {
    let wide = old.ip().is_unspecified() || new.ip().is_unspecified();
    old != new && wide && old.port() == new.port() && new.port() != 0
}

fn shown(error: &Error) -> String {
    match error {
        Error::Bind { at, source } => format!("{at}: {source}"),
        Error::Pki(error) => error.to_string(),
    }
}

/// What the configuration says of devices besides their points.
fn nameplates(config: &Config) -> Nameplates {
    let of = |d: &DeviceSection| Nameplate {
        template: d.template.clone(),
        identification: d.identification.clone().into(),
    };
    let all = config.devices.iter().map(|d| (d.name.clone(), of(d)));
    all.filter(|(_, plate)| *plate != Nameplate::default()).collect()
}

/// Starts the server, if the configuration wants one.
pub(crate) async fn start(wiring: &mut Wiring, vitals: &Vitals) -> Result<OpcuaServer, StartError> {
    let users = Arc::new(Users::default());
    users.set(&wiring.config);
    let parts = Parts {
        points: wiring.points.clone(),
        current: wiring.current.clone(),
        bus: wiring.bus.clone(),
        health: wiring.health.clone(),
        orders: vitals.control.clone(),
        history: vitals.log.store().clone(),
        alarms: wiring.alarms.clone(),
        sign_in: users.clone(),
        log: vitals.log.clone(),
        nameplates: CurrentNameplates::default(),
        drops: wiring.drops.clone(),
        clock: wiring.clock.clone(),
    };
    let server = OpcuaServer { users, parts, served: Served::default() };
    server.prepare(&wiring.config);
    let change = server.change(&wiring.config).await.map_err(|detail| StartError::Opcua { detail })?;
    if let Change::On(both) = change {
        server.run(*both, wiring.stages.supervisor(Stage::Field));
    }
    Ok(server)
}

/// Users of the server: those of its passwords file, and the tokens of the API.
#[derive(Default)]
struct Users(RwLock<Option<Arc<Known>>>);

struct Known {
    auth: gateway_broker::Auth,
    users: gateway_broker::Users,
    operators: Vec<String>,
    tokens: Vec<Token>,
}

impl Known {
    fn role_of(&self, user: &str) -> Role {
        if self.operators.iter().any(|o| o == user) { Role::Operator } else { Role::Viewer }
    }
}

impl Users {
    fn set(&self, config: &Config) {
        let operators = config.opcua_server.as_ref().map(|s| s.operators.clone()).unwrap_or_default();
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let same = held.as_ref().is_some_and(|k| {
            k.users == config.opcua_users && k.operators == operators && k.tokens == config.tokens
        });
        // Otherwise passwords that were right need not be tried anew.
        if !same {
            *held = Some(Arc::new(Known {
                auth: gateway_broker::Auth::new(config.opcua_users.clone()),
                users: config.opcua_users.clone(),
                operators,
                tokens: config.tokens.clone(),
            }));
        }
    }
}

#[async_trait]
impl SignIn for Users {
    async fn sign_in(&self, user: &str, password: &str) -> Option<Role> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).clone()?;
        let hash: [u8; 32] = Sha256::digest(password.trim().as_bytes()).into();
        if let Some(token) = known.tokens.iter().find(|t| t.name == user && t.hash == hash) {
            return Some(token.role);
        }
        if !known.auth.check(user, password.as_bytes()).await {
            return None;
        }
        Some(known.role_of(user))
    }

    fn role_of(&self, user: &str) -> Role {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        known.map_or(Role::Viewer, |k| k.role_of(user))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_in_another_cannot_be_listened_at_beside_it() {
        let at = |text: &str| text.parse().unwrap();
        for (old, new, expected) in [
            ("127.0.0.1:4840", "0.0.0.0:4840", true),
            ("0.0.0.0:4840", "10.0.0.1:4840", true),
            ("0.0.0.0:4840", "[::]:4840", true),
            ("0.0.0.0:4840", "0.0.0.0:4840", false),
            ("0.0.0.0:4840", "0.0.0.0:4841", false),
            ("127.0.0.1:4840", "127.0.0.2:4840", false),
            ("127.0.0.1:0", "0.0.0.0:0", false),
        ] {
            assert_eq!(overlap(at(old), at(new)), expected, "{old} {new}");
        }
    }
}
