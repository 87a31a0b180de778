//! `init`: the first minutes of a box. Asks for what nobody can find out, looks for what can be found, writes a starting
//! configuration that the gateway's own check takes, has the gateway run with it, enrols the box, and shows first values.
//! Nothing is written to a device, and nothing to the disk before all is known and checked.

mod ask;
mod field;
mod files;
mod modbus;
mod opcua;
mod propose;
mod service;
mod text;
mod values;

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use common::api::{IdentityView, TwinView};
use common::enrol::EnrolmentCode;
use common::text::counted;
use common::{Clock, GatewayId};
use reqwest::Method;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::{Context, enrol, own_token, status};
use crate::args::{Existing, Init};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::out::{Out, clean};
use crate::target::{BOX_SOCKET, Hints, Target, parse_url};
use ask::Ask;
use field::Field;
use files::{New, Standing, Written};
use service::Service;

/// As the package installs it.
const INSTALLED: &str = "box";

/// What came of it.
struct Done {
    written: Written,
    id: GatewayId,
    field: Field,
    enrolled: Option<IdentityView>,
    twins: Vec<TwinView>,
    ctx: Context,
}

pub(super) async fn init(asked: Init, hints: Hints, ca: Option<PathBuf>, out: Out) -> Result<Exit> {
    let ask = Ask::new(out, asked.yes)?;
    let files = RefCell::new(Vec::new());
    // Heard from before the first question on.
    let interrupt = signal(SignalKind::interrupt());
    let mut interrupt =
        interrupt.map_err(|e| Error::new(Exit::Failed, format!("signals cannot be heard: {e}")))?;
    let done = tokio::select! {
        done = Box::pin(run(ask, &asked, hints, ca.as_deref(), out, &files)) => done?,
        _ = interrupt.recv() => {
            let files: Vec<_> = files.borrow().iter().map(|f: &PathBuf| f.display().to_string()).collect();
            let what = if files.is_empty() { "nothing was written".to_owned() } else { format!("{} is written, and whole", files.join(", ")) };
            return Err(Error::new(Exit::Failed, format!("stopped: {what}")));
        }
    };
    let Done { written, id, field, enrolled, twins, ctx } = done;
    let names = field.names();
    out.show(
        &json!({
            "gateway": id, "files": written.files, "before": written.before, "warnings": written.warnings,
            "devices": field.devices.iter().map(|d| json!({ "name": d.name, "asset": d.asset, "at": d.place(), "points": d.points() }))
                .collect::<Vec<_>>(),
            "enrolled": enrolled, "values": values::told(&twins),
        }),
        |_| if twins.is_empty() { String::new() } else { values::text(&twins) },
    )?;
    if asked.no_start {
        ask.say(&format!(
            "next: start the gateway (`systemctl restart {}`), and look with `twinway status`",
            asked.service
        ));
        return Ok(Exit::Ok);
    }
    if !names.is_empty() && !values::has_good(&twins) {
        return Err(Error::new(Exit::Failed, "the gateway runs, and no value came yet")
            .remedy("`twinway status` names the last error of each device"));
    }
    if ask.is_asked() && ask.whether("A live screen of it (Ctrl-C leaves it)?", true).await? {
        return status::status(&ctx, false).await;
    }
    ask.say("`twinway status` shows it live; points, units and limits are set in the configuration");
    Ok(Exit::Ok)
}

async fn run(
    ask: Ask,
    asked: &Init,
    hints: Hints,
    ca: Option<&Path>,
    out: Out,
    files: &RefCell<Vec<PathBuf>>,
) -> Result<Done> {
    let mut standing = Standing::read(&asked.config)?;
    let target = match hints.named()? {
        Some(target) => target,
        None => Target::Socket(standing.text("api", "socket").unwrap_or(BOX_SOCKET).into()),
    };
    let socket = match &target {
        // The gateway and whoever asks it later start elsewhere.
        Target::Socket(path) => {
            std::path::absolute(path).unwrap_or_else(|_| path.clone()).display().to_string()
        }
        Target::Url(_) => standing.text("api", "socket").unwrap_or(BOX_SOCKET).to_owned(),
    };
    let hints = match &target {
        Target::Socket(path) => Hints { socket: Some(path.clone()), ..Hints::default() },
        Target::Url(url) => Hints { url: Some(url.to_string()), ..Hints::default() },
    };
    let token = own_token(&target)?;
    let ctx = Context { out, client: Client::new(target, token.as_deref(), ca)?, clock: Clock::system() };

    let existing = existing(ask, asked, &standing).await?;
    let id = name(ask, asked, &standing, existing).await?;
    let location = ask
        .text(
            "Place of its devices in the plant: site/area/line",
            asked.location.as_deref(),
            &format!("plant/{id}"),
            location,
        )
        .await?;
    let cloud = cloud(ask, asked, ca, &ctx).await?;
    if existing == Existing::Replace {
        standing.forget_main();
    }
    let field = field::look(ask, asked, &hints, &ctx, &mut standing, &location).await?;

    let text = text::field(&field.lines, &field.devices);
    let new = match existing {
        Existing::Replace => {
            let file = standing.file.display().to_string();
            New { main: Some(text::whole(&file, &id, &socket, &standing.main, &text)), beside: None }
        }
        Existing::Add => New {
            main: None,
            beside: field.devices.first().map(|first| (format!("{}.toml", first.name), text)),
        },
    };
    let written = if new.main.is_none() && new.beside.is_none() {
        ask.say("no new device was found: the configuration stays as it is");
        Written::default()
    } else {
        let points: usize = field.devices.iter().map(text::Device::points).sum();
        let (devices, points) = (counted(field.names().len(), "device"), counted(points, "point"));
        if !ask
            .whether(&format!("Write {} with {devices} and {points}?", asked.config.display()), true)
            .await?
        {
            return Err(Error::new(Exit::Failed, "nothing was written, as you wish"));
        }
        let written = files::write(&standing, new)?;
        files.borrow_mut().clone_from(&written.files);
        written.files.iter().for_each(|f| ask.say(&format!("written: {}", f.display())));
        written.before.iter().for_each(|f| ask.say(&format!("the one before is {}", f.display())));
        written.warnings.iter().for_each(|w| ask.say(&format!("the check warns: {}", clean(w))));
        written
    };
    let mut done = Done { written, id, field, enrolled: None, twins: Vec::new(), ctx };
    if asked.no_start {
        return Ok(done);
    }
    let service = Service::find(&asked.service);
    service::take(ask, &done.ctx, service.as_ref(), &standing.file, &done.id, asked.wait).await?;
    if let Some((cloud, code)) = cloud {
        done.enrolled = enrolled(ask, &done.ctx, &cloud, code).await?;
    }
    let names = done.field.names();
    if !names.is_empty() {
        ask.say("waiting for first values ...");
        done.twins = values::first(&done.ctx, &names, asked.wait).await?;
    }
    Ok(done)
}

/// A configuration without devices is one that nobody has worked on yet, or hardly.
async fn existing(ask: Ask, asked: &Init, standing: &Standing) -> Result<Existing> {
    if standing.devices == 0 {
        return Ok(Existing::Replace);
    }
    if let Some(existing) = asked.existing {
        return Ok(existing);
    }
    let devices = counted(standing.devices, "device");
    ask.say(&format!(
        "{} has {devices}. New ones can be added beside it; or it is replaced, and a copy stays.",
        standing.file.display()
    ));
    let take = |answer: &str| match answer {
        "add" | "a" => Ok(Some(Existing::Add)),
        "replace" | "r" => Ok(Some(Existing::Replace)),
        "stop" | "s" => Ok(None),
        _ => Err(Error::usage(format!("`{answer}` is none of them")).remedy("answer add, replace or stop")),
    };
    let answer = ask.text("add, replace or stop", None, "add", take).await?;
    answer.ok_or_else(|| Error::new(Exit::Failed, "nothing was written, as you wish"))
}

async fn name(ask: Ask, asked: &Init, standing: &Standing, existing: Existing) -> Result<GatewayId> {
    let take = |text: &str| {
        text.parse::<GatewayId>().map_err(|e| Error::usage(e.to_string()).remedy("such as line1-box"))
    };
    let had = standing.text("gateway", "id");
    if let (Existing::Add, Some(had)) = (existing, had) {
        if asked.name.as_deref().is_some_and(|n| n != had) {
            return Err(Error::usage(format!("this box is `{had}`: adding devices does not rename it"))
                .remedy("--existing replace does, and makes other twins of its devices"));
        }
        return take(had);
    }
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let default = match had.filter(|h| *h != INSTALLED) {
        Some(had) => had.to_owned(),
        None => machine
            .trim()
            .split('.')
            .next()
            .unwrap_or_default()
            .chars()
            .filter(char::is_ascii)
            .take(63)
            .collect(),
    };
    ask.text("Name of this box, unique among all boxes of its cloud", asked.name.as_deref(), &default, take)
        .await
}

fn location(text: &str) -> Result<String> {
    let text = text.trim_matches('/');
    let part = |p: &str| !p.is_empty() && p.len() <= 63 && p.trim() == p && !p.chars().any(char::is_control);
    // The device's own name comes last.
    let parts = text.split('/').count();
    if parts <= 9 && text.split('/').all(part) {
        return Ok(text.to_owned());
    }
    Err(Error::usage(format!(
        "`{}` is not a place: 1 to 9 parts of 1 to 63 bytes, `/` between them",
        clean(text)
    ))
    .remedy("such as plant/coating/line1"))
}

/// The cloud and its code; none if there is no cloud, or the box is enrolled already.
async fn cloud(
    ask: Ask,
    asked: &Init,
    ca: Option<&Path>,
    ctx: &Context,
) -> Result<Option<(Client, EnrolmentCode)>> {
    if asked.cloud.is_none()
        && let Ok(view) = ctx.client.get::<IdentityView>(&["identity"]).await
    {
        ask.say(&format!("this box is enrolled: {}", enrol::text(&view).trim_end()));
        return Ok(None);
    }
    let take = |text: &str| match text {
        "" | "none" => Ok(None),
        url => Client::new(parse_url(url)?, None, ca).map(Some),
    };
    let mut given = asked.cloud.as_deref();
    let cloud = loop {
        let question = "Address of the cloud, such as https://cloud.example (none: later)";
        let Some(cloud) = ask.text(question, given.take(), "none", take).await? else { return Ok(None) };
        match reached(&cloud).await {
            Ok(()) => break cloud,
            Err(e) => ask.again(e)?,
        }
    };
    if asked.code.is_none() && !ask.is_asked() {
        return Err(Error::usage("--cloud needs --code")
            .remedy("an administrator of the cloud makes one: twinway gateway code NAME"));
    }
    let question = "One-time code of the cloud's administrator";
    let code = ask.text(question, asked.code.as_deref(), "", enrol::parse_code).await?;
    Ok(Some((cloud, code)))
}

/// Whether a cloud is there.
async fn reached(cloud: &Client) -> Result<()> {
    let asked: Result<serde_json::Value> = cloud.fetch(cloud.request(Method::GET, &["session"])?).await;
    match asked {
        // Who is not signed in is told so by the right server.
        Ok(_) | Err(Error::Problem { .. }) => Ok(()),
        Err(e) => Err(e),
    }
}

/// Enrols; a code that is refused can be given anew.
async fn enrolled(
    ask: Ask,
    ctx: &Context,
    cloud: &Client,
    mut code: EnrolmentCode,
) -> Result<Option<IdentityView>> {
    let view = loop {
        match enrol::obtain(ctx, &code, cloud).await {
            Ok(view) => break view,
            Err(e) => ask.again(e)?,
        }
        let take = |text: &str| if text == "later" { Ok(None) } else { enrol::parse_code(text).map(Some) };
        match ask.text("Another code", None, "later", take).await? {
            Some(another) => code = another,
            None => return Ok(None),
        }
    };
    ask.say(enrol::text(&view).trim_end());
    if let Err(e) = enrol::connected(ctx).await {
        ask.again(e)?;
    }
    Ok(Some(view))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_leaves_room_for_the_device() {
        assert_eq!(location("/plant/line 1/").unwrap(), "plant/line 1");
        for bad in ["", "a//b", "a/ b", "1/2/3/4/5/6/7/8/9/10", "a/\u{1b}"] {
            assert!(location(bad).is_err(), "{bad:?}");
        }
    }
}
