//! `release` and `rollout`, and what `gateway` says of updates.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use common::GatewayId;
use common::api::{
    GroupRequest, Release as Bundle, RolloutBox, RolloutBoxState, RolloutChange, RolloutRequest,
    RolloutState, RolloutView, UpdateReport, UpdateView,
};
use common::bundle::MOST_BYTES;
use reqwest::Method;

use super::Context;
use crate::args::{Release, Rollout};
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::out::clean;
use crate::table::{Table, size, time};

/// For a large bundle over a slow link.
const UPLOAD: Duration = Duration::from_secs(1800);

pub(super) async fn release(ctx: &Context, verb: Release) -> Result<Exit> {
    match verb {
        Release::Add { file } => {
            let request = ctx.client.request(Method::POST, &["releases"])?;
            let request = request.header("content-type", "application/octet-stream").timeout(UPLOAD);
            let kept: Bundle = ctx.client.fetch(request.body(read(&file)?)).await?;
            ctx.out.show(&kept, |k| {
                let (version, arch, keys) = (clean(&k.version), clean(&k.arch), k.signed_by.join(", "));
                format!("{version} for {arch} is kept, {}, signed by key {keys}\n", size(k.bytes))
            })?;
        }
        Release::List => {
            let found: Vec<Bundle> = ctx.client.list(&["releases"], &[], u32::MAX).await?;
            ctx.out.show(&found, |f| bundles(f).text())?;
            if found.is_empty() {
                ctx.out.note("the cloud keeps no bundles: twinway release add FILE");
            }
        }
        Release::Remove { version } => {
            ctx.client.send(ctx.client.request(Method::DELETE, &["releases", &version])?).await?;
            ctx.out.note(&format!("{version} is removed"));
        }
    }
    Ok(Exit::Ok)
}

fn read(file: &Path) -> Result<Vec<u8>> {
    let failed = |e: std::io::Error| Error::usage(format!("{}: {e}", file.display()));
    let bytes = std::fs::metadata(file).map_err(failed)?.len();
    if bytes > MOST_BYTES {
        return Err(Error::usage(format!("{}: {bytes} bytes, at most {MOST_BYTES}", file.display())));
    }
    std::fs::read(file).map_err(failed)
}

fn bundles(bundles: &[Bundle]) -> Table {
    let mut table = Table::new(&["VERSION", "ARCH", ">SIZE", "TIME", "AUTHOR", "KEYS", "SHA-256"]);
    for b in bundles {
        let sha = b.sha256.get(..12).unwrap_or(&b.sha256).to_owned();
        let keys = b.signed_by.join(", ");
        table.row([
            b.version.clone(),
            b.arch.clone(),
            size(b.bytes),
            time(b.at_us),
            b.author.clone(),
            keys,
            sha,
        ]);
    }
    table
}

pub(super) async fn rollout(ctx: &Context, verb: Rollout) -> Result<Exit> {
    let now: RolloutView = match verb {
        Rollout::Start { version, groups, stay, note } => {
            let request = ctx.client.request(Method::POST, &["rollout"])?;
            let body = RolloutRequest { version, groups, stay_s: stay.as_secs(), note };
            ctx.client.fetch(request.json(&body)).await?
        }
        Rollout::Halt { reason } => change(ctx, "halt", reason).await?,
        Rollout::GoOn { reason } => change(ctx, "go-on", reason).await?,
        Rollout::Status => {
            let now: RolloutView = ctx.client.get(&["rollout"]).await?;
            ctx.out.show(&now, shown)?;
            let is_halted = now.rollout.state == RolloutState::Halted;
            return Ok(if is_halted { Exit::Failed } else { Exit::Ok });
        }
    };
    ctx.out.show(&now, shown)?;
    Ok(Exit::Ok)
}

async fn change(ctx: &Context, what: &str, reason: String) -> Result<RolloutView> {
    if reason.trim().is_empty() {
        return Err(Error::usage("--reason must say why"));
    }
    let request = ctx.client.request(Method::POST, &["rollout", what])?;
    ctx.client.fetch(request.json(&RolloutChange { reason })).await
}

fn shown(view: &RolloutView) -> String {
    let r = &view.rollout;
    let mut out = String::new();
    let mut say = |what: &str, text: &str| {
        // Into a text: this cannot fail.
        let _ = writeln!(out, "{what:<8} {text}");
    };
    say("rollout", &format!("{} of {}, {}", r.id, clean(&r.version), r.state));
    let groups = r.groups.iter().enumerate().map(|(at, group)| {
        let is_now = at == r.stage && r.state != RolloutState::Done;
        if is_now { format!("[{}]", clean(group)) } else { clean(group).into_owned() }
    });
    say("groups", &groups.collect::<Vec<_>>().join(" "));
    if let Some(since) = r.well_since_us {
        say("well", &format!("since {}, for {} s until the next group", time(since), r.stay_s));
    }
    if !r.reason.is_empty() {
        say("reason", &clean(&r.reason));
    }
    let failed: Vec<_> = view.boxes.iter().filter(|b| b.state == RolloutBoxState::Failed).collect();
    if !failed.is_empty() {
        let ids: Vec<_> = failed.iter().map(|b| &b.gateway).collect();
        let are = if failed.len() == 1 { "it" } else { "them" };
        say("failed", &format!("{}: `twinway rollout go-on` passes {are} over", names(&ids)));
    }
    if !view.left_out.is_empty() {
        let version = clean(&r.version);
        let ids: Vec<_> = view.left_out.iter().collect();
        let (they, try_) = if ids.len() == 1 { ("it", "is") } else { ("they", "are") };
        say("left out", &format!("{}: passed over, {they} {try_} without {version}", names(&ids)));
        let of = |b: &&RolloutBox| view.left_out.contains(&b.gateway);
        let groups: BTreeSet<_> = view.boxes.iter().filter(of).map(|b| clean(&b.group)).collect();
        let groups = groups.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join(",");
        say(
            "",
            &format!(
                "to offer it anew once this one is halted or done: twinway rollout start {version} --groups {groups}"
            ),
        );
    }
    let mut table = Table::new(&["GATEWAY", "GROUP", "STATE", "VERSION", "LINK", "REASON"]);
    for b in &view.boxes {
        let link = if b.connected { "connected" } else { "away" };
        let (name, state) = (b.gateway.to_string(), b.state.to_string());
        table.row([name, b.group.clone(), state, b.version.clone(), link.to_owned(), b.reason.clone()]);
    }
    out + &table.text()
}

fn names(ids: &[&GatewayId]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

pub(super) async fn group(ctx: &Context, gateway: &str, group: Option<String>) -> Result<()> {
    let request = ctx.client.request(Method::PUT, &["gateways", gateway, "group"])?;
    let body = GroupRequest { group: group.clone().unwrap_or_default() };
    ctx.client.send(request.json(&body)).await?;
    let told = group.map_or_else(|| "in no group".to_owned(), |g| format!("in group {g}"));
    ctx.out.note(&format!("{gateway} is {told}"));
    Ok(())
}

pub(super) async fn list(ctx: &Context) -> Result<()> {
    let found: Vec<UpdateView> = ctx.client.list(&["updates"], &[], u32::MAX).await?;
    ctx.out.show(&found, |f| {
        let mut table = Table::new(&["GATEWAY", "GROUP", "VERSION", "ARCH", "UPDATE", "REASON"]);
        for one in f {
            let report = one.report.clone().unwrap_or_default();
            let (update, reason) = (update(&report), reason(&report));
            let group = one.group.clone().unwrap_or_else(|| "-".to_owned());
            table.row([one.gateway.to_string(), group, report.version, report.arch, update, reason]);
        }
        table.text()
    })?;
    if found.is_empty() {
        ctx.out.note("no gateway has a group or told of updates");
    }
    Ok(())
}

pub(super) async fn show(ctx: &Context, gateway: &str) -> Result<()> {
    let one: UpdateView = ctx.client.get(&["gateways", gateway, "update"]).await?;
    ctx.out.show(&one, |one| {
        let mut out = String::new();
        let mut say = |what: &str, text: &str| {
            let _ = writeln!(out, "{what:<8} {}", clean(text));
        };
        say("group", one.group.as_deref().unwrap_or("none"));
        let Some(report) = &one.report else {
            say("version", "not told: it was never here, or its program is too old");
            return out;
        };
        say("version", &format!("{} for {}", report.version, report.arch));
        say("update", &update(report));
        let why = reason(report);
        if !why.is_empty() {
            say("reason", &why);
        }
        out
    })
}

fn update(report: &UpdateReport) -> String {
    match &report.offer {
        Some(offer) => format!("{} {}", offer.version, report.state),
        None if report.accepts => "none".to_owned(),
        None => "not accepted".to_owned(),
    }
}

fn reason(report: &UpdateReport) -> String {
    if report.reason.is_empty() { report.why.clone() } else { report.reason.clone() }
}
