//! What differs between the configuration that runs and a new one, and what that means: which drivers must be
//! started anew, what holds at once, and what only a restart of the process can do. Pure.

use std::collections::{HashMap, HashSet};

use gateway_core::Registry;

use crate::config::Config;
use crate::config::opcua_server::OpcuaServerSection;
use crate::config::sections::DeviceSection;
use crate::drivers::{Planned, Unit, planned};

/// The difference.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Changes {
    pub(crate) added: Vec<String>,
    pub(crate) removed: Vec<String>,
    pub(crate) restarted: Vec<String>,
    pub(crate) updated: Vec<String>,
    /// Parts to end.
    pub(crate) stop: Vec<Unit>,
    /// Parts to make and start.
    pub(crate) start: Vec<Planned>,
    pub(crate) settings: Vec<String>,
    pub(crate) restart_needed: Vec<String>,
}

/// From `old`, which runs with the registry `was`, to `new`, which is to run with the registry `is`.
pub(crate) fn between(old: &Config, was: &Registry, new: &Config, is: &Registry) -> Changes {
    let mut changes = Changes::default();
    let before: HashMap<&str, &DeviceSection> = old.devices.iter().map(|d| (d.name.as_str(), d)).collect();
    let mut touched = HashSet::new();
    for section in &new.devices {
        let name = section.name.as_str();
        match before.get(name) {
            None => {
                changes.added.push(name.to_owned());
                touched.insert(name);
            }
            Some(b) if !same_driver(b, section) || !same_numbers(was, is, name) => {
                changes.restarted.push(name.to_owned());
                touched.insert(name);
            }
            Some(b) if *b != section => changes.updated.push(name.to_owned()),
            Some(_) => {}
        }
    }
    let after: HashSet<&str> = new.devices.iter().map(|d| d.name.as_str()).collect();
    for section in old.devices.iter().filter(|d| !after.contains(d.name.as_str())) {
        changes.removed.push(section.name.clone());
        touched.insert(&section.name);
    }
    let (running, wanted) = (planned(old, was), planned(new, is));
    let names_of = |config: &'_ Config, places: &[usize]| -> Vec<String> {
        places.iter().filter_map(|p| Some(config.devices.get(*p)?.name.clone())).collect()
    };
    // A part stays only if it serves the same devices on the same line, and none of them was touched.
    let kept: HashSet<String> = {
        let by_name: HashMap<&str, &Planned> = running.iter().map(|p| (p.unit.name.as_str(), p)).collect();
        let stays = |p: &&Planned| {
            let names = names_of(new, &p.places);
            by_name.get(p.unit.name.as_str()).is_some_and(|before| {
                names_of(old, &before.places) == names && before.line == p.line && before.unit == p.unit
            }) && names.iter().all(|n| !touched.contains(n.as_str()))
        };
        wanted.iter().filter(stays).map(|p| p.unit.name.clone()).collect()
    };
    changes.stop = running.into_iter().map(|p| p.unit).filter(|u| !kept.contains(&u.name)).collect();
    changes.start = wanted.into_iter().filter(|p| !kept.contains(&p.unit.name)).collect();
    // Devices that were not touched themselves, but whose part was.
    for planned in &changes.start {
        for name in names_of(new, &planned.places) {
            if !touched.contains(name.as_str()) {
                changes.updated.retain(|n| *n != name);
                changes.restarted.push(name);
            }
        }
    }
    settings(old, new, &mut changes);
    changes
}

/// Whether a driver would do the same for both: the rest is judged behind it, in the pipeline and in control.
fn same_driver(a: &DeviceSection, b: &DeviceSection) -> bool {
    a == b || driver_view(a) == driver_view(b)
}

/// The section with everything blank that its driver does not look at. A key that is not named here counts.
fn driver_view(section: &DeviceSection) -> DeviceSection {
    let mut view = section.clone();
    view.asset.clear();
    view.description.clear();
    for point in &mut view.point {
        point.unit.clear();
        point.description.clear();
        // A driver may ask whether a point is scaled at all.
        point.scale = f64::from(u8::from(is_scaled(point.scale, point.offset)));
        point.offset = 0.0;
        (point.deadband, point.deadband_percent, point.max_interval_ms) = (None, None, 0);
        point.compression = None;
        (point.range_min, point.range_max) = (None, None);
        (point.write_min, point.write_max) = (None, None);
        (point.setpoint, point.interlock, point.stale_ms) = (None, None, None);
        point.labels.clear();
        point.alarm.clear();
        point.read_back_tolerance = 0.0;
    }
    view
}

#[allow(clippy::float_cmp)] // exactly these
fn is_scaled(scale: f64, offset: f64) -> bool {
    scale != 1.0 || offset != 0.0
}

fn same_numbers(was: &Registry, is: &Registry, name: &str) -> bool {
    let block = |r: &Registry| r.device_named(name).and_then(|i| Some((i, r.device(i)?.points.clone())));
    let twin = |r: &Registry| r.device_named(name).and_then(|i| Some(r.told(i)?.twin));
    block(was) == block(is) && twin(was) == twin(is)
}

fn settings(old: &Config, new: &Config, changes: &mut Changes) {
    let mut at_once = |name: &str, same: bool| {
        if !same {
            changes.settings.push(name.to_owned());
        }
    };
    at_once("uplink", old.uplink == new.uplink);
    at_once("api.tokens_file", old.tokens == new.tokens);
    at_once("api.hosts", old.api.hosts == new.api.hosts);
    at_once("opcua_server.passwords_file", old.opcua_users == new.opcua_users);
    at_once("opcua_server.operators", operators(old) == operators(new));
    at_once("gateway.proven_after_s", old.proven_after == new.proven_after);
    let mut later = |name: &str, same: bool| {
        if !same {
            changes.restart_needed.push(name.to_owned());
        }
    };
    later("gateway.data_dir", old.data_dir == new.data_dir);
    later("api.listen", old.api.listen == new.api.listen);
    later("api.socket", old.api.socket == new.api.socket);
    later("broker", old.broker == new.broker && old.broker_users == new.broker_users);
    later("opcua_server", served(old) == served(new));
    later("buffer", old.buffer == new.buffer);
    later("control", old.control == new.control);
    later("publish", old.publish == new.publish);
}

fn operators(config: &Config) -> Option<&[String]> {
    config.opcua_server.as_ref().map(|s| s.operators.as_slice())
}

/// What of the OPC UA server only a restart changes.
fn served(config: &Config) -> Option<OpcuaServerSection> {
    let blank = |s: &OpcuaServerSection| OpcuaServerSection {
        operators: Vec::new(),
        passwords_file: None,
        ..s.clone()
    };
    config.opcua_server.as_ref().map(blank)
}

/// The new configuration, with what only a restart can change as it was: what runs from now on.
pub(crate) fn in_effect(old: &Config, mut new: Config) -> Config {
    new.data_dir.clone_from(&old.data_dir);
    new.api.listen = old.api.listen;
    new.api.socket.clone_from(&old.api.socket);
    new.broker = old.broker.clone();
    new.broker_users = old.broker_users.clone();
    new.opcua_server = match (&old.opcua_server, new.opcua_server) {
        (Some(old), Some(new)) => {
            let (operators, passwords_file) = (new.operators, new.passwords_file);
            Some(OpcuaServerSection { operators, passwords_file, ..old.clone() })
        }
        (old, _) => old.clone(),
    };
    new.buffer = old.buffer.clone();
    new.control = old.control.clone();
    new.publish.clone_from(&old.publish);
    new
}

#[cfg(test)]
#[path = "changes_tests.rs"]
mod tests;
