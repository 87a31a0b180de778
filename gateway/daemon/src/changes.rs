//! What differs between the configuration that runs and a new one, and what that means: which drivers must be
//! started anew, what holds at once, and what only a restart of the process can do. Pure.

use std::collections::{HashMap, HashSet};

use gateway_core::Registry;

use crate::config::Config;
use crate::config::opcua_server::OpcuaServerSection;
use crate::config::sections::BrokerSection;
use crate::drivers::{Planned, Unit};
use crate::standing::{Mark, Standing};

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

/// From what stands with the registry `was` to what is to stand with the registry `is`, by their devices alone.
pub(crate) fn between(old: &Standing, was: &Registry, new: &Standing, is: &Registry) -> Changes {
    let mut changes = Changes::default();
    let before: HashMap<&str, &Mark> = old.devices.iter().map(|d| (d.name.as_str(), d)).collect();
    let mut touched = HashSet::new();
    for mark in &new.devices {
        let name = mark.name.as_str();
        match before.get(name) {
            None => {
                changes.added.push(name.to_owned());
                touched.insert(name);
            }
            Some(b) if !b.has_same_driver(mark) || !same_numbers(was, is, name) => {
                changes.restarted.push(name.to_owned());
                touched.insert(name);
            }
            Some(b) if !b.is_same(mark) => changes.updated.push(name.to_owned()),
            Some(_) => {}
        }
    }
    let after: HashSet<&str> = new.devices.iter().map(|d| d.name.as_str()).collect();
    for mark in old.devices.iter().filter(|d| !after.contains(d.name.as_str())) {
        changes.removed.push(mark.name.clone());
        touched.insert(&mark.name);
    }
    // A part stays only if it serves the same devices on the same line, and none of them was touched.
    let kept: HashSet<String> = {
        let by_name: HashMap<&str, &Planned> =
            old.planned.iter().map(|p| (p.unit.name.as_str(), p)).collect();
        let stays = |p: &&Planned| {
            let names = new.names(&p.places);
            by_name.get(p.unit.name.as_str()).is_some_and(|before| {
                old.names(&before.places) == names && before.line == p.line && before.unit == p.unit
            }) && names.iter().all(|n| !touched.contains(n.as_str()))
        };
        new.planned.iter().filter(stays).map(|p| p.unit.name.clone()).collect()
    };
    let goes = |p: &&Planned| !kept.contains(&p.unit.name);
    changes.stop = old.planned.iter().filter(goes).map(|p| p.unit.clone()).collect();
    changes.start = new.planned.iter().filter(goes).cloned().collect();
    // Devices that were not touched themselves, but whose part was.
    for planned in &changes.start {
        for name in new.names(&planned.places) {
            if !touched.contains(name.as_str()) {
                changes.updated.retain(|n| *n != name);
                changes.restarted.push(name);
            }
        }
    }
    changes
}

fn same_numbers(was: &Registry, is: &Registry, name: &str) -> bool {
    let block = |r: &Registry| r.device_named(name).and_then(|i| Some((i, r.device(i)?.points.clone())));
    let twin = |r: &Registry| r.device_named(name).and_then(|i| Some(r.told(i)?.twin));
    block(was) == block(is) && twin(was) == twin(is)
}

/// Adds what differs apart from devices.
pub(crate) fn settings(old: &Config, new: &Config, changes: &mut Changes) {
    let mut at_once = |name: &str, same: bool| {
        if !same {
            changes.settings.push(name.to_owned());
        }
    };
    at_once("uplink", old.uplink == new.uplink);
    at_once("api.tokens_file", old.tokens == new.tokens);
    at_once("api.hosts", old.api.hosts == new.api.hosts);
    at_once("broker", old.broker == broker_in_effect(old, new));
    at_once("broker.passwords_file", old.broker_users == new.broker_users);
    at_once("publish", old.publish == new.publish);
    at_once("opcua_server.passwords_file", old.opcua_users == new.opcua_users);
    at_once("opcua_server.operators", operators(old) == operators(new));
    at_once("opcua_server", served(old) == served(new));
    at_once("uplink.accept_configuration", old.pushes.accepts == new.pushes.accepts);
    at_once("uplink.configuration_trial_s", old.pushes.trial == new.pushes.trial);
    at_once("uplink.accept_updates", old.updates == new.updates);
    at_once("gateway.proven_after_s", old.proven_after == new.proven_after);
    let mut later = |name: &str, same: bool| {
        if !same {
            changes.restart_needed.push(name.to_owned());
        }
    };
    later("gateway.data_dir", old.data_dir == new.data_dir);
    later("api.listen", old.api.listen == new.api.listen);
    later("api.socket", old.api.socket == new.api.socket);
    later("broker.enabled", old.broker.enabled == new.broker.enabled);
    later("broker.publish", old.broker.publish == new.broker.publish);
    later("broker.sync_ms", old.broker.sync_ms == new.broker.sync_ms);
    later("buffer", old.buffer == new.buffer);
    later("buffer.keys_file", old.buffer_keys == new.buffer_keys);
    later("control", old.control == new.control);
}

fn operators(config: &Config) -> Option<&[String]> {
    config.opcua_server.as_ref().map(|s| s.operators.as_slice())
}

/// What of the OPC UA server is started anew for, without the rest of the gateway: its clients have to connect again.
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
    new.broker = broker_in_effect(old, &new);
    new.buffer = old.buffer.clone();
    new.control = old.control.clone();
    new
}

fn broker_in_effect(old: &Config, new: &Config) -> BrokerSection {
    let BrokerSection { enabled, publish, sync_ms, .. } = old.broker;
    BrokerSection { enabled, publish, sync_ms, ..new.broker.clone() }
}

#[cfg(test)]
#[path = "changes_tests.rs"]
mod tests;
