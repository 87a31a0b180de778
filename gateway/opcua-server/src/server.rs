//! The server as a part of the gateway: bound once, started anew after a fault, drained at the end.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use common::supervise::PartError;
use common::{Clock, Drain};
use gateway_opcua::pki::{Application, Pki, PkiError};
use opcua::crypto::{SecurityPolicy, X509Data};
use opcua::server::diagnostics::DiagnosticsNodeManagerBuilder;
use opcua::server::node_manager::ServerContext;
use opcua::server::node_manager::memory::{CoreNodeManagerBuilder, InMemoryNodeManagerBuilder};
use opcua::server::{
    Limits as ServerLimits, ServerBuilder, ServerConfig, ServerEndpoint, ServerHandle, TcpConfig,
};
use opcua::types::MessageSecurityMode;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Duration, timeout};

use crate::auth::Auth;
use crate::gate::Gate;
use crate::manager::{Manager, Shared};
use crate::options::{Options, Parts, Policy};
use crate::pump;
use crate::users::Seen;

/// How long the server may take to tell its clients that it ends.
const END_WITHIN: Duration = Duration::from_millis(500);

/// Why it cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address.
    #[error("cannot listen on {at}")]
    Bind {
        /// Where.
        at: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The folders of certificates.
    #[error("certificates")]
    Pki(#[from] PkiError),
}

/// Why it ended.
#[derive(Debug, thiserror::Error)]
#[error("opc ua server: {detail}")]
struct Ended {
    detail: String,
}

/// The server, bound.
pub struct Server {
    options: Options,
    parts: Parts,
    listener: Arc<TcpListener>,
    pki: Pki,
}

/// What others see of it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    options: Arc<Options>,
    local_addr: SocketAddr,
    listener: Arc<TcpListener>,
    pki: Pki,
}

impl Handle {
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// What it was made with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Its certificates, and those of its clients.
    pub fn pki(&self) -> &Pki {
        &self.pki
    }
}

impl Server {
    /// Binds the address, or takes it over from the server `before`, which must not run any more when this one does;
    /// nothing is served yet.
    ///
    /// # Errors
    /// When the address is taken, or the folders of certificates cannot be made.
    pub async fn bind(
        options: Options,
        parts: Parts,
        before: Option<&Handle>,
    ) -> Result<(Self, Handle), Error> {
        let at = options.listen;
        let bind = |source| Error::Bind { at, source };
        let listener = match before.filter(|b| b.options.listen == at) {
            Some(before) => before.listener.clone(),
            None => Arc::new(TcpListener::bind(at).await.map_err(bind)?),
        };
        let local_addr = listener.local_addr().map_err(bind)?;
        let pki = Pki::open(&options.pki)?;
        let (kept, listened) = (Arc::new(options.clone()), listener.clone());
        let handle = Handle { options: kept, local_addr, listener: listened, pki: pki.clone() };
        Ok((Self { options, parts, listener, pki }, handle))
    }

    /// Serves until drained.
    ///
    /// # Errors
    /// When the certificate cannot be made, or the server itself fails.
    pub async fn run(&self, drain: Drain) -> Result<(), PartError> {
        let (pki, application, clock) =
            (self.pki.clone(), application(&self.options), self.parts.clock.clone());
        let own = tokio::task::spawn_blocking(move || pki.own(&application, clock.now_us())).await??;
        if let Some(why) = own.made {
            let fingerprint = own.certificate.fingerprint();
            tracing::info!(why, fingerprint, "made the certificate that OPC UA clients see");
        }
        let admitted = self.admitted().await?;
        let behind = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let inner = behind.local_addr()?;
        let outer = self.listener.local_addr()?;
        let seen = Seen::default();
        let (server, handle, shared) = self.build(&admitted, &seen)?;
        seen.watch(&handle);
        let serving = tokio::spawn(server.run_with(behind));
        show_port(&handle, outer.port(), &serving).await;
        let gate = Gate::new(self.pki.clone(), admitted, &self.options, &self.parts.drops, self.clock());
        tracing::info!(address = %outer, "OPC UA server listens");
        let ended = {
            let mut serving = serving;
            let ended = tokio::select! {
                () = gate.run(&self.listener, inner, &drain) => None,
                () = pump::run(shared, handle.clone(), drain.clone()) => None,
                ended = &mut serving => Some(ended),
            };
            handle.cancel();
            if ended.is_none() && timeout(END_WITHIN, &mut serving).await.is_err() {
                serving.abort();
            }
            ended
        };
        match ended {
            None if drain.is_started() => Ok(()),
            None => Err(Box::new(Ended { detail: "the bus is gone".to_owned() })),
            Some(Ok(Ok(()))) => Err(Box::new(Ended { detail: "it stopped".to_owned() })),
            Some(Ok(Err(detail))) => Err(Box::new(Ended { detail })),
            Some(Err(error)) => Err(Box::new(Ended { detail: error.to_string() })),
        }
    }

    fn clock(&self) -> Clock {
        self.parts.clock.clone()
    }

    /// An empty folder for the certificates of the clients of this run.
    async fn admitted(&self) -> Result<PathBuf, PartError> {
        let path = self.pki.root().join("admitted");
        let made = path.clone();
        tokio::task::spawn_blocking(move || {
            if made.exists() {
                std::fs::remove_dir_all(&made)?;
            }
            std::fs::create_dir_all(made.join("trusted"))?;
            std::fs::create_dir_all(made.join("rejected"))
        })
        .await??;
        Ok(path)
    }

    fn build(
        &self,
        admitted: &std::path::Path,
        seen: &Seen,
    ) -> Result<(opcua::server::Server, ServerHandle, Arc<Shared>), PartError> {
        let shared = Arc::new(OnceLock::new());
        let (parts, options, out) = (self.parts.clone(), self.options.clone(), shared.clone());
        let manager = move |context: ServerContext| Manager::new(&context, parts, options, &out);
        let auth = Auth {
            sign_in: self.parts.sign_in.clone(),
            anonymous: self.options.anonymous,
            certificates: self.options.user_certificates.then(|| (self.pki.clone(), seen.clone())),
            log: self.parts.log.clone(),
            clock: self.clock(),
        };
        // Ours first: it answers for some methods of the standard's types.
        let builder = ServerBuilder::from_config(self.config(admitted))
            .without_node_managers()
            .with_node_manager(manager)
            .with_node_manager(InMemoryNodeManagerBuilder::new(CoreNodeManagerBuilder))
            .with_node_manager(DiagnosticsNodeManagerBuilder)
            .with_authenticator(Arc::new(auth));
        let told = |detail: &str| -> PartError { Box::new(Ended { detail: detail.to_owned() }) };
        let (server, handle) = builder.build().map_err(|e| told(&e))?;
        let shared = shared.get().cloned().ok_or_else(|| told("no node manager was made"))?;
        Ok((server, handle, shared))
    }

    fn config(&self, admitted: &std::path::Path) -> ServerConfig {
        let o = &self.options;
        let host = host(o);
        let url = format!("opc.tcp://{host}:{}/", self.listener.local_addr().map_or(4840, |a| a.port()));
        let mut config = ServerConfig {
            application_name: format!("Twinway gateway {}", o.gateway),
            application_uri: o.uri(),
            product_uri: "urn:twinway:gateway".to_owned(),
            create_sample_keypair: false,
            certificate_path: Some(self.pki.own_certificate_path()),
            private_key_path: Some(self.pki.own_key_path()),
            pki_dir: admitted.to_owned(),
            tcp_config: TcpConfig { hello_timeout: 10, host, port: o.listen.port() },
            discovery_urls: vec![url],
            discovery_server_url: None,
            endpoints: endpoints(o),
            limits: limits(o),
            subscription_poll_interval_ms: 20,
            max_timeout_ms: 60_000,
            max_session_timeout_ms: 300_000,
            diagnostics: true,
            ..ServerConfig::default()
        };
        config.certificate_validation.trust_client_certs = false;
        config
    }
}

/// Whom the server's certificate names.
fn application(options: &Options) -> Application {
    let mut hosts = options.hosts.clone();
    if !options.listen.ip().is_unspecified() {
        hosts.push(options.listen.ip().to_string());
    }
    Application::gateway(&options.tenant, &options.gateway, hosts)
}

/// How endpoints are named: as configured, else as the machine is.
fn host(options: &Options) -> String {
    let bracketed = |host: &String| if host.contains(':') { format!("[{host}]") } else { host.clone() };
    let configured = options.hosts.first().map(bracketed);
    let listened =
        (!options.listen.ip().is_unspecified()).then(|| bracketed(&options.listen.ip().to_string()));
    let machine = || X509Data::computer_hostnames().into_iter().next();
    configured.or(listened).or_else(machine).unwrap_or_else(|| "localhost".to_owned())
}

fn endpoints(options: &Options) -> BTreeMap<String, ServerEndpoint> {
    let mut all = BTreeMap::new();
    for policy in &options.policies {
        let crate_policy = match policy {
            Policy::Basic256Sha256 => SecurityPolicy::Basic256Sha256,
            Policy::Aes128Sha256RsaOaep => SecurityPolicy::Aes128Sha256RsaOaep,
            Policy::Aes256Sha256RsaPss => SecurityPolicy::Aes256Sha256RsaPss,
        };
        let modes = [MessageSecurityMode::SignAndEncrypt, MessageSecurityMode::Sign];
        for mode in modes.into_iter().take(if options.sign_only { 2 } else { 1 }) {
            let name = format!("{} {mode:?}", policy.name());
            all.insert(name, ServerEndpoint::new("/", crate_policy, mode, &[]));
        }
    }
    if options.anonymous {
        all.insert("None".to_owned(), ServerEndpoint::new_none("/", &["ANONYMOUS".to_owned()]));
    }
    all
}

fn limits(options: &Options) -> ServerLimits {
    let of = &options.limits;
    let mut limits = ServerLimits {
        max_array_length: 100_000,
        max_string_length: 65_536,
        max_byte_string_length: 1 << 20,
        max_message_size: of.message,
        max_chunk_count: of.message.div_ceil(8192),
        max_browse_continuation_points: 100,
        max_history_continuation_points: 100,
        max_sessions: of.sessions,
        ..ServerLimits::default()
    };
    limits.subscriptions.max_subscriptions_per_session = of.subscriptions;
    limits.subscriptions.max_monitored_items_per_sub = of.items;
    limits.subscriptions.max_monitored_item_queue_size = of.queue;
    limits.subscriptions.min_sampling_interval_ms = 0.0;
    limits.subscriptions.min_publishing_interval_ms = 50.0;
    limits.subscriptions.max_pending_publish_requests = 100;
    limits.subscriptions.max_publish_requests_per_subscription = 20;
    limits.subscriptions.max_notifications_per_publish = 1000;
    limits.subscriptions.max_queued_notifications = 1000;
    limits.operational.max_nodes_per_translate_browse_paths_to_node_ids = 1000;
    limits.operational.max_monitored_items_per_call = 10_000;
    limits.operational.max_subscriptions_per_call = of.subscriptions.max(1);
    limits
}

/// Endpoints name the port of the gate, not the one behind it.
async fn show_port(handle: &ServerHandle, port: u16, serving: &JoinHandle<Result<(), String>>) {
    while handle.info().port.load(Ordering::Relaxed) == 0 && !serving.is_finished() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    handle.info().port.store(port, Ordering::Relaxed);
}
