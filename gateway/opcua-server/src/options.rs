//! What the server is made with.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use common::api::Role;
use common::{Clock, GatewayId, TenantId};
use gateway_core::{AlarmDesk, Bus, Current, DropCounts, FrameLog, Health, History, Orders, Points};
use gateway_opcua::pki::Application;

/// A security policy that is offered, for signed and for encrypted sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Policy {
    /// RSA-OAEP, AES-256, SHA-256
    Basic256Sha256,
    /// RSA-OAEP, AES-128, SHA-256
    Aes128Sha256RsaOaep,
    /// RSA-OAEP with SHA-256, AES-256, PSS
    Aes256Sha256RsaPss,
}

impl Policy {
    /// All, the strongest last.
    pub const ALL: [Self; 3] = [Self::Aes128Sha256RsaOaep, Self::Basic256Sha256, Self::Aes256Sha256RsaPss];

    /// As the standard names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Basic256Sha256 => "Basic256Sha256",
            Self::Aes128Sha256RsaOaep => "Aes128_Sha256_RsaOaep",
            Self::Aes256Sha256RsaPss => "Aes256_Sha256_RsaPss",
        }
    }
}

/// What clients may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// Sessions at a time.
    pub sessions: usize,
    /// Subscriptions of one session.
    pub subscriptions: usize,
    /// Monitored items of one subscription.
    pub items: usize,
    /// Monitored items of all.
    pub items_total: usize,
    /// Values that wait for one monitored item.
    pub queue: usize,
    /// Largest message, bytes.
    pub message: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 100,
            sessions: 50,
            subscriptions: 20,
            items: 20_000,
            items_total: 200_000,
            queue: 1000,
            message: 4 << 20,
        }
    }
}

/// Options of the server.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Name or address that clients find it by; the first goes into endpoint addresses.
    pub hosts: Vec<String>,
    /// The gateway.
    pub gateway: GatewayId,
    /// Its tenant.
    pub tenant: TenantId,
    /// Folder of certificates.
    pub pki: PathBuf,
    /// Policies for signed and encrypted sessions.
    pub policies: Vec<Policy>,
    /// Whether `Sign` is offered beside `SignAndEncrypt`.
    pub sign_only: bool,
    /// Whether anybody may read, without certificate, encryption or name.
    pub anonymous: bool,
    /// Whether users may sign in with certificates.
    pub user_certificates: bool,
    /// What clients may have.
    pub limits: Limits,
    /// Version of the program.
    pub version: String,
}

impl Options {
    /// The application's name in the world, and that of its namespace.
    pub fn uri(&self) -> String {
        Application::gateway(&self.tenant, &self.gateway, Vec::new()).uri
    }

    /// The namespace of devices and points.
    pub fn namespace(&self) -> String {
        namespace(&self.tenant, &self.gateway)
    }
}

/// The namespace of a gateway's devices and points: the same for ever.
pub fn namespace(tenant: &TenantId, gateway: &GatewayId) -> String {
    format!("{}:devices", Application::gateway(tenant, gateway, Vec::new()).uri)
}

/// Who may come in: the users of the box.
#[async_trait]
pub trait SignIn: Send + Sync {
    /// The role of a user with the right password.
    async fn sign_in(&self, user: &str, password: &str) -> Option<Role>;

    /// The role of a user whose certificate is trusted.
    fn role_of(&self, user: &str) -> Role;
}

/// What identifies a device, under the names of DI (part 100, 4.5.3). None: nothing is said, and no node is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identification {
    /// `Manufacturer`
    pub manufacturer: Option<String>,
    /// `Model`
    pub model: Option<String>,
    /// `ProductCode`
    pub product_code: Option<String>,
    /// `HardwareRevision`
    pub hardware_revision: Option<String>,
    /// `SoftwareRevision`
    pub software_revision: Option<String>,
    /// `SerialNumber`
    pub serial_number: Option<String>,
    /// `DeviceManual`: an address
    pub device_manual: Option<String>,
}

/// What the configuration says of a device besides its points.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nameplate {
    /// The template that it is made from.
    pub template: Option<String>,
    /// What identifies it.
    pub identification: Identification,
}

/// Nameplates by names of devices; one that says nothing may be left out.
pub type Nameplates = HashMap<String, Nameplate>;

/// The nameplates of the configuration that runs. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct CurrentNameplates(Arc<RwLock<Arc<Nameplates>>>);

impl CurrentNameplates {
    /// Those of a configuration. Set before the bus goes over to it. The same again are those of before.
    pub fn set(&self, of: Nameplates) {
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if **held != of {
            *held = Arc::new(of);
        }
    }

    /// Those of now.
    pub fn now(&self) -> Arc<Nameplates> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The parts of the gateway that the server shows. Cheap to clone.
#[derive(Clone)]
pub struct Parts {
    /// Points of now.
    pub points: Points,
    /// Their values.
    pub current: Current,
    /// Their changes.
    pub bus: Bus,
    /// How devices fare.
    pub health: Health,
    /// The way to write.
    pub orders: Arc<dyn Orders>,
    /// What the buffer still has.
    pub history: Arc<dyn History>,
    /// Alarms.
    pub alarms: Arc<dyn AlarmDesk>,
    /// Users.
    pub sign_in: Arc<dyn SignIn>,
    /// Where it is told who came in.
    pub log: Arc<dyn FrameLog>,
    /// Nameplates of devices.
    pub nameplates: CurrentNameplates,
    /// Drops.
    pub drops: DropCounts,
    /// Time.
    pub clock: Clock,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_nameplates_again_are_those_of_before() {
        let current = CurrentNameplates::default();
        let of = |template: &str| {
            let plate = Nameplate { template: Some(template.to_owned()), ..Nameplate::default() };
            Nameplates::from([("oven".to_owned(), plate)])
        };
        current.set(of("a"));
        let first = current.now();
        current.set(of("a"));
        assert!(Arc::ptr_eq(&first, &current.now()));
        current.set(of("b"));
        assert_eq!(*current.now(), of("b"));
    }
}
