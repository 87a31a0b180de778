//! Accounts over HTTP. The last who may manage accounts cannot be removed.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use cloud_core::storage::Account;
use cloud_core::{Access, Scope};
use common::api::{Page, PasswordRequest, Role, UserRequest, UserView};
use common::command::Severity;
use common::ids::check_name;
use common::names::{Code, action};

use crate::auth::password;
use crate::context::Api;
use crate::error::ApiError;
use crate::grants;
use crate::guard::Caller;
use crate::request::{Body, Paging, Params, cursor};

pub(crate) async fn list(
    State(api): State<Api>,
    Params(paging): Params<Paging>,
) -> Result<Json<Page<UserView>>, ApiError> {
    let mut users = api.storage.users().await?;
    users.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(Json(page(users, &paging, |u| &u.name)?))
}

/// One page of a short list that is sorted by name.
pub(crate) fn page<T>(
    mut items: Vec<T>,
    paging: &Paging,
    name: impl Fn(&T) -> &str,
) -> Result<Page<T>, ApiError> {
    let (rows, after) = (paging.rows()?, paging.after()?);
    items.retain(|item| after.as_ref().is_none_or(|after| name(item) > after.as_str()));
    let more = items.len() > rows;
    items.truncate(rows);
    let next_cursor = items.last().filter(|_| more).map(|item| cursor(name(item)));
    Ok(Page { items, next_cursor })
}

/// Names that the audit uses for what is no account.
pub(crate) fn check_free_name(name: &str) -> Result<(), ApiError> {
    check_name(name).map_err(|e| ApiError::invalid(e.to_string()))?;
    if name.eq_ignore_ascii_case("system") {
        return Err(ApiError::invalid("`system` stands for what happens by itself, take another name"));
    }
    Ok(())
}

pub(crate) async fn create(
    State(api): State<Api>,
    caller: Caller,
    Body(request): Body<UserRequest>,
) -> Result<(StatusCode, Json<UserView>), ApiError> {
    check_free_name(&request.name)?;
    password::check(&request.password)?;
    grants::check(&request.grants, &caller.access)?;
    let password_hash = api.hasher.hash(request.password).await?;
    let _change = api.accounts.lock().await;
    if api.storage.users().await?.iter().any(|u| u.name == request.name) {
        return Err(ApiError::new(Code::Conflict, format!("the account {} exists", request.name)));
    }
    let view = UserView { name: request.name, grants: request.grants, created_us: api.clock.now_us() };
    let detail = describe(&view.grants);
    let target = view.name.clone();
    api.audit(&caller.access.name, action::USER_CREATED, target, Severity::Warning, detail).await?;
    api.storage.create_user(&Account { view: view.clone(), password_hash }).await?;
    Ok((StatusCode::CREATED, Json(view)))
}

/// Grants for the record.
pub(crate) fn describe(grants: &[common::api::GrantView]) -> String {
    let role = |r| match r {
        Role::Viewer => "viewer",
        Role::Operator => "operator",
        Role::Engineer => "engineer",
        Role::Admin => "admin",
    };
    let one = |g: &common::api::GrantView| match g.path.as_str() {
        "" => format!("{} of all", role(g.role)),
        path => format!("{} of {path}", role(g.role)),
    };
    grants.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn manages_accounts(user: &UserView) -> bool {
    let access = Access { name: user.name.clone(), grants: user.grants.clone() };
    access.allows(Role::Admin, &Scope::Whole)
}

pub(crate) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    let _change = api.accounts.lock().await;
    let users = api.storage.users().await?;
    if !users.iter().any(|u| u.name == name) {
        return Err(ApiError::not_found("account"));
    }
    if !users.iter().any(|u| u.name != name && manages_accounts(u)) {
        return Err(ApiError::new(Code::Conflict, "the last admin of all cannot be removed"));
    }
    api.audit(&caller.access.name, action::USER_DELETED, name.clone(), Severity::Warning, String::new())
        .await?;
    api.storage.delete_user(&name).await?;
    api.revoked.send_replace(());
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn set_password(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    Body(request): Body<PasswordRequest>,
) -> Result<StatusCode, ApiError> {
    password::check(&request.password)?;
    let is_there = || async { api.storage.users().await.map(|u| u.iter().any(|u| u.name == name)) };
    if !is_there().await? {
        return Err(ApiError::not_found("account"));
    }
    // Before the lock: it takes long, and signing in waits for the lock.
    let hash = api.hasher.hash(request.password).await?;
    let _change = api.accounts.lock().await;
    if !is_there().await? {
        return Err(ApiError::not_found("account"));
    }
    let detail = "all its sessions end".to_owned();
    api.audit(&caller.access.name, action::USER_PASSWORD, name.clone(), Severity::Warning, detail).await?;
    api.storage.set_password(&name, &hash).await?;
    api.revoked.send_replace(());
    Ok(StatusCode::NO_CONTENT)
}
