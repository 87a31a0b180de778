//! Modbus devices behind serial ports and hosts: who answers, and what its registers hold. Reads only, one at a time, no more a
//! second than are wanted.

use std::net::Ipv4Addr;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use gateway_modbus::Table;
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::super::modbus::direct::{self, At, Line};
use super::super::modbus::scan::{Found, Readable, Scan};
use super::ask::Ask;
use super::propose::{self, Point, Sampled};
use crate::args::{Init, ParityArg, Talk};
use crate::error::Result;
use crate::exit::Exit;
use crate::machine::Range;
use crate::target::Hints;

/// What serial devices are usually set to, the standard's own first.
const USUAL: [(u32, ParityArg); 8] = [
    (19_200, ParityArg::Even),
    (9_600, ParityArg::None),
    (9_600, ParityArg::Even),
    (19_200, ParityArg::None),
    (115_200, ParityArg::None),
    (38_400, ParityArg::None),
    (115_200, ParityArg::Even),
    (9_600, ParityArg::Odd),
];
/// Longest wait for an answer on a serial line: a slow device takes 100 ms, and most of what is asked is not there.
const SERIAL: Duration = Duration::from_millis(250);
const TCP: Duration = Duration::from_millis(500);
/// Longest wait for a host of a network that is looked through.
const CONNECT: Duration = Duration::from_millis(700);
/// How often registers are read to see whether they move, and how long between.
const READINGS: usize = 3;
const PAUSE: Duration = Duration::from_millis(300);
/// Most registers of one reading.
const WIDEST: u16 = 60;
/// A unit id that hardly any device has: who answers to it as well does not look at it.
const UNLIKELY: u8 = 247;
/// What devices that are no gateways want as unit id, by the standard for TCP.
const ITSELF: u8 = 255;

/// A device that answered.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) at: At,
    /// How its serial port is set.
    pub(super) serial: Option<(u32, ParityArg)>,
    pub(super) found: Found,
    pub(super) points: Vec<Point>,
}

fn talk(timeout: Duration, (baud, parity): (u32, ParityArg)) -> Talk {
    Talk { framing: None, timeout, baud, parity }
}

/// Devices on a serial port, with the first of the usual settings at which any answers.
pub(super) async fn on_port(ask: Ask, hints: &Hints, asked: &Init, port: &str) -> Result<Vec<Unit>> {
    let at = At::parse(port)?;
    direct::free(hints.clone(), &at).await?;
    let wanted = |(baud, parity): &(u32, ParityArg)| {
        asked.baud.is_none_or(|b| b == *baud) && asked.parity.is_none_or(|p| p == *parity)
    };
    let mut settings: Vec<_> = USUAL.into_iter().filter(wanted).collect();
    if let (Some(baud), true) = (asked.baud, settings.is_empty()) {
        settings.push((baud, asked.parity.unwrap_or(ParityArg::None)));
    }
    let mut refused = None;
    let mut was_open = false;
    for setting in settings {
        if !was_open && !asked.talk_over {
            ask.say(&format!("  {port}: listening, before anything is sent ..."));
            match direct::quiet(&at, &talk(SERIAL, setting)).await {
                Err(e) if e.exit() == Exit::NotReachable => {
                    refused = Some(e);
                    continue;
                }
                done => done?,
            }
        }
        ask.say(&format!("  {port} at {}", shown(setting)));
        // An adapter may lack one of them.
        let mut line = match Line::open(at.clone(), &talk(SERIAL, setting)).await {
            Ok(line) => line,
            Err(e) => {
                refused = Some(e);
                continue;
            }
        };
        was_open = true;
        let mut scan = Scan::new(&mut line, asked.rate);
        let mut units = Vec::new();
        for unit in asked.units.clone() {
            units.extend(scan.unit(unit, &mut Vec::new()).await?);
        }
        if !units.is_empty() {
            return look(ask, &mut scan, asked, &at, Some(setting), units).await;
        }
    }
    match refused {
        Some(e) if !was_open => Err(e),
        _ => Ok(Vec::new()),
    }
}

/// As `19200 8E1`.
pub(super) fn shown((baud, parity): (u32, ParityArg)) -> String {
    let rest = match parity {
        ParityArg::None => "8N2",
        ParityArg::Even => "8E1",
        ParityArg::Odd => "8O1",
    };
    format!("{baud} {rest}")
}

/// Devices behind a host.
pub(super) async fn at_host(ask: Ask, hints: &Hints, asked: &Init, host: &str) -> Result<Vec<Unit>> {
    let at = At::parse(host)?;
    direct::free(hints.clone(), &at).await?;
    ask.say(&format!("  {at}"));
    let mut line = Line::open(at.clone(), &talk(TCP, USUAL[0])).await?;
    let mut scan = Scan::new(&mut line, asked.rate);
    let mut units = Vec::new();
    let data = &mut Vec::new();
    for unit in asked.units.clone() {
        let Some(found) = scan.unit(unit, data).await? else { continue };
        let is_first = units.is_empty();
        units.push(found);
        if is_first && unit != UNLIKELY && scan.unit(UNLIKELY, data).await?.is_some() {
            break;
        }
    }
    if units.is_empty() && !asked.units.contains(&ITSELF) {
        units.extend(scan.unit(ITSELF, data).await?);
    }
    look(ask, &mut scan, asked, &at, None, units).await
}

/// What the registers of units are, and hold.
async fn look(
    ask: Ask,
    scan: &mut Scan<'_>,
    asked: &Init,
    at: &At,
    serial: Option<(u32, ParityArg)>,
    found: Vec<Found>,
) -> Result<Vec<Unit>> {
    let mut units = Vec::new();
    for mut found in found {
        ask.say(&format!("    unit {} answers ({:.1} ms)", found.unit, found.round_trip_ms));
        for table in [Table::Holding, Table::Input] {
            scan.ranges(&mut found, table, asked.addresses.clone(), &mut Vec::new()).await?;
        }
        let points = sample(scan, &found, asked.points).await?;
        units.push(Unit { at: at.clone(), serial, found, points });
    }
    Ok(units)
}

async fn sample(scan: &mut Scan<'_>, found: &Found, most: u16) -> Result<Vec<Point>> {
    let mut all: Vec<Sampled> = Vec::new();
    for reading in 0..READINGS {
        if reading > 0 {
            sleep(PAUSE).await;
        }
        for piece in found.readable.iter().flat_map(pieces) {
            let Some(data) = scan.read(found.unit, &piece).await? else { continue };
            match all.iter_mut().find(|s| s.table == piece.table && s.first == piece.first) {
                Some(sampled) => sampled.samples.push(data),
                None => all.push(Sampled { table: piece.table, first: piece.first, samples: vec![data] }),
            }
        }
    }
    Ok(propose::points(&all, most.into()))
}

fn pieces(readable: &Readable) -> Vec<Readable> {
    let starts = (readable.first..=readable.last).step_by(WIDEST.into());
    let piece = |first: u16| Readable {
        table: readable.table,
        first,
        last: first.saturating_add(WIDEST - 1).min(readable.last),
    };
    starts.map(piece).collect()
}

/// Hosts of a network that take a connection at a port.
pub(super) async fn open_hosts(range: Range, port: u16, own: &[Ipv4Addr], rate: u32) -> Vec<Ipv4Addr> {
    let mut tick = interval(Duration::from_secs(1) / rate.max(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let hosts = range.hosts().filter(|h| !own.contains(h));
    let paced = stream::unfold((hosts, tick), |(mut hosts, mut tick)| async move {
        let host = hosts.next()?;
        tick.tick().await;
        Some((host, (hosts, tick)))
    });
    let one = |host: Ipv4Addr| async move {
        let connected = timeout(CONNECT, TcpStream::connect((host, port))).await;
        matches!(connected, Ok(Ok(_))).then_some(host)
    };
    let mut found: Vec<_> =
        paced.map(one).buffer_unordered(64).filter_map(|host| async move { host }).collect().await;
    found.sort();
    found
}
