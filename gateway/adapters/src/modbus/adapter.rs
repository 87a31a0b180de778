//! The driver as the daemon sees it: made from checked configuration, run by the supervisor, asked by control.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use common::names::Code;
use common::supervise::PartError;
use common::{Access, Drain, PointId};
use gateway_core::{DeviceWriter, WriteError};
use tokio::sync::{Mutex, mpsc};

use super::config::DeviceConfig;
use super::jobs::{self, Job};
use super::point::PointConfig;
use super::runner::Runner;
use crate::Context;

/// Why a driver cannot be made.
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
}

/// One point.
#[derive(Debug, Clone)]
pub(super) struct Spec {
    pub(super) id: PointId,
    pub(super) config: PointConfig,
    pub(super) access: Access,
}

/// What driver and writer share.
pub(super) struct Shared {
    pub(super) device: usize,
    pub(super) config: DeviceConfig,
    pub(super) points: Vec<Spec>,
    by_id: HashMap<PointId, usize>,
    pub(super) context: Context,
    pub(super) jobs: mpsc::Sender<Job>,
    pub(super) waiting: Mutex<mpsc::Receiver<Job>>,
    pub(super) overruns: AtomicU64,
}

impl Shared {
    pub(super) fn spec(&self, point: PointId) -> Result<(usize, &Spec), WriteError> {
        self.by_id.get(&point).and_then(|i| Some((*i, self.points.get(*i)?))).ok_or_else(|| {
            WriteError::NotSent {
                code: Code::UnknownPoint,
                detail: format!("{} is not of this device", self.path(point)),
            }
        })
    }

    pub(super) fn path(&self, point: PointId) -> String {
        self.context.registry.path(point)
    }
}

/// A Modbus TCP device's driver.
pub struct Adapter(Arc<Shared>);

impl Adapter {
    /// A driver of device number `device` with its points.
    ///
    /// # Errors
    /// When the configuration does not make sense; `check` of the daemon tells the same with its place.
    pub fn new(
        device: usize,
        config: DeviceConfig,
        points: Vec<(PointId, PointConfig, Access)>,
        context: Context,
    ) -> Result<Self, Error> {
        let from_key = |(key, message)| Error::Config { key, message };
        config.check().map_err(from_key)?;
        for (id, point, access) in &points {
            point.check().map_err(from_key)?;
            if access.is_writable() && !point.is_writable() {
                return Err(Error::NotWritable { point: context.registry.path(*id), table: point.table });
            }
        }
        let points: Vec<_> =
            points.into_iter().map(|(id, config, access)| Spec { id, config, access }).collect();
        let by_id = points.iter().enumerate().map(|(i, p)| (p.id, i)).collect();
        let (jobs, waiting) = mpsc::channel(jobs::CAPACITY);
        let (waiting, overruns) = (Mutex::new(waiting), AtomicU64::new(0));
        Ok(Self(Arc::new(Shared { device, config, points, by_id, context, jobs, waiting, overruns })))
    }

    /// Reads that were skipped so far because those before had not ended.
    pub fn overruns(&self) -> u64 {
        self.0.overruns.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl gateway_core::Adapter for Adapter {
    async fn run(&self, drain: Drain) -> Result<(), PartError> {
        Runner::new(&self.0, self.0.waiting.lock().await).run(drain).await;
        Ok(())
    }

    fn writer(&self) -> Option<Arc<dyn DeviceWriter>> {
        let any = self.0.points.iter().any(|p| p.access.is_writable());
        any.then(|| self.0.clone() as Arc<dyn DeviceWriter>)
    }
}
