//! Modbus lines of a configuration: which devices share one, and its driver.

use std::sync::Arc;

use common::PointId;
use gateway_adapters::{Context, modbus};
use gateway_core::Registry;

use crate::config::Config;
use crate::gateway::StartError;

/// Every line with the places of its devices in the configuration.
pub(crate) fn groups(config: &Config) -> Vec<modbus::Group> {
    let devices = config.devices.iter().enumerate().filter_map(|(i, d)| Some((i, d.modbus.as_ref()?)));
    // A device that names no line was refused when the configuration was checked.
    modbus::group(&config.lines, devices).unwrap_or_default()
}

/// What the part of a line is called: as its device, if that is the only one and has the line for itself.
pub(crate) fn part_name(config: &Config, (line, places): &modbus::Group) -> String {
    let only = if let [place] = places.as_slice() { config.devices.get(*place) } else { None };
    match only.filter(|d| d.modbus.as_ref().is_some_and(|m| m.line.is_none())) {
        Some(device) => format!("modbus:{}", device.name),
        None => format!("line:{}", line.name),
    }
}

/// The driver of a line.
#[cfg(feature = "modbus")]
pub(crate) fn driver(
    config: &Config,
    registry: &Registry,
    (line, places): &modbus::Group,
    context: &Context,
) -> Result<Arc<modbus::Adapter>, StartError> {
    let spec = |place: &usize| {
        let section = config.devices.get(*place)?;
        let device = registry.device_named(&section.name)?;
        let ids = registry.device(device)?.points.clone().map(PointId);
        let points = ids.zip(&section.point).filter_map(|(id, p)| Some((id, p.modbus.clone()?, p.access)));
        Some(modbus::DeviceSpec { device, config: section.modbus.clone()?, points: points.collect() })
    };
    let made = modbus::Adapter::line(line.clone(), places.iter().filter_map(spec).collect(), context.clone());
    made.map(Arc::new).map_err(|e| {
        let first = places.first().and_then(|p| config.devices.get(*p));
        StartError::Device {
            device: first.map(|d| d.name.clone()).unwrap_or_default(),
            detail: e.to_string(),
        }
    })
}
