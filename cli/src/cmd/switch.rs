//! `switch`: the local/remote switch of a box.

use common::api::{SwitchPosition, SwitchRequest};
use reqwest::Method;

use super::Context;
use super::lists::position as text;
use crate::args::Position;
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::out::clean;

pub(super) async fn switch(
    ctx: &Context,
    position: Option<Position>,
    reason: Option<String>,
) -> Result<Exit> {
    let request = match position {
        None => ctx.client.request(Method::GET, &["switch"])?,
        Some(position) => {
            let position = match position {
                Position::Local => SwitchPosition::Local,
                Position::Remote => SwitchPosition::Remote,
            };
            let reason = reason.unwrap_or_default();
            if reason.trim().is_empty() {
                return Err(Error::usage("--reason must say why"));
            }
            ctx.client.request(Method::PUT, &["switch"])?.json(&SwitchRequest { position, reason })
        }
    };
    let now: SwitchRequest = ctx.client.fetch(request).await.map_err(|e| match e.exit() {
        Exit::NotFound => Error::new(Exit::NotFound, format!("{} has no switch", ctx.client.target()))
            .remedy(
                "the switch is set only at the box: run this there, or name the box with --socket or --url",
            ),
        _ => e,
    })?;
    ctx.out.show(&now, |now| {
        let reason =
            if now.reason.is_empty() { String::new() } else { format!("  ({})", clean(&now.reason)) };
        format!("{}{reason}\n", text(now.position))
    })?;
    Ok(Exit::Ok)
}
