//! `modbus scan`: which unit ids answer, and which of their addresses can be read. Polite: one request at a time, at most
//! so many a second, a bounded number of them, and one register is all that is asked of a unit to show itself.

use std::ops::RangeInclusive;
use std::time::Duration;

use common::text::counted;
use gateway_modbus::Table;
use gateway_modbus::client::CallError;
use gateway_modbus::pdu::{Exception, Request};
use serde::Serialize;
use tokio::time::{Instant, sleep_until};

use super::direct::Line;
use crate::error::Result;
use crate::exit::Exit;
use crate::out::Out;

/// Registers of the first reads of a range; what is refused is halved.
const CHUNK: u16 = 32;

/// A unit that answered.
#[derive(Debug, Serialize)]
pub(in crate::cmd) struct Found {
    pub(in crate::cmd) unit: u8,
    /// What it said to the first question.
    answer: String,
    /// Milliseconds from question to answer.
    pub(in crate::cmd) round_trip_ms: f64,
    /// What of its tables can be read.
    pub(in crate::cmd) readable: Vec<Readable>,
}

#[derive(Debug, Serialize)]
pub(in crate::cmd) struct Readable {
    #[serde(serialize_with = "named")]
    pub(in crate::cmd) table: Table,
    pub(in crate::cmd) first: u16,
    pub(in crate::cmd) last: u16,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde calls it
fn named<S: serde::Serializer>(table: &Table, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(table)
}

/// What is to be scanned.
pub(super) struct Wanted {
    pub(super) units: RangeInclusive<u8>,
    pub(super) addresses: Option<RangeInclusive<u16>>,
    pub(super) tables: Vec<Table>,
    pub(super) rate: u32,
}

/// Questions to what is at an endpoint, no more a second than are wanted.
pub(in crate::cmd) struct Scan<'a> {
    line: &'a mut Line,
    pause: Duration,
    next: Instant,
    requests: u64,
}

pub(super) async fn scan(out: Out, line: &mut Line, wanted: Wanted) -> Result<Exit> {
    let mut scan = Scan::new(line, wanted.rate);
    let mut found = Vec::new();
    let ended = tokio::select! {
        ended = scan.all(out, &wanted, &mut found) => Some(ended),
        _ = tokio::signal::ctrl_c() => None,
    };
    let (requests, units) = (counted(scan.requests, "request"), counted(found.len(), "unit"));
    if out.is_json() {
        out.json(&found)?;
    }
    match ended {
        None => out.note(&format!("stopped after {requests}, {units} found")),
        Some(ended) => {
            ended?;
            out.note(&format!("{requests}, {units} found"));
        }
    }
    Ok(if found.is_empty() { Exit::NotFound } else { Exit::Ok })
}

impl<'a> Scan<'a> {
    pub(in crate::cmd) fn new(line: &'a mut Line, rate: u32) -> Self {
        Self { line, pause: Duration::from_secs(1) / rate.max(1), next: Instant::now(), requests: 0 }
    }

    /// Whether a unit answers.
    pub(in crate::cmd) async fn unit(&mut self, unit: u8, data: &mut Vec<u8>) -> Result<Option<Found>> {
        self.turn().await;
        let begun = Instant::now();
        let ask = Request::Read { table: Table::Holding, address: 0, count: 1 };
        let answer = match self.line.call(unit, &ask, data).await? {
            Ok(()) => "holding 0 can be read".to_owned(),
            // A gateway speaks for a unit that does not answer.
            Err(CallError::Refused(e)) if e.is_gateway() => return Ok(None),
            Err(CallError::Refused(e)) => e.to_string(),
            Err(_) => return Ok(None),
        };
        let round_trip_ms = begun.elapsed().as_secs_f64() * 1000.0;
        Ok(Some(Found { unit, answer, round_trip_ms, readable: Vec::new() }))
    }

    /// Reads registers; none if they are refused or nothing comes.
    pub(in crate::cmd) async fn read(&mut self, unit: u8, at: &Readable) -> Result<Option<Vec<u8>>> {
        let mut data = Vec::new();
        self.turn().await;
        let count = (at.last - at.first).saturating_add(1);
        let ask = Request::Read { table: at.table, address: at.first, count };
        Ok(self.line.call(unit, &ask, &mut data).await?.is_ok().then_some(data))
    }

    async fn all(&mut self, out: Out, wanted: &Wanted, found: &mut Vec<Found>) -> Result<()> {
        let mut data = Vec::new();
        for unit in wanted.units.clone() {
            if out.is_terminal() && !out.is_json() {
                out.raw(format!("\runit {unit} ... ").as_bytes())?;
            }
            let Some(mut unit) = self.unit(unit, &mut data).await? else { continue };
            if let Some(addresses) = &wanted.addresses {
                for table in &wanted.tables {
                    self.ranges(&mut unit, *table, addresses.clone(), &mut data).await?;
                }
            }
            if !out.is_json() {
                let start = if out.is_terminal() { "\r" } else { "" };
                let mut text =
                    format!("{start}unit {}: {} ({:.1} ms)\n", unit.unit, unit.answer, unit.round_trip_ms);
                for r in &unit.readable {
                    text += &format!("  {} {} to {}\n", r.table, r.first, r.last);
                }
                out.raw(text.as_bytes())?;
            }
            found.push(unit);
        }
        if out.is_terminal() && !out.is_json() {
            out.raw(b"\r            \r")?;
        }
        Ok(())
    }

    /// What of a table can be read: pieces are asked for, and halved where they are refused.
    pub(in crate::cmd) async fn ranges(
        &mut self,
        unit: &mut Found,
        table: Table,
        addresses: RangeInclusive<u16>,
        data: &mut Vec<u8>,
    ) -> Result<()> {
        let mut pieces: Vec<(u32, u32)> = Vec::new();
        let (mut at, end) = (u32::from(*addresses.start()), u32::from(*addresses.end()) + 1);
        while at < end {
            let to = (at + u32::from(CHUNK)).min(end);
            pieces.push((at, to));
            at = to;
        }
        pieces.reverse();
        while let Some((from, to)) = pieces.pop() {
            self.turn().await;
            let (address, count) =
                (u16::try_from(from).unwrap_or(u16::MAX), u16::try_from(to - from).unwrap_or(CHUNK));
            match self.line.call(unit.unit, &Request::Read { table, address, count }, data).await? {
                Ok(()) => match unit.readable.last_mut() {
                    Some(last) if last.table == table && u32::from(last.last) + 1 == from => {
                        last.last = u16::try_from(to - 1).unwrap_or(u16::MAX);
                    }
                    _ => unit.readable.push(Readable {
                        table,
                        first: address,
                        last: u16::try_from(to - 1).unwrap_or(u16::MAX),
                    }),
                },
                // It does not know the function: the table is not there at all.
                Err(CallError::Refused(Exception::ILLEGAL_FUNCTION)) => return Ok(()),
                Err(CallError::Refused(e)) if !e.is_gateway() && to - from > 1 => {
                    let middle = from + (to - from) / 2;
                    pieces.extend([(middle, to), (from, middle)]);
                }
                Err(CallError::Refused(e)) if !e.is_gateway() => {}
                // Silence, or its gateway cannot reach it any more: no more of this unit.
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }

    /// Waits until the next request may go.
    async fn turn(&mut self) {
        sleep_until(self.next).await;
        self.next = Instant::now() + self.pause;
        self.requests += 1;
    }
}
