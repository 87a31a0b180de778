//! Signing in and out. A failure says the same, after the same time, whether the account exists or not.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::{Extensions, HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use cloud_core::StoreError;
use common::api::{SessionRequest, SessionResponse, WhoAmI};
use common::command::Severity;
use common::ids::check_name;
use common::names::{Code, action};

use crate::auth::origin::check_origin;
use crate::auth::token;
use crate::context::Api;
use crate::error::ApiError;
use crate::guard::Caller;
use crate::request::Body;

/// Address of the client; without one (a server that does not tell) all clients are one.
pub(crate) fn peer_of(extensions: &Extensions) -> IpAddr {
    let info = extensions.get::<ConnectInfo<SocketAddr>>();
    info.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(address)| address.ip())
}

pub(crate) async fn sign_in(
    State(api): State<Api>,
    extensions: Extensions,
    headers: HeaderMap,
    Body(request): Body<SessionRequest>,
) -> Result<Response, ApiError> {
    check_origin(&headers, false)?;
    let peer = peer_of(&extensions);
    // What is no name is not repeated anywhere: people type passwords into the wrong field.
    let user = if check_name(&request.user).is_ok() { request.user.as_str() } else { "?" };
    api.limiter
        .attempt(peer, user)
        .map_err(|wait| ApiError::new(Code::RateLimited, "too many attempts to sign in, wait").after(wait))?;
    let account = match api.storage.user(user).await {
        Ok(account) => Some(account),
        Err(StoreError::NotFound { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let phc = account.as_ref().map(|a| a.password_hash.clone());
    let fits = api.hasher.verify(request.password, phc).await?;
    let Some(account) = account.filter(|_| fits) else {
        let (to, from) = (user.to_owned(), format!("from {peer}"));
        api.audit(user, action::USER_LOGIN_FAILED, to, Severity::Warning, from).await?;
        return Err(ApiError::new(Code::Unauthenticated, "the account or the password is wrong"));
    };
    // A password that was changed, or an account that was removed, while it was being compared: the sessions
    // ended then, and this one must not begin after them.
    let _change = api.accounts.lock().await;
    let now = match api.storage.user(user).await {
        Ok(now) if now.password_hash == account.password_hash => now,
        Ok(_) | Err(StoreError::NotFound { .. }) => {
            return Err(ApiError::new(Code::Unauthenticated, "the account or the password is wrong"));
        }
        Err(error) => return Err(error.into()),
    };
    api.limiter.succeeded(peer, user);
    let name = now.view.name;
    api.audit(&name, action::USER_LOGIN, name.clone(), Severity::Info, format!("from {peer}")).await?;
    let (token, hash) = token::random("")?;
    let ttl = api.options.session_ttl;
    let ttl_us = i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX);
    let expires_us = api.clock.now_us().saturating_add(ttl_us);
    api.storage.create_session(&hash, &name, expires_us).await?;
    let cookie = token::set_cookie(&token, ttl.as_secs(), api.options.https);
    let answer = SessionResponse { token, expires_us, user: name, grants: now.view.grants };
    Ok(([(header::SET_COOKIE, cookie)], Json(answer)).into_response())
}

pub(crate) async fn who_am_i(caller: Caller) -> Json<WhoAmI> {
    Json(WhoAmI { user: caller.access.name, grants: caller.access.grants })
}

pub(crate) async fn sign_out(State(api): State<Api>, caller: Caller) -> Result<Response, ApiError> {
    let name = caller.access.name;
    if name.starts_with("key:") {
        return Err(ApiError::new(Code::Conflict, "a key has no session; remove it under /api/v1/keys"));
    }
    api.audit(&name, action::USER_LOGOUT, name.clone(), Severity::Info, String::new()).await?;
    api.storage.delete_session(&caller.token_hash).await?;
    api.revoked.send_replace(());
    let cookie = token::set_cookie("", 0, api.options.https);
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response())
}
