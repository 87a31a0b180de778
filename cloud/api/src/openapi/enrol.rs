//! What the description says of enrolment.

use common::names::Code;
use serde_json::json;

use super::operations::{Doc, JSON, doc};
use crate::table::Op;

pub(super) fn describe(op: Op) -> Doc {
    match op {
        Op::CreateEnrolmentCode => doc(
            "gateways",
            "A code with which a box enrols once",
            "Shown this once. The box makes its key and is given a certificate for it; the gateway's secret and earlier \
             certificates are worth nothing from then on.",
        )
        .takes(JSON, "EnrolmentCodeRequest", json!({"gateway": "line1-box", "valid_h": 24}))
        .gives(
            201,
            "the code",
            "EnrolmentCodeCreated",
            json!({"gateway": "line1-box", "code": "7Q2KD-0M3XA-9W4TZ-61VHC-E8RPB", "expires_us": 1_795_000_000_000_000_i64}),
        )
        .fails(&[Code::NotSupported, Code::Conflict]),
        Op::Enrol => doc(
            "gateways",
            "Enrol a box",
            "The code's secret is not sent. Request and answer each carry an HMAC-SHA256 with the code's key, the SHA-256 of its 25 \
             characters, over `twinway enrolment request`, a zero byte and the text (`answer` the other way), so nobody on the \
             way can change them. The same key may ask again while the code is good: the answer may have been lost.",
        )
        .takes(JSON, "EnrolRequest", json!({"code": "7Q2KD", "request": "-----BEGIN CERTIFICATE REQUEST-----...", "proof": "d5ef39c5..."}))
        .gives(200, "what the box is from now on", "EnrolResponse", json!({"enrolled": "{\"tenant\":\"default\",...}", "proof": "9a4c01be..."}))
        .fails(&[Code::Forbidden, Code::NotSupported, Code::RateLimited]),
        Op::RevokeGateway => doc(
            "gateways",
            "Lock a gateway out",
            "Its certificates, its secret and its codes are worth nothing from now on, and its session ends. Its data stay. To let \
             it in again, enrol it again.",
        )
        .takes(JSON, "RevokeRequest", json!({"reason": "the box was stolen"}))
        .gives(200, "locked out", "Revoked", json!({"certificates": 1}))
        .fails(&[Code::NotFound]),
        _ => doc(
            "gateways",
            "Certificates of a gateway",
            "The last issued first; those that expired more than 400 days ago are not kept.",
        )
        .gives(
            200,
            "the certificates",
            "CertificateViewPage",
            json!({"items": [{"serial": "5f0c", "key": "d5ef39c5", "issued_us": 1_795_000_000_000_000_i64, "not_after_us": 1_797_592_000_000_000_i64}]}),
        )
        .fails(&[Code::NotFound]),
    }
}
