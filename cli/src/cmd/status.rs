//! `status`: a live screen, or one snapshot of the same.

use std::time::Duration;

use common::api::{CommandView, DeviceHealth, GatewayView, LinkHold, TwinView};
use common::command::LogEntry;
use common::supervise::PartState;
use futures_util::future::join4;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;

use super::Context;
use super::history::terminal;
use super::lists::{audit_table, command_table, gateway_table};
use super::screen::{Screen, Style};
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::out::clean;
use crate::table::{Table, age, size, time};

const PERIOD: Duration = Duration::from_secs(1);
const COMMANDS: u32 = 5;
const EVENTS: u32 = 5;
/// Most bad points that are named.
const BAD: usize = 8;

/// What a server tells of itself at one time.
struct Snapshot {
    at_us: i64,
    gateways: Vec<GatewayView>,
    twins: Vec<TwinView>,
    commands: Vec<CommandView>,
    events: Vec<LogEntry>,
}

pub(super) async fn status(ctx: &Context, once: bool) -> Result<Exit> {
    if once || ctx.out.is_json() || !ctx.out.is_terminal() {
        let s = snapshot(ctx).await?;
        if ctx.out.is_json() {
            ctx.out.json(&json!({
                "target": ctx.client.target().to_string(), "at_us": s.at_us, "gateways": s.gateways,
                "twins": s.twins, "commands": s.commands, "events": s.events,
            }))?;
        } else {
            let text = lines(ctx, &s, Style::new(ctx.out.has_colour())).join("\n");
            ctx.out.line(&text)?;
        }
        return Ok(Exit::Ok);
    }
    live(ctx).await
}

async fn live(ctx: &Context) -> Result<Exit> {
    let failed = |e: std::io::Error| Error::new(Exit::Failed, format!("signals cannot be heard: {e}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut resize = signal(SignalKind::window_change()).map_err(failed)?;
    let mut tick = tokio::time::interval(PERIOD);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);

    // A first answer before the screen is taken: what is wrong with address or login stays readable.
    let style = Style::new(ctx.out.has_colour());
    let mut shown = lines(ctx, &snapshot(ctx).await?, style);
    let screen = Screen::take(ctx.out)?;
    tick.tick().await;
    loop {
        screen.draw(&shown, terminal())?;
        let next = async {
            tick.tick().await;
            snapshot(ctx).await
        };
        tokio::select! {
            now = next => match now {
                Ok(now) => shown = lines(ctx, &now, style),
                // The last picture stays, and says that it is the last.
                Err(e) => {
                    let warning = format!("{}: {e}", time(ctx.clock.now_us()));
                    let at = 1.min(shown.len());
                    shown.truncate(shown.len().max(at));
                    match shown.get_mut(at) {
                        Some(line) => *line = style.bad(&clean(&warning)),
                        None => shown.push(style.bad(&clean(&warning))),
                    }
                }
            },
            _ = resize.recv() => {}
            _ = interrupt.recv() => return Ok(Exit::Ok),
            _ = terminate.recv() => return Ok(Exit::Ok),
        }
    }
}

async fn snapshot(ctx: &Context) -> Result<Snapshot> {
    let c = &ctx.client;
    let warnings = [("min_severity", "warning".to_owned())];
    let (gateways, twins, commands, events) = join4(
        c.gateways(),
        c.twins(None),
        c.list(&["commands"], &[], COMMANDS),
        c.list(&["audit"], &warnings, EVENTS),
    )
    .await;
    // Who may not see these sees the rest.
    fn allowed<T>(list: Result<Vec<T>>) -> Result<Vec<T>> {
        list.or_else(|e| {
            if matches!(&e, Error::Problem { .. }) && e.exit() == Exit::NotAuthorised {
                Ok(Vec::new())
            } else {
                Err(e)
            }
        })
    }
    let (gateways, twins) = (gateways?, twins?);
    Ok(Snapshot {
        at_us: ctx.clock.now_us(),
        gateways,
        twins,
        commands: allowed(commands)?,
        events: allowed(events)?,
    })
}

/// The picture. Line 1 is left for a warning.
fn lines(ctx: &Context, s: &Snapshot, style: Style) -> Vec<String> {
    let mut lines = vec![style.strong(&format!("{}  {}", ctx.client.target(), time(s.at_us))), String::new()];
    let mut section = |table: &Table, bad: &dyn Fn(&str) -> bool| {
        if !table.is_empty() {
            let text = table.text();
            let mut rows = text.lines();
            lines.extend(rows.next().map(|head| style.faint(head)));
            lines.extend(rows.map(|row| if bad(row) { style.bad(row) } else { row.to_owned() }));
            lines.push(String::new());
        }
    };
    section(&gateway_table(&s.gateways, s.at_us), &|row| row.contains("  offline  "));
    section(&links(s), &|row| row.contains("  held: "));
    section(&devices(s), &|row| row.contains("  down  "));
    section(&polls(s), &|row| row.contains("  parked  "));
    section(&holes(s), &|_| false);
    section(&parts(s), &|_| true);
    section(&twins(s), &|_| false);
    section(&bad_points(s), &|_| true);
    section(&command_table(&s.commands), &|_| false);
    section(&audit_table(&s.events), &|row| row.contains("  alarm  "));
    if lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}

/// What the links to the cloud carry, and whether samples may go.
fn links(s: &Snapshot) -> Table {
    let mut table = Table::new(&["UPLINK", ">TODAY", ">LEFT", ">MONTH", ">LEFT", ">KEPT", "SAMPLES"]);
    for (g, link) in s.gateways.iter().filter_map(|g| Some((g, g.health.as_ref()?.link?))) {
        let left = |left: Option<u64>| left.map_or_else(|| "-".to_owned(), size);
        let until = link.held_until_us.map(|at| format!(", until {}", time(at))).unwrap_or_default();
        let since = link.held_since_us.map(|at| age(at, s.at_us)).unwrap_or_default();
        let held = |why: &str| format!("held: {why}, for {since}{until}");
        table.row([
            g.id.to_string(),
            size(link.day_bytes),
            left(link.day_left),
            size(link.month_bytes),
            left(link.month_left),
            link.held_frames.to_string(),
            match link.held {
                Some(LinkHold::Day) => held("the day's bytes are used up"),
                Some(LinkHold::Month) => held("the month's bytes are used up"),
                Some(LinkHold::Quiet) => held("quiet hours"),
                None if link.together => "together".to_owned(),
                None => "at once".to_owned(),
            },
        ]);
    }
    table
}

fn devices(s: &Snapshot) -> Table {
    let mut table = Table::new(&["DEVICE", "PROTOCOL", "LINK", ">SINCE", ">GOOD", ">BAD", "LAST ERROR"]);
    let all = s
        .gateways
        .iter()
        .flat_map(|g| g.health.iter().flat_map(move |h| h.devices.iter().map(move |d| (g, d))));
    let mut all: Vec<(&GatewayView, &DeviceHealth)> = all.collect();
    all.sort_by_key(|(_, d)| d.connected);
    for (g, d) in all {
        table.row([
            format!("{}/{}", g.id, d.name),
            d.protocol.clone(),
            if d.connected { "up" } else { "down" }.to_owned(),
            age(d.since_us, s.at_us),
            d.good.to_string(),
            d.bad.to_string(),
            d.last_error.clone().unwrap_or_default(),
        ]);
    }
    table
}

/// Devices that are polled, and on which line: those that have trouble first.
fn polls(s: &Snapshot) -> Table {
    let mut table = Table::new(&[
        "POLLED",
        "LINE",
        "STATE",
        ">REQ/S",
        ">ROUND TRIP",
        ">TIMEOUTS",
        ">REFUSED",
        ">LATE",
        ">OVERRUNS",
        ">SPARE",
        ">HOLES",
    ]);
    let polled = |g: &'_ GatewayView| g.health.as_ref().map(|h| h.devices.clone()).unwrap_or_default();
    let all = s.gateways.iter().flat_map(|g| polled(g).into_iter().map(move |d| (g, d)));
    let mut all: Vec<_> = all.filter_map(|(g, d)| Some((g, d.poll?, d.name))).collect();
    all.sort_by_key(|(_, p, _)| (!p.parked, p.timeouts == 0 && p.overruns == 0));
    for (g, p, name) in all {
        table.row([
            format!("{}/{name}", g.id),
            clean(&p.line).into_owned(),
            if p.parked { "parked" } else { "polled" }.to_owned(),
            format!("{}.{:02}", p.requests_per_hour / 3600, p.requests_per_hour % 3600 / 36),
            format!("{}.{:01} ms", p.round_trip_us / 1000, p.round_trip_us % 1000 / 100),
            p.timeouts.to_string(),
            p.refused.to_string(),
            p.late.to_string(),
            p.overruns.to_string(),
            p.spare.to_string(),
            p.holes.to_string(),
        ]);
    }
    table
}

/// What devices refuse to read.
fn holes(s: &Snapshot) -> Table {
    let mut table = Table::new(&["HOLE OF", "RANGE"]);
    for g in &s.gateways {
        for d in g.health.iter().flat_map(|h| &h.devices) {
            for hole in d.poll.iter().flat_map(|p| &p.holes_named) {
                table.row([format!("{}/{}", g.id, d.name), clean(hole).into_owned()]);
            }
        }
    }
    table
}

fn parts(s: &Snapshot) -> Table {
    let mut table = Table::new(&["PART", "STATE", ">RESTARTS", ">SINCE", "LAST ERROR"]);
    for (g, h) in s.gateways.iter().filter_map(|g| g.health.as_ref().map(|h| (g, h))) {
        for p in h.parts.iter().filter(|p| p.state != PartState::Running) {
            let state = serde_json::to_value(p.state).ok();
            table.row([
                format!("{}/{}", g.id, p.name),
                state.as_ref().and_then(|s| s.as_str()).unwrap_or_default().to_owned(),
                p.restarts.to_string(),
                age(p.since_us, s.at_us),
                p.last_error.clone().unwrap_or_default(),
            ]);
        }
    }
    table
}

fn twins(s: &Snapshot) -> Table {
    let mut table = Table::new(&[">TWINS", ">OFFLINE", ">POINTS", ">GOOD", ">UNCERTAIN", ">BAD"]);
    let points = || s.twins.iter().flat_map(|t| &t.points);
    let (all, good) = (points().count(), points().filter(|p| p.quality.is_good()).count());
    let bad = points().filter(|p| p.quality.is_bad()).count();
    let offline = s.twins.iter().filter(|t| !t.online).count();
    table.row([s.twins.len(), offline, all, good, all - good - bad, bad].map(|n| n.to_string()));
    table
}

fn bad_points(s: &Snapshot) -> Table {
    let mut table = Table::new(&["BAD POINT", "QUALITY", ">SINCE"]);
    let bad =
        s.twins.iter().flat_map(|t| t.points.iter().map(move |p| (t, p))).filter(|(_, p)| p.quality.is_bad());
    for (t, p) in bad.take(BAD) {
        table.row([
            format!("{} {}", t.asset, p.schema.name),
            p.quality.to_string(),
            age(p.source_us, s.at_us),
        ]);
    }
    table
}
