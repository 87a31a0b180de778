//! Reads: what is due, and probes of parked units in time that nobody else wants.

use std::time::Duration;

use common::{PointId, Quality, Sample};
use gateway_modbus::client::CallError;
use gateway_modbus::pdu::{Answer, Exception, Request};
use gateway_modbus::plan::{Block, Search, Slot};
use tokio::time::Instant;

use super::engine::{Engine, Work, quality};
use super::schedule::Id;
use super::spec::Spec;

/// A parked unit's points are told bad at most so often.
const PARKED_PERIOD: Duration = Duration::from_millis(500);

impl Engine<'_> {
    /// Does what an entry of the schedule wants.
    pub(super) async fn poll(&mut self, id: Id) {
        let now = Instant::now();
        let Some(unit) = self.schedule.unit(id) else { return };
        let (parked, quiet) =
            self.units.get(unit).map_or((false, now), |u| (u.state.is_parked(), u.state.quiet_until()));
        let connected = self.client.is_some();
        let Some(work) = self.schedule.work(id) else { return };
        let Work::Block { block, search, tries, reads, reason } = work else {
            if let Work::Unreadable(points) = work {
                let points = std::mem::take(points);
                let quality = if connected { Quality::BAD_DEVICE } else { Quality::BAD_NOT_CONNECTED };
                self.send_bad(unit, points.iter().copied(), quality);
                if let Some(Work::Unreadable(place)) = self.schedule.work(id) {
                    *place = points;
                }
            }
            self.schedule.done(id, now);
            return;
        };
        if !connected || parked {
            let (count, quality) =
                (*reads, if connected { Quality::BAD_TIMEOUT } else { Quality::BAD_NOT_CONNECTED });
            (*search, *tries, *reads) = (None, 0, reads.wrapping_add(1));
            let points: Vec<_> = due(&block.slots, count).map(|s| s.item).collect();
            let often = block.period < PARKED_PERIOD;
            self.send_bad(unit, points, quality);
            self.schedule.done(id, now);
            if often {
                self.schedule.skip_to(id, now + PARKED_PERIOD);
            }
            return;
        }
        if quiet > now {
            self.schedule.put_off(id, quiet);
            return;
        }
        // The entry lends its work for the time of the request.
        let empty = empty_block(block);
        let (block, search, tries, reads, reason) =
            (std::mem::replace(block, empty), search.take(), *tries, *reads, *reason);
        let next = Reading { unit, block, search, tries, reads, reason };
        self.read(id, next).await;
    }

    async fn read(&mut self, id: Id, mut r: Reading) {
        let part = r.search.as_ref().and_then(Search::next);
        let (whole, asked) = (part.is_none(), part.unwrap_or(&r.block));
        let shared = self.shared;
        let Some(device) = shared.devices.get(r.unit) else { return };
        let request = Request::Read { table: asked.table, address: asked.address, count: asked.count };
        let reads = if whole { r.reads } else { 0 };
        let collect = |answer: Answer<'_>| {
            let Answer::Read { data, .. } = answer else { return Vec::new() };
            let now_us = shared.context.clock.now_us();
            let mut samples = Vec::with_capacity(asked.slots.len());
            for slot in due(&asked.slots, reads) {
                let Some(spec) = device.points.get(slot.item) else { continue };
                samples.push(sample(spec, spec.value(*slot, data), now_us));
            }
            samples
        };
        let result = self.ask(r.unit, &request, device.timeout(), collect).await;
        let now = Instant::now();
        match result {
            Ok(samples) => {
                shared.context.raw.send(samples);
                r.tries = 0;
                if let Some(search) = &mut r.search {
                    search.answer(true);
                }
            }
            Err(CallError::Refused(exception)) if !exception.is_gateway() => match &mut r.search {
                Some(search) => search.answer(false),
                None if splits(exception, &r.block) => {
                    (r.search, r.reason) = (Some(Search::new(r.block.clone())), exception.0);
                }
                None => self.send_bad_slots(&r, Quality::BAD_DEVICE),
            },
            Err(CallError::Timeout { .. }) if r.tries < self.retries(r.unit) && !self.is_parked(r.unit) => {
                // Tried again when its late answer would have passed, others meanwhile.
                r.tries += 1;
                let at = self.units.get(r.unit).map_or(now, |u| u.state.quiet_until());
                self.give_back(id, r);
                self.schedule.put_off(id, at);
                return;
            }
            Err(e) => {
                self.finish_search(&mut r);
                r.tries = 0;
                self.send_bad_slots(&r, quality(&e));
            }
        }
        match r.search.as_ref().map(|s| s.next().is_some()) {
            Some(true) => {
                self.give_back(id, r);
                self.schedule.put_off(id, now);
            }
            Some(false) => {
                let unit = r.unit;
                self.finish_search(&mut r);
                self.give_back(id, r);
                // What was planned is not what the device has: the entry goes with the old plan.
                self.plan(unit, now);
            }
            None => {
                let unit = r.unit;
                r.reads = r.reads.wrapping_add(1);
                self.give_back(id, r);
                let missed = self.schedule.done(id, now);
                self.overrun(unit, missed, now);
            }
        }
    }

    fn give_back(&mut self, id: Id, r: Reading) {
        if let Some(work) = self.schedule.work(id) {
            let Reading { block, search, tries, reads, reason, .. } = r;
            *work = Work::Block { block, search, tries, reads, reason };
        }
    }

    fn is_parked(&self, unit: usize) -> bool {
        self.units.get(unit).is_some_and(|u| u.state.is_parked())
    }

    fn retries(&self, unit: usize) -> u8 {
        let given = self.shared.devices.get(unit).and_then(|d| d.config.retries);
        given.unwrap_or(u8::from(self.shared.config.is_serial()))
    }

    /// Probes a parked unit or a hole, if there is one to probe. Whether there was.
    pub(super) async fn use_spare_time(&mut self, now: Instant) -> bool {
        let free_until = self.schedule.next(now);
        let due = |u: &super::engine::Running| u.state.probe_at(now, free_until).filter(|at| *at <= now);
        let longest = self.parked_units().filter_map(|(i, u)| Some((due(u)?, i))).min();
        if let Some((_, unit)) = longest {
            self.probe(unit).await;
            return true;
        }
        self.probe_hole(now, free_until).await
    }

    /// When there is something to probe.
    pub(super) fn spare_at(&self, now: Instant, free_until: Option<Instant>) -> Option<Instant> {
        let probes = self.parked_units().filter_map(|(_, u)| u.state.probe_at(now, free_until));
        probes.chain(self.hole_turn(now, free_until)).min()
    }

    /// None are looked at while none is parked, which is nearly always.
    fn parked_units(&self) -> impl Iterator<Item = (usize, &super::engine::Running)> {
        let looked_at = if self.parked > 0 { self.units.as_slice() } else { &[] };
        looked_at.iter().enumerate()
    }

    async fn probe(&mut self, unit: usize) {
        let Some(u) = self.units.get(unit) else { return };
        let limit = u.state.probe_limit();
        // A unit of which nothing is read is asked for its first register: a refusal is an answer as well.
        let (table, address, count) = u.probe.unwrap_or((gateway_modbus::Table::Holding, 0, 1));
        let request = Request::Read { table, address, count };
        let _ = self.ask(unit, &request, limit, |_| ()).await;
    }

    fn send_bad_slots(&self, r: &Reading, quality: Quality) {
        self.send_bad(r.unit, due(&r.block.slots, r.reads).map(|s| s.item), quality);
    }

    /// Tells points of a unit bad.
    pub(super) fn send_bad(&self, unit: usize, points: impl IntoIterator<Item = usize>, quality: Quality) {
        let Some(device) = self.shared.devices.get(unit) else { return };
        let now_us = self.shared.context.clock.now_us();
        let ids = points.into_iter().filter_map(|i| device.points.get(i)).map(|s: &Spec| s.id);
        self.shared.context.raw.send(ids.map(|id: PointId| Sample::bad(id, quality, now_us)).collect());
    }
}

/// A block on loan from the schedule.
pub(super) struct Reading {
    pub(super) unit: usize,
    pub(super) block: Block,
    pub(super) search: Option<Search>,
    tries: u8,
    reads: u32,
    pub(super) reason: u8,
}

/// The points of a block that its read number `reads` is for: slow ones ride along with some only.
fn due(slots: &[Slot], reads: u32) -> impl Iterator<Item = &Slot> {
    slots.iter().filter(move |s| s.every <= 1 || reads.is_multiple_of(s.every))
}

fn empty_block(of: &Block) -> Block {
    Block { table: of.table, address: of.address, count: of.count, period: of.period, slots: Vec::new() }
}

/// A sample of what was read; without a value the bytes were none.
pub(super) fn sample(spec: &Spec, value: Option<common::Value>, now_us: i64) -> Sample {
    match value {
        None => Sample::bad(spec.id, Quality::BAD_DECODE, now_us),
        value => {
            Sample { point: spec.id, value, quality: Quality::GOOD, source_us: now_us, received_us: now_us }
        }
    }
}

/// Whether a refusal is worth a search: one that speaks of addresses, or one of the device's own kind if there is
/// more than one point to tell apart.
fn splits(exception: Exception, block: &Block) -> bool {
    let own = !matches!(
        exception,
        Exception::ILLEGAL_FUNCTION | Exception::ACKNOWLEDGE | Exception::BUSY | Exception::MEMORY_PARITY
    );
    exception.is_range() || (own && block.slots.len() > 1)
}
