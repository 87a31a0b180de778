//! The parts that publish processed points for programs of others, one for each `[[publish]]`.

use std::sync::Arc;
use std::time::Duration;

use common::supervise::Backoff;
use gateway_publish::{Options, Parts, Publisher, Target};

use crate::config::publish::Publish;
use crate::stages::Stage;
use crate::vitals::Vitals;
use crate::wiring::Wiring;

/// Starts some of them.
pub(crate) fn start(
    wiring: &mut Wiring,
    vitals: &Vitals,
    broker: Option<&crate::broker::Handle>,
    publishers: Vec<Publish>,
) {
    let parts = Parts {
        log: vitals.log.clone(),
        points: wiring.points.clone(),
        current: wiring.current.clone(),
        orders: vitals.control.clone(),
        drops: wiring.drops.clone(),
        clock: wiring.clock.clone(),
    };
    for publish in publishers {
        let name = part_name(&publish);
        let Some(options) = options(wiring, publish, broker) else { continue };
        let publisher = Arc::new(Publisher::new(options, parts.clone()));
        wiring.stages.supervisor(Stage::Field).spawn(name, move |drain| {
            let publisher = publisher.clone();
            async move { publisher.run(drain).await }
        });
    }
}

fn part_name(publish: &Publish) -> String {
    format!("publish:{}", publish.name)
}

/// Ends those of `before` that the configuration has no more or otherwise, and starts what it has instead. One that
/// changed goes on where it was in the buffer.
pub(crate) async fn follow(
    wiring: &mut Wiring,
    vitals: &Vitals,
    broker: Option<&crate::broker::Handle>,
    before: &[Publish],
    limit: Duration,
) {
    let now = wiring.config.publish.clone();
    let gone: Vec<&Publish> = before.iter().filter(|p| !now.contains(p)).collect();
    let parts: Vec<String> = gone.iter().map(|p| part_name(p)).collect();
    let late = wiring.stages.supervisor(Stage::Field).stop(&parts, limit).await;
    if !late.is_empty() {
        tracing::warn!(parts = ?late, "parts were cut off");
    }
    for old in gone.iter().filter(|old| !now.iter().any(|p| p.name == old.name)) {
        gateway_publish::release(&old.name, &*vitals.log);
    }
    let new = now.into_iter().filter(|p| !before.contains(p)).collect();
    start(wiring, vitals, broker, new);
}

/// None without the broker that it publishes on, which the configuration's check refuses.
fn options(wiring: &Wiring, publish: Publish, broker: Option<&crate::broker::Handle>) -> Option<Options> {
    let target = match publish.external {
        Some(external) => Target::External(external),
        None => {
            let handle = Arc::new(broker?.clone());
            Target::Embedded { publish: handle.clone(), messages: handle }
        }
    };
    Some(Options {
        name: publish.name,
        target,
        format: publish.format,
        devices: publish.devices,
        tenant: wiring.config.tenant.clone(),
        gateway: wiring.config.id.clone(),
        lag_bytes: publish.lag_bytes,
        backoff: Backoff {
            first: Duration::from_millis(200),
            longest: Duration::from_secs(10),
            healthy_after: Duration::from_secs(30),
        },
    })
}
