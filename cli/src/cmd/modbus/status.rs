//! `modbus status`: how the gateway's Modbus devices fare.

use common::api::{DeviceHealth, GatewayView, PollHealth};
use serde::Serialize;

use super::super::Context;
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::table::Table;

#[derive(Serialize)]
struct Row<'a> {
    gateway: &'a str,
    device: &'a DeviceHealth,
}

pub(super) async fn status(ctx: &Context, device: Option<&str>) -> Result<Exit> {
    let gateways = ctx.client.gateways().await?;
    let rows: Vec<Row<'_>> = gateways.iter().flat_map(polled).collect();
    let rows: Vec<_> = rows.into_iter().filter(|r| device.is_none_or(|d| d == r.device.name)).collect();
    if rows.is_empty() {
        return Err(match device {
            Some(name) => Error::new(Exit::NotFound, format!("there is no modbus device `{name}`")),
            None => Error::new(Exit::NotFound, "there is no modbus device"),
        });
    }
    ctx.out.show(&rows, |rows| text(rows))?;
    let well = |r: &Row<'_>| r.device.connected && r.device.poll.as_ref().is_none_or(|p| !p.parked);
    Ok(if rows.iter().all(well) { Exit::Ok } else { Exit::Failed })
}

fn polled(gateway: &GatewayView) -> impl Iterator<Item = Row<'_>> {
    let devices = gateway.health.as_ref().map(|h| h.devices.as_slice()).unwrap_or_default();
    let polled = devices.iter().filter(|d| d.poll.is_some() && d.protocol == "modbus");
    polled.map(|device| Row { gateway: gateway.id.as_str(), device })
}

fn text(rows: &[Row<'_>]) -> String {
    let mut table = Table::new(&[
        "DEVICE",
        "LINE",
        "STATE",
        ">REQ/S",
        ">ANSWER",
        ">TIMEOUTS",
        ">REFUSED",
        ">WRONG",
        ">LATE",
        ">OVERRUNS",
        ">SPARE",
        ">HOLES",
    ]);
    let mut holes = String::new();
    for Row { device, .. } in rows {
        let Some(p) = &device.poll else { continue };
        table.row([
            device.name.clone(),
            p.line.clone(),
            state(device, p).to_owned(),
            per_s(p.requests_per_hour),
            answer(p.round_trip_us),
            p.timeouts.to_string(),
            p.refused.to_string(),
            p.wrong.to_string(),
            p.late.to_string(),
            p.overruns.to_string(),
            p.spare.to_string(),
            p.holes.to_string(),
        ]);
        for hole in &p.holes_named {
            holes += &format!("hole of {}: {}\n", device.name, crate::out::clean(hole));
        }
        if p.holes > p.holes_named.len() {
            holes += &format!("  and {} more\n", p.holes - p.holes_named.len());
        }
    }
    table.text() + &holes
}

fn state(device: &DeviceHealth, poll: &PollHealth) -> &'static str {
    match (poll.parked, device.connected) {
        (true, _) => "parked",
        (_, true) => "online",
        _ => "offline",
    }
}

fn per_s(per_hour: u64) -> String {
    let tenths = per_hour.saturating_mul(10) / 3600;
    if tenths == 0 && per_hour > 0 {
        format!("{per_hour}/h")
    } else {
        format!("{}.{}", tenths / 10, tenths % 10)
    }
}

fn answer(us: u64) -> String {
    format!("{}.{} ms", us / 1000, us % 1000 / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_devices_are_told_by_the_hour() {
        assert_eq!((per_s(36_000), per_s(60), per_s(0)), ("10.0".into(), "60/h".into(), "0.0".into()));
        assert_eq!(answer(12_345), "12.3 ms");
    }
}
