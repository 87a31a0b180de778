//! What the adapters' tests share: a registry of points, and the adapter's surroundings.
#![allow(dead_code)] // each test uses its own part

use std::sync::Arc;
use std::time::Duration;

use common::command::LogEntry;
use common::{Access, Clock, DeviceSchema, PointId, PointKind, Sample, Schema, TwinId, Value, ValueType};
use gateway_adapters::Context;
use gateway_core::{Device, DropCounts, Health, PointDefinition, RawRange, RawSender, Registry};
use tokio::sync::mpsc;
use tokio::time::timeout;

pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// One device, its points named by the numbers of the list.
pub(crate) fn registry(points: &[(ValueType, RawRange, Access)]) -> Arc<Registry> {
    let schema = Schema {
        tenant: "t".parse().unwrap(),
        gateway: "g".parse().unwrap(),
        devices: vec![DeviceSchema {
            name: "plc".into(),
            twin: "7e57ab1e-0000-4000-8000-000000000001".parse::<TwinId>().unwrap(),
            asset: "site/plc".into(),
            description: String::new(),
            first_point: 0,
            points: vec![],
        }],
    };
    let point = |(i, (value_type, raw, access)): (usize, &(ValueType, RawRange, Access))| {
        let schema = PointKind { access: *access, ..PointKind::new(*value_type) }.named(format!("p{i}"));
        PointDefinition::new(schema, *raw).at(PointId(i as u32), 0)
    };
    let device = Device { name: "plc".into(), protocol: "modbus", points: 0..points.len() as u32 };
    let points = points.iter().enumerate().map(point).collect();
    Arc::new(Registry::new(schema, vec![device], points).unwrap())
}

/// The other ends of a `Context`.
pub(crate) struct Ends {
    pub(crate) samples: mpsc::Receiver<Vec<Sample>>,
    pub(crate) events: mpsc::Receiver<LogEntry>,
    pub(crate) health: Health,
    pub(crate) drops: DropCounts,
    waiting: Vec<Sample>,
}

pub(crate) fn context(registry: Arc<Registry>) -> (Context, Ends) {
    let (clock, drops) = (Clock::system(), DropCounts::default());
    let (raw, samples) = RawSender::new(10_000, &drops);
    let (to_events, events) = mpsc::channel(100);
    let health = Health::new(clock.clone(), &registry);
    let context = Context {
        pulse: gateway_core::Pulse::new(clock.clone()),
        registry: registry.into(),
        raw,
        health: health.clone(),
        clock,
        events: to_events,
        drops: drops.clone(),
        notes: None,
        modems: gateway_adapters::modbus::Modems::default(),
    };
    (context, Ends { samples, events, health, drops, waiting: Vec::new() })
}

impl Ends {
    /// The next sample.
    pub(crate) async fn next(&mut self) -> Sample {
        loop {
            if !self.waiting.is_empty() {
                return self.waiting.remove(0);
            }
            self.waiting = timeout(LIMIT, self.samples.recv()).await.expect("a sample").unwrap();
        }
    }

    /// Waits for a sample that is as wanted, and gives it.
    pub(crate) async fn until(&mut self, what: &str, wanted: impl Fn(&Sample) -> bool) -> Sample {
        let found = timeout(LIMIT, async {
            loop {
                let sample = self.next().await;
                if wanted(&sample) {
                    return sample;
                }
            }
        });
        found.await.unwrap_or_else(|_| panic!("no sample: {what}"))
    }

    /// Waits until a point has a value.
    pub(crate) async fn value(&mut self, point: u32, value: impl Into<Value>) -> Sample {
        let value = value.into();
        let what = format!("point {point} = {value:?}");
        self.until(&what, |s| s.point.0 == point && s.value.as_ref() == Some(&value)).await
    }

    pub(crate) async fn event(&mut self) -> String {
        timeout(LIMIT, self.events.recv()).await.expect("an event").unwrap().action
    }
}
