//! Samples onto points: a later position wins.

use cloud_core::{Applied, Position, State, TwinState};
use common::api::DesiredView;
use common::command::DesiredUpdate;
use common::wire::{Body, Frame, SampleRow, Snapshot};
use common::{DeviceSchema, GatewayId, Schema};

/// What applying did.
#[derive(Debug, Default, PartialEq)]
pub struct Outcome {
    /// Points that took a new value, each once, in the order of its rows.
    pub applied: Vec<Applied>,
    /// Rows that no point of a twin has a place for: a number that the schema lacks, or a point that the
    /// twin has no longer, or has with another type or unit.
    pub unknown: usize,
}

/// Applies a frame's samples. A frame that has none changes nothing; so does a row of a twin that is not
/// bound to this gateway and device, or is bound from a later rank, and all that another box told that has the gateway's
/// name no more.
pub fn apply_frame(
    state: &mut State,
    schema: &Schema,
    gateway: &GatewayId,
    rank: u64,
    frame: &Frame,
) -> Outcome {
    let Body::Samples(rows) = &frame.body else { return Outcome::default() };
    let seq = frame.header.seq;
    let at = |index: usize| Position { rank, seq, index: u32::try_from(index).unwrap_or(u32::MAX - 1) };
    // The last row of a point wins over those before it, which then need not be taken at all.
    let newest_first = rows.iter().enumerate().rev().map(|(i, row)| (at(i), row));
    let mut outcome = apply(state, schema, gateway, rank, newest_first);
    outcome.applied.reverse();
    outcome
}

/// Applies current values: they stand after all rows of the frame that they include last.
pub fn apply_snapshot(
    state: &mut State,
    schema: &Schema,
    gateway: &GatewayId,
    rank: u64,
    snapshot: &Snapshot,
) -> Outcome {
    let at = Position { rank, seq: snapshot.seq, index: u32::MAX };
    apply(state, schema, gateway, rank, snapshot.rows.iter().map(|row| (at, row)))
}

/// Notes what became of a desired value, unless a newer one was set since. The view then.
pub fn apply_desired(state: &mut State, update: &DesiredUpdate) -> Option<DesiredView> {
    let point = state.twins.get_mut(&update.twin)?.point_mut(&update.point)?;
    let desired = point.desired.as_mut().filter(|d| d.version == update.version)?;
    desired.state = update.state;
    desired.code = update.code;
    desired.detail.clone_from(&update.detail);
    Some(desired.clone())
}

fn apply<'a>(
    state: &mut State,
    schema: &Schema,
    gateway: &GatewayId,
    rank: u64,
    rows: impl Iterator<Item = (Position, &'a SampleRow)>,
) -> Outcome {
    let mut outcome = Outcome::default();
    if state.speaks.get(gateway).is_some_and(|speaks| rank > *speaks) {
        return outcome;
    }
    // Rows of one device mostly follow each other.
    let mut last: Option<(&DeviceSchema, bool, &mut TwinState)> = None;
    for (position, row) in rows {
        let place = |of: &DeviceSchema| row.point.0.wrapping_sub(of.first_point) as usize;
        let known = last.as_ref().and_then(|(device, ..)| Some((*device, device.points.get(place(device))?)));
        let Some((device, point)) = known.or_else(|| schema.point(row.point)) else {
            outcome.unknown += 1;
            continue;
        };
        let (bound, twin) = match last {
            Some((of, bound, twin)) if std::ptr::eq(of, device) => (bound, twin),
            _ => match state.twins.get_mut(&device.twin) {
                Some(twin) => {
                    let is_it = |(g, d): &(GatewayId, String)| g == gateway && *d == device.name;
                    (twin.bound_from <= rank && twin.binding.as_ref().is_some_and(is_it), twin)
                }
                None => {
                    outcome.unknown += 1;
                    last = None;
                    continue;
                }
            },
        };
        if bound {
            // Mostly it stands in the twin where it stands in the device.
            let place = place(device);
            let is_there = twin.points.get(place).is_some_and(|p| p.schema.name == point.name);
            let index = if is_there { Some(place) } else { twin.index.get(&point.name).copied() };
            let fits = |i: &usize| {
                let schema = &twin.points[*i].schema;
                schema.value_type == point.value_type && schema.unit == point.unit
            };
            match index.filter(fits) {
                None => outcome.unknown += 1,
                Some(i) => {
                    let target = &mut twin.points[i];
                    if position > target.position {
                        target.position = position;
                        target.value.clone_from(&row.value);
                        target.quality = row.quality;
                        target.source_us = row.source_us;
                        target.received_us = row.received_us;
                        outcome.applied.push(Applied {
                            twin: twin.id,
                            point: u32::try_from(i).unwrap_or(u32::MAX),
                            sample: row.clone(),
                        });
                    }
                }
            }
        }
        last = Some((device, bound, twin));
    }
    outcome
}

#[cfg(test)]
#[path = "merge_tests.rs"]
pub(crate) mod tests;
