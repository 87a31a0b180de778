//! `modbus read` and `modbus write`: points of Modbus devices, by way of the gateway that owns the device.

use super::Context;
use super::write::find;
use crate::args::Write;
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::out::clean;
use crate::table::time;
use crate::value::show;

pub(super) async fn read(ctx: &Context, twin: &str, point: &str) -> Result<Exit> {
    let twin = ctx.client.twin(twin).await?;
    let point = find(&twin, point)?;
    speaks_modbus(ctx, &twin).await?;
    ctx.out.show(point, |p| {
        let unit =
            if p.schema.unit.is_empty() { String::new() } else { format!(" {}", clean(&p.schema.unit)) };
        format!("{}{unit}  {}  {}\n", show(p.value.as_ref(), Some(&p.schema)), p.quality, time(p.source_us))
    })?;
    if point.quality.is_bad() {
        ctx.out.note(&format!("twinway: the value is bad: {}", point.quality));
        return Ok(Exit::Failed);
    }
    Ok(Exit::Ok)
}

pub(super) async fn write(ctx: &Context, twin: &str, assignment: &str, how: Write) -> Result<Exit> {
    speaks_modbus(ctx, &ctx.client.twin(twin).await?).await?;
    super::write::write(ctx, twin, assignment, how, true).await
}

/// Refuses a device that is known to speak another protocol. What a gateway did not tell is not refused.
async fn speaks_modbus(ctx: &Context, twin: &common::api::TwinView) -> Result<()> {
    let Some(name) = &twin.device else {
        return Err(Error::usage(format!("{} has no device", twin.asset)));
    };
    let gateways = ctx.client.gateways().await?;
    let gateway = gateways.iter().find(|g| Some(&g.id) == twin.gateway.as_ref());
    let devices = gateway.and_then(|g| g.health.as_ref()).map(|h| h.devices.as_slice()).unwrap_or_default();
    match devices.iter().find(|d| d.name == *name) {
        Some(d) if d.protocol != "modbus" => {
            Err(Error::usage(format!("device {name} of {} speaks {}, not modbus", twin.asset, d.protocol))
                .remedy("`twinway twins get` and `twinway send` do not mind the protocol"))
        }
        _ => Ok(()),
    }
}
