//! Enforces the table: who asks, and whether the row's role is held where the row says. A handler behind
//! it finds the caller, and the twin or command asked for, in the request's extensions.

use axum::extract::{FromRequestParts, RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::Response;
use cloud_core::{Access, Scope, StoreError};
use common::TwinId;
use common::alarm::AlarmView;
use common::api::{CommandView, Role};
use common::command::{Origin, Requester};
use common::names::Code;

use crate::auth::origin::check_origin;
use crate::auth::token::{self, Shown};
use crate::context::Api;
use crate::error::ApiError;
use crate::table::{Route, Rule};

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// Name and grants.
    pub(crate) access: Access,
    /// Hash of the secret shown.
    pub(crate) token_hash: [u8; 32],
}

impl Caller {
    /// As it is put on record.
    pub(crate) fn requester(&self) -> Requester {
        Requester { name: self.access.name.clone(), origin: Origin::Cloud }
    }

    /// Whether the twin at an asset path may be seen.
    pub(crate) fn sees(&self, asset: &str) -> bool {
        self.access.allows(Role::Viewer, &Scope::Asset(asset.to_owned()))
    }

    /// Whether everything may be seen.
    pub(crate) fn sees_all(&self) -> bool {
        self.access.allows(Role::Viewer, &Scope::Whole)
    }

    /// Twins that may be seen; none if all may.
    pub(crate) fn twins(&self, api: &Api) -> Option<Vec<TwinId>> {
        if self.sees_all() {
            return None;
        }
        let state = api.world.read();
        Some(state.twins.values().filter(|t| self.sees(&t.asset)).map(|t| t.id).collect())
    }
}

/// The twin that a request is about.
#[derive(Debug, Clone)]
pub(crate) struct TwinRef {
    pub(crate) id: TwinId,
    pub(crate) asset: String,
}

/// The command that a request is about.
#[derive(Debug, Clone)]
pub(crate) struct CommandRef(pub(crate) CommandView);

/// The alarm that a request is about.
#[derive(Debug, Clone)]
pub(crate) struct AlarmRef(pub(crate) AlarmView);

macro_rules! from_extensions {
    ($($name:ident),*) => {$(
        impl<S: Sync> FromRequestParts<S> for $name {
            type Rejection = ApiError;

            async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
                let absent = || ApiError::new(Code::Internal, "the route has no guard");
                parts.extensions.get::<Self>().cloned().ok_or_else(absent)
            }
        }
    )*};
}

from_extensions!(Caller, TwinRef, CommandRef, AlarmRef);

/// Finds out who asks.
pub(crate) async fn authenticate(
    api: &Api,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Caller, ApiError> {
    let unknown = || ApiError::new(Code::Unauthenticated, "sign in, or give a valid token or key");
    let secret = match token::shown(headers).ok_or_else(unknown)? {
        Shown::Bearer(secret) => secret,
        Shown::Cookie(secret) => {
            if !method.is_safe() {
                check_origin(headers, true)?;
            }
            secret
        }
    };
    let token_hash = token::hash(secret);
    match api.storage.authenticate(&token_hash, api.clock.now_us()).await? {
        Some((name, grants)) => Ok(Caller { access: Access { name, grants }, token_hash }),
        None => Err(unknown()),
    }
}

fn forbidden(least: Role) -> ApiError {
    let role = match least {
        Role::Viewer => "viewer",
        Role::Operator => "operator",
        Role::Engineer => "engineer",
        Role::Admin => "admin",
    };
    ApiError::new(Code::Forbidden, format!("this needs the role {role}"))
}

/// The middleware of one row.
pub(crate) async fn guard(
    State((api, route)): State<(Api, &'static Route)>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if route.rule == Rule::Open {
        return Ok(next.run(request).await);
    }
    let (mut parts, body) = request.into_parts();
    let caller = authenticate(&api, &parts.method, &parts.headers).await?;
    let params = RawPathParams::from_request_parts(&mut parts, &())
        .await
        .map_err(|e| ApiError::invalid(format!("the path cannot be read: {e}")))?;
    let param = |name: &str| params.iter().find(|(k, _)| *k == name).map_or("", |(_, v)| v);
    match route.rule {
        Rule::Open | Rule::Alarm => {}
        Rule::Anywhere => require(caller.access.highest() >= Some(route.least), route.least)?,
        Rule::Whole => require(caller.access.allows(route.least, &Scope::Whole), route.least)?,
        Rule::OwnOrWhole => {
            let own = param("name") == caller.access.name;
            require(own || caller.access.allows(route.least, &Scope::Whole), route.least)?;
        }
        Rule::Twin => {
            let twin = find_twin(&api, &caller, param("id"))?;
            let scope = Scope::Asset(twin.asset.clone());
            require(caller.access.allows(route.least, &scope), route.least)?;
            parts.extensions.insert(twin);
        }
        Rule::Command => {
            let none = || ApiError::not_found("command");
            let id = param("id").parse().map_err(|_| none())?;
            let command = match api.storage.command(id).await {
                Ok(command) => command,
                // In the same words as one of another's: storage's own might tell them apart.
                Err(StoreError::NotFound { .. }) => return Err(none()),
                Err(error) => return Err(error.into()),
            };
            let scope = Scope::Asset(place_of(&api, &command));
            if !caller.access.allows(Role::Viewer, &scope) {
                return Err(none());
            }
            require(caller.access.allows(route.least, &scope), route.least)?;
            parts.extensions.insert(CommandRef(command));
        }
    }
    if route.rule == Rule::Alarm {
        let alarm = find_alarm(&api, &caller, param("id"), route.least).await?;
        parts.extensions.insert(alarm);
    }
    parts.extensions.insert(caller);
    Ok(next.run(Request::from_parts(parts, body)).await)
}

async fn find_alarm(api: &Api, caller: &Caller, id: &str, least: Role) -> Result<AlarmRef, ApiError> {
    let none = || ApiError::not_found("alarm");
    let mut alarm = match api.storage.alarm(id.parse().map_err(|_| none())?).await {
        Ok(alarm) => alarm,
        Err(StoreError::NotFound { .. }) => return Err(none()),
        Err(error) => return Err(error.into()),
    };
    if let Some(twin) = api.world.read().twins.get(&alarm.twin) {
        alarm.asset.clone_from(&twin.asset);
    }
    let scope = Scope::Asset(alarm.asset.clone());
    if !caller.access.allows(Role::Viewer, &scope) {
        return Err(none());
    }
    require(caller.access.allows(least, &scope), least)?;
    Ok(AlarmRef(alarm))
}

fn require(held: bool, least: Role) -> Result<(), ApiError> {
    if held { Ok(()) } else { Err(forbidden(least)) }
}

/// Where a command's twin stands now; where it stood, if it is gone.
fn place_of(api: &Api, command: &CommandView) -> String {
    let state = api.world.read();
    state.twins.get(&command.twin).map_or_else(|| command.asset.clone(), |t| t.asset.clone())
}

/// The twin of an id or name among those that the caller may see: another's twins are neither found nor
/// do they make a name ambiguous.
pub(crate) fn find_twin(api: &Api, caller: &Caller, name: &str) -> Result<TwinRef, ApiError> {
    let state = api.world.read();
    match state.find_among(name, |t| caller.sees(&t.asset)) {
        Ok(twin) => Ok(TwinRef { id: twin.id, asset: twin.asset.clone() }),
        Err(fitting) if fitting.is_empty() => Err(ApiError::not_found("twin")),
        Err(fitting) => {
            Err(ApiError::invalid(format!("`{name}` fits several twins: {}", fitting.join(", "))))
        }
    }
}
