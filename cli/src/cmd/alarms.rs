//! `alarms`: the list, and acknowledging and shelving, at a box or through the cloud.

use common::alarm::{AlarmState, AlarmView};
use common::api::{AcknowledgeRequest, ShelveRequest, UnshelveRequest};
use reqwest::{Method, StatusCode};
use serde::Serialize;

use super::Context;
use crate::args::{AlarmAct, Alarms};
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::table::{Table, time};
use crate::value::show;

pub(super) async fn alarms(ctx: &Context, verb: Alarms) -> Result<Exit> {
    match verb {
        Alarms::Ls { all, limit } => list(ctx, all, limit).await,
        Alarms::Ack(act) => {
            let alarm = find(ctx, &act.alarm).await?;
            let Some(raised_us) = alarm.raised_us else {
                return Err(Error::new(Exit::Failed, format!("{} was never raised", name(&alarm))));
            };
            let body = AcknowledgeRequest { raised_us, comment: comment(act) };
            ask(ctx, &alarm, "acknowledge", &body).await
        }
        Alarms::Shelve { act, time } => {
            let alarm = find(ctx, &act.alarm).await?;
            let duration_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            ask(ctx, &alarm, "shelve", &ShelveRequest { duration_ms, comment: comment(act) }).await
        }
        Alarms::Unshelve(act) => {
            let alarm = find(ctx, &act.alarm).await?;
            ask(ctx, &alarm, "unshelve", &UnshelveRequest { comment: comment(act) }).await
        }
    }
}

fn comment(act: AlarmAct) -> String {
    act.comment.unwrap_or_default()
}

async fn list(ctx: &Context, all: bool, limit: u32) -> Result<Exit> {
    let query = [("all", all.to_string())];
    let alarms: Vec<AlarmView> = ctx.client.list(&["alarms"], &query, limit).await?;
    ctx.out.show(&alarms, |a| table(a).text())?;
    if alarms.is_empty() {
        ctx.out.note("no alarms");
    }
    Ok(Exit::Ok)
}

fn table(alarms: &[AlarmView]) -> Table {
    let mut table = Table::new(&[
        "PRIORITY", "STATE", "RAISED", "POINT", "ALARM", ">VALUE", ">LIMIT", "TEXT", "BY", "ID",
    ]);
    for a in alarms {
        let state = match (a.shelved_until_us, a.state) {
            (Some(_), state) if a.shelved_once => format!("{}, shelved until it clears", word(&state)),
            (Some(until), state) => format!("{}, shelved until {}", word(&state), time(until)),
            (None, state) => word(&state),
        };
        table.row([
            word(&a.priority),
            state,
            a.raised_us.map_or_else(|| "-".to_owned(), time),
            format!("{}/{}", a.asset, a.point),
            a.name.clone(),
            show(a.value.as_ref(), None),
            a.limit.map_or_else(|| "-".to_owned(), |l| l.to_string()),
            a.text.clone(),
            a.actor.clone(),
            a.id.to_string(),
        ]);
    }
    table
}

/// As it stands in JSON.
fn word<T: Serialize>(value: &T) -> String {
    let text = serde_json::to_value(value).ok();
    text.and_then(|v| v.as_str().map(|s| s.replace('_', " "))).unwrap_or_default()
}

fn name(a: &AlarmView) -> String {
    format!("{}/{}/{}", a.asset, a.point, a.name)
}

/// The alarm of an id, or of a place `.../point/alarm` or `.../point` that only one alarm has.
async fn find(ctx: &Context, text: &str) -> Result<AlarmView> {
    let all: Vec<AlarmView> = ctx.client.list(&["alarms"], &[("all", "true".to_owned())], 100_000).await?;
    if let Some(alarm) = all.iter().find(|a| a.id.to_string() == text) {
        return Ok(alarm.clone());
    }
    let ends =
        |whole: &str| whole == text || whole.strip_suffix(text).is_some_and(|front| front.ends_with('/'));
    let at_point = |a: &AlarmView| ends(&format!("{}/{}", a.asset, a.point));
    let mut found: Vec<&AlarmView> = all.iter().filter(|a| ends(&name(a)) || at_point(a)).collect();
    if found.len() > 1 {
        // Of a point's alarms the one that somebody should look at.
        let open: Vec<_> = found.iter().copied().filter(|a| a.state != AlarmState::Normal).collect();
        if open.len() == 1 {
            found = open;
        }
    }
    match found[..] {
        [one] => Ok(one.clone()),
        [] => Err(Error::new(Exit::NotFound, format!("there is no alarm `{text}`"))
            .remedy("`twinway alarms ls --all` lists them")),
        _ => {
            let names: Vec<_> = found.iter().map(|a| name(a)).collect();
            Err(Error::usage(format!("`{text}` may be {}: use a longer name", names.join(", "))))
        }
    }
}

async fn ask<T: Serialize + Sync>(ctx: &Context, alarm: &AlarmView, what: &str, body: &T) -> Result<Exit> {
    let request = ctx.client.request(Method::POST, &["alarms", &alarm.id.to_string(), what])?.json(body);
    let response = ctx.client.send(request).await?;
    let response = ctx.client.success(response).await?;
    let asked = response.status() == StatusCode::ACCEPTED;
    let view: AlarmView = ctx.client.read(response).await?;
    ctx.out.show(&view, |v| table(std::slice::from_ref(v)).text())?;
    if asked {
        ctx.out.note("asked at the gateway, which tells what became of it");
    }
    Ok(Exit::Ok)
}
