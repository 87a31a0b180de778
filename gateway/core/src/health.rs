//! How devices fare, and the gateway's metrics. Adapters tell; the daemon shows.

use std::sync::{Arc, Mutex, PoisonError};

use common::Clock;
use common::api::{DeviceHealth, PollHealth};

use crate::registry::Registry;

/// State of every device. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Health {
    clock: Clock,
    devices: Arc<Mutex<Vec<Option<DeviceHealth>>>>,
}

/// What changed with a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// as before
    None,
    /// answers again
    Online,
    /// no longer answers
    Offline,
}

impl Health {
    /// All devices of a registry, none connected yet.
    pub fn new(clock: Clock, registry: &Registry) -> Self {
        let health = Self { clock, devices: Arc::default() };
        health.renew(registry);
        health
    }

    /// Goes over to a later generation: devices that stay are as they were, new ones are not connected yet.
    pub fn renew(&self, registry: &Registry) {
        let since_us = self.clock.now_us();
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        let slots = registry.device_slots().max(devices.len());
        devices.resize(slots, None);
        for (index, slot) in devices.iter_mut().enumerate() {
            let Some(device) = registry.device(index) else {
                *slot = None;
                continue;
            };
            let same = |d: &DeviceHealth| d.name == device.name && d.protocol == device.protocol;
            if slot.as_ref().is_some_and(same) {
                continue;
            }
            *slot = Some(DeviceHealth {
                name: device.name.clone(),
                protocol: device.protocol.to_owned(),
                connected: false,
                since_us,
                good: 0,
                bad: 0,
                last_error: None,
                poll: None,
            });
        }
    }

    /// A request or message went well.
    pub fn good(&self, device: usize) -> Change {
        self.report(device, |d| {
            d.good += 1;
            true
        })
    }

    /// A request or message went wrong; the device still answers if `connected`.
    pub fn bad(&self, device: usize, connected: bool, error: impl Into<String>) -> Change {
        self.report(device, |d| {
            d.bad += 1;
            d.last_error = Some(error.into());
            connected
        })
    }

    /// Brings up to date what a polled device's line knows of it.
    pub fn poll(&self, device: usize, change: impl FnOnce(&mut Option<PollHealth>)) {
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Some(d)) = devices.get_mut(device) {
            change(&mut d.poll);
        }
    }

    fn report(&self, device: usize, change: impl FnOnce(&mut DeviceHealth) -> bool) -> Change {
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Some(d)) = devices.get_mut(device) else { return Change::None };
        let connected = change(d);
        if connected == d.connected {
            return Change::None;
        }
        d.connected = connected;
        d.since_us = self.clock.now_us();
        if connected { Change::Online } else { Change::Offline }
    }

    /// All devices with their indices.
    pub fn indexed(&self) -> Vec<(usize, DeviceHealth)> {
        let devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        devices.iter().enumerate().filter_map(|(index, d)| Some((index, d.clone()?))).collect()
    }

    /// All devices.
    pub fn list(&self) -> Vec<DeviceHealth> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner).iter().flatten().cloned().collect()
    }

    /// One device.
    pub fn get(&self, device: usize) -> Option<DeviceHealth> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner).get(device)?.clone()
    }
}
