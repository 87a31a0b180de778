//! OPC UA servers as people ask for them: what they offer and hold, and whose certificates are trusted. Nothing here
//! writes to a server; that is control's.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use axum::http::HeaderMap;
use common::api::{
    OpcuaBrowseRequest, OpcuaBrowsed, OpcuaCertificate, OpcuaEndpoint, OpcuaEndpointsRequest, OpcuaNode,
    OpcuaPoint, OpcuaReadRequest, OpcuaTarget, OpcuaValue, Page, Problem,
};
use common::command::{LogEntry, Severity};
use common::names::{Code, action};
use common::wire::Body;
use gateway_adapters::opcua::{Bounds, Browsed, ConnectError, DeviceConfig, Security, Tool};
use gateway_core::FrameLog;
use gateway_opcua::pki::{Certificate, Folder, Pki, PkiError};
use gateway_opcua::{NodeRef, status, value};

use super::auth::Caller;
use super::{Api, invalid, json};

/// Longest wait for a server that is only asked.
const LIMIT: Duration = Duration::from_secs(10);
/// Most nodes of one answer.
const MOST_NODES: usize = 200_000;
const MOST_TIME: Duration = Duration::from_secs(300);
const MOST_READ: usize = 1000;
const DEEPEST: usize = 100;

fn failed(error: &ConnectError) -> Problem {
    let code = match error {
        ConnectError::Unreachable { .. } => Code::NotConnected,
        ConnectError::Own(_) | ConnectError::Client { .. } | ConnectError::File { .. } => Code::Internal,
        _ => Code::DeviceRefused,
    };
    Problem::new(code, error.to_string())
}

/// The server's settings: those of a device, or none but its address.
fn config(api: &Api, target: &OpcuaTarget) -> Result<DeviceConfig, Problem> {
    match (&target.device, &target.url) {
        (Some(name), None) => api
            .opcua_client
            .device(name)
            .ok_or_else(|| Problem::new(Code::NotFound, format!("there is no OPC UA device `{name}`"))),
        (None, Some(url)) => {
            let mut config = DeviceConfig::new(url.clone());
            if target.insecure {
                config.security = Security::None;
            }
            config.check().map_err(|(_, message)| invalid(message))?;
            Ok(config)
        }
        _ => Err(invalid("expected `device` or `url`, and not both")),
    }
}

async fn open(api: &Api, target: &OpcuaTarget) -> Result<Tool, Problem> {
    let config = config(api, target)?;
    let opened = Box::pin(api.opcua_client.tool(&config)).await;
    opened.map_err(|e| failed(&e))
}

fn node(tool: &Tool, text: &str) -> Result<opcua::types::NodeId, Problem> {
    let node: NodeRef = text.parse().map_err(|e: gateway_opcua::NodeRefError| invalid(e.to_string()))?;
    tool.node(&node)
        .ok_or_else(|| Problem::new(Code::NotFound, format!("the server has no namespace of `{text}`")))
}

pub(super) async fn endpoints(
    State(api): State<Api>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Page<OpcuaEndpoint>>, Problem> {
    let request: OpcuaEndpointsRequest = json(&headers, &body)?;
    DeviceConfig::new(request.url.clone()).check().map_err(|(_, message)| invalid(message))?;
    let found = Box::pin(api.opcua_client.endpoints(&request.url, LIMIT)).await.map_err(|e| failed(&e))?;
    let mut items = Vec::with_capacity(found.len());
    for endpoint in found {
        let bytes = endpoint.server_certificate.as_ref();
        let (fingerprint, doubts) = match Certificate::from_der(bytes) {
            _ if bytes.is_empty() => (String::new(), Vec::new()),
            Ok(certificate) => {
                let doubts = api.opcua_client.doubts(&certificate, &request.url, &endpoint).await;
                (certificate.fingerprint(), doubts)
            }
            Err(error) => (String::new(), vec![error.to_string()]),
        };
        let policy = endpoint.security_policy_uri.as_ref();
        items.push(OpcuaEndpoint {
            url: endpoint.endpoint_url.as_ref().to_owned(),
            policy: policy.rsplit_once('#').map_or(policy, |(_, name)| name).to_owned(),
            mode: format!("{:?}", endpoint.security_mode),
            sign_in: endpoint
                .user_identity_tokens
                .iter()
                .flatten()
                .map(|t| format!("{:?}", t.token_type))
                .collect(),
            fingerprint,
            doubts,
        });
    }
    Ok(Json(Page { items, next_cursor: None }))
}

pub(super) async fn browse(
    State(api): State<Api>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<OpcuaBrowsed>, Problem> {
    let request: OpcuaBrowseRequest = json(&headers, &body)?;
    let bounds = Bounds {
        depth: request.depth,
        nodes: request.nodes,
        time: Duration::from_millis(request.time_ms).min(MOST_TIME),
    };
    if !(1..=DEEPEST).contains(&bounds.depth) || !(1..=MOST_NODES).contains(&bounds.nodes) {
        return Err(invalid(format!("expected a depth of 1 to {DEEPEST}, and 1 to {MOST_NODES} nodes")));
    }
    let tool = open(&api, &request.server).await?;
    let start = node(&tool, request.node.as_deref().unwrap_or("i=85"))?;
    let browsed = Box::pin(tool.browse(start.clone(), &bounds)).await;
    let answer = browsed.map(|b| told(&tool, &start, b));
    tool.close().await;
    answer.map(Json).map_err(|s| Problem::new(Code::DeviceRefused, format!("the server says {s}")))
}

fn told(tool: &Tool, start: &opcua::types::NodeId, browsed: Browsed) -> OpcuaBrowsed {
    let name = |at: usize| browsed.nodes.get(at).map(|f| tool.name(&f.node).to_string());
    let one = |f: &gateway_adapters::opcua::Found| {
        let is_method = f.class == opcua::types::NodeClass::Method;
        let object = f.parent.map_or_else(|| Some(tool.name(start).to_string()), name);
        OpcuaNode {
            node: tool.name(&f.node).to_string(),
            path: f.path.clone(),
            class: format!("{:?}", f.class),
            data_type: f.scalar.map(|s| s.to_string()),
            value_type: f.scalar.and_then(value::value_type),
            array: f.array,
            labels: f.labels.clone(),
            object: object.filter(|_| is_method),
            readable: f.access.0,
            writable: f.access.1,
        }
    };
    OpcuaBrowsed { items: browsed.nodes.iter().map(one).collect(), cut: browsed.cut.clone() }
}

pub(super) async fn read(
    State(api): State<Api>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Page<OpcuaValue>>, Problem> {
    let request: OpcuaReadRequest = json(&headers, &body)?;
    if request.nodes.is_empty() || request.nodes.len() > MOST_READ {
        return Err(invalid(format!("expected 1 to {MOST_READ} nodes")));
    }
    let tool = open(&api, &request.server).await?;
    let nodes: Result<Vec<_>, Problem> = request.nodes.iter().map(|n| node(&tool, n)).collect();
    let read = match nodes {
        Ok(nodes) => Box::pin(tool.read(&nodes)).await,
        Err(problem) => {
            tool.close().await;
            return Err(problem);
        }
    };
    tool.close().await;
    let values = read.map_err(|s| Problem::new(Code::DeviceRefused, format!("the server says {s}")))?;
    let one = |(node, v): (String, gateway_adapters::opcua::NodeValue)| OpcuaValue {
        node,
        value: v.value,
        text: v.text,
        status: v.status.to_string(),
        quality: status::quality(v.status),
        source_us: v.source_us,
    };
    let items = request.nodes.into_iter().zip(values).map(one).collect();
    Ok(Json(Page { items, next_cursor: None }))
}

/// Every point of every OPC UA server of the configuration that runs.
pub(super) async fn points(State(api): State<Api>) -> Json<Page<OpcuaPoint>> {
    let registry = api.points.now();
    let one = |(device, id, node, status): (String, common::PointId, String, String)| OpcuaPoint {
        device,
        point: registry.point(id).map(|p| p.schema.name.to_string()).unwrap_or_default(),
        node,
        status,
    };
    Json(Page { items: api.opcua_client.points().into_iter().map(one).collect(), next_cursor: None })
}

fn view(folder: &str, certificate: &Certificate) -> OpcuaCertificate {
    let (from_us, until_us) = certificate.validity_us();
    OpcuaCertificate {
        fingerprint: certificate.fingerprint(),
        thumbprint: certificate.thumbprint(),
        subject: certificate.subject(),
        issuer: certificate.issuer(),
        application: certificate.application_uri(),
        folder: folder.to_owned(),
        from_us,
        until_us,
    }
}

/// Files are read and written away from the runtime.
async fn with_pki<T: Send + 'static>(
    api: &Api,
    work: impl FnOnce(&Pki) -> Result<T, PkiError> + Send + 'static,
) -> Result<T, Problem> {
    let kit = api.opcua_client.clone();
    let done = tokio::task::spawn_blocking(move || work(&kit.pki()?)).await;
    let problem = |error: PkiError| {
        let code = match error {
            PkiError::NotOne { found: 0, .. } => Code::NotFound,
            PkiError::NotOne { .. } => Code::Conflict,
            PkiError::Fingerprint { .. } => Code::InvalidRequest,
            _ => Code::Internal,
        };
        Problem::new(code, error.to_string())
    };
    done.map_err(|e| Problem::new(Code::Internal, e.to_string()))?.map_err(problem)
}

/// The box's own first, then those that were refused: somebody may wait for them.
pub(super) async fn certificates(State(api): State<Api>) -> Result<Json<Page<OpcuaCertificate>>, Problem> {
    let own = Box::pin(api.opcua_client.own()).await.map_err(|e| failed(&e))?;
    let mut items = vec![view("own", &own.1.certificate)];
    let others = with_pki(&api, |pki| {
        let mut all = Vec::new();
        for of in [Of::Applications, Of::Users] {
            let pki = of.pki(pki)?;
            for folder in [Folder::Rejected, Folder::Trusted, Folder::Issuers] {
                all.extend(pki.list(folder)?.iter().map(|l| view(&of.named(folder), &l.certificate)));
            }
        }
        Ok(all)
    });
    items.extend(others.await?);
    Ok(Json(Page { items, next_cursor: None }))
}

/// Whose certificates.
#[derive(Debug, Clone, Copy)]
enum Of {
    Applications,
    /// of the box's own server
    Users,
}

impl Of {
    fn pki(self, pki: &Pki) -> Result<Pki, PkiError> {
        match self {
            Self::Applications => Ok(pki.clone()),
            Self::Users => pki.users(),
        }
    }

    /// How a folder of theirs is named.
    fn named(self, folder: Folder) -> String {
        match self {
            Self::Applications => folder.name().to_owned(),
            Self::Users => format!("users/{}", folder.name()),
        }
    }

    /// How one of them is named in the audit.
    fn target(self, fingerprint: &str) -> String {
        match self {
            Self::Applications => format!("opcua/{fingerprint}"),
            Self::Users => format!("opcua/user/{fingerprint}"),
        }
    }
}

pub(super) async fn trust(
    State(api): State<Api>,
    Path(fingerprint): Path<String>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<OpcuaCertificate>, Problem> {
    decide(&api, &caller, fingerprint, Of::Applications, true).await
}

pub(super) async fn distrust(
    State(api): State<Api>,
    Path(fingerprint): Path<String>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<OpcuaCertificate>, Problem> {
    decide(&api, &caller, fingerprint, Of::Applications, false).await
}

pub(super) async fn trust_user(
    State(api): State<Api>,
    Path(fingerprint): Path<String>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<OpcuaCertificate>, Problem> {
    decide(&api, &caller, fingerprint, Of::Users, true).await
}

pub(super) async fn distrust_user(
    State(api): State<Api>,
    Path(fingerprint): Path<String>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<OpcuaCertificate>, Problem> {
    decide(&api, &caller, fingerprint, Of::Users, false).await
}

/// Trusts a certificate or no longer, and puts on record who did.
async fn decide(
    api: &Api,
    caller: &Caller,
    fingerprint: String,
    of: Of,
    trusted: bool,
) -> Result<Json<OpcuaCertificate>, Problem> {
    let done = with_pki(api, move |pki| {
        let pki = of.pki(pki)?;
        if trusted { pki.trust(&fingerprint) } else { pki.distrust(&fingerprint) }
    });
    let done = done.await?;
    let view = view(&of.named(done.folder), &done.certificate);
    let action = if trusted { action::CERTIFICATE_TRUSTED } else { action::CERTIFICATE_DISTRUSTED };
    let entry = LogEntry {
        at_us: api.vitals.clock.now_us(),
        actor: caller.name.clone(),
        action: action.to_owned(),
        target: of.target(&view.fingerprint),
        twin: None,
        severity: Severity::Info,
        code: None,
        detail: view.subject.clone(),
    };
    if let Err(error) = api.vitals.log.append(Body::Event(entry)) {
        tracing::warn!(%error, "cannot log an event");
    }
    Ok(Json(view))
}
