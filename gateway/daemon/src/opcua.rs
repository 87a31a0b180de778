//! The OPC UA server as a part of the gateway, and who may sign in to it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use common::api::Role;
use gateway_opcua_server::{Error, Handle, Parts, Server, SignIn, Templates};
use sha2::{Digest, Sha256};

use crate::config::{Config, Token, opcua_server};
use crate::gateway::StartError;
use crate::stages::Stage;
use crate::vitals::Vitals;
use crate::wiring::Wiring;

/// What of it a reload changes. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(crate) struct OpcuaServer {
    users: Arc<Users>,
    templates: Templates,
    pub(crate) handle: Option<Handle>,
}

impl OpcuaServer {
    pub(crate) fn addr(&self) -> Option<SocketAddr> {
        self.handle.as_ref().map(Handle::local_addr)
    }

    /// Before the bus goes over to another generation.
    pub(crate) fn prepare(&self, config: &Config) {
        self.templates.set(templates(config));
    }

    pub(crate) fn set(&self, config: &Config) {
        self.users.set(config);
    }

    pub(crate) fn templates_now(&self) -> Arc<HashMap<String, String>> {
        self.templates.now()
    }
}

/// The template of each device that has one.
pub(crate) fn templates(config: &Config) -> HashMap<String, String> {
    let of = config.devices.iter().filter_map(|d| Some((d.name.clone(), d.template.clone()?)));
    of.collect()
}

/// Starts the server, if the configuration wants one.
pub(crate) async fn start(wiring: &mut Wiring, vitals: &Vitals) -> Result<OpcuaServer, StartError> {
    let users = Arc::new(Users::default());
    users.set(&wiring.config);
    let mut server = OpcuaServer { users: users.clone(), templates: Templates::default(), handle: None };
    server.prepare(&wiring.config);
    let Some(options) = opcua_server::options(&wiring.config) else { return Ok(server) };
    let parts = Parts {
        points: wiring.points.clone(),
        current: wiring.current.clone(),
        bus: wiring.bus.clone(),
        health: wiring.health.clone(),
        orders: vitals.control.clone(),
        history: vitals.log.store().clone(),
        alarms: wiring.alarms.clone(),
        sign_in: users,
        log: vitals.log.clone(),
        templates: server.templates.clone(),
        drops: wiring.drops.clone(),
        clock: wiring.clock.clone(),
    };
    let (made, handle) = Server::bind(options, parts).await.map_err(|e| match e {
        Error::Bind { at, source } => StartError::Opcua { detail: format!("{at}: {source}") },
        Error::Pki(error) => StartError::Opcua { detail: error.to_string() },
    })?;
    let made = Arc::new(made);
    wiring.stages.supervisor(Stage::Field).spawn("opcua", move |drain| {
        let made = made.clone();
        async move { Box::pin(made.run(drain)).await }
    });
    server.handle = Some(handle);
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
        let may_command = known.operators.iter().any(|o| o == user);
        Some(if may_command { Role::Operator } else { Role::Viewer })
    }
}
