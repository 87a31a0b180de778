//! Drivers: which part serves which devices, made from the configuration, at the start and at a reload.

use std::sync::Arc;

use common::PointId;
use gateway_adapters::modbus::LineConfig;
#[cfg(feature = "opcua-client")]
use gateway_adapters::opcua;
use gateway_adapters::{Context, sparkplug};
use gateway_core::{Adapter, DeviceWriter, Registry};
use tokio::runtime::Handle;

use crate::config::Config;
use crate::config::sections::{DeviceSection, PointSection};
use crate::derived::Calculated;
use crate::gateway::StartError;
use crate::lines;
use crate::stages::{Stage, Stages};

/// A part and the devices that it serves, by their indices in the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) name: String,
    pub(crate) devices: Vec<usize>,
}

/// A part that is ready to be started.
pub(crate) struct Made {
    pub(crate) unit: Unit,
    adapter: Arc<dyn Adapter>,
    /// Whether it keeps to periods of its own, as a line does.
    polls: bool,
    pub(crate) writers: Vec<(usize, Arc<dyn DeviceWriter>)>,
}

/// Makes and starts drivers.
pub(crate) struct Drivers {
    pub(crate) context: Context,
    /// What devices on the broker need; none without a broker.
    pub(crate) ends: Option<sparkplug::Ends>,
    /// The gateway as a client of OPC UA servers.
    #[cfg(feature = "opcua-client")]
    pub(crate) opcua: opcua::Kit,
}

/// A part that a configuration asks for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Planned {
    pub(crate) unit: Unit,
    /// Places of its devices in the configuration.
    pub(crate) places: Vec<usize>,
    /// The line that they share; none for what is no Modbus.
    pub(crate) line: Option<LineConfig>,
}

/// The parts that a configuration asks for: one for each Modbus line, one for every other device.
pub(crate) fn planned(config: &Config, registry: &Registry) -> Vec<Planned> {
    let index = |place: &usize| registry.device_named(&config.devices.get(*place)?.name);
    let devices = |places: &[usize]| places.iter().filter_map(index).collect();
    let lines = lines::groups(config).into_iter().map(|group| {
        let name = lines::part_name(config, &group);
        let (line, places) = group;
        Planned { unit: Unit { name, devices: devices(&places) }, places, line: Some(line) }
    });
    let others = config.devices.iter().enumerate().filter(|(_, d)| d.modbus.is_none());
    let others = others.filter_map(|(place, section)| {
        let protocol = registry.device(index(&place)?)?.protocol;
        let unit = Unit { name: format!("{protocol}:{}", section.name), devices: devices(&[place]) };
        Some(Planned { unit, places: vec![place], line: None })
    });
    lines.chain(others).collect()
}

impl Drivers {
    /// Makes the driver of a part; nothing is started.
    pub(crate) fn make(
        &self,
        config: &Config,
        registry: &Registry,
        planned: Planned,
    ) -> Result<Made, StartError> {
        let Planned { unit, places, line } = planned;
        #[cfg(feature = "modbus")]
        if let Some(line) = line {
            let made = lines::driver(config, registry, &(line, places), &self.context)?;
            return Ok(Made { unit, writers: made.writers(), adapter: made, polls: true });
        }
        let section = places.first().and_then(|p| config.devices.get(*p));
        let Some((index, section)) = unit.devices.first().copied().zip(section) else {
            return Err(StartError::Device { device: unit.name, detail: "has no device".to_owned() });
        };
        let adapter = self.adapter(registry, index, section)?;
        let writers = adapter.writer().map(|w| (index, w)).into_iter().collect();
        Ok(Made { unit, adapter, polls: false, writers })
    }

    /// The driver of a device that has one for itself. What is not built in was refused with the configuration.
    fn adapter(
        &self,
        registry: &Registry,
        index: usize,
        section: &DeviceSection,
    ) -> Result<Arc<dyn Adapter>, StartError> {
        let told = |detail: String| StartError::Device { device: section.name.clone(), detail };
        #[cfg(feature = "mqtt")]
        if let Some(device) = &section.mqtt {
            let points = numbered(registry, index, section);
            let points = points.filter_map(|(id, p)| Some((id, p.mqtt.clone()?, p.access))).collect();
            let source = self.ends(&section.name)?.source;
            let context = self.context.clone();
            let made = gateway_adapters::mqtt::Adapter::new(index, device.clone(), points, context, source);
            return Ok(Arc::new(made.map_err(|e| told(e.to_string()))?));
        }
        #[cfg(feature = "opcua-client")]
        if let Some(device) = &section.opcua {
            let points = numbered(registry, index, section);
            let points = points.filter_map(|(id, p)| Some((id, p.opcua.clone()?, p.access))).collect();
            let kit = self.opcua.clone();
            let made = opcua::Adapter::new(index, device.clone(), points, self.context.clone(), kit);
            return Ok(Arc::new(made.map_err(|e| told(e.to_string()))?));
        }
        #[cfg(feature = "sparkplug")]
        if let Some(device) = &section.sparkplug {
            let points = numbered(registry, index, section);
            let points =
                points.map(|(id, p)| (id, p.sparkplug.clone().unwrap_or_default(), p.access)).collect();
            let ends = self.ends(&section.name)?;
            let made = sparkplug::Adapter::new(index, device.clone(), points, self.context.clone(), ends);
            return Ok(Arc::new(made.map_err(|e| told(e.to_string()))?));
        }
        if section.virtual_.is_some() {
            return Ok(Arc::new(Calculated { device: index, health: self.context.health.clone() }));
        }
        Err(told("has no protocol".to_owned()))
    }

    fn ends(&self, device: &str) -> Result<sparkplug::Ends, StartError> {
        let needs = || StartError::Device {
            device: device.to_owned(),
            detail: "needs the embedded broker, which does not run".to_owned(),
        };
        self.ends.clone().ok_or_else(needs)
    }

    /// Starts parts; what is published from then on is theirs.
    pub(crate) fn start(made: Vec<Made>, stages: &mut Stages) {
        for Made { unit, adapter, polls, .. } in made {
            adapter.listen();
            let runtime = if polls { stages.field() } else { Handle::current() };
            stages.supervisor(Stage::Field).spawn_on(&runtime, unit.name, move |drain| {
                let adapter = adapter.clone();
                async move { adapter.run(drain).await }
            });
        }
    }
}

/// The points of a device with their numbers.
fn numbered<'c>(
    registry: &Registry,
    device: usize,
    section: &'c DeviceSection,
) -> impl Iterator<Item = (PointId, &'c PointSection)> {
    registry.device(device).map_or(0..0, |d| d.points.clone()).map(PointId).zip(&section.point)
}
