//! API keys over HTTP. Who is an engineer at every place that a key reaches manages that key.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use cloud_core::{Access, Scope};
use common::api::{ApiKeyCreated, ApiKeyRequest, ApiKeyView, Page, Role};
use common::command::Severity;
use common::names::{Code, action};

use crate::auth::token;
use crate::context::Api;
use crate::error::ApiError;
use crate::grants;
use crate::guard::Caller;
use crate::request::{Body, Paging, Params};
use crate::users::{check_free_name, describe, page};

fn manages(access: &Access, key: &ApiKeyView) -> bool {
    key.grants.iter().all(|grant| {
        let scope = if grant.path.is_empty() { Scope::Whole } else { Scope::Asset(grant.path.clone()) };
        access.allows(Role::Engineer, &scope)
    })
}

pub(crate) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Params(paging): Params<Paging>,
) -> Result<Json<Page<ApiKeyView>>, ApiError> {
    let mut keys = api.storage.keys().await?;
    keys.retain(|key| manages(&caller.access, key));
    keys.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(Json(page(keys, &paging, |k| &k.name)?))
}

pub(crate) async fn create(
    State(api): State<Api>,
    caller: Caller,
    Body(request): Body<ApiKeyRequest>,
) -> Result<(StatusCode, Json<ApiKeyCreated>), ApiError> {
    check_free_name(&request.name)?;
    grants::check(&request.grants, &caller.access)?;
    let now_us = api.clock.now_us();
    if request.expires_us.is_some_and(|end| end <= now_us) {
        return Err(ApiError::invalid("`expires_us` lies in the past"));
    }
    let view = ApiKeyView {
        name: request.name,
        grants: request.grants,
        created_us: now_us,
        expires_us: request.expires_us,
    };
    if !manages(&caller.access, &view) {
        return Err(ApiError::new(Code::Forbidden, "a key needs an engineer at every place that it reaches"));
    }
    let (key, hash) = token::random(token::KEY_PREFIX)?;
    let _change = api.accounts.lock().await;
    let keys = api.storage.keys().await?;
    if keys.iter().any(|k| k.name == view.name) {
        return Err(ApiError::new(Code::Conflict, format!("the key {} exists", view.name)));
    }
    let own = caller.access.name.strip_prefix("key:").and_then(|name| keys.iter().find(|k| k.name == name));
    if let Some(end) = own.and_then(|k| k.expires_us)
        && view.expires_us.is_none_or(|e| e > end)
    {
        return Err(ApiError::new(Code::Forbidden, "a key makes no key that outlives it"));
    }
    let (target, detail) = (view.name.clone(), describe(&view.grants));
    api.audit(&caller.access.name, action::KEY_CREATED, target, Severity::Warning, detail).await?;
    api.storage.create_key(&view, &hash).await?;
    Ok((StatusCode::CREATED, Json(ApiKeyCreated { key, view })))
}

pub(crate) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    let _change = api.accounts.lock().await;
    let keys = api.storage.keys().await?;
    if !keys.iter().any(|k| k.name == name && manages(&caller.access, k)) {
        return Err(ApiError::not_found("key"));
    }
    api.audit(&caller.access.name, action::KEY_DELETED, name.clone(), Severity::Warning, String::new())
        .await?;
    api.storage.delete_key(&name).await?;
    api.revoked.send_replace(());
    Ok(StatusCode::NO_CONTENT)
}
