//! `buffer status`: what waits in the gateways' buffers, and what was lost.

use std::collections::BTreeMap;

use common::api::{BufferHealth, BufferStatus, GatewayView};
use serde::Serialize;

use super::Context;
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::out::clean;
use crate::table::{size, span};

#[derive(Serialize)]
struct Status<'a> {
    gateway: &'a str,
    uplink: bool,
    buffer: &'a BufferHealth,
    dropped: &'a BTreeMap<String, u64>,
    /// On the box alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a BufferStatus>,
}

pub(super) async fn status(ctx: &Context, gateway: Option<String>) -> Result<Exit> {
    let all = ctx.client.gateways().await?;
    let chosen: Vec<_> = all.iter().filter(|g| gateway.as_ref().is_none_or(|n| n == g.id.as_str())).collect();
    if let (Some(name), true) = (&gateway, chosen.is_empty()) {
        return Err(Error::new(Exit::NotFound, format!("there is no gateway `{name}`"))
            .remedy("`twinway gateways` lists them"));
    }
    let detail = super::buffer_box::detail(ctx).await?;
    let told: Vec<_> = chosen.iter().filter_map(|g| of(g, detail.as_ref())).collect();
    ctx.out.show(&told, |told| told.iter().map(page).collect::<Vec<_>>().join("\n"))?;
    for silent in chosen.iter().filter(|g| g.health.is_none()) {
        ctx.out.note(&format!("{} has told nothing yet", silent.id));
    }
    if told.iter().any(|s| s.buffer.fault.is_some()) { Ok(Exit::Failed) } else { Ok(Exit::Ok) }
}

fn of<'a>(g: &'a GatewayView, detail: Option<&'a BufferStatus>) -> Option<Status<'a>> {
    let h = g.health.as_ref()?;
    Some(Status { gateway: g.id.as_str(), uplink: h.uplink, buffer: &h.buffer, dropped: &h.dropped, detail })
}

fn page(s: &Status<'_>) -> String {
    let b = s.buffer;
    let uplink = if s.uplink { "the cloud acknowledges" } else { "no session with the cloud" };
    let mut lines = vec![
        format!("{}  {uplink}", s.gateway),
        format!("  waiting   {} frames, the oldest {}", b.unacked_frames, span(b.oldest_unacked_ms)),
        format!("  disk      {} of {}", size(b.disk_bytes), size(b.quota_bytes)),
        format!(
            "  sequence  {} given, {} durable, incarnation {}",
            b.last_seq,
            b.durable_seq,
            clean(&b.incarnation)
        ),
    ];
    if let Some(fault) = &b.fault {
        lines.push(format!("  FAULT     {}", clean(fault)));
    }
    let dropped = s.dropped.iter().filter(|(_, n)| **n > 0);
    lines.extend(dropped.map(|(cause, n)| format!("  dropped   {n} {}", clean(cause))));
    lines.join("\n") + "\n" + &s.detail.map(super::buffer_box::page).unwrap_or_default()
}
