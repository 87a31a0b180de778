//! The book of topics that no point takes: what the configuration takes, and the part that fills it.

use std::sync::Arc;

use gateway_adapters::mqtt::Unknown;
use gateway_publish::{Format, Per};

use crate::config::Config;
use crate::stages::Stage;
use crate::vitals::Vitals;
use crate::wiring::Wiring;

/// Starts it, if there is a broker.
pub(crate) fn start(wiring: &mut Wiring, vitals: &Vitals, broker: Option<&crate::broker::Handle>) {
    let Some(handle) = broker.cloned().map(Arc::new) else { return };
    let taken = taken(&wiring.config);
    let unknown = Unknown::new(taken.iter().map(String::as_str));
    let _ = vitals.unknown.set(unknown.clone());
    let clock = wiring.clock.clone();
    wiring.stages.supervisor(Stage::Field).spawn("mqtt:unknown", move |drain| {
        let (unknown, handle, clock) = (unknown.clone(), handle.clone(), clock.clone());
        async move { unknown.run(handle, clock, drain).await }
    });
}

/// Another configuration runs from now on: it takes other topics.
pub(crate) fn follow(vitals: &Vitals, config: &Config) {
    if let Some(unknown) = vitals.unknown.get() {
        unknown.set_taken(taken(config).iter().map(String::as_str));
    }
}

/// Filters of all points, and of what the gateway publishes on its own broker.
pub(crate) fn taken(config: &Config) -> Vec<String> {
    let mut taken = Vec::new();
    for device in &config.devices {
        if let Some(mqtt) = &device.mqtt {
            let points = device.point.iter().filter_map(|p| p.mqtt.as_ref().map(|m| (p, m)));
            taken.extend(
                points.filter_map(|(p, m)| m.bind(mqtt, &device.name, &p.name).ok()).map(|b| b.filter),
            );
        }
        if let Some(sparkplug) = &device.sparkplug {
            taken.extend(sparkplug.filters());
            taken.extend(sparkplug.host.as_deref().map(gateway_sparkplug::state_topic));
        }
    }
    let schema = config.registry.schema();
    for publish in config.publish.iter().filter(|p| p.external.is_none()) {
        match &publish.format {
            Format::Sparkplug(s) => {
                let node = format!("{}/{}/+/{}", gateway_sparkplug::NAMESPACE, s.group, s.node);
                taken.extend([format!("{node}/+"), node]);
            }
            Format::Json(json) => {
                for device in &schema.devices {
                    let topic =
                        |point: &str| json.topic.topic(&schema.tenant, &schema.gateway, device, point);
                    match json.per {
                        Per::Device => taken.push(topic("")),
                        Per::Point => taken.extend(device.points.iter().map(|p| topic(&p.name))),
                    }
                }
            }
        }
    }
    taken
}
