//! `gateway config`: configuration documents that the cloud keeps for a gateway.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use common::api::{
    ConfigurationDocument, ConfigurationEntry, ConfigurationRequest, ConfigurationState, ConfigurationView,
    DocumentRef,
};
use reqwest::Method;
use serde_json::json;
use tokio::time::Instant;

use super::Context;
use super::lines::{self, Line};
use super::origin::{self, Origin};
use crate::args::{Configuration, Over, Put};
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::out::clean;
use crate::table::{Table, size, time};

/// Pause between two looks at what became of a document.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

pub(super) async fn configuration(ctx: &Context, verb: Configuration) -> Result<Exit> {
    match verb {
        Configuration::Status { gateway } => ctx.out.show(&view(ctx, &gateway).await?, status)?,
        Configuration::Get { gateway, version } => {
            let version = match version {
                Some(version) => version,
                None => newest(ctx, &gateway).await?,
            };
            let document = document(ctx, &gateway, version).await?;
            let is_shown = ctx.out.is_terminal();
            let text = |d: &ConfigurationDocument| {
                // One that another client put may bring such a line along.
                Origin::of(&gateway, &d.entry).line() + origin::split(&d.document).1
            };
            ctx.out.show(&document, |d| if is_shown { shown(&text(d)) } else { text(d) })?;
            ctx.out.note(&format!(
                "document {version}; change it, then: twinway gateway config put {gateway} FILE"
            ));
        }
        Configuration::Put { gateway, file, over, how } => {
            let text = read(&file)?;
            let (origin, document) = origin::split(&text);
            let over = replaced(ctx, &gateway, &file, over, origin.as_ref()).await?;
            return put(ctx, &gateway, document.to_owned(), over, how).await;
        }
        Configuration::History { gateway, limit } => {
            let parts = ["gateways", &gateway, "configuration", "documents"];
            let found: Vec<ConfigurationEntry> = ctx.client.list(&parts, &[], limit).await?;
            ctx.out.show(&found, |f| history(f).text())?;
            if found.is_empty() {
                ctx.out.note("no document was put for it");
            }
        }
        Configuration::Diff { gateway, from, to, file } => {
            return diff(ctx, &gateway, from, to, file.as_deref()).await;
        }
        Configuration::Rollback { gateway, version, over, mut how } => {
            let over = match over {
                Some(over) => over,
                None => newest(ctx, &gateway).await?,
            };
            let old = document(ctx, &gateway, version).await?;
            if how.note.is_empty() {
                how.note = format!("as document {version}");
            }
            return put(ctx, &gateway, old.document, over, how).await;
        }
    }
    Ok(Exit::Ok)
}

async fn view(ctx: &Context, gateway: &str) -> Result<ConfigurationView> {
    ctx.client.get(&["gateways", gateway, "configuration"]).await
}

async fn newest(ctx: &Context, gateway: &str) -> Result<u64> {
    let wanted = view(ctx, gateway).await?.wanted;
    wanted.map(|w| w.version).ok_or_else(|| {
        Error::new(Exit::NotFound, format!("no document was put for {gateway}"))
            .remedy(format!("twinway gateway config put {gateway} FILE"))
    })
}

async fn document(ctx: &Context, gateway: &str, version: u64) -> Result<ConfigurationDocument> {
    ctx.client.get(&["gateways", gateway, "configuration", "documents", &version.to_string()]).await
}

fn read(file: &Path) -> Result<String> {
    let failed = |e: std::io::Error| Error::usage(format!("{}: {e}", file.display()));
    if file.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(failed)?;
        return Ok(text);
    }
    std::fs::read_to_string(file).map_err(failed)
}

/// A text for a terminal, which it must not steer.
fn shown(text: &str) -> String {
    text.lines().map(|line| format!("{}\n", clean(&line.replace('\t', "    ")))).collect()
}

/// The version that a file may take the place of: what it was made from, as told or as it says itself. Where there is another one
/// nobody chose that it goes: it is told whose it is, and nothing is put.
async fn replaced(
    ctx: &Context,
    gateway: &str,
    file: &Path,
    over: Option<Over>,
    origin: Option<&Origin>,
) -> Result<u64> {
    if let Some(Over::Version(version)) = over {
        return Ok(version);
    }
    let Some(newest) = view(ctx, gateway).await?.wanted else { return Ok(0) };
    let version = newest.version;
    if over == Some(Over::Newest) || origin == Some(&Origin::of(gateway, &newest)) {
        return Ok(version);
    }
    let file = file.display();
    let (exit, why) = match origin {
        Some(o) if o.gateway == gateway && o.version == version => {
            (Exit::Failed, format!("{file} was made from a document {version} with another text"))
        }
        Some(o) if o.gateway == gateway => {
            (Exit::Failed, format!("{file} was made from document {}", o.version))
        }
        Some(o) => (Exit::Failed, format!("{file} was made from document {} of {}", o.version, o.gateway)),
        None => (Exit::Usage, format!("{file} does not say what it was made from")),
    };
    Err(Error::new(exit, format!("{why}, and would take the place of {}; nothing was put", told(&newest)))
        .remedy(format!(
            "see `twinway gateway config diff {gateway} --from {version} --file {file}`; what is to go may go with --over {version}"
        )))
}

/// Whose a document is.
fn told(entry: &ConfigurationEntry) -> String {
    let note = if entry.note.is_empty() { String::new() } else { format!(", \"{}\"", clean(&entry.note)) };
    format!("document {} of {} at {}{note}", entry.version, clean(&entry.author), time(entry.at_us))
}

async fn put(ctx: &Context, gateway: &str, text: String, over: u64, how: Put) -> Result<Exit> {
    let request = ctx.client.request(Method::PUT, &["gateways", gateway, "configuration"])?;
    let request = request.header("if-match", format!("\"{over}\""));
    let body = ConfigurationRequest { document: text, note: how.note, force: how.force };
    let mut now: ConfigurationView = ctx.client.fetch(request.json(&body)).await?;
    let Some(wanted) = now.wanted.clone() else {
        return Err(Error::new(Exit::Failed, "the cloud took the document and does not want it"));
    };
    let gateways = ctx.client.gateways().await?;
    let next = format!(
        "once it is changed again: twinway gateway config put {gateway} FILE --over {}",
        wanted.version
    );
    let is_away = !gateways.iter().any(|g| g.id.as_str() == gateway && g.connected);
    if how.no_wait || is_away {
        ctx.out.show(&now, status)?;
        if is_away {
            ctx.out.note("the box is not connected: it hears of the document when it is");
        }
        ctx.out.note(&next);
        return Ok(Exit::Ok);
    }
    let until = Instant::now() + how.timeout;
    loop {
        match now.state {
            ConfigurationState::Applied => {
                ctx.out.show(&now, status)?;
                ctx.out.note(&next);
                return Ok(Exit::Ok);
            }
            ConfigurationState::Refused | ConfigurationState::NotAccepted => {
                if ctx.out.is_json() {
                    ctx.out.json(&now)?;
                }
                let what = format!("document {}: {}: {}", wanted.version, now.state, clean(&now.reason));
                return Err(Error::new(Exit::Failed, what).remedy(format!(
                    "what ran before goes on; mend the document and put it --over {}",
                    wanted.version
                )));
            }
            _ if Instant::now() >= until => {
                let what = format!("document {}: {} after {:?}", wanted.version, now.state, how.timeout);
                return Err(Error::new(Exit::Timeout, what)
                    .remedy(format!("twinway gateway config status {gateway}")));
            }
            _ => {}
        }
        tokio::time::sleep(LOOK_AGAIN).await;
        now = view(ctx, gateway).await?;
        if now.wanted.as_ref().is_some_and(|w| w.version != wanted.version) {
            return Err(Error::new(Exit::Failed, "somebody put another document meanwhile")
                .remedy(format!("twinway gateway config history {gateway}")));
        }
    }
}

fn named(document: Option<&DocumentRef>) -> String {
    document.map_or_else(
        || "none".to_owned(),
        |d| format!("{} ({})", d.version, clean(d.hash.get(..12).unwrap_or(&d.hash))),
    )
}

fn status(view: &ConfigurationView) -> String {
    let mut out = String::new();
    let mut say = |what: &str, text: &str| {
        // Into a text: this cannot fail.
        let _ = writeln!(out, "{what:<9} {text}");
    };
    let wanted = view.wanted.as_ref().map(|w| DocumentRef { version: w.version, hash: w.hash.clone() });
    say("wanted", &named(wanted.as_ref()));
    if let Some(report) = &view.report {
        say("running", &named(report.running.as_ref()));
    }
    say("state", &view.state.to_string());
    if !view.reason.is_empty() {
        say("reason", &clean(&view.reason));
    }
    if view.report.as_ref().is_some_and(|r| r.changed) {
        say(
            "changed",
            "somebody changed the configuration at the box since: the next document needs --force",
        );
    }
    out
}

fn history(documents: &[ConfigurationEntry]) -> Table {
    let mut table = Table::new(&[">VERSION", "TIME", "AUTHOR", ">SIZE", "HASH", "NOTE"]);
    for d in documents {
        let hash = d.hash.get(..12).unwrap_or(&d.hash).to_owned();
        let note = if d.force { format!("(forced) {}", d.note) } else { d.note.clone() };
        table.row([d.version.to_string(), time(d.at_us), d.author.clone(), size(d.bytes), hash, note]);
    }
    table
}

async fn diff(
    ctx: &Context,
    gateway: &str,
    from: Option<u64>,
    to: Option<u64>,
    file: Option<&Path>,
) -> Result<Exit> {
    let now = view(ctx, gateway).await?;
    let running = now.report.as_ref().and_then(|r| r.running.as_ref()).map_or(0, |r| r.version);
    let text = async |version: u64| match version {
        0 => Ok(String::new()),
        version => document(ctx, gateway, version).await.map(|d| d.document),
    };
    let from = from.unwrap_or(running);
    let to = to.or(now.wanted.map(|w| w.version)).unwrap_or(0);
    let left = text(from).await?;
    let right = match file {
        Some(file) => origin::split(&read(file)?).1.to_owned(),
        None => text(to).await?,
    };
    let right_name = file.map_or_else(|| format!("document {to}"), |f| f.display().to_string());
    let found = lines::compare(&left, &right);
    let differs = found.iter().any(|l| !matches!(l, Line::Same(_)));
    if ctx.out.is_json() {
        ctx.out.json(
            &json!({ "from": from, "to": right_name, "differs": differs, "lines": lines::short(&found) }),
        )?;
    } else if differs {
        ctx.out.line(&format!("--- document {from}\n+++ {}", clean(&right_name)))?;
        for line in lines::short(&found) {
            ctx.out.line(&clean(&line))?;
        }
    } else {
        ctx.out.note("no difference");
    }
    Ok(if differs { Exit::Failed } else { Exit::Ok })
}
