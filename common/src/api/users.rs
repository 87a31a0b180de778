//! Sessions, users, keys and gateway credentials over HTTP.

use serde::{Deserialize, Serialize};

use crate::ids::GatewayId;

/// What an account may do; each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// sees
    Viewer,
    /// commands
    Operator,
    /// configures
    Engineer,
    /// manages accounts
    Admin,
}

/// A role on a subtree of the assets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct GrantView {
    /// Path of the node; empty for all. At least as high as an area.
    pub path: String,
    /// The role there and below.
    pub role: Role,
}

/// Body of `POST /session`.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SessionRequest {
    /// Account.
    pub user: String,
    /// Its password.
    pub password: String,
}

/// Answer of `POST /session`. The same token is set as a cookie for the page.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SessionResponse {
    /// Bearer token.
    pub token: String,
    /// When it ends, UTC us.
    pub expires_us: i64,
    /// Account.
    pub user: String,
    /// Its grants.
    pub grants: Vec<GrantView>,
}

/// Answer of `GET /session`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WhoAmI {
    /// Account, `key:<name>`, or on the box `uid:<n>`.
    pub user: String,
    /// Its grants.
    pub grants: Vec<GrantView>,
}

/// Body of `POST /users`.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct UserRequest {
    /// Account.
    pub name: String,
    /// First password, at least 10 characters.
    pub password: String,
    /// Its grants.
    pub grants: Vec<GrantView>,
}

/// Body of `PUT /users/{name}/password`.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PasswordRequest {
    /// New password, at least 10 characters.
    pub password: String,
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UserView {
    /// Account.
    pub name: String,
    /// Its grants.
    pub grants: Vec<GrantView>,
    /// When it was made, UTC us.
    pub created_us: i64,
}

/// Body of `POST /keys`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ApiKeyRequest {
    /// Name, for the audit.
    pub name: String,
    /// What it may do; no more than who makes it.
    pub grants: Vec<GrantView>,
    /// When it ends, UTC us; none for never.
    #[serde(default)]
    pub expires_us: Option<i64>,
}

/// A key; its secret is stored hashed and never shown again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApiKeyView {
    /// Name.
    pub name: String,
    /// What it may do.
    pub grants: Vec<GrantView>,
    /// When it was made, UTC us.
    pub created_us: i64,
    /// When it ends, UTC us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_us: Option<i64>,
}

/// Answer of `POST /keys`.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApiKeyCreated {
    /// The key, shown this once: give it as a bearer token.
    pub key: String,
    /// What it is.
    #[serde(flatten)]
    pub view: ApiKeyView,
}

/// Body of `POST /gateways`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct GatewayRequest {
    /// Name of the gateway; it need not be known yet.
    pub id: GatewayId,
}

/// Answer of `POST /gateways`: what a gateway signs in with.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GatewayCredential {
    /// The gateway; its MQTT user name is `<tenant>/<gateway>`.
    pub gateway: GatewayId,
    /// The secret, shown this once: the MQTT password.
    pub secret: String,
}
