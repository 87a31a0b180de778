//! `twins ls` and `twins get`.

use std::fmt::Write;

use common::api::{PointView, TwinView};
use common::{Access, ValueType};

use super::Context;
use crate::error::Result;
use crate::exit::Exit;
use crate::out::clean;
use crate::table::{Table, age};
use crate::value::{number, show};

pub(super) async fn ls(ctx: &Context, filter: Option<String>) -> Result<Exit> {
    let twins = ctx.client.twins(filter.as_deref()).await?;
    ctx.out.show(&twins, |twins| {
        let mut table = Table::new(&["TWIN", "LINK", ">POINTS", ">BAD", "GATEWAY", "DEVICE", "ID"]);
        for t in twins {
            let bad = t.points.iter().filter(|p| p.quality.is_bad()).count();
            table.row([
                t.asset.clone(),
                link(t.online),
                t.points.len().to_string(),
                bad.to_string(),
                t.gateway.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
                t.device.clone().unwrap_or_else(|| "-".to_owned()),
                t.id.to_string(),
            ]);
        }
        table.text()
    })?;
    if twins.is_empty() {
        ctx.out.note("no twins");
    }
    Ok(Exit::Ok)
}

pub(super) async fn get(ctx: &Context, name: &str) -> Result<Exit> {
    let twin = ctx.client.twin(name).await?;
    let now = ctx.clock.now_us();
    ctx.out.show(&twin, |twin| page(twin, now))?;
    Ok(Exit::Ok)
}

pub(super) fn link(online: bool) -> String {
    if online { "online" } else { "offline" }.to_owned()
}

fn page(twin: &TwinView, now_us: i64) -> String {
    let mut text = format!("{}  {}", clean(&twin.asset), link(twin.online));
    if let (Some(gateway), Some(device)) = (&twin.gateway, &twin.device) {
        let _ = write!(text, "  {gateway}/{}", clean(device));
    }
    let _ = writeln!(text, "  {}", twin.id);
    if !twin.description.is_empty() {
        let _ = writeln!(text, "{}", clean(&twin.description));
    }
    let mut table = Table::new(&[
        "POINT",
        ">VALUE",
        "UNIT",
        "QUALITY",
        ">AGE",
        "TYPE",
        "WRITE",
        "DESIRED",
        "DESCRIPTION",
    ]);
    for p in &twin.points {
        table.row([
            p.schema.name.to_string(),
            show(p.value.as_ref(), Some(&p.schema)),
            p.schema.unit.clone(),
            p.quality.to_string(),
            age(p.source_us, now_us),
            kind(p.schema.value_type).to_owned(),
            limits(p),
            desired(p),
            p.schema.description.clone(),
        ]);
    }
    text + &table.text()
}

pub(super) fn kind(t: ValueType) -> &'static str {
    match t {
        ValueType::Bool => "bool",
        ValueType::I64 => "i64",
        ValueType::U64 => "u64",
        ValueType::F64 => "f64",
        ValueType::Text => "text",
        ValueType::Bytes => "bytes",
    }
}

fn limits(p: &PointView) -> String {
    match (p.schema.access, p.schema.write_min, p.schema.write_max) {
        (Access::Read, ..) => "-".to_owned(),
        (_, Some(min), Some(max)) => format!("{} to {}", number(min), number(max)),
        _ => "yes".to_owned(),
    }
}

fn desired(p: &PointView) -> String {
    let Some(d) = &p.desired else { return "-".to_owned() };
    let state = serde_json::to_value(d.state).ok();
    let state = state.as_ref().and_then(|s| s.as_str()).unwrap_or_default();
    format!("{} {state}", show(Some(&d.value), Some(&p.schema)))
}
