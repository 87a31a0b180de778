//! Groups of gateways, what their boxes told of updates, and rollouts. What a rollout does next is decided by
//! `cloud_core::rollout`, and done by the service.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use cloud_core::StoreError;
use cloud_core::rollout as rules;
use cloud_core::update::UpdateBox;
use common::api::{
    GroupRequest, Page, Rollout, RolloutChange, RolloutRequest, RolloutState, RolloutView, UpdateView,
};
use common::names::{Code, action};

use crate::context::Api;
use crate::error::ApiError;
use crate::gateways::known;
use crate::guard::Caller;
use crate::releases::entry;
use crate::request::{Body, check_reason};

/// Most groups of a rollout.
const MOST_GROUPS: usize = 32;
/// Longest time for which a group must fare well, s: 30 days.
const MOST_STAY_S: u64 = 30 * 24 * 3600;

fn shown(one: UpdateBox) -> UpdateView {
    UpdateView { gateway: one.key.gateway, group: one.group, report: one.report }
}

pub(crate) async fn updates(
    State(api): State<Api>,
    _caller: Caller,
) -> Result<Json<Page<UpdateView>>, ApiError> {
    let boxes = api.storage.update_boxes(&api.options.tenant).await?;
    Ok(Json(Page { items: boxes.into_iter().map(shown).collect(), next_cursor: None }))
}

pub(crate) async fn update(
    State(api): State<Api>,
    _caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<UpdateView>, ApiError> {
    let key = known(&api, &id)?;
    let boxes = api.storage.update_boxes(&api.options.tenant).await?;
    let found = boxes.into_iter().find(|b| b.key == key).map(shown);
    Ok(Json(found.unwrap_or(UpdateView { gateway: key.gateway, group: None, report: None })))
}

pub(crate) async fn set_group(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
    Body(request): Body<GroupRequest>,
) -> Result<StatusCode, ApiError> {
    let key = known(&api, &id)?;
    let group = Some(request.group.as_str()).filter(|g| !g.is_empty());
    check_group(group.unwrap_or("none"))?;
    let detail = group.map_or_else(|| "in no group".to_owned(), |g| format!("in group {g}"));
    let audit = entry(&api, &caller, action::GATEWAY_GROUP, key.gateway.to_string(), detail);
    api.storage.set_group(&key, group, &audit).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn check_group(name: &str) -> Result<(), ApiError> {
    if rules::is_group(name) {
        return Ok(());
    }
    Err(ApiError::invalid(format!(
        "`{name}` is no name of a group: expected 1 to 64 letters, digits and `-._`"
    )))
}

pub(crate) async fn get(State(api): State<Api>, _caller: Caller) -> Result<Json<RolloutView>, ApiError> {
    let rollout = newest(&api).await?;
    view(&api, rollout).await
}

async fn newest(api: &Api) -> Result<Rollout, ApiError> {
    let found = api.storage.rollout(&api.options.tenant).await?;
    let none = "nothing has been rolled out yet: `twinway rollout start VERSION --groups ...`";
    found.ok_or_else(|| ApiError::new(Code::NotFound, none))
}

async fn view(api: &Api, rollout: Rollout) -> Result<Json<RolloutView>, ApiError> {
    let tenant = &api.options.tenant;
    let (releases, all) = (api.storage.releases(tenant).await?, api.storage.update_boxes(tenant).await?);
    let views = api.downlink.gateways();
    let since = |b: &UpdateBox| {
        let view = views.iter().find(|v| v.id == b.key.gateway && v.connected);
        view.map(|v| v.since_us)
    };
    let boxes = rules::boxes(&rollout, &releases, &all, api.clock.now_us(), since);
    let left_out = rules::left_out(&boxes);
    Ok(Json(RolloutView { rollout, boxes, left_out }))
}

pub(crate) async fn start(
    State(api): State<Api>,
    caller: Caller,
    Body(request): Body<RolloutRequest>,
) -> Result<(StatusCode, Json<RolloutView>), ApiError> {
    check_reason(&request.note)?;
    if !(1..=MOST_GROUPS).contains(&request.groups.len()) {
        return Err(ApiError::invalid(format!("name 1 to {MOST_GROUPS} groups")));
    }
    if request.stay_s > MOST_STAY_S {
        return Err(ApiError::invalid(format!("`stay_s` is at most {MOST_STAY_S}")));
    }
    let tenant = &api.options.tenant;
    let boxes = api.storage.update_boxes(tenant).await?;
    for (at, group) in request.groups.iter().enumerate() {
        check_group(group)?;
        if request.groups.iter().take(at).any(|g| g == group) {
            return Err(ApiError::invalid(format!("group {group} is named twice")));
        }
        if !boxes.iter().any(|b| b.group.as_ref() == Some(group)) {
            let detail = format!("no gateway is in group {group}: `twinway gateway group NAME {group}`");
            return Err(ApiError::invalid(detail));
        }
    }
    if !api.storage.releases(tenant).await?.iter().any(|r| r.version == request.version) {
        return Err(ApiError::invalid(format!("there is no bundle of {}: add one first", request.version)));
    }
    let before = api.storage.rollout(tenant).await?;
    if let Some(running) = before.as_ref().filter(|r| r.state == RolloutState::Running) {
        let detail = format!("rollout {} of {} runs: halt it first", running.id, running.version);
        return Err(ApiError::new(Code::Conflict, detail));
    }
    let id = before.map_or(0, |r| r.id) + 1;
    let rollout = rules::begin(id, request, &caller.access.name, api.clock.now_us());
    let groups = rollout.groups.join(", ");
    let (version, stay_s) = (&rollout.version, rollout.stay_s);
    let note = if rollout.note.is_empty() { String::new() } else { format!(": {}", rollout.note) };
    let detail = format!("rollout {id} of {version} to {groups}, {stay_s} s each{note}");
    put(&api, &caller, &rollout, action::ROLLOUT_STARTED, detail).await?;
    Ok((StatusCode::CREATED, view(&api, rollout).await?))
}

async fn put(
    api: &Api,
    caller: &Caller,
    rollout: &Rollout,
    action: &str,
    detail: String,
) -> Result<(), ApiError> {
    let audit = entry(api, caller, action, rollout.version.clone(), detail);
    match api.storage.put_rollout(&api.options.tenant, rollout, &[audit]).await {
        Ok(()) => Ok(()),
        Err(StoreError::Conflict { .. }) => {
            Err(ApiError::new(Code::Conflict, "the rollout changed meanwhile: look at it and try again"))
        }
        Err(error) => Err(error.into()),
    }
}

/// The newest rollout, which must be in this state for the change.
async fn changed(api: &Api, state: RolloutState, change: &RolloutChange) -> Result<Rollout, ApiError> {
    check_reason(&change.reason)?;
    if change.reason.trim().is_empty() {
        return Err(ApiError::invalid("give a reason"));
    }
    let rollout = newest(api).await?;
    if rollout.state != state {
        return Err(ApiError::new(Code::Conflict, format!("rollout {} is {}", rollout.id, rollout.state)));
    }
    Ok(rollout)
}

pub(crate) async fn halt(
    State(api): State<Api>,
    caller: Caller,
    Body(change): Body<RolloutChange>,
) -> Result<Json<RolloutView>, ApiError> {
    let rollout = changed(&api, RolloutState::Running, &change).await?;
    let (name, why) = (&caller.access.name, &change.reason);
    let halted = rules::halt(&rollout, format!("by {name}: {why}"), api.clock.now_us());
    put(&api, &caller, &halted, action::ROLLOUT_HALTED, format!("rollout {}: {why}", halted.id)).await?;
    view(&api, halted).await
}

pub(crate) async fn go_on(
    State(api): State<Api>,
    caller: Caller,
    Body(change): Body<RolloutChange>,
) -> Result<Json<RolloutView>, ApiError> {
    let rollout = changed(&api, RolloutState::Halted, &change).await?;
    let releases = api.storage.releases(&api.options.tenant).await?;
    if !releases.iter().any(|r| r.version == rollout.version) {
        return Err(ApiError::new(
            Code::Conflict,
            format!("there is no bundle of {} any more", rollout.version),
        ));
    }
    let Json(seen) = view(&api, rollout.clone()).await?;
    let next = rules::go_on(&rollout, &seen.boxes, api.clock.now_us());
    let new = next.passed_over.iter().filter(|g| !rollout.passed_over.contains(g));
    let new: Vec<_> = new.map(ToString::to_string).collect();
    let over = if new.is_empty() { String::new() } else { format!(", passing over {}", new.join(", ")) };
    let detail = format!("rollout {}{over}: {}", next.id, change.reason);
    put(&api, &caller, &next, action::ROLLOUT_RESUMED, detail).await?;
    view(&api, next).await
}
