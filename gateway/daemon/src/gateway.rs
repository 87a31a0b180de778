//! Wires the parts: what is started in which order, and what is drained in which. Nothing here decides anything
//! about samples or commands.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use common::api::{ConfigView, ReloadReport};
use common::command::{LogEntry, Severity};
use common::names::action;
use common::wire::Body;
use common::{Clock, Drain};
use gateway_core::FrameLog;
use gateway_store::Store;
use gateway_sync::Uplink;
use tokio::sync::watch;

use crate::VERSION;
use crate::api::{self, Admission, Api, Endpoints, Shown};
use crate::config::Config;
use crate::opcua;
use crate::options::{store_options, uplink_options};
#[cfg(feature = "publish")]
use crate::publishing;
use crate::pushed::Pushed;
use crate::recorder::Recorder;
use crate::reload::{Made, Reload, ReloadError, Running};
use crate::stages::{Stage, Stages};
use crate::starting::Starting;
use crate::starts;
use crate::unknown;
use crate::vitals::Vitals;
use crate::wiring::Wiring;

/// Name of the uplink's part.
pub(crate) const UPLINK: &str = "uplink";

/// Why the gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The broker's address.
    #[error("broker")]
    Broker(#[source] gateway_broker::Error),
    /// The API's address or socket.
    #[error("api cannot listen on {at}")]
    Api {
        /// Address or path.
        at: String,
        /// Why.
        source: std::io::Error,
    },
    /// The buffer.
    #[error("buffer")]
    Buffer(#[source] gateway_store::OpenError),
    /// A device's driver.
    #[error("device `{device}`: {detail}")]
    Device {
        /// Which.
        device: String,
        /// Why.
        detail: String,
    },
    /// The command path.
    #[error("control")]
    Control(#[source] gateway_control::Error),
    /// The OPC UA server's address or certificates.
    #[error("opc ua server: {detail}")]
    Opcua {
        /// Why.
        detail: String,
    },
    /// The program itself.
    #[error("start was interrupted: {detail}")]
    Interrupted {
        /// Why.
        detail: String,
    },
}

/// The gateway.
pub struct Gateway;

/// A running gateway. It ends when the drain that it was started with starts.
#[derive(Debug)]
pub struct Handle {
    api_addr: SocketAddr,
    socket_path: Option<PathBuf>,
    broker: Option<crate::broker::Handle>,
    opcua: opcua::Served,
    finished: watch::Receiver<Option<Vec<String>>>,
    reload: Reload,
    vitals: Arc<Vitals>,
    data_dir: PathBuf,
    pushed: Arc<Pushed>,
}

impl Handle {
    /// Where the API listens.
    pub fn api_addr(&self) -> SocketAddr {
        self.api_addr
    }

    /// Its Unix socket, if any.
    pub fn socket_path(&self) -> Option<&Path> {
        self.socket_path.as_deref()
    }

    /// Where the embedded broker listens, if it runs.
    pub fn broker_addr(&self) -> Option<SocketAddr> {
        self.broker.as_ref().map(crate::broker::Handle::local_addr)
    }

    /// Where the OPC UA server listens, if it runs.
    pub fn opcua_addr(&self) -> Option<SocketAddr> {
        self.opcua.addr()
    }

    /// Reads the configuration's files again and goes over to what they say; `by` is who asked.
    ///
    /// # Errors
    /// When the configuration is refused: the one that runs goes on.
    pub async fn reload(&self, by: &str) -> Result<ReloadReport, ReloadError> {
        self.reload.ask(by).await
    }

    /// What the gateway runs with.
    pub fn config(&self) -> ConfigView {
        self.reload.view()
    }

    /// Whether a device has given a good answer or message, or there is none.
    pub(crate) fn has_polled(&self) -> bool {
        self.vitals.has_polled()
    }

    /// Whether there is a session with the cloud.
    pub(crate) fn is_connected(&self) -> bool {
        self.vitals.uplink().is_some_and(|u| u.connected)
    }

    /// How the gateway fares, in a line.
    pub(crate) fn summary(&self) -> String {
        self.vitals.summary()
    }

    /// A loop of the field that should have turned by now, and how long ago.
    pub(crate) fn late_loop(&self) -> Option<(String, Duration)> {
        self.vitals.pulse.late()
    }

    /// Somebody ends the gateway: that its configuration has not proven itself yet is no failure.
    pub fn is_wanted_to_end(&self) {
        starts::forget(&self.data_dir);
        self.pushed.forget_starts();
    }

    /// Waits until everything has ended and is on disk; gives the names of parts that had to be cut off.
    pub async fn finished(&self) -> Vec<String> {
        let mut finished = self.finished.clone();
        match finished.wait_for(Option::is_some).await {
            Ok(late) => late.clone().unwrap_or_default(),
            Err(_) => vec!["gateway".to_owned()],
        }
    }
}

impl Gateway {
    /// Starts everything. The field is read before the buffer is open, so that the first value is there at once;
    /// its samples wait in their queue.
    ///
    /// # Errors
    /// When an address is taken, the buffer cannot be opened, or a device's configuration does not fit.
    pub async fn start(config: Config, drain: Drain) -> Result<Handle, StartError> {
        let starting = Starting::new(&config);
        Self::start_told(config, drain, &starting).await
    }

    /// The same; `starting` is told how it goes.
    ///
    /// # Errors
    /// As `start`.
    pub async fn start_told(config: Config, drain: Drain, starting: &Starting) -> Result<Handle, StartError> {
        // Another part of the process may have done it: one provider is as good as the other.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut wiring = Wiring::new(config);
        match Self::wire(&mut wiring, starting).await {
            Ok((handle, made, done)) => {
                tokio::spawn(Box::pin(Running::new(wiring, made).run(drain, done)));
                Ok(handle)
            }
            Err(error) => {
                wiring.stages.finish().await;
                Err(error)
            }
        }
    }

    async fn wire(wiring: &mut Wiring, starting: &Starting) -> Result<(Handle, Made, Done), StartError> {
        let listeners = api::bind(&wiring.config.api).await?;
        let broker = wiring.broker().await?;
        let opening = tokio::task::spawn_blocking({
            let mut options = store_options(&wiring.config);
            options.opening = starting.opening.clone();
            let clock = wiring.clock.clone();
            let registry = wiring.config.registry.clone();
            move || Store::open(options, clock, registry)
        });
        let (field, events, to_store) = wiring.field(broker.as_ref())?.split();
        let opened = opening.await.map_err(|e| StartError::Interrupted { detail: e.to_string() })?;
        let log = wiring.delivery(opened.map_err(StartError::Buffer)?, events, to_store, broker.as_ref());
        let control = wiring.control(field.writers, log.clone())?;
        let vitals = Arc::new(Vitals {
            clock: wiring.clock.clone(),
            points: wiring.points.clone(),
            log: log.clone(),
            control: control.clone(),
            alarms: wiring.alarms.clone(),
            uplink: RwLock::default(),
            unknown: OnceLock::new(),
            drops: wiring.drops.clone(),
            health: wiring.health.clone(),
            parts: wiring.stages.parts(),
            pulse: wiring.pulse.clone(),
        });
        start_uplink(wiring, &vitals);
        #[cfg(feature = "publish")]
        {
            let publishers = wiring.config.publish.clone();
            publishing::start(wiring, &vitals, broker.as_ref(), publishers);
        }
        let opcua = opcua::start(wiring, &vitals).await?;
        unknown::start(wiring, &vitals, broker.as_ref());

        let (config, (done, finished)) = (&wiring.config, watch::channel(None));
        let (reload, requests) = Reload::new(config, &wiring.clock);
        let handle = Handle {
            api_addr: listeners.addr(),
            socket_path: config.api.socket.clone(),
            broker: broker.clone(),
            opcua: opcua.served().clone(),
            finished,
            reload: reload.clone(),
            vitals: vitals.clone(),
            data_dir: config.data_dir.clone(),
            pushed: wiring.pushed.clone(),
        };
        let drain = wiring.stages.drain(Stage::Field);
        let (current, counts) = (wiring.current.clone(), field.counts);
        let admission = Admission::new(config);
        let endpoints = Endpoints::new(config);
        let shown = Shown {
            admission: admission.clone(),
            endpoints: endpoints.clone(),
            opcua: opcua.clone(),
            #[cfg(feature = "opcua-client")]
            opcua_client: field.drivers.opcua.clone(),
            reload: reload.clone(),
        };
        let api = Api::new(config, vitals.clone(), current, counts, broker, shown, drain);
        let socket = config.api.socket.clone();
        api::serve(listeners, socket, api, wiring.stages.supervisor(Stage::Field));
        tell(&log, &wiring.clock, action::GATEWAY_STARTED);
        let old = log.clone();
        tokio::task::spawn_blocking(move || old.load_old_entries());
        wiring.write_addresses(handle.api_addr, handle.broker_addr(), handle.opcua_addr());
        tracing::info!(gateway = %wiring.config.id, api = %handle.api_addr, "gateway started");
        wiring.updates.clone().start(wiring, log.clone());
        wiring.pushed.clone().start(wiring, (reload.clone(), log));
        let made = Made {
            drivers: field.drivers,
            switch: field.switch,
            broker: handle.broker.clone(),
            api_addr: handle.api_addr,
            vitals,
            admission,
            endpoints,
            opcua,
            reload,
            requests,
        };
        Ok((handle, made, done))
    }
}

pub(crate) type Done = watch::Sender<Option<Vec<String>>>;

/// Holds the session with the cloud, if there is one.
pub(crate) fn start_uplink(wiring: &mut Wiring, vitals: &Arc<Vitals>) {
    let Some(options) = uplink_options(&wiring.config) else {
        *vitals.uplink.write().unwrap_or_else(PoisonError::into_inner) = None;
        return;
    };
    let (log, orders, source) = (vitals.log.clone(), vitals.control.clone(), vitals.clone());
    let health = Arc::new(move || source.heartbeat());
    let uplink = Uplink::new(options, log, orders, wiring.clock.clone(), health);
    let uplink = uplink.with_alarms(vitals.alarms.clone()).with_configurations(wiring.pushed.clone());
    let uplink = Arc::new(uplink.with_updates(wiring.updates.clone()));
    *vitals.uplink.write().unwrap_or_else(PoisonError::into_inner) = Some(uplink.status());
    wiring.stages.supervisor(Stage::Field).spawn(UPLINK, move |drain| {
        let uplink = uplink.clone();
        async move { uplink.run(drain).await }
    });
}

/// Ends all parts in their order, and brings everything to disk.
pub(crate) async fn end(stages: Stages, log: Arc<Recorder>, clock: Clock, done: Done) {
    tell(&log, &clock, action::GATEWAY_STOPPED);
    let late = stages.finish().await;
    if tokio::task::spawn_blocking(move || log.store().close()).await.is_err() {
        tracing::error!("buffer was not closed");
    }
    if !late.is_empty() {
        tracing::warn!(parts = ?late, "parts were cut off");
    }
    tracing::info!("gateway stopped");
    done.send_replace(Some(late));
}

fn tell(log: &Recorder, clock: &Clock, action: &str) {
    let entry = LogEntry {
        at_us: clock.now_us(),
        actor: "system".to_owned(),
        action: action.to_owned(),
        target: "gateway".to_owned(),
        twin: None,
        severity: Severity::Info,
        code: None,
        detail: VERSION.to_owned(),
    };
    if let Err(error) = log.append(Body::Event(entry)) {
        tracing::warn!(%error, "cannot log an event");
    }
}
