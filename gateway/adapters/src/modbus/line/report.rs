//! What a line tells of itself, for health and metrics.

use std::sync::atomic::Ordering;
use std::time::Duration;

use common::api::PollHealth;
use gateway_modbus::client::{Client, Counts};
use gateway_modbus::plan::Hole;
use tokio::time::Instant;

use super::Shared;
use super::engine::Engine;
use crate::modbus::transport::BoxStream;

/// Health is brought up to date so often.
pub(super) const EVERY: Duration = Duration::from_secs(1);
/// So many holes of a device are named; of more, only the count is told.
const HOLES_NAMED: usize = 32;

/// What is counted of a device.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) requests: u64,
    pub(super) timeouts: u64,
    pub(super) refused: u64,
    pub(super) wrong: u64,
    late: u64,
    per_hour: u64,
    spare: u64,
    holes: usize,
    named: Vec<String>,
}

impl Tally {
    /// A device's name.
    pub(super) fn name(&self, shared: &Shared, unit: usize) -> String {
        let registry = shared.context.registry.now();
        let device = shared.devices.get(unit).and_then(|d| registry.device(d.index));
        device.map(|d| d.name.clone()).unwrap_or_default()
    }

    pub(super) fn planned(&mut self, per_second: f64, spare: u64) {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        // a positive number of some thousands
        let per_hour = (per_second * 3600.0).round() as u64;
        (self.per_hour, self.spare) = (per_hour, spare);
    }

    pub(super) fn holes(&mut self, holes: &[Hole]) {
        self.holes = holes.len();
        let name = |h: &Hole| {
            let last = h.address.saturating_add(h.count.saturating_sub(1));
            format!("{} {} to {last}: exception {:02x}", h.table, h.address, h.reason)
        };
        self.named = holes.iter().take(HOLES_NAMED).map(name).collect();
    }
}

impl Engine<'_> {
    /// Tells health how the devices fare, if it is time.
    pub(super) fn report(&mut self, now: Instant) {
        if self.told.is_some_and(|told| now < told + EVERY) {
            return;
        }
        self.told = Some(now);
        if let Some(client) = self.client.take() {
            self.take_counts(&client);
            self.client = Some(client);
        }
        let line = &self.shared.config.name;
        for (unit, device) in self.units.iter_mut().zip(&self.shared.devices) {
            let book = self.book.of(device.config.unit);
            if book.len() != unit.tally.holes {
                unit.tally.holes(book);
            }
            let (tally, state) = (&unit.tally, &unit.state);
            self.shared.context.health.poll(device.index, |told| {
                let told =
                    told.get_or_insert_with(|| PollHealth { line: line.clone(), ..PollHealth::default() });
                told.requests = tally.requests;
                told.timeouts = tally.timeouts;
                told.refused = tally.refused;
                told.wrong = tally.wrong;
                told.late = tally.late;
                told.overruns = device.overruns.load(Ordering::Relaxed);
                told.parked = state.is_parked();
                let took = state.round_trip().unwrap_or_default();
                told.round_trip_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                told.requests_per_hour = tally.per_hour;
                told.spare = tally.spare;
                told.holes = tally.holes;
                if told.holes_named != tally.named {
                    told.holes_named.clone_from(&tally.named);
                }
            });
        }
    }

    /// What the conversation counted since the last time.
    pub(super) fn take_counts(&mut self, client: &Client<BoxStream>) {
        let (old, new) = (self.counts, client.counts());
        self.counts = new;
        let late = |c: Counts| c.late + c.duplicate + c.foreign;
        let more = late(new).saturating_sub(late(old));
        if more == 0 {
            return;
        }
        // Whose they were is known only of the last; the line's first device stands for the others.
        let of =
            client.lateness().and_then(|(u, _)| self.shared.devices.iter().position(|d| d.config.unit == u));
        if let Some(unit) = self.units.get_mut(of.unwrap_or(0)) {
            unit.tally.late += more;
        }
        if let Some((unit, after)) = client.lateness() {
            tracing::warn!(
                line = self.shared.config.name,
                unit,
                after_ms = after.as_millis(),
                answers = more,
                "answers came after their time and were discarded: timeout_ms is too short"
            );
        }
    }
}
