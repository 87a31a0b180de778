//! Points for registers of which nothing is known but what they hold: a guess, told as one. Pure.

use common::Value;
use gateway_modbus::{Address, Table};

use super::super::modbus::guess;

/// Registers that were read several times, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sampled {
    pub(super) table: Table,
    pub(super) first: u16,
    /// Bytes of each reading.
    pub(super) samples: Vec<Vec<u8>>,
}

/// A point.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Point {
    pub(super) at: Address,
    pub(super) raw_type: &'static str,
    pub(super) order: &'static str,
    /// What it held, and why it is thought so.
    pub(super) why: String,
    holds: bool,
}

/// A pair of registers is a float only if that is this plausible: a register alone is never so sure.
const SURE: f64 = 0.8;

/// At most so many points: those that hold something before those that hold 0.
pub(super) fn points(sampled: &[Sampled], most: usize) -> Vec<Point> {
    let mut all: Vec<Point> = sampled.iter().flat_map(of).collect();
    all.sort_by_key(|p| !p.holds);
    all.truncate(most);
    all.sort_by_key(|p| (p.at.table != Table::Holding, p.at.at));
    all
}

fn of(sampled: &Sampled) -> Vec<Point> {
    let registers = sampled.samples.iter().map(|s| s.len() / 2).min().unwrap_or(0);
    let mut found = Vec::new();
    let mut n = 0;
    while n < registers {
        let window = |count: usize| -> Vec<Vec<u8>> {
            let part = |s: &Vec<u8>| s.get(n * 2..(n + count) * 2).map(<[u8]>::to_vec);
            sampled.samples.iter().filter_map(part).collect()
        };
        let float = if n + 2 <= registers { guess::candidates(&window(2), None) } else { Vec::new() };
        let float = float.into_iter().find(|c| c.raw_type == "f32" && c.plausibility >= SURE);
        let Ok(at) = u16::try_from(usize::from(sampled.first) + n) else { break };
        let at = Address { table: sampled.table, at };
        let shown = |values: &[Value]| values.last().map(ToString::to_string).unwrap_or_default();
        match float {
            Some(c) => {
                let why = format!("held {}: {}", shown(&c.values), c.reasons.join(", "));
                found.push(Point { at, raw_type: c.raw_type, order: c.order, why, holds: true });
                n += 2;
            }
            None => {
                let word = |s: &Vec<u8>| Some(u16::from_be_bytes([*s.first()?, *s.get(1)?]));
                let words: Vec<u16> = window(1).iter().filter_map(word).collect();
                let last = words.last().copied().unwrap_or_default();
                let moves = if words.windows(2).all(|w| w[0] == w[1]) { "" } else { ", changes" };
                let why = format!("held {last}{moves}");
                found.push(Point {
                    at,
                    raw_type: "u16",
                    order: "abcd",
                    why,
                    holds: words.iter().any(|w| *w != 0),
                });
                n += 1;
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampled(table: Table, first: u16, readings: &[&[u16]]) -> Sampled {
        let bytes = |words: &&[u16]| words.iter().flat_map(|w| w.to_be_bytes()).collect();
        Sampled { table, first, samples: readings.iter().map(bytes).collect() }
    }

    #[test]
    fn floats_take_two_registers_and_what_holds_something_comes_first() {
        // 72.5 with its registers the other way round, 0, 7, 0.
        let held = [sampled(Table::Holding, 10, &[&[0, 0x4291, 0, 7, 0], &[0, 0x4291, 0, 8, 0]])];
        let found = points(&held, 10);
        let told: Vec<_> = found.iter().map(|p| (p.at.at, p.raw_type, p.order)).collect();
        assert_eq!(
            told,
            [(10, "f32", "cdab"), (12, "u16", "abcd"), (13, "u16", "abcd"), (14, "u16", "abcd")]
        );
        assert!(found[0].why.starts_with("held 72.5") && found[2].why == "held 8, changes", "{found:?}");
        let few: Vec<_> = points(&held, 2).iter().map(|p| p.at.at).collect();
        assert_eq!(few, [10, 13]);
    }

    #[test]
    fn nothing_read_is_no_point() {
        assert!(points(&[sampled(Table::Input, 0, &[])], 10).is_empty());
        assert!(points(&[sampled(Table::Input, 0, &[&[1], &[]])], 10).is_empty());
        assert_eq!(points(&[sampled(Table::Input, 65_535, &[&[1]])], 10).len(), 1);
    }
}
