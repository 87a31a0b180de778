//! The parts that publish processed points for programs of others, one for each `[[publish]]`.

use std::sync::Arc;
use std::time::Duration;

use common::supervise::Backoff;
use gateway_publish::{Options, Parts, Publisher, Target};

use crate::config::publish::Publish;
use crate::stages::Stage;
use crate::vitals::Vitals;
use crate::wiring::Wiring;

/// Starts all of them.
pub(crate) fn start(wiring: &mut Wiring, vitals: &Vitals, broker: Option<&gateway_broker::Handle>) {
    let parts = Parts {
        log: vitals.log.clone(),
        points: wiring.points.clone(),
        current: wiring.current.clone(),
        orders: vitals.control.clone(),
        drops: wiring.drops.clone(),
        clock: wiring.clock.clone(),
    };
    for publish in wiring.config.publish.clone() {
        let name = format!("publish:{}", publish.name);
        let Some(options) = options(wiring, publish, broker) else { continue };
        let publisher = Arc::new(Publisher::new(options, parts.clone()));
        wiring.stages.supervisor(Stage::Field).spawn(name, move |drain| {
            let publisher = publisher.clone();
            async move { publisher.run(drain).await }
        });
    }
}

/// None without the broker that it publishes on, which the configuration's check refuses.
fn options(wiring: &Wiring, publish: Publish, broker: Option<&gateway_broker::Handle>) -> Option<Options> {
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
