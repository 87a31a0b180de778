//! What devices refuse to read: planned around, remembered over restarts, looked at again rarely.

use std::time::Duration;

use gateway_modbus::client::CallError;
use gateway_modbus::pdu::Request;
use gateway_modbus::plan::{Book, Hole, Item};
use tokio::time::Instant;

use super::engine::{Engine, Work};
use super::poll::Reading;

/// One hole is looked at in so long, at most.
const EVERY: Duration = Duration::from_millis(250);
/// A device that refuses everything is perhaps still starting: it is asked so often.
const REFUSED_EVERY: Duration = Duration::from_secs(10);
/// A look must not cost others their time: the line is to be free for so long.
const ROOM: Duration = Duration::from_millis(20);
/// A line that is never free for so long is asked all the same, after this.
const PATIENCE: Duration = Duration::from_secs(1);

impl Engine<'_> {
    fn key(&self) -> String {
        format!("modbus/holes/{}", self.shared.config.name)
    }

    /// The holes as they were when the program ended, as far as their units are still there.
    pub(super) fn load_holes(&mut self) {
        let Some(notes) = &self.shared.context.notes else { return };
        let Some(bytes) = notes.get(&self.key()) else { return };
        match Book::from_bytes(&bytes) {
            Ok(mut book) => {
                let units: Vec<u8> = self.shared.devices.iter().map(|d| d.config.unit).collect();
                book.retain(|hole| units.contains(&hole.unit));
                self.book = book;
            }
            Err(error) => {
                tracing::warn!(line = self.shared.config.name, %error, "known holes are lost and found anew");
            }
        }
    }

    fn save_holes(&self) {
        let Some(notes) = self.shared.context.notes.clone() else { return };
        let (key, bytes) = (self.key(), self.book.to_bytes());
        // It writes a file; the line goes on meanwhile. A failure costs a search after the next start.
        tokio::task::spawn_blocking(move || notes.set(&key, &bytes));
    }

    /// Plans a unit's requests anew, around what it refuses.
    pub(super) fn plan(&mut self, unit: usize, first: Instant) {
        let Some(device) = self.shared.devices.get(unit) else { return };
        let items: Vec<Item> = device.points.iter().map(super::spec::Spec::item).collect();
        let limits = device.limits(self.shared.config.is_serial());
        let plan = gateway_modbus::plan::plan(&items, &limits, self.book.of(device.config.unit));
        self.schedule.remove_unit(unit);
        let spare = plan.spare();
        let per_second = plan.requests_per_s();
        let mut smallest = None;
        // The first requests of all units follow each other, then their second ones: a unit has the same numbers
        // whenever it is planned.
        let mut number = (unit..).step_by(self.units.len().max(1)).map(|n| n as u64);
        for block in plan.blocks {
            if let Some(slot) = block.slots.first()
                && smallest.is_none_or(|(_, _, count)| slot.count < count)
            {
                smallest = Some((block.table, block.address.saturating_add(slot.offset), slot.count));
            }
            let period = block.period;
            let work = Work::Block { block, search: None, reason: 0, tries: 0, reads: 0 };
            self.schedule.add(unit, period, self.epoch, number.next().unwrap_or(0), first, work);
        }
        let mut refused: Vec<(Duration, Vec<usize>)> = Vec::new();
        for index in plan.unreadable {
            let Some(period) = items.get(index).map(|i| i.period) else { continue };
            match refused.iter_mut().find(|(p, _)| *p == period) {
                Some((_, points)) => points.push(index),
                None => refused.push((period, vec![index])),
            }
        }
        let none_left = smallest.is_none() && !refused.is_empty();
        for (period, points) in refused {
            self.schedule.add(
                unit,
                period,
                self.epoch,
                number.next().unwrap_or(0),
                first,
                Work::Unreadable(points),
            );
        }
        if let Some(u) = self.units.get_mut(unit) {
            u.probe = smallest;
            u.all_refused = none_left;
            u.tally.planned(per_second, spare);
            u.tally.holes(self.book.of(device.config.unit));
        }
    }

    /// Takes over what a search found so far.
    pub(super) fn finish_search(&mut self, r: &mut Reading) {
        let Some(search) = r.search.take() else { return };
        let Some(device) = self.shared.devices.get(r.unit) else { return };
        let now_us = self.shared.context.clock.now_us();
        let mut fresh = false;
        for found in search.found() {
            fresh |= self.book.add(device.config.unit, *found, r.reason, now_us);
        }
        if fresh {
            self.save_holes();
        }
    }

    /// Every hole is looked at soon.
    pub(super) fn recheck_all(&mut self) {
        for (unit, device) in self.units.iter_mut().zip(&self.shared.devices) {
            unit.recheck = self.book.of(device.config.unit).iter().copied().collect();
        }
    }

    /// When a hole is to be looked at.
    fn hole_at(&self) -> Option<Instant> {
        if self.book.holes().is_empty() {
            return None;
        }
        if self.units.iter().any(|u| !u.recheck.is_empty() && !u.state.is_parked()) {
            return Some(self.next_hole);
        }
        let now_us = self.shared.context.clock.now_us();
        let due_us = self.book.next_due_us()?.saturating_sub(now_us);
        let (now, away) = (Instant::now(), Duration::from_micros(due_us.unsigned_abs()));
        let due = if due_us < 0 { now.checked_sub(away).unwrap_or(now) } else { now + away };
        let starting = self.units.iter().any(|u| u.all_refused);
        Some(if starting { due.min(self.next_hole + REFUSED_EVERY) } else { due }.max(self.next_hole))
    }

    /// When a hole may be looked at, if the line is free until `free_until` from now on.
    pub(super) fn hole_turn(&self, now: Instant, free_until: Option<Instant>) -> Option<Instant> {
        let room = free_until.is_none_or(|until| until.saturating_duration_since(now) > ROOM);
        self.hole_at().map(|at| if room { at } else { at + PATIENCE })
    }

    /// Looks at one hole again, if its turn has come. Whether it did.
    pub(super) async fn probe_hole(&mut self, now: Instant, free_until: Option<Instant>) -> bool {
        if self.hole_turn(now, free_until).is_none_or(|at| at > now) {
            return false;
        }
        self.next_hole = now + EVERY;
        let Some((unit, hole)) = self.next_probe() else { return false };
        let (state, device) = (self.units.get(unit), self.shared.devices.get(unit));
        let (Some(state), Some(device)) = (state, device) else { return false };
        let now_us = self.shared.context.clock.now_us();
        if state.state.is_parked() || state.state.quiet_until() > now {
            self.book.put_off(&hole, now_us);
            return false;
        }
        let request = Request::Read { table: hole.table, address: hole.address, count: hole.count };
        let good = match self.ask(unit, &request, device.timeout(), |_| ()).await {
            Ok(()) => true,
            Err(CallError::Refused(_)) => false,
            Err(_) => {
                self.book.put_off(&hole, now_us);
                return true;
            }
        };
        self.book.probed(&hole, good, now_us);
        if good {
            // Where one hole is closed, others may be: the device has changed.
            let own = self.book.of(device.config.unit).iter().copied().collect();
            if let Some(u) = self.units.get_mut(unit) {
                u.recheck = own;
            }
            self.plan(unit, now);
        }
        self.save_holes();
        true
    }

    fn next_probe(&mut self) -> Option<(usize, Hole)> {
        let soon = |(at, u): (usize, &mut super::engine::Running)| Some((at, u.recheck.pop_front()?));
        if let Some(found) =
            self.units.iter_mut().enumerate().filter(|(_, u)| !u.state.is_parked()).find_map(soon)
        {
            return Some(found);
        }
        let of = |unit: u8| self.shared.devices.iter().position(|d| d.config.unit == unit);
        let now_us = self.shared.context.clock.now_us();
        let due = self.book.due(now_us).copied().or_else(|| {
            let starting = self.units.iter().position(|u| u.all_refused)?;
            self.book.of(self.shared.devices.get(starting)?.config.unit).first().copied()
        })?;
        Some((of(due.unit)?, due))
    }
}
