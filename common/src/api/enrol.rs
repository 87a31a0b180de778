//! Enrolment over HTTP: codes, signing requests and certificates, at the cloud and at the box.

use serde::{Deserialize, Serialize};

use crate::ids::{GatewayId, TenantId};

/// Body of `POST /enrolment-codes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EnrolmentCodeRequest {
    /// The gateway that the box will be; it need not be known yet.
    pub gateway: GatewayId,
    /// How long the code is good, hours: 1 to 168.
    #[serde(default = "day")]
    pub valid_h: u32,
}

fn day() -> u32 {
    24
}

/// Answer of `POST /enrolment-codes`.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnrolmentCodeCreated {
    /// The gateway.
    pub gateway: GatewayId,
    /// The code, shown this once: `twinway enrol CODE` on the box.
    pub code: String,
    /// Until when it is good, UTC us.
    pub expires_us: i64,
}

/// Body of `POST /enrol`: needs no session, the code speaks for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EnrolRequest {
    /// The code's first five characters, which are no secret.
    pub code: String,
    /// The gateway that the box is configured as: a code for another one is not used up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<GatewayId>,
    /// The box's signing request, PEM.
    pub request: String,
    /// HMAC-SHA256 of that text with the code's key, hexadecimal.
    pub proof: String,
}

/// Answer of `POST /enrol`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnrolResponse {
    /// An `Enrolled` as JSON text, so that every byte of it is proven.
    pub enrolled: String,
    /// HMAC-SHA256 of that text with the code's key, hexadecimal.
    pub proof: String,
}

/// What makes a box a gateway of a cloud. No secret: the key stays on the box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Enrolled {
    /// Tenant.
    pub tenant: TenantId,
    /// The gateway that the box is.
    pub gateway: GatewayId,
    /// Where the cloud takes its uplink, as `mqtts://host:port`.
    pub url: String,
    /// The box's certificate, PEM.
    pub certificate: String,
    /// The authorities that sign the cloud's own certificate, PEM; none: those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<String>,
}

/// Answer of `POST /identity/request` at the box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SigningRequest {
    /// The gateway, as the box is configured.
    pub gateway: GatewayId,
    /// Its signing request, PEM. The key that it belongs to stays on the box.
    pub request: String,
}

/// How a box is enrolled: answer of `GET` and `PUT /identity` at the box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IdentityView {
    /// Tenant.
    pub tenant: TenantId,
    /// Gateway.
    pub gateway: GatewayId,
    /// The cloud.
    pub url: String,
    /// Serial number of the certificate, hexadecimal.
    pub serial: String,
    /// From when it is good, UTC us.
    pub not_before_us: i64,
    /// Until when, UTC us. It is renewed before, whenever the cloud is there.
    pub not_after_us: i64,
}

/// A certificate that the cloud issued: row of `GET /gateways/{id}/certificates`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CertificateView {
    /// Serial number, hexadecimal.
    pub serial: String,
    /// SHA-256 of the public key, hexadecimal: the same for all of one enrolment.
    pub key: String,
    /// When it was issued, UTC us.
    pub issued_us: i64,
    /// Until when it is good, UTC us.
    pub not_after_us: i64,
    /// When it was revoked, UTC us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_us: Option<i64>,
}

/// Body of `POST /gateways/{id}/revoke`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RevokeRequest {
    /// Why, for the audit.
    pub reason: String,
}

/// Answer of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Revoked {
    /// How many certificates are worth nothing from now on.
    pub certificates: usize,
}
