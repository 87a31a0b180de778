//! How devices fare, and the gateway's metrics. Adapters tell; the daemon shows.

use std::sync::{Arc, Mutex, PoisonError};

use common::Clock;
use common::api::DeviceHealth;

/// State of every device. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Health {
    clock: Clock,
    devices: Arc<Mutex<Vec<DeviceHealth>>>,
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
    /// All devices, none connected yet. `devices` gives name and protocol.
    pub fn new(clock: Clock, devices: impl IntoIterator<Item = (String, String)>) -> Self {
        let since_us = clock.now_us();
        let devices = devices
            .into_iter()
            .map(|(name, protocol)| DeviceHealth {
                name,
                protocol,
                connected: false,
                since_us,
                good: 0,
                bad: 0,
                last_error: None,
            })
            .collect();
        Self { clock, devices: Arc::new(Mutex::new(devices)) }
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

    fn report(&self, device: usize, change: impl FnOnce(&mut DeviceHealth) -> bool) -> Change {
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(d) = devices.get_mut(device) else { return Change::None };
        let connected = change(d);
        if connected == d.connected {
            return Change::None;
        }
        d.connected = connected;
        d.since_us = self.clock.now_us();
        if connected { Change::Online } else { Change::Offline }
    }

    /// All devices.
    pub fn list(&self) -> Vec<DeviceHealth> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
