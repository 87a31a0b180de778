//! What the API is given by the service: the parts it speaks to and its options. No part is made here.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use cloud_core::{Authority, Downlink, GatewayKey, Storage, World};
use cloud_live::Live;
use common::command::{LogEntry, Severity};
use common::{Clock, Drain, GatewayId, TenantId};
use tokio::sync::{Mutex, Semaphore, watch};

use crate::auth::{Hasher, Limiter};
use crate::commands::Commands;
use crate::error::ApiError;
use crate::metrics::Metrics;

/// Exports at a time.
const EXPORTS: usize = 4;
/// Blocks of waveforms that are made into answers at a time: each may take 100 MB.
const BLOCKS: usize = 4;

/// One file of the page.
#[derive(Debug, Clone)]
pub struct UiAsset {
    /// The file.
    pub body: Bytes,
    /// The same, compressed with brotli.
    pub brotli: Option<Bytes>,
    /// Its media type.
    pub content_type: &'static str,
    /// Whether its name changes with its content, so that it may be kept for ever.
    pub immutable: bool,
}

/// Finds a file of the page by its path without a leading `/`; the page itself is `index.html`.
pub type Ui = Arc<dyn Fn(&str) -> Option<UiAsset> + Send + Sync>;

/// Whether the service is ready; else why not.
pub type Readiness = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Options of the API.
#[derive(Debug, Clone)]
pub struct Options {
    /// Tenant of all gateways.
    pub tenant: TenantId,
    /// Names under which the service is reached, beside loopback. A port in a name is not looked at.
    pub hosts: Vec<String>,
    /// Whether browsers reach it over https: the cookie is then `Secure`.
    pub https: bool,
    /// How long a session lasts.
    pub session_ttl: Duration,
    /// How many live clients there may be.
    pub live_clients: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tenant: TenantId::default(),
            hosts: Vec::new(),
            https: false,
            session_ttl: Duration::from_secs(12 * 3600),
            live_clients: 1_000,
        }
    }
}

/// Everything that the API speaks to.
pub struct Context {
    /// Storage.
    pub storage: Arc<dyn Storage>,
    /// Live state of the twins.
    pub world: World,
    /// Live channel.
    pub live: Live,
    /// Way to gateways.
    pub downlink: Arc<dyn Downlink>,
    /// Issues certificates to boxes; none: no box enrols.
    pub authority: Option<Arc<dyn Authority>>,
    /// Command path; the service feeds it with what gateways tell.
    pub commands: Commands,
    /// Time.
    pub clock: Clock,
    /// Files of the page.
    pub ui: Ui,
    /// Metrics.
    pub metrics: Metrics,
    /// Options.
    pub options: Options,
    /// Whether the service is ready.
    pub readiness: Readiness,
    /// Ends live channels and long polls.
    pub drain: Drain,
}

/// The context with what the API keeps for itself. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Api(Arc<Inner>);

pub(crate) struct Inner {
    context: Context,
    /// Hashes passwords, a few at a time.
    pub(crate) hasher: Hasher,
    /// Slows down guessing.
    pub(crate) limiter: Limiter,
    /// Held over a check of accounts, keys or credentials and the change that rests on it.
    pub(crate) accounts: Mutex<()>,
    /// Held while a bundle is uploaded.
    pub(crate) uploads: Mutex<()>,
    /// One permit for each live client.
    pub(crate) live_clients: Arc<Semaphore>,
    /// One permit for each export at a time.
    pub(crate) exports: Arc<Semaphore>,
    /// One permit for each block of a waveform that is made into an answer.
    pub(crate) blocks: Arc<Semaphore>,
    /// Told when a session, account, password or key has ended: live channels look at theirs at once.
    pub(crate) revoked: watch::Sender<()>,
}

impl Api {
    pub(crate) fn new(context: Context) -> Self {
        let live_clients = Arc::new(Semaphore::new(context.options.live_clients));
        let limiter = Limiter::new(context.clock.clone());
        let (exports, blocks) = (Arc::new(Semaphore::new(EXPORTS)), Arc::new(Semaphore::new(BLOCKS)));
        let hasher = Hasher::default();
        let (accounts, uploads, revoked) = (Mutex::new(()), Mutex::new(()), watch::Sender::new(()));
        Self(Arc::new(Inner {
            context,
            hasher,
            limiter,
            accounts,
            uploads,
            live_clients,
            exports,
            blocks,
            revoked,
        }))
    }

    /// The key of a gateway of the tenant.
    pub(crate) fn gateway_key(&self, gateway: GatewayId) -> GatewayKey {
        GatewayKey { tenant: self.options.tenant.clone(), gateway }
    }

    /// Puts on record who did what. Called before the deed, so that nothing happens unrecorded.
    pub(crate) async fn audit(
        &self,
        actor: &str,
        action: &str,
        target: String,
        severity: Severity,
        detail: String,
    ) -> Result<(), ApiError> {
        let entry = LogEntry {
            at_us: self.clock.now_us(),
            actor: actor.to_owned(),
            action: action.to_owned(),
            target,
            twin: None,
            severity,
            code: None,
            detail,
        };
        Ok(self.storage.append_audit(&entry).await?)
    }
}

impl std::ops::Deref for Api {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl std::ops::Deref for Inner {
    type Target = Context;

    fn deref(&self) -> &Context {
        &self.context
    }
}
