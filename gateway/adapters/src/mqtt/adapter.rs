//! The driver as the daemon sees it: reads messages, gives samples. It never writes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use common::supervise::PartError;
use common::{Access, Drain, PointId, Quality, Sample, Value, ValueType};
use gateway_core::{DeviceWriter, Message, Messages, Scale};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::codec::{Decoded, Fault, Payload};
use super::config::{Binding, DeviceConfig, PointConfig};
use super::routes::Routes;
use super::waveform;
use crate::Context;
use crate::context::Reporter;

/// Most messages that become one batch of samples.
const BATCH: usize = 512;

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
    /// A point is to be written.
    #[error("`{point}` is writable, but MQTT points are read only in this version")]
    NotWritable {
        /// Device and point.
        point: String,
    },
}

/// Why a driver ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the broker gives no more messages")]
struct Ended;

struct Spec {
    id: PointId,
    binding: Binding,
    value_type: ValueType,
    waves: Option<Waves>,
}

/// What a waveform's point has besides.
struct Waves {
    dt_ps: u64,
    scale: Scale,
    /// Device and point when the driver was made.
    path: String,
}

/// The driver of a group of topics.
pub struct Adapter {
    device: usize,
    config: DeviceConfig,
    points: Vec<Spec>,
    /// Of the registry when it was made: numbers of points are of that.
    generation: u64,
    routes: Routes,
    context: Context,
    source: Arc<dyn Messages>,
    /// What came since `listen`, for the first run.
    heard: Mutex<Option<mpsc::Receiver<Message>>>,
}

impl Adapter {
    /// A driver of device number `device` with its points, fed by `source`.
    ///
    /// # Errors
    /// When the configuration does not make sense; `check` of the daemon tells the same with its place.
    pub fn new(
        device: usize,
        config: DeviceConfig,
        points: Vec<(PointId, PointConfig, Access)>,
        context: Context,
        source: Arc<dyn Messages>,
    ) -> Result<Self, Error> {
        let from_key = |(key, message)| Error::Config { key, message };
        config.check().map_err(from_key)?;
        let mut specs = Vec::with_capacity(points.len());
        for (id, point, access) in points {
            let (device_name, name) = names(&context, id);
            let binding = point.bind(&config, &device_name, &name).map_err(from_key)?;
            if access.is_writable() {
                return Err(Error::NotWritable { point: context.registry.path(id) });
            }
            // A scaled point is a number before it is scaled, whatever it becomes.
            let value_type = match context.registry.point(id) {
                Some(p) if p.scale.is_identity() => p.schema.value_type,
                _ => ValueType::F64,
            };
            let waves = binding.dt_ps.map(|dt_ps| Waves {
                dt_ps,
                scale: context.registry.point(id).map(|p| p.scale).unwrap_or_default(),
                path: context.registry.path(id),
            });
            specs.push(Spec { id, binding, value_type, waves });
        }
        let routes = Routes::new(specs.iter().map(|s| s.binding.filter.as_str()));
        let generation = context.registry.now().generation();
        Ok(Self {
            device,
            config,
            points: specs,
            generation,
            routes,
            context,
            source,
            heard: Mutex::default(),
        })
    }

    /// Passes on the samples of messages.
    fn take(&self, batch: &mut Vec<Message>, reporter: &mut Reporter) {
        let mut samples = Vec::with_capacity(batch.len());
        for message in batch.drain(..) {
            self.read(&message, &mut samples, reporter);
        }
        self.context.raw.send(samples);
    }

    /// The samples of one message.
    fn read(&self, message: &Message, samples: &mut Vec<Sample>, reporter: &mut Reporter) {
        let now_us = self.context.clock.now_us();
        let mut payload = Payload::new(&message.payload);
        let mut fault = None;
        let mut decoded = Vec::new();
        for spec in self.routes.points(&message.topic).filter_map(|i| self.points.get(i)) {
            if let Some(waves) = &spec.waves {
                // What the broker kept was taken when it came, or nobody knows when it was.
                if message.retained {
                    continue;
                }
                let wrong = self.block(&mut payload, (spec, waves), now_us, samples);
                fault = fault.or(wrong.map(|why| (spec.id, why)));
                continue;
            }
            let wrong = payload.decode(&spec.binding, spec.value_type, now_us, &mut decoded);
            fault = fault.or(wrong.map(|why| (spec.id, why)));
            samples.extend(decoded.drain(..).map(|Decoded { value, quality, source_us }| Sample {
                point: spec.id,
                value,
                // What the broker kept is as old as it may be: nothing may act on it as if it were new.
                quality: if message.retained && quality.is_good() {
                    Quality::UNCERTAIN_LAST_USABLE
                } else {
                    quality
                },
                source_us,
                received_us: now_us,
            }));
        }
        match fault {
            None => reporter.good(),
            Some((point, why)) => {
                let (path, topic) = (self.context.registry.path(point), &message.topic);
                reporter.bad(true, &format!("no value for `{path}` in a message on `{topic}`: {why}"));
            }
        }
    }

    /// A message with a block of a waveform: the block, and its root mean square as the point's value.
    fn block(
        &self,
        payload: &mut Payload<'_>,
        (spec, waves): (&Spec, &Waves),
        now_us: i64,
        samples: &mut Vec<Sample>,
    ) -> Option<Fault> {
        let of = (spec.id, &spec.binding, waves.scale);
        let wave = match waveform::decode(payload, of, waves.dt_ps, now_us) {
            Ok(Some(wave)) => wave,
            Ok(None) => return None,
            Err((quality, why)) => {
                samples.push(Sample::bad(spec.id, quality, now_us));
                return Some(why);
            }
        };
        samples.push(Sample {
            point: spec.id,
            // Raw, as any value: the pipeline makes the engineering value of it.
            value: waveform::rms(&wave).map(|rms| Value::F64(waves.scale.invert(rms))),
            quality: wave.quality,
            source_us: wave.times_us().1,
            received_us: now_us,
        });
        self.context.raw.send_block(waves.path.clone(), self.generation, wave);
        None
    }
}

/// Names of a point's device and of itself.
fn names(context: &Context, id: PointId) -> (String, String) {
    let registry = context.registry.now();
    let Some(point) = registry.point(id) else { return Default::default() };
    (registry.device_schema(point).name.clone(), point.schema.name.to_string())
}

#[async_trait]
impl gateway_core::Adapter for Adapter {
    async fn run(&self, drain: Drain) -> Result<(), PartError> {
        let mut reporter = Reporter::new(self.context.clone(), self.device);
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut messages = heard.unwrap_or_else(|| self.source.subscribe(self.routes.filters()));
        let mut batch = Vec::with_capacity(BATCH);
        let silence = Duration::from_millis(self.config.silence_ms);
        let mut heard = Instant::now();
        let mut silent = self.config.silence_ms == 0;
        loop {
            let count = tokio::select! {
                () = drain.started() => {
                    // Who published it was told that it is taken.
                    while let Ok(message) = messages.try_recv() {
                        batch.push(message);
                    }
                    self.take(&mut batch, &mut reporter);
                    return Ok(());
                }
                count = messages.recv_many(&mut batch, BATCH) => count,
                () = tokio::time::sleep_until(heard + silence), if !silent => {
                    reporter.bad(false, &format!("no message for {} ms", silence.as_millis()));
                    silent = true;
                    continue;
                }
            };
            if count == 0 {
                return Err(Ended.into());
            }
            self.take(&mut batch, &mut reporter);
            heard = Instant::now();
            silent = self.config.silence_ms == 0;
        }
    }

    fn listen(&self) {
        let messages = self.source.subscribe(self.routes.filters());
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(messages);
    }

    fn writer(&self) -> Option<Arc<dyn DeviceWriter>> {
        None
    }
}
