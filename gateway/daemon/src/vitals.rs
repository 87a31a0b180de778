//! What the API and heartbeats tell of the whole gateway.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use common::Clock;
use common::api::GatewayHealth;
use common::supervise::{PartState, Parts};
use gateway_adapters::mqtt::Unknown;
use gateway_core::{DropCounts, FrameLog, Health, Orders, Points, Pulse};
use gateway_sync::UplinkStatus;
use tokio::sync::watch;

use crate::VERSION;
use crate::alarms::Desk;
use crate::recorder::Recorder;

pub(crate) struct Vitals {
    pub(crate) clock: Clock,
    pub(crate) points: Points,
    pub(crate) log: Arc<Recorder>,
    pub(crate) control: Arc<gateway_control::Handle>,
    pub(crate) alarms: Arc<Desk>,
    /// Of the uplink that runs; none without a cloud.
    pub(crate) uplink: RwLock<Option<watch::Receiver<UplinkStatus>>>,
    /// Topics that no point takes; set once the broker runs, never without one.
    pub(crate) unknown: OnceLock<Unknown>,
    pub(crate) drops: DropCounts,
    pub(crate) health: Health,
    pub(crate) parts: Vec<Parts>,
    pub(crate) pulse: Pulse,
}

impl std::fmt::Debug for Vitals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vitals")
            .field("health", &self.health)
            .field("pulse", &self.pulse)
            .finish_non_exhaustive()
    }
}

impl Vitals {
    /// How the uplink fares; none without a cloud.
    pub(crate) fn uplink(&self) -> Option<UplinkStatus> {
        self.uplink.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(|u| u.borrow().clone())
    }

    pub(crate) fn health(&self) -> GatewayHealth {
        let uplink = self.uplink();
        let mut dropped: BTreeMap<String, u64> = self.drops.list().into_iter().collect();
        if let Some(set_aside) = uplink.as_ref().map(|u| u.set_aside).filter(|n| *n > 0) {
            dropped.insert("uplink:set_aside".to_owned(), set_aside);
        }
        GatewayHealth {
            version: VERSION.to_owned(),
            uptime_ms: self.clock.mono_us() / 1000,
            clock_synchronised: self.clock.is_synchronised(),
            switch: self.control.switch(),
            uplink: uplink.as_ref().is_some_and(|u| u.connected),
            link: uplink.as_ref().map(|u| u.link),
            buffer: self.log.health(),
            dropped,
            devices: self.health.list(),
            parts: self.parts.iter().flat_map(Parts::list).collect(),
            left_out: 0,
            uplink_error: uplink.filter(|u| !u.connected).and_then(|u| u.last_error),
        }
    }

    /// Whether a device has given a good answer or message, or there is none.
    pub(crate) fn has_polled(&self) -> bool {
        let devices = self.health.list();
        devices.is_empty() || devices.iter().any(|d| d.good > 0)
    }

    /// How the gateway fares, in a line for a person.
    pub(crate) fn summary(&self) -> String {
        let devices = self.health.list();
        let online = devices.iter().filter(|d| d.connected).count();
        let cloud = match self.uplink() {
            None => "none",
            Some(uplink) if uplink.connected => "connected",
            Some(_) => "not connected",
        };
        let fault = self.log.health().fault.map(|f| format!("; buffer: {f}")).unwrap_or_default();
        format!("{online} of {} devices online; cloud: {cloud}{fault}", devices.len())
    }

    /// As `health`, in what a message to the cloud has room for: what is not well comes first.
    pub(crate) fn heartbeat(&self) -> GatewayHealth {
        let mut health = self.health();
        let all = health.devices.len() + health.parts.len();
        health.devices.sort_by_key(|d| d.connected);
        health.devices.truncate(MOST_TOLD);
        for device in &mut health.devices {
            cut(&mut device.last_error);
            if let Some(poll) = &mut device.poll {
                poll.holes_named.truncate(MOST_HOLES);
            }
        }
        health.parts.sort_by_key(|p| p.state == PartState::Running);
        health.parts.truncate(MOST_TOLD);
        for part in &mut health.parts {
            cut(&mut part.last_error);
        }
        cut(&mut health.uplink_error);
        health.left_out = (all - health.devices.len() - health.parts.len()) as u64;
        health
    }
}

/// Devices, and parts, in a heartbeat: with the longest texts they stay within a message of 256 KiB.
const MOST_TOLD: usize = 100;
const MOST_HOLES: usize = 4;
/// Of an error's text, in bytes.
const LONGEST_ERROR: usize = 300;

fn cut(text: &mut Option<String>) {
    if let Some(text) = text.as_mut().filter(|t| t.len() > LONGEST_ERROR) {
        let end = (0..=LONGEST_ERROR).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
}
