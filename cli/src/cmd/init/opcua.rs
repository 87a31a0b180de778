//! OPC UA servers: what they offer, whom the box trusts, and their variables. The gateway that runs asks them: it has the
//! certificate that they know, or will.

use common::api::{
    OpcuaBrowseRequest, OpcuaBrowsed, OpcuaCertificate, OpcuaEndpoint, OpcuaEndpointsRequest, OpcuaNode,
    OpcuaTarget, Page,
};
use reqwest::Method;

use super::super::Context;
use super::super::opcua::{GRACE, post};
use super::ask::Ask;
use crate::args::Init;
use crate::error::{Error, Result};
use crate::exit::Exit;

const DEPTH: usize = 12;
const MOST_NODES: usize = 5000;
const TIME_MS: u64 = 30_000;
/// Fewest digits of a fingerprint that name one.
const DIGITS: usize = 8;

/// A server with what points can be made of.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) url: String,
    pub(super) insecure: bool,
    pub(super) nodes: Vec<OpcuaNode>,
    /// Variables beyond those.
    pub(super) beyond: usize,
}

/// Looks at one server.
pub(super) async fn server(ask: Ask, ctx: &Context, asked: &Init, url: &str) -> Result<Server> {
    let url = if url.contains("://") { url.to_owned() } else { format!("opc.tcp://{url}") };
    ask.say(&format!("  {url}"));
    let request = OpcuaEndpointsRequest { url: url.clone() };
    let offered: Page<OpcuaEndpoint> =
        post(ctx, "endpoints", &request).await.map_err(|e| at_gateway(ctx, e))?;
    let secure: Vec<_> = offered.items.iter().filter(|e| e.policy != "None").collect();
    let insecure = secure.is_empty();
    if insecure && !asked.insecure {
        let consent = format!(
            "{url} offers no security: anybody on the way can read and change what it says. Take it?"
        );
        if !ask.whether(&consent, false).await? {
            return Err(Error::usage(format!("{url} offers no security"))
                .remedy("--insecure takes such servers; better have security switched on at the server"));
        }
    }
    let browsed = match browse(ctx, &url, insecure).await {
        Ok(browsed) => browsed,
        // The attempt makes the certificate known, so that it can be trusted.
        Err(e) => match secure.iter().find(|s| !s.doubts.is_empty()) {
            Some(endpoint) => {
                trust(ask, ctx, asked, endpoint).await?;
                browse(ctx, &url, insecure).await?
            }
            None => return Err(e),
        },
    };
    let most = usize::from(asked.points) * 5;
    let is_point = |n: &OpcuaNode| {
        n.class == "Variable" && n.readable && n.value_type.is_some() && !n.path.starts_with("Server/")
    };
    let mut nodes: Vec<_> = browsed.items.into_iter().filter(is_point).collect();
    let beyond = nodes.len().saturating_sub(most);
    nodes.truncate(most);
    if let Some(cut) = &browsed.cut {
        ask.say(&format!("    not all was looked at: {cut}"));
    }
    ask.say(&format!("    {} variables", nodes.len() + beyond));
    Ok(Server { url, insecure, nodes, beyond })
}

async fn browse(ctx: &Context, url: &str, insecure: bool) -> Result<OpcuaBrowsed> {
    let server = OpcuaTarget { device: None, url: Some(url.to_owned()), insecure };
    let body = OpcuaBrowseRequest { server, node: None, depth: DEPTH, nodes: MOST_NODES, time_ms: TIME_MS };
    let limit = std::time::Duration::from_millis(TIME_MS) * 2 + GRACE;
    let request = ctx.client.request(Method::POST, &["opcua", "browse"])?.json(&body).timeout(limit);
    ctx.client.fetch(request).await
}

async fn trust(ask: Ask, ctx: &Context, asked: &Init, endpoint: &OpcuaEndpoint) -> Result<()> {
    let fingerprint = &endpoint.fingerprint;
    ask.say(&format!("    its certificate is not taken: {}", endpoint.doubts.join("; ")));
    ask.say(&format!("    fingerprint (SHA-256): {fingerprint}"));
    let same = |given: &String| {
        let plain: String = given.chars().filter(|c| !":- ".contains(*c)).collect();
        plain.len() >= DIGITS && fingerprint.starts_with(&plain.to_ascii_lowercase())
    };
    let is_trusted = asked.trust.iter().any(same)
        || ask.whether("Does the server show the same, and is it to be trusted?", false).await?;
    if !is_trusted {
        return Err(Error::new(Exit::NotAuthorised, format!("{} is not trusted", endpoint.url)).remedy(
            format!("compare the fingerprint with what the server shows, then --trust {fingerprint}"),
        ));
    }
    let request = ctx.client.request(Method::POST, &["opcua", "certificates", fingerprint, "trust"])?;
    let _: OpcuaCertificate = ctx.client.fetch(request).await?;
    Ok(())
}

fn at_gateway(ctx: &Context, e: Error) -> Error {
    if e.exit() != Exit::NotReachable || matches!(e, Error::Problem { .. }) {
        return e;
    }
    Error::new(
        Exit::NotReachable,
        format!("OPC UA servers are asked by the gateway, and {} does not answer", ctx.client.target()),
    )
    .remedy("start it (`systemctl start twinway-gateway`), or leave OPC UA out for now")
}
