//! The gateway that runs with the new configuration: by its service under systemd, by a reload, or by whoever runs it.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use common::GatewayId;
use common::api::{GatewayView, Page, ReloadReport};
use reqwest::Method;
use tokio::time::{Instant, sleep};

use super::super::Context;
use super::ask::Ask;
use crate::error::{Error, Result};
use crate::exit::Exit;

const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// A unit of systemd.
#[derive(Debug)]
pub(super) struct Service(String);

fn systemctl(words: &[&str]) -> Option<Output> {
    Command::new("systemctl").args(words).stdin(Stdio::null()).output().ok()
}

impl Service {
    /// The unit, where systemd runs and has it.
    pub(super) fn find(unit: &str) -> Option<Self> {
        let shown = systemctl(&["show", "--property=LoadState", "--value", unit])?;
        let is_there = shown.status.success() && String::from_utf8_lossy(&shown.stdout).trim() == "loaded";
        is_there.then(|| Self(unit.to_owned()))
    }

    fn restart(&self) -> Result<()> {
        let Self(unit) = self;
        let failed = |why: &str| {
            Error::new(Exit::Failed, format!("`systemctl restart {unit}` failed: {}", why.trim())).remedy(
                format!("the configuration is written; look at `journalctl -u {unit}`, and run it as root"),
            )
        };
        match systemctl(&["restart", unit]) {
            Some(output) if output.status.success() => Ok(()),
            Some(output) => Err(failed(&String::from_utf8_lossy(&output.stderr))),
            None => Err(failed("it cannot be run")),
        }
    }
}

/// Whose gateway answers; none if no gateway does.
pub(super) async fn running(ctx: &Context) -> Option<GatewayId> {
    let page: Page<GatewayView> = ctx.client.get(&["gateways"]).await.ok()?;
    page.items.into_iter().next().map(|g| g.id)
}

/// Has the gateway take the configuration, and waits until it runs with it.
pub(super) async fn take(
    ask: Ask,
    ctx: &Context,
    service: Option<&Service>,
    file: &Path,
    id: &GatewayId,
    wait: Duration,
) -> Result<()> {
    let run = format!("twinway-gateway run --config {}", file.display());
    // Another name is another gateway: only a new process can be that.
    let is_same = running(ctx).await.map(|now| now == *id);
    if is_same == Some(true) {
        let report: ReloadReport =
            ctx.client.fetch(ctx.client.request(Method::POST, &["config", "reload"])?).await?;
        if report.restart_needed.is_empty() {
            ask.say(&format!("the gateway has taken it: {}", report.summary()));
            return Ok(());
        }
    }
    match (service, is_same) {
        (Some(service), _) => {
            ask.say(&format!("starting {} anew ...", service.0));
            service.restart()?;
        }
        (None, Some(true)) => {
            ask.say(&format!("part of it holds only after a new start of the gateway: {run}"));
            return Ok(());
        }
        (None, Some(false)) => {
            ask.say(&format!("systemd does not run the gateway here: stop it and start it anew, {run}"));
        }
        (None, None) => ask.say(&format!("systemd does not run the gateway here: start it, {run}")),
    }
    let until = Instant::now() + wait;
    while Instant::now() < until {
        if running(ctx).await.as_ref() == Some(id) {
            return Ok(());
        }
        sleep(LOOK_AGAIN).await;
    }
    let wait = humantime::format_duration(wait);
    Err(Error::new(Exit::NotReachable, format!("no gateway `{id}` answers at {} within {wait}", ctx.client.target()))
        .remedy("the configuration is written; see `systemctl status twinway-gateway` and `journalctl -u twinway-gateway`"))
}
