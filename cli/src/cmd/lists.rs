//! `gateways`, `commands` and `audit`: lists as tables.

use common::api::{CommandView, GatewayView, SwitchPosition};
use common::command::{LogEntry, Severity};

use super::Context;
use super::command::origin;
use super::write::state;
use crate::args;
use crate::error::Result;
use crate::exit::Exit;
use crate::table::{Table, age, size, span, time};
use crate::value::show;

pub(super) async fn gateways(ctx: &Context) -> Result<Exit> {
    let gateways = ctx.client.gateways().await?;
    let now = ctx.clock.now_us();
    ctx.out.show(&gateways, |g| gateway_table(g, now).text())?;
    if gateways.is_empty() {
        ctx.out.note("no gateways");
    }
    for g in &gateways {
        for held in &g.held {
            let which = held.box_id.map_or_else(|| "of an older program".to_owned(), |b| b.to_string());
            ctx.out.note(&format!(
                "{}: box {which} from {} (incarnation {}) is held back since {}: {}",
                g.id,
                held.peer,
                held.incarnation,
                time(held.since_us),
                held.reason
            ));
        }
        if let Some(error) = g.health.as_ref().filter(|_| !g.connected).and_then(|h| h.uplink_error.as_ref())
        {
            ctx.out.note(&format!("{}: {error}", g.id));
        }
    }
    Ok(Exit::Ok)
}

pub(super) fn gateway_table(gateways: &[GatewayView], now_us: i64) -> Table {
    let columns = [
        "GATEWAY", "LINK", ">SINCE", ">SEEN", ">TWINS", "SWITCH", ">UNACKED", ">OLDEST", ">DISK", ">DROPPED",
        ">UP", "VERSION",
    ];
    let mut table = Table::new(&columns);
    for g in gateways {
        let mut link = if g.connected { "connected" } else { "offline" }.to_owned();
        if !g.held.is_empty() {
            link += &format!(", {} held", g.held.len());
        }
        let mut row = vec![
            g.id.to_string(),
            link,
            age(g.since_us, now_us),
            age(g.last_seen_us, now_us),
            g.twins.to_string(),
        ];
        if let Some(h) = &g.health {
            row.extend([
                position(h.switch).to_owned(),
                h.buffer.unacked_frames.to_string(),
                span(h.buffer.oldest_unacked_ms),
                size(h.buffer.disk_bytes),
                h.dropped.values().fold(0u64, |sum, n| sum.saturating_add(*n)).to_string(),
                span(h.uptime_ms),
                h.version.clone(),
            ]);
        }
        table.row(row);
    }
    table
}

pub(super) fn position(p: SwitchPosition) -> &'static str {
    match p {
        SwitchPosition::Local => "local",
        SwitchPosition::Remote => "remote",
    }
}

pub(super) async fn commands(ctx: &Context, limit: u32) -> Result<Exit> {
    let commands: Vec<CommandView> = ctx.client.list(&["commands"], &[], limit).await?;
    ctx.out.show(&commands, |c| command_table(c).text())?;
    if commands.is_empty() {
        ctx.out.note("no commands");
    }
    Ok(Exit::Ok)
}

pub(super) fn command_table(commands: &[CommandView]) -> Table {
    let mut table = Table::new(&["TIME", "STATE", "TWIN", "POINT", ">VALUE", "BY", "CODE", "ID"]);
    for c in commands {
        table.row([
            time(c.created_us),
            state(c),
            c.asset.clone(),
            c.point.clone(),
            show(Some(&c.value), None),
            format!("{} ({})", c.requester.name, origin(c)),
            c.code.map_or("-", |c| c.as_str()).to_owned(),
            c.id.to_string(),
        ]);
    }
    table
}

pub(super) async fn audit(ctx: &Context, args: args::Audit) -> Result<Exit> {
    let mut query = Vec::new();
    if let Some(twin) = &args.twin {
        // The route takes ids; names are the twins' route's.
        query.push(("twin", ctx.client.twin(twin).await?.id.to_string()));
    }
    if let Some(severity) = args.severity {
        let least = match severity {
            args::Severity::Info => Severity::Info,
            args::Severity::Warning => Severity::Warning,
            args::Severity::Alarm => Severity::Alarm,
        };
        query.push(("min_severity", severity_text(least).to_owned()));
    }
    let entries: Vec<LogEntry> = ctx.client.list(&["audit"], &query, args.limit).await?;
    ctx.out.show(&entries, |e| audit_table(e).text())?;
    if entries.is_empty() {
        ctx.out.note("no entries");
    }
    Ok(Exit::Ok)
}

pub(super) fn audit_table(entries: &[LogEntry]) -> Table {
    let mut table = Table::new(&["TIME", "SEVERITY", "ACTION", "TARGET", "BY", "CODE", "DETAIL"]);
    for e in entries {
        table.row([
            time(e.at_us),
            severity_text(e.severity).to_owned(),
            e.action.clone(),
            e.target.clone(),
            e.actor.clone(),
            e.code.map_or("-", |c| c.as_str()).to_owned(),
            e.detail.clone(),
        ]);
    }
    table
}

fn severity_text(s: Severity) -> &'static str {
    match s {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Alarm => "alarm",
    }
}
