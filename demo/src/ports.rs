//! The demo's ports.

use anyhow::Context as _;
use tokio::net::TcpListener;

/// Seven ports in a row, or any.
pub(crate) struct Ports {
    pub(crate) http: u16,
    pub(crate) ingress: u16,
    pub(crate) gateway: u16,
    pub(crate) mqtt: u16,
    pub(crate) modbus: u16,
    pub(crate) oven: u16,
    pub(crate) opcua: u16,
}

impl Ports {
    pub(crate) fn from(base: u16) -> anyhow::Result<Self> {
        let port = |n| match base {
            0 => Ok(0),
            base => base.checked_add(n).context("--port-base is too high: seven ports are needed"),
        };
        Ok(Self {
            http: port(0)?,
            ingress: port(1)?,
            gateway: port(2)?,
            mqtt: port(3)?,
            modbus: port(4)?,
            oven: port(5)?,
            opcua: port(6)?,
        })
    }

    /// Tells a busy port before anything else starts; those of PLC and oven are listened to already.
    pub(crate) async fn check(&self) -> anyhow::Result<()> {
        let named = [
            (self.http, "the page"),
            (self.ingress, "the uplink"),
            (self.gateway, "the gateway"),
            (self.mqtt, "MQTT"),
            (self.opcua, "OPC UA"),
        ];
        for (port, what) in named {
            drop(listen(port, what).await?);
        }
        Ok(())
    }
}

pub(crate) async fn listen(port: u16, what: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(("127.0.0.1", port)).await.map_err(|error| {
        anyhow::anyhow!("port {port} for {what} cannot be used ({error}): is another demo running? Choose other ports with --port-base")
    })
}
