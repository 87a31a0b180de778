//! One line: a connection that serves one or many devices in turn. The daemon makes it of checked configuration, the
//! supervisor runs it, and control writes through it.

mod bits;
mod engine;
mod holes;
mod jobs;
mod link;
mod poll;
mod report;
mod schedule;
mod spec;
mod unit;
mod write;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use common::names::Code;
use common::supervise::PartError;
use common::{Access, Drain, PointId};
use gateway_core::{DeviceWriter, WriteError};
use gateway_modbus::client::Recovery;
use gateway_modbus::plan::{Limit, Limits};
use tokio::sync::{Mutex, mpsc};

use super::PointConfig;
use super::settings::{DeviceConfig, LineConfig};
use super::transport::Opener;
use super::transport::dtu::Desk;
use crate::Context;
use crate::waiting::CAPACITY;
use jobs::{Job, UnitWriter};
use spec::{Codings, Spec};

/// Why a line cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Keys do not fit each other.
    #[error("`{key}`: {message}")]
    Config {
        /// Which key.
        key: &'static str,
        /// What is wrong and expected.
        message: String,
    },
    /// A point is to be written that the device lets nobody write.
    #[error("`{point}` is writable, but the device's table `{table}` is read only")]
    NotWritable {
        /// Device and point.
        point: String,
        /// Which table.
        table: super::Table,
    },
    /// A device names a line that there is not.
    #[error("there is no line `{line}`")]
    NoLine {
        /// Which.
        line: String,
    },
}

impl From<(&'static str, String)> for Error {
    fn from((key, message): (&'static str, String)) -> Self {
        Self::Config { key, message }
    }
}

/// One device and its points, as configured.
#[derive(Debug, Clone)]
pub struct DeviceSpec {
    /// Its index in the registry.
    pub device: usize,
    /// Its keys.
    pub config: DeviceConfig,
    /// Its points.
    pub points: Vec<(PointId, PointConfig, Access)>,
}

/// A device of a line.
pub(super) struct Device {
    pub(super) index: usize,
    pub(super) config: DeviceConfig,
    /// By their numbers.
    points: Vec<Spec>,
    overruns: AtomicU64,
}

impl Device {
    fn new(spec: DeviceSpec, codings: &mut Codings, context: &Context) -> Result<Self, Error> {
        let DeviceSpec { device: index, config, points } = spec;
        config.check()?;
        let mut made = Vec::with_capacity(points.len());
        for (id, point, access) in points {
            point.check()?;
            if access.is_writable() && !point.is_writable() {
                return Err(Error::NotWritable { point: context.registry.path(id), table: point.table });
            }
            made.push(
                Spec::new(id, &point, access, &config, codings).map_err(|message| ("address", message))?,
            );
        }
        made.sort_unstable_by_key(|p| p.id);
        Ok(Self { index, config, points: made, overruns: AtomicU64::new(0) })
    }

    fn timeout(&self) -> Duration {
        Duration::from_millis(self.config.timeout_ms)
    }

    fn limits(&self, serial: bool) -> Limits {
        let base = if serial { Limits::serial() } else { Limits::default() };
        let c = &self.config;
        Limits {
            words: Limit { gap: c.register_gap.unwrap_or(base.words.gap), length: c.max_registers },
            bits: Limit { gap: c.bit_gap.unwrap_or(base.bits.gap), length: c.max_bits },
            single: c.one_point_requests,
        }
    }
}

/// What the line's task and its writers share.
pub(super) struct Shared {
    config: LineConfig,
    opener: Arc<Opener>,
    devices: Vec<Device>,
    context: Context,
    jobs: mpsc::Sender<Job>,
    waiting: Mutex<mpsc::Receiver<Job>>,
}

impl Shared {
    fn spec(&self, unit: usize, point: PointId) -> Result<(usize, &Spec), WriteError> {
        let found = self.devices.get(unit).and_then(|d| {
            let at = d.points.binary_search_by_key(&point, |p| p.id).ok()?;
            Some((at, d.points.get(at)?))
        });
        found.ok_or_else(|| WriteError::NotSent {
            code: Code::UnknownPoint,
            detail: format!("{} is not of this device", self.context.registry.path(point)),
        })
    }

    /// What is done when an answer is in doubt.
    fn recovery(&self) -> Recovery {
        if self.config.is_serial() {
            // USB adapters hold bytes back for 16 ms, so a shorter silence means nothing.
            return Recovery::Silence(self.characters() + Duration::from_millis(25));
        }
        let several = self.devices.len() > 1;
        let reopen = self.config.reopen_after_timeout.unwrap_or(!several);
        if self.config.framing().has_transactions() && !reopen { Recovery::Keep } else { Recovery::Reopen }
    }

    /// 3.5 characters of 11 bits, and never less than the standard's 1.75 ms (serial line V1.02, 2.5.1.1).
    fn characters(&self) -> Duration {
        Duration::from_micros(38_500_000 / u64::from(self.config.baud.max(1)))
            .max(Duration::from_micros(1750))
    }

    fn gap(&self) -> Duration {
        let own = if self.config.is_serial() { self.characters() } else { Duration::ZERO };
        own.max(Duration::from_millis(self.config.gap_ms))
    }
}

/// A line's driver.
pub struct Adapter(Arc<Shared>);

impl Adapter {
    /// The line of one Modbus TCP device that says `host` and `port`.
    ///
    /// # Errors
    /// When the configuration does not make sense; `check` of the daemon tells the same with its place.
    pub fn new(
        device: usize,
        config: DeviceConfig,
        points: Vec<(PointId, PointConfig, Access)>,
        context: Context,
    ) -> Result<Self, Error> {
        config.check()?;
        let line = LineConfig::implicit(&config);
        Self::line(line, vec![DeviceSpec { device, config, points }], context)
    }

    /// A line with its devices.
    ///
    /// # Errors
    /// When the configuration does not make sense; `check` of the daemon tells the same with its place.
    pub fn line(config: LineConfig, devices: Vec<DeviceSpec>, context: Context) -> Result<Self, Error> {
        config.check()?;
        let desk = match config.listen {
            Some(listen) => {
                Some(Desk::new(&config, context.modems.at(listen)).map_err(|m| ("registration", m))?)
            }
            None => None,
        };
        let mut codings = Codings::default();
        let devices: Result<Vec<_>, _> =
            devices.into_iter().map(|d| Device::new(d, &mut codings, &context)).collect();
        let devices = devices?;
        let (jobs, waiting) = mpsc::channel(CAPACITY * devices.len().max(1));
        let opener = Arc::new(Opener::new(config.clone(), desk));
        Ok(Self(Arc::new(Shared { config, opener, devices, context, jobs, waiting: Mutex::new(waiting) })))
    }

    /// Its name: the configured one, or host and port.
    pub fn name(&self) -> &str {
        &self.0.config.name
    }

    /// Its devices, by their index in the registry.
    pub fn devices(&self) -> impl Iterator<Item = usize> {
        self.0.devices.iter().map(|d| d.index)
    }

    /// Reads that were skipped so far because those before had not ended.
    pub fn overruns(&self) -> u64 {
        self.0.devices.iter().map(|d| d.overruns.load(Ordering::Relaxed)).sum()
    }

    /// Those of one device.
    pub fn overruns_of(&self, device: usize) -> u64 {
        let of = self.0.devices.iter().find(|d| d.index == device);
        of.map_or(0, |d| d.overruns.load(Ordering::Relaxed))
    }

    /// The way to write to each device that has anything to write.
    pub fn writers(&self) -> Vec<(usize, Arc<dyn DeviceWriter>)> {
        let writable = |d: &Device| d.points.iter().any(Spec::is_writable);
        let devices = self.0.devices.iter().enumerate().filter(|(_, d)| writable(d));
        let writer = |unit| Arc::new(UnitWriter { line: self.0.clone(), unit }) as Arc<dyn DeviceWriter>;
        devices.map(|(unit, d)| (d.index, writer(unit))).collect()
    }
}

#[async_trait]
impl gateway_core::Adapter for Adapter {
    async fn run(&self, drain: Drain) -> Result<(), PartError> {
        let engine = engine::Engine::new(&self.0, self.0.waiting.lock().await);
        tokio::select! {
            () = engine.run(drain) => Ok(()),
            never = self.0.opener.listen() => match never {},
        }
    }

    fn writer(&self) -> Option<Arc<dyn DeviceWriter>> {
        self.writers().into_iter().next().map(|(_, writer)| writer)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
