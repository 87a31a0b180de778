//! `opcua ...`: every question goes through the gateway, which has the certificate and knows whom it trusts; writes and
//! calls go through its command path.

pub(super) mod made;

use common::ValueType;
use common::api::{
    OpcuaBrowseRequest, OpcuaBrowsed, OpcuaCertificate, OpcuaEndpoint, OpcuaEndpointsRequest, OpcuaNode,
    OpcuaPoint, OpcuaReadRequest, OpcuaTarget, OpcuaValue, Page,
};
use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{Context, write};
use crate::args::{Browse, Opcua, Server};
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::table::{Table, cut, time};

pub(super) async fn opcua(ctx: &Context, verb: Opcua) -> Result<Exit> {
    match verb {
        Opcua::Endpoints { server } => endpoints(ctx, server).await,
        Opcua::Trust { fingerprint: None, own, user, .. } => certificates(ctx, own, user).await,
        Opcua::Trust { fingerprint: Some(fingerprint), revoke, user, .. } => {
            trust(ctx, &fingerprint, revoke, user).await
        }
        Opcua::Browse(asked) => browse(ctx, asked).await,
        Opcua::Read { server, nodes } => read(ctx, server, nodes).await,
        Opcua::Write { twin, assignment, write } => write::write(ctx, &twin, &assignment, write, true).await,
        Opcua::Call { twin, call, write } => {
            let assignment = assignment(ctx, &twin, call).await?;
            write::write(ctx, &twin, &assignment, write, true).await
        }
        Opcua::Points { device } => points(ctx, device).await,
    }
}

pub(super) async fn post<T: DeserializeOwned>(ctx: &Context, verb: &str, body: &impl Serialize) -> Result<T> {
    ctx.client.fetch(ctx.client.request(Method::POST, &["opcua", verb])?.json(body)).await
}

fn target(server: Server) -> OpcuaTarget {
    let Server { server, insecure } = server;
    if server.contains("://") {
        OpcuaTarget { device: None, url: Some(server), insecure }
    } else {
        OpcuaTarget { device: Some(server), url: None, insecure: false }
    }
}

async fn endpoints(ctx: &Context, url: String) -> Result<Exit> {
    let found: Page<OpcuaEndpoint> = post(ctx, "endpoints", &OpcuaEndpointsRequest { url }).await?;
    ctx.out.show(&found.items, |items| {
        let mut table = Table::new(&["POLICY", "MODE", "SIGN-IN", "CERTIFICATE", "TRUST"]);
        for e in items {
            let short: String = e.fingerprint.chars().take(16).collect();
            let trust = if e.fingerprint.is_empty() { "" } else { "trusted" };
            let trust = if e.doubts.is_empty() { trust.to_owned() } else { e.doubts.join("; ") };
            table.row([e.policy.clone(), e.mode.clone(), e.sign_in.join(" "), short, trust]);
        }
        table.text()
    })?;
    Ok(Exit::Ok)
}

async fn certificates(ctx: &Context, own: bool, users: bool) -> Result<Exit> {
    let found: Page<OpcuaCertificate> = ctx.client.get(&["opcua", "certificates"]).await?;
    let wanted =
        |c: &OpcuaCertificate| (!own || c.folder == "own") && (!users || c.folder.starts_with("users/"));
    let items: Vec<_> = found.items.into_iter().filter(wanted).collect();
    ctx.out.show(&items, |items| {
        let mut table = Table::new(&["WHERE", "FINGERPRINT (SHA-256)", "SUBJECT", "APPLICATION", "UNTIL"]);
        for c in items {
            let application = c.application.clone().unwrap_or_default();
            let cells =
                [c.folder.clone(), c.fingerprint.clone(), c.subject.clone(), application, time(c.until_us)];
            table.row(cells);
        }
        table.text()
    })?;
    Ok(Exit::Ok)
}

async fn trust(ctx: &Context, fingerprint: &str, revoke: bool, user: bool) -> Result<Exit> {
    let verb = if revoke { "distrust" } else { "trust" };
    let of = if user { "users" } else { "certificates" };
    let plain: String = fingerprint.chars().filter(|c| !":- ".contains(*c)).collect();
    let request = ctx.client.request(Method::POST, &["opcua", of, &plain, verb])?;
    let done: OpcuaCertificate = ctx.client.fetch(request).await?;
    ctx.out.show(&done, |c| format!("{}: {} of {}\n", c.folder, c.fingerprint, c.subject))?;
    Ok(Exit::Ok)
}

async fn browse(ctx: &Context, asked: Browse) -> Result<Exit> {
    let Browse { server, node, depth, max, time, path, types, writable, device, asset, write } = asked;
    let time_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let called = server.server.clone();
    let insecure = server.insecure;
    let request = OpcuaBrowseRequest { server: target(server), node, depth, nodes: max, time_ms };
    let body = ctx.client.request(Method::POST, &["opcua", "browse"])?.json(&request);
    // The gateway answers when all is found.
    let mut browsed: OpcuaBrowsed = ctx.client.fetch(body.timeout(time * 2 + GRACE)).await?;
    let wanted = |n: &OpcuaNode| {
        let is_method = n.class == "Method";
        path.as_ref().is_none_or(|p| made::fits(p, &n.path))
            && (types.is_empty()
                || n.data_type.as_ref().is_some_and(|t| types.iter().any(|w| w.eq_ignore_ascii_case(t))))
            && (!writable || n.writable || is_method)
    };
    browsed.items.retain(wanted);
    if let Some(cut) = &browsed.cut {
        ctx.out.note(&format!("not all: {cut}"));
    }
    let Some((device, asset)) = device.zip(asset) else {
        ctx.out.show(&browsed, |b| list(&b.items))?;
        return Ok(Exit::Ok);
    };
    common::ids::check_name(&device).map_err(|e| Error::usage(e.to_string()))?;
    let text = made::device(&device, &asset, &called, insecure, &browsed.items);
    match &write {
        None if ctx.out.is_json() => ctx.out.json(&json!({ "toml": text }))?,
        None => ctx.out.raw(text.as_bytes())?,
        Some(path) => {
            made::write(path, &text)?;
            ctx.out.note(&format!("written to {}; it counts when the gateway reads it", path.display()));
            if ctx.out.is_json() {
                ctx.out.json(&json!({ "written": path }))?;
            }
        }
    }
    Ok(Exit::Ok)
}

/// Beyond the time that browsing itself may take.
pub(super) const GRACE: std::time::Duration = std::time::Duration::from_secs(30);

fn list(items: &[OpcuaNode]) -> String {
    let mut table = Table::new(&["PATH", "CLASS", "TYPE", "ACCESS", "NODE"]);
    for n in items {
        let array = match n.array {
            None => "",
            Some(_) => "[]",
        };
        let access = match (n.class.as_str(), n.readable, n.writable) {
            ("Method", ..) => "call",
            (_, true, true) => "read write",
            (_, true, false) => "read",
            (_, false, true) => "write",
            (_, false, false) => "",
        };
        let kind = format!("{}{array}", n.data_type.clone().unwrap_or_default());
        table.row([n.path.clone(), n.class.clone(), kind, access.to_owned(), n.node.clone()]);
    }
    table.text()
}

async fn read(ctx: &Context, server: Server, nodes: Vec<String>) -> Result<Exit> {
    let request = OpcuaReadRequest { server: target(server), nodes };
    let found: Page<OpcuaValue> = post(ctx, "read", &request).await?;
    ctx.out.show(&found.items, |items| {
        let mut table = Table::new(&["NODE", "VALUE", "STATUS", "TIME"]);
        for v in items {
            let at = v.source_us.map(time).unwrap_or_default();
            table.row([v.node.clone(), cut(&v.text, 60), v.status.clone(), at]);
        }
        table.text()
    })?;
    let bad = found.items.iter().any(|v| v.quality.is_bad());
    Ok(if bad { Exit::Failed } else { Exit::Ok })
}

/// A call as the command that makes it: a method that takes nothing is called by writing true.
async fn assignment(ctx: &Context, twin: &str, call: String) -> Result<String> {
    if call.contains('=') {
        return Ok(call);
    }
    let twin = ctx.client.twin(twin).await?;
    let point = write::find(&twin, &call)?;
    let one = if point.schema.value_type == ValueType::Bool { "true" } else { "1" };
    Ok(format!("{call}={one}"))
}

async fn points(ctx: &Context, device: Option<String>) -> Result<Exit> {
    let found: Page<OpcuaPoint> = ctx.client.get(&["opcua", "points"]).await?;
    let wanted = |p: &OpcuaPoint| device.as_ref().is_none_or(|d| *d == p.device);
    let items: Vec<_> = found.items.into_iter().filter(wanted).collect();
    ctx.out.show(&items, |items| {
        let mut table = Table::new(&["DEVICE", "POINT", "STATUS", "NODE"]);
        for p in items {
            table.row([p.device.clone(), p.point.clone(), p.status.clone(), p.node.clone()]);
        }
        table.text()
    })?;
    Ok(Exit::Ok)
}
