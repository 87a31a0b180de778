//! Puts the parts together, starts them, and ends them.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cloud_api::accounts::{self, AccountError};
use cloud_api::commands::{self, Commands};
use cloud_api::{Context, Metrics};
use cloud_core::{Authority, Storage, StoreError};
use cloud_ingest::Ingress;
use cloud_live::Live;
use cloud_store::{Place, Store};
use common::addresses::AddressFile;
use common::supervise::{Backoff, PartState, Parts, Supervisor};
use common::{Clock, Drain, Opening};
use tokio::task::JoinHandle;

use crate::compaction::Compaction;
use crate::config::Config;
use crate::joint::Joint;
use crate::rollout::Rollouts;
use crate::{enrol, http, news, restore, ui};

/// How long parts may take to end.
const FINISH: Duration = Duration::from_millis(1700);
/// HTTP connections beside those of live clients.
const CONNECTIONS: usize = 2048;
/// The database, in the data folder, where none is named.
const DATABASE: &str = "cloud.db";
/// What was revoked, in the data folder, wherever the database is.
const REVOCATIONS: &str = "revocations.jsonl";

/// Why the cloud does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder cannot be had.
    #[error("data folder {}", path.display())]
    DataDir {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What the section of the database names cannot be had.
    #[error("store.{key}: {message}")]
    StoreSection {
        /// Its key.
        key: &'static str,
        /// Why.
        message: String,
    },
    /// The database cannot be opened or read.
    #[error("storage")]
    Storage(#[source] StoreError),
    /// A part of the database that all need cannot be read.
    #[error(
        "the database is damaged. See to the disk; then put a backup in its place with `twinway-cloud restore --from FILE --replace`, and \
         gateways send again what they still have of the time since"
    )]
    Damaged(#[source] StoreError),
    /// The first account cannot be made.
    #[error("account")]
    Account(#[from] AccountError),
    /// The address of page and API is taken or not ours.
    #[error("cannot listen on {listen}")]
    Http {
        /// The address.
        listen: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The ingress cannot be had.
    #[error("ingress")]
    Ingress(#[from] cloud_ingest::Error),
    /// The authority, or the ingress's own certificate, cannot be had.
    #[error("authority")]
    Authority(#[from] cloud_authority::Error),
    /// A thread was cut off.
    #[error("interrupted")]
    Interrupted,
}

impl From<StoreError> for StartError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Damaged { .. } => Self::Damaged(error),
            other => Self::Storage(other),
        }
    }
}

impl StartError {
    /// Whether the configuration, or what it names, is at fault: starting again would not help.
    pub fn is_config(&self) -> bool {
        matches!(
            self,
            Self::Ingress(cloud_ingest::Error::Pem { .. } | cloud_ingest::Error::Tls(_))
                | Self::Authority(
                    cloud_authority::Error::Gone { .. } | cloud_authority::Error::Damaged { .. }
                )
        )
    }
}

/// The cloud.
pub struct Cloud;

/// A running cloud.
pub struct Handle {
    http: SocketAddr,
    ingress: SocketAddr,
    first_run_password: Option<String>,
    data_dir: PathBuf,
    storage: Arc<dyn Storage>,
    clock: Clock,
    parts: Parts,
    ended: JoinHandle<Vec<String>>,
}

impl Cloud {
    /// Restores the state, then listens; `opening` tells that it goes on where that takes long. It runs until `drain` starts;
    /// then `Handle::finished` returns within two seconds, with everything that was acknowledged on disk.
    ///
    /// # Errors
    /// When a folder, file or address cannot be had. Nothing runs then.
    pub async fn start(config: Config, drain: Drain, opening: &Opening) -> Result<Handle, StartError> {
        let clock = Clock::system();
        let store = open(&config, &clock, opening).await?;
        let storage: Arc<dyn Storage> = store.clone();
        let (world, gateways) = restore::restore(&*store).await?;
        let listen = config.http.listen;
        let failed = |source| StartError::Http { listen, source };
        let listener = http::bind(listen).map_err(failed)?;
        let http_addr = listener.local_addr().map_err(failed)?;

        let live_options = cloud_live::Options {
            default_hz: config.live.default_hz,
            queue: config.live.max_events,
            ..Default::default()
        };
        let live = Live::new(world.clone(), clock.clone(), live_options);
        let (tell, news) = news::queue(live.metrics().lost);
        let authority = enrol::authority(&config, &clock, store.enrolled().await?)?;
        let sink = Arc::new(Joint::new(world.clone(), live.clone(), tell));
        let parts = cloud_ingest::Parts {
            storage: storage.clone(),
            world: world.clone(),
            sink: sink.clone(),
            clock: clock.clone(),
            metrics: cloud_ingest::Metrics::default(),
            gateways,
            authority: authority.clone().map(|a| a as Arc<dyn Authority>),
        };
        let ingress_metrics = parts.metrics.clone();
        let options = ingress_options(&config);
        let most_samples = options.waiting_samples;
        let (ingress, ingress_addr) = Ingress::bind(options, parts).await?;
        if let Some(authority) = &authority
            && let Some(url) = enrol::url(&config.ingress, ingress_addr)
        {
            authority.serve_at(url);
        }
        let ingress = Arc::new(ingress);
        let waiting = {
            let store = Arc::downgrade(&store);
            let waiting = |s: Arc<Store>| (s.uncompacted_frames(), s.uncompacted_bytes());
            Arc::new(move || store.upgrade().map_or((0, 0), waiting))
        };
        let compaction = Compaction::new(storage.clone(), config.history.clone(), waiting, most_samples);
        drop(store);

        // After everything that may fail: a password that nobody is told is lost.
        let first_run_password = accounts::create_first_admin(&*storage, &clock).await?;
        let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
        metrics.register(|registry| {
            ingress_metrics.register(registry);
            live.metrics().register(registry);
            compaction.register(registry);
        });
        let commands = Commands::new(commands::Parts {
            storage: storage.clone(),
            world: world.clone(),
            downlink: Arc::new(ingress.handle()),
            live: Arc::new(live.clone()),
            clock: clock.clone(),
            tenant: config.cloud.tenant.clone(),
            metrics: metrics.clone(),
        });
        let rollout_downlink = Arc::new(ingress.handle());
        let mut supervisor = Supervisor::new(clock.clone(), drain.clone(), Backoff::default());
        let statuses = supervisor.parts();
        let router = cloud_api::router(Context {
            storage: storage.clone(),
            world,
            live: live.clone(),
            downlink: Arc::new(ingress.handle()),
            authority: authority.clone().map(|a| a as Arc<dyn Authority>),
            commands: commands.clone(),
            clock: clock.clone(),
            ui: ui::files(),
            metrics,
            options: api_options(&config),
            readiness: readiness(statuses.clone()),
            drain: drain.clone(),
        });

        supervisor.spawn("live", move |drain| {
            let live = live.clone();
            async move {
                live.run(drain).await;
                Ok(())
            }
        });
        supervisor.spawn("ingress", move |drain| {
            let ingress = ingress.clone();
            async move {
                ingress.run(drain).await;
                Ok(())
            }
        });
        let news_commands = commands.clone();
        supervisor.spawn("news", move |drain| {
            let (news, commands) = (news.clone(), news_commands.clone());
            async move {
                news.run(commands, drain).await;
                Ok(())
            }
        });
        supervisor.spawn("commands", move |drain| {
            let commands = commands.clone();
            async move {
                commands.run(drain).await;
                Ok(())
            }
        });
        let rollouts = Rollouts {
            storage: storage.clone(),
            downlink: rollout_downlink,
            sink,
            clock: clock.clone(),
            tenant: config.cloud.tenant.clone(),
        };
        supervisor.spawn("rollout", move |drain| {
            let rollouts = rollouts.clone();
            async move { Ok(rollouts.run(drain).await?) }
        });
        supervisor.spawn("compaction", move |drain| {
            let compaction = compaction.clone();
            async move { Ok(compaction.run(drain).await?) }
        });
        if let Some(authority) = authority.filter(|_| enrol::is_own(&config)) {
            let (names, clock) = (config.ingress.names.clone(), clock.clone());
            supervisor.spawn("authority", move |drain| {
                let (authority, names, clock) = (authority.clone(), names.clone(), clock.clone());
                async move { Ok(enrol::renew(authority, names, clock, drain).await?) }
            });
        }
        let connections = config.live.max_clients.saturating_add(CONNECTIONS);
        supervisor.spawn("http", move |drain| {
            let (listener, router) = (listener.try_clone(), router.clone());
            async move { Ok(http::run(listener?, router, connections, drain).await?) }
        });
        let ended = tokio::spawn(async move {
            drain.started().await;
            supervisor.finish(FINISH).await
        });
        tracing::info!(http = %http_addr, ingress = %ingress_addr, "cloud started");
        Ok(Handle {
            http: http_addr,
            ingress: ingress_addr,
            first_run_password,
            data_dir: config.cloud.data_dir,
            storage,
            clock,
            parts: statuses,
            ended,
        })
    }
}

impl Handle {
    /// Where page and API are.
    pub fn http_addr(&self) -> SocketAddr {
        self.http
    }

    /// Where gateways connect to.
    pub fn ingress_addr(&self) -> SocketAddr {
        self.ingress
    }

    /// The admin's password, if this start made the account. It is kept nowhere else.
    pub fn first_run_password(&self) -> Option<&str> {
        self.first_run_password.as_deref()
    }

    /// How the parts fare.
    pub fn parts(&self) -> Parts {
        self.parts.clone()
    }

    /// Gives the admin a new random password and ends its sessions.
    ///
    /// # Errors
    /// When storage refuses.
    pub async fn reset_admin_password(&self) -> Result<String, AccountError> {
        accounts::reset_password(&*self.storage, &self.clock, accounts::ADMIN).await
    }

    /// Writes both addresses to `addresses.json` in the data folder, for programs that started this one on free
    /// ports.
    pub fn write_addresses(&self) {
        let json = serde_json::json!({ "http": self.http, "ingress": self.ingress });
        AddressFile::new(&self.data_dir).write(&json);
    }

    /// Waits until all has ended after a drain. Names the parts that were cut off.
    pub async fn finished(self) -> Vec<String> {
        let late = self.ended.await.unwrap_or_default();
        if !late.is_empty() {
            tracing::warn!(?late, "parts did not end in time and were cut off");
        }
        late
    }
}

/// Gives an account a new random password while the cloud does not run.
///
/// # Errors
/// When the database is in use, or has no such account.
pub async fn reset_password(config: &Config, user: &str) -> Result<String, StartError> {
    let clock = Clock::system();
    let store = open(config, &clock, &Opening::default()).await?;
    Ok(accounts::reset_password(&*store, &clock, user).await?)
}

pub(crate) async fn open(
    config: &Config,
    clock: &Clock,
    opening: &Opening,
) -> Result<Arc<Store>, StartError> {
    let path = &config.cloud.data_dir;
    make_private(path).map_err(|source| StartError::DataDir { path: path.clone(), source })?;
    let place = place(config)?;
    let mut options = cloud_store::Options::at(place);
    options.retention = config.history.retention();
    options.chunk_rows = config.history.chunk_samples;
    options.revocations = Some(revocations(config));
    options.opening = opening.clone();
    let clock = clock.clone();
    let opened = tokio::task::spawn_blocking(move || Store::open(options, clock));
    Ok(opened.await.map_err(|_| StartError::Interrupted)??)
}

/// Where it stands what was revoked.
pub fn revocations(config: &Config) -> PathBuf {
    config.cloud.data_dir.join(REVOCATIONS)
}

/// Where the database is.
///
/// # Errors
/// When `[store]` names what cannot be read.
pub fn place(config: &Config) -> Result<Place, StartError> {
    match config.store.server() {
        Ok(Some(server)) => Ok(Place::Postgres(server)),
        Ok(None) => Ok(Place::Sqlite(config.cloud.data_dir.join(DATABASE))),
        Err((key, message)) => Err(StartError::StoreSection { key, message }),
    }
}

/// The folder holds hashes of secrets: nobody else reads it. Its name is durable, so that a loss of power does not
/// take it with all that the database has synced.
fn make_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let absent = path.ancestors().filter(|p| !p.as_os_str().is_empty()).take_while(|p| !p.exists()).count();
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let above =
        |p: &Path| p.parent().filter(|a| !a.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
    let sync = |p: &Path| std::fs::File::open(above(p))?.sync_all();
    for made in path.ancestors().take(absent) {
        sync(made)?;
    }
    if absent == 0 {
        // Made by a start that did not come to this, or by somebody else in a folder that we may not read.
        let _ = sync(path);
    }
    Ok(())
}

fn ingress_options(config: &Config) -> cloud_ingest::Options {
    let ingress = &config.ingress;
    cloud_ingest::Options {
        tls: enrol::tls(config),
        max_connections: ingress.max_connections,
        replace_after: Duration::from_secs(ingress.replace_after_h.saturating_mul(3600)),
        ..cloud_ingest::Options::new(ingress.listen)
    }
}

fn api_options(config: &Config) -> cloud_api::Options {
    cloud_api::Options {
        tenant: config.cloud.tenant.clone(),
        hosts: config.http.hosts.clone(),
        https: config.http.https,
        session_ttl: Duration::from_secs(u64::from(config.http.session_hours) * 3600),
        live_clients: config.live.max_clients,
    }
}

fn readiness(parts: Parts) -> cloud_api::Readiness {
    Arc::new(move || match parts.list().iter().find(|p| p.state != PartState::Running) {
        None => Ok(()),
        Some(part) => Err(format!("{} is {:?}", part.name, part.state).to_lowercase()),
    })
}
