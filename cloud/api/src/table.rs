//! The one table of routes: method, path, least role, and what the role is asked about. The router is
//! built from it, the guard enforces it, `/openapi.json` describes it and a test walks it.

use axum::http::Method;
use common::api::Role;

/// What a route does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // each is described beside its handler and in `openapi`
pub enum Op {
    SignIn,
    WhoAmI,
    SignOut,
    ListTwins,
    GetTwin,
    PatchDesired,
    PastPoints,
    History,
    Waveforms,
    Waveform,
    DeleteHistory,
    AlignHistory,
    ExportHistory,
    SendCommand,
    ListCommands,
    GetCommand,
    ListAlarms,
    AcknowledgeAlarm,
    ShelveAlarm,
    UnshelveAlarm,
    ListGateways,
    EnrolGateway,
    AcceptBox,
    ListSetAside,
    GetSetAside,
    CreateEnrolmentCode,
    Enrol,
    ListCertificates,
    RevokeGateway,
    GetConfiguration,
    PutConfiguration,
    ListConfigurations,
    GetConfigurationDocument,
    AddRelease,
    ListReleases,
    RemoveRelease,
    SetGroup,
    ListUpdates,
    GetUpdate,
    GetRollout,
    StartRollout,
    HaltRollout,
    ResumeRollout,
    ListAudit,
    ListAssets,
    ListUsers,
    CreateUser,
    DeleteUser,
    SetPassword,
    ListKeys,
    CreateKey,
    DeleteKey,
    Live,
    OpenApi,
    Health,
    Ready,
    Metrics,
}

/// What the least role is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// nobody is asked
    Open,
    /// the role anywhere; what is listed or touched is then held against the grants one by one
    Anywhere,
    /// the role on the whole installation
    Whole,
    /// seeing the twin `{id}` at all (else 404), then the role on it (else 403)
    Twin,
    /// the same for the twin of the command `{id}`
    Command,
    /// the same for the twin of the alarm `{id}`
    Alarm,
    /// being the account `{name}`, or the role on the whole installation
    OwnOrWhole,
}

/// One row of the table.
#[derive(Debug, Clone)]
pub struct Route {
    /// What it does.
    pub op: Op,
    /// Method.
    pub method: Method,
    /// Path with `{...}` for its parameters.
    pub path: &'static str,
    /// Least role; not asked where the rule is `Open`.
    pub least: Role,
    /// What the role is asked about.
    pub rule: Rule,
}

const fn row(op: Op, method: Method, path: &'static str, least: Role, rule: Rule) -> Route {
    Route { op, method, path, least, rule }
}

/// Every route.
#[rustfmt::skip]
pub static ROUTES: &[Route] = &[
    row(Op::SignIn, Method::POST, "/api/v1/session", Role::Viewer, Rule::Open),
    row(Op::WhoAmI, Method::GET, "/api/v1/session", Role::Viewer, Rule::Anywhere),
    row(Op::SignOut, Method::DELETE, "/api/v1/session", Role::Viewer, Rule::Anywhere),
    row(Op::ListTwins, Method::GET, "/api/v1/twins", Role::Viewer, Rule::Anywhere),
    row(Op::GetTwin, Method::GET, "/api/v1/twins/{id}", Role::Viewer, Rule::Twin),
    row(Op::PatchDesired, Method::PATCH, "/api/v1/twins/{id}/desired", Role::Operator, Rule::Twin),
    row(Op::PastPoints, Method::GET, "/api/v1/twins/{id}/past-points", Role::Viewer, Rule::Twin),
    row(Op::History, Method::GET, "/api/v1/twins/{id}/points/{point}/history", Role::Viewer, Rule::Twin),
    row(Op::Waveforms, Method::GET, "/api/v1/twins/{id}/points/{point}/waveforms", Role::Viewer, Rule::Twin),
    row(Op::Waveform, Method::GET, "/api/v1/twins/{id}/points/{point}/waveforms/{t0}", Role::Viewer, Rule::Twin),
    row(Op::DeleteHistory, Method::DELETE, "/api/v1/twins/{id}/points/{point}/history", Role::Admin, Rule::Twin),
    row(Op::AlignHistory, Method::POST, "/api/v1/history/aligned", Role::Viewer, Rule::Anywhere),
    row(Op::ExportHistory, Method::POST, "/api/v1/history/export", Role::Viewer, Rule::Anywhere),
    row(Op::SendCommand, Method::POST, "/api/v1/twins/{id}/commands", Role::Operator, Rule::Twin),
    row(Op::ListCommands, Method::GET, "/api/v1/commands", Role::Viewer, Rule::Anywhere),
    row(Op::GetCommand, Method::GET, "/api/v1/commands/{id}", Role::Viewer, Rule::Command),
    row(Op::ListAlarms, Method::GET, "/api/v1/alarms", Role::Viewer, Rule::Anywhere),
    row(Op::AcknowledgeAlarm, Method::POST, "/api/v1/alarms/{id}/acknowledge", Role::Operator, Rule::Alarm),
    row(Op::ShelveAlarm, Method::POST, "/api/v1/alarms/{id}/shelve", Role::Operator, Rule::Alarm),
    row(Op::UnshelveAlarm, Method::POST, "/api/v1/alarms/{id}/unshelve", Role::Operator, Rule::Alarm),
    row(Op::ListGateways, Method::GET, "/api/v1/gateways", Role::Viewer, Rule::Anywhere),
    row(Op::EnrolGateway, Method::POST, "/api/v1/gateways", Role::Admin, Rule::Whole),
    row(Op::AcceptBox, Method::POST, "/api/v1/gateways/{id}/accept", Role::Admin, Rule::Whole),
    row(Op::ListSetAside, Method::GET, "/api/v1/gateways/{id}/set-aside", Role::Engineer, Rule::Whole),
    row(Op::GetSetAside, Method::GET, "/api/v1/gateways/{id}/set-aside/{frame}", Role::Admin, Rule::Whole),
    row(Op::CreateEnrolmentCode, Method::POST, "/api/v1/enrolment-codes", Role::Admin, Rule::Whole),
    row(Op::Enrol, Method::POST, "/api/v1/enrol", Role::Viewer, Rule::Open),
    row(Op::ListCertificates, Method::GET, "/api/v1/gateways/{id}/certificates", Role::Engineer, Rule::Whole),
    row(Op::RevokeGateway, Method::POST, "/api/v1/gateways/{id}/revoke", Role::Admin, Rule::Whole),
    row(Op::GetConfiguration, Method::GET, "/api/v1/gateways/{id}/configuration", Role::Engineer, Rule::Whole),
    row(Op::PutConfiguration, Method::PUT, "/api/v1/gateways/{id}/configuration", Role::Admin, Rule::Whole),
    row(Op::ListConfigurations, Method::GET, "/api/v1/gateways/{id}/configuration/documents", Role::Engineer, Rule::Whole),
    row(Op::GetConfigurationDocument, Method::GET, "/api/v1/gateways/{id}/configuration/documents/{version}", Role::Engineer, Rule::Whole),
    row(Op::AddRelease, Method::POST, "/api/v1/releases", Role::Admin, Rule::Whole),
    row(Op::ListReleases, Method::GET, "/api/v1/releases", Role::Engineer, Rule::Whole),
    row(Op::RemoveRelease, Method::DELETE, "/api/v1/releases/{version}", Role::Admin, Rule::Whole),
    row(Op::SetGroup, Method::PUT, "/api/v1/gateways/{id}/group", Role::Admin, Rule::Whole),
    row(Op::ListUpdates, Method::GET, "/api/v1/updates", Role::Engineer, Rule::Whole),
    row(Op::GetUpdate, Method::GET, "/api/v1/gateways/{id}/update", Role::Engineer, Rule::Whole),
    row(Op::GetRollout, Method::GET, "/api/v1/rollout", Role::Engineer, Rule::Whole),
    row(Op::StartRollout, Method::POST, "/api/v1/rollout", Role::Admin, Rule::Whole),
    row(Op::HaltRollout, Method::POST, "/api/v1/rollout/halt", Role::Admin, Rule::Whole),
    row(Op::ResumeRollout, Method::POST, "/api/v1/rollout/go-on", Role::Admin, Rule::Whole),
    row(Op::ListAudit, Method::GET, "/api/v1/audit", Role::Viewer, Rule::Anywhere),
    row(Op::ListAssets, Method::GET, "/api/v1/assets", Role::Viewer, Rule::Anywhere),
    row(Op::ListUsers, Method::GET, "/api/v1/users", Role::Admin, Rule::Whole),
    row(Op::CreateUser, Method::POST, "/api/v1/users", Role::Admin, Rule::Whole),
    row(Op::DeleteUser, Method::DELETE, "/api/v1/users/{name}", Role::Admin, Rule::Whole),
    row(Op::SetPassword, Method::PUT, "/api/v1/users/{name}/password", Role::Admin, Rule::OwnOrWhole),
    row(Op::ListKeys, Method::GET, "/api/v1/keys", Role::Engineer, Rule::Anywhere),
    row(Op::CreateKey, Method::POST, "/api/v1/keys", Role::Engineer, Rule::Anywhere),
    row(Op::DeleteKey, Method::DELETE, "/api/v1/keys/{name}", Role::Engineer, Rule::Anywhere),
    row(Op::Live, Method::GET, "/api/v1/live", Role::Viewer, Rule::Anywhere),
    row(Op::OpenApi, Method::GET, "/openapi.json", Role::Viewer, Rule::Open),
    row(Op::Health, Method::GET, "/healthz", Role::Viewer, Rule::Open),
    row(Op::Ready, Method::GET, "/readyz", Role::Viewer, Rule::Open),
    row(Op::Metrics, Method::GET, "/metrics", Role::Viewer, Rule::Open),
];
