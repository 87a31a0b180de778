//! In place of `opcua` in a program that is built without the OPC UA server (feature `opcua-server`): there is never one.

use std::net::SocketAddr;

use common::supervise::Supervisor;

use crate::config::Config;
use crate::gateway::StartError;
use crate::vitals::Vitals;
use crate::wiring::Wiring;

/// The server that there is not.
#[derive(Debug, Clone, Default)]
pub(crate) struct OpcuaServer(Served);

/// Where it is not served.
#[derive(Debug, Clone, Default)]
pub(crate) struct Served;

/// What a new configuration makes of it: nothing.
pub(crate) struct Change;

impl Served {
    #[allow(clippy::unused_self)] // as where there is one
    pub(crate) fn addr(&self) -> Option<SocketAddr> {
        None
    }
}

impl OpcuaServer {
    pub(crate) fn served(&self) -> &Served {
        &self.0
    }

    pub(crate) fn addr(&self) -> Option<SocketAddr> {
        self.0.addr()
    }

    #[allow(clippy::unused_self)]
    pub(crate) fn prepare(&self, _: &Config) {}

    #[allow(clippy::unused_self, clippy::unused_async)]
    pub(crate) async fn change(&self, _: &Config) -> Result<Change, String> {
        Ok(Change)
    }

    #[allow(clippy::unused_self, clippy::unused_async)]
    pub(crate) async fn follow(&self, _: &Config, _: Change, _: &mut Supervisor) {}
}

/// Starts nothing.
#[allow(clippy::unused_async)]
pub(crate) async fn start(_: &mut Wiring, _: &Vitals) -> Result<OpcuaServer, StartError> {
    Ok(OpcuaServer::default())
}
