//! `enrol`: makes a box a gateway of a cloud. The box makes its key and says what it wants signed; the cloud signs it for
//! who knows the code; this program stands between the two and sees no secret but the code.

use std::io::{IsTerminal, Write as _};
use std::path::Path;

use common::api::{EnrolRequest, EnrolResponse, Enrolled, GatewayView, IdentityView, Page, SigningRequest};
use common::enrol::{CodeError, EnrolmentCode, Way};
use reqwest::Method;
use tokio::time::{Duration, Instant};

use super::Context;
use crate::args::Enrol;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::out::clean;
use crate::table::time;
use crate::target::parse_url;

/// How long the box may take to be connected after that.
const CONNECTED_WITHIN: Duration = Duration::from_secs(15);
const LOOK_AGAIN: Duration = Duration::from_millis(250);

pub(super) async fn enrol(ctx: &Context, asked: Enrol, ca: Option<&Path>) -> Result<Exit> {
    if asked.show {
        let view: IdentityView = ctx
            .client
            .fetch(ctx.client.request(Method::GET, &["identity"])?)
            .await
            .map_err(|e| at_a_box(ctx, e))?;
        ctx.out.show(&view, text)?;
        return Ok(Exit::Ok);
    }
    let cloud = asked.cloud.as_deref().ok_or_else(|| {
        Error::usage("enrol in which cloud?").remedy("twinway enrol CODE --cloud https://cloud.example")
    })?;
    let code = match asked.code {
        Some(code) => code,
        None => ask_code()?,
    };
    let code = parse_code(&code)?;
    let view = obtain(ctx, &code, &Client::new(parse_url(cloud)?, None, ca)?).await?;
    ctx.out.show(&view, text)?;
    connected(ctx).await
}

pub(super) fn parse_code(code: &str) -> Result<EnrolmentCode> {
    code.parse().map_err(|e: CodeError| {
        Error::usage(e.to_string()).remedy("type it as the administrator gave it to you")
    })
}

/// Enrols the box of `ctx` in a cloud.
pub(super) async fn obtain(ctx: &Context, code: &EnrolmentCode, cloud: &Client) -> Result<IdentityView> {
    let own = ctx.client.request(Method::POST, &["identity", "request"])?;
    let own: SigningRequest = ctx.client.fetch(own).await.map_err(|e| at_a_box(ctx, e))?;
    let key = code.key();
    let proof = key.prove(Way::Request, own.request.as_bytes());
    let (id, gateway, request) = (code.id(), own.gateway, own.request);
    let body = EnrolRequest { code: id, gateway: Some(gateway), request, proof };
    let answer: EnrolResponse = cloud.fetch(cloud.request(Method::POST, &["enrol"])?.json(&body)).await?;
    let genuine = key.proves(Way::Answer, answer.enrolled.as_bytes(), &answer.proof);
    let enrolled: Option<Enrolled> = serde_json::from_str(&answer.enrolled).ok().filter(|_| genuine);
    let enrolled = enrolled.ok_or_else(|| {
        Error::new(Exit::Failed, format!("the answer does not come from who made the code: {} was not believed", cloud.target()))
            .remedy("somebody changes what goes over this network, or the address is another cloud's: try over another one")
    })?;
    ctx.client.fetch(ctx.client.request(Method::PUT, &["identity"])?.json(&enrolled)).await
}

fn at_a_box(ctx: &Context, e: Error) -> Error {
    if e.exit() != Exit::NotFound {
        return e;
    }
    Error::new(Exit::NotFound, format!("{} is not a box, or not enrolled", ctx.client.target()))
        .remedy("run this at the box, or name it with --socket or --url")
}

pub(super) fn text(view: &IdentityView) -> String {
    format!(
        "{}/{} at {}\ncertificate {}, good until {}; renewed by itself\n",
        clean(view.tenant.as_str()),
        clean(view.gateway.as_str()),
        clean(&view.url),
        clean(&view.serial),
        time(view.not_after_us)
    )
}

/// Waits until the box has its session with the cloud.
pub(super) async fn connected(ctx: &Context) -> Result<Exit> {
    let until = Instant::now() + CONNECTED_WITHIN;
    let mut last = None;
    while Instant::now() < until {
        let page: Page<GatewayView> = ctx.client.get(&["gateways"]).await?;
        let Some(gateway) = page.items.first() else { break };
        if gateway.connected {
            ctx.out.note("connected to the cloud");
            return Ok(Exit::Ok);
        }
        last = gateway.health.as_ref().and_then(|h| h.uplink_error.clone());
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    let why = last.map(|e| format!(": {}", clean(&e))).unwrap_or_default();
    Err(Error::new(Exit::NotReachable, format!("enrolled, but not connected yet{why}"))
        .remedy("the box tries on; look with `twinway gateways`. Can it reach the address above?"))
}

fn ask_code() -> Result<String> {
    if !std::io::stdin().is_terminal() {
        return Err(Error::usage("which code?").remedy("twinway enrol CODE --cloud URL"));
    }
    let mut err = std::io::stderr();
    let failed = |e: std::io::Error| Error::new(Exit::Failed, e.to_string());
    write!(err, "Code: ").and_then(|()| err.flush()).map_err(failed)?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).map_err(failed)?;
    Ok(line)
}
