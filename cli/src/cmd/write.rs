//! `send` and `modbus write`: a command through the gateway's command path, and its outcome.

use std::fmt::Write as _;
use std::time::Duration;

use common::api::{CommandRequest, CommandView, PointView, Problem, TwinView};
use common::names::Code;
use reqwest::Method;
use reqwest::header::HeaderValue;
use tokio::time::Instant;

use super::Context;
use crate::args::Write;
use crate::client::Client;
use crate::error::{Error, Result, remedy_of};
use crate::exit::Exit;
use crate::out::clean;
use crate::value::{parse, show, split};

/// How much longer than its time to live a command is waited for.
const GRACE: Duration = Duration::from_secs(30);
/// Longest wait of one request, below what servers and proxies cut.
const ASK: Duration = Duration::from_secs(20);
/// Pause after a failed question for the outcome.
const PAUSE: Duration = Duration::from_millis(500);

pub(super) async fn write(
    ctx: &Context,
    twin: &str,
    assignment: &str,
    how: Write,
    wait: bool,
) -> Result<Exit> {
    let (point, text) = split(assignment).map_err(Error::usage)?;
    let twin = ctx.client.twin(twin).await?;
    let point = find(&twin, point)?;
    let value = parse(text, &point.schema).map_err(Error::usage)?;
    let key = how.idempotency_key.clone().unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    let ttl_ms = u64::try_from(how.ttl.as_millis()).unwrap_or(u64::MAX);
    let request =
        CommandRequest { point: point.schema.name.to_string(), value, ttl_ms, reason: how.reason.clone() };

    let mut command = post(&ctx.client, &twin, &request, &key).await?;
    if wait && !command.state.is_final() {
        ctx.out.note(&format!("{}: command {}", state(&command), command.id));
        let limit = Instant::now() + how.wait_timeout.unwrap_or(how.ttl + GRACE);
        command = follow(&ctx.client, command, limit).await?;
    }
    ctx.out.show(&command, |c| line(c, point))?;
    if let Some(remedy) = command.code.and_then(remedy_of).filter(|_| command.state.is_final()) {
        ctx.out.note(&format!("  {remedy}"));
    }
    Ok(Exit::of(command.state))
}

/// A point of a twin.
pub(super) fn find<'a>(twin: &'a TwinView, point: &str) -> Result<&'a PointView> {
    twin.points.iter().find(|p| *p.schema.name == *point).ok_or_else(|| Error::Problem {
        problem: Problem::new(Code::UnknownPoint, format!("{} has no point `{point}`", twin.asset)),
        command: false,
    })
}

async fn post(client: &Client, twin: &TwinView, request: &CommandRequest, key: &str) -> Result<CommandView> {
    let header = HeaderValue::from_str(key).ok().filter(|_| !key.is_empty());
    let header = header.ok_or_else(|| Error::usage("the idempotency key must be visible ASCII"))?;
    let post = client
        .request(Method::POST, &["twins", &twin.id.to_string(), "commands"])?
        .header("idempotency-key", header)
        .json(request);
    // Once the request may have left, nobody here knows whether it was accepted.
    let unknown = |why: String| {
        Error::new(Exit::Unknown, format!("it is not known whether the command was accepted: {why}"))
            .remedy(format!("ask again with --idempotency-key {key}: then it is never done twice"))
    };
    let response = match post.send().await {
        Ok(response) => response,
        Err(e) if e.is_connect() || e.is_builder() => return Err(client.unreachable(&e)),
        Err(e) => return Err(unknown(client.unreachable(&e).to_string())),
    };
    let (ok, server_error) = (response.status().is_success(), response.status().is_server_error());
    let read = match ok {
        true => client.read(response).await,
        false => client.success(response).await.map(drop).and(Err(Error::new(Exit::Failed, "no answer"))),
    };
    read.map_err(|e| match e {
        Error::Problem { problem, .. } => Error::Problem { problem, command: true },
        other if ok || server_error => unknown(other.to_string()),
        other => other,
    })
}

/// Asks until the command has ended or the limit is reached. A lost connection is no outcome: it asks on.
async fn follow(client: &Client, mut command: CommandView, limit: Instant) -> Result<CommandView> {
    let id = command.id.to_string();
    let mut lost = String::new();
    loop {
        let left = limit.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let text = format!("command {id} had not ended in time, it stood at `{}`{lost}", state(&command));
            return Err(Error::new(Exit::Timeout, text)
                .remedy(format!("`twinway commands {id}` tells where it stands")));
        }
        let wait_ms = left.min(ASK).as_millis().to_string();
        let ask = client.request(Method::GET, &["commands", &id])?.query(&[("wait_ms", wait_ms)]);
        match tokio::time::timeout(left + GRACE, client.fetch::<CommandView>(ask)).await {
            Ok(Ok(now)) => {
                command = now;
                lost.clear();
            }
            Ok(Err(e)) if e.exit() != Exit::NotReachable => {
                let text = format!("command {id} was accepted, but how it ended cannot be asked: {e}");
                return Err(Error::new(Exit::Unknown, text)
                    .remedy(format!("`twinway commands {id}` tells how it ended")));
            }
            failed => {
                lost = match failed {
                    Ok(Err(e)) => format!("; {e}"),
                    _ => "; no answer".to_owned(),
                };
                tokio::time::sleep(PAUSE.min(limit.saturating_duration_since(Instant::now()))).await;
            }
        }
        if command.state.is_final() {
            return Ok(command);
        }
    }
}

/// A state as text.
pub(super) fn state(command: &CommandView) -> String {
    let state = serde_json::to_value(command.state).ok();
    state.as_ref().and_then(|s| s.as_str()).unwrap_or_default().to_owned()
}

fn line(c: &CommandView, point: &PointView) -> String {
    let unit =
        if point.schema.unit.is_empty() { String::new() } else { format!(" {}", clean(&point.schema.unit)) };
    let shown = |v| show(Some(v), Some(&point.schema));
    let mut text = format!("{}: {} {} = {}{unit}", state(c), clean(&c.asset), c.point, shown(&c.value));
    if let Some(back) = &c.read_back {
        let _ = write!(text, ", read back {}{unit}", shown(back));
    }
    let _ = writeln!(text, "  (command {})", c.id);
    if let Some(code) = c.code {
        let _ = writeln!(text, "  {code}: {}", clean(&c.detail));
    }
    text
}
