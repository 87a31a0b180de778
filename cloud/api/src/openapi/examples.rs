//! Examples of the important shapes. A test reads each as the type that it is an example of.

use serde_json::{Value as Json, json};

/// A twin.
pub(super) fn twin() -> Json {
    json!({
        "id": "6f1c2a30-2f7e-5a38-9d61-0c9c0e6c1b11",
        "asset": "plant/coating/line1/oven",
        "name": "oven",
        "description": "three-zone tunnel oven",
        "gateway": "gw1",
        "device": "oven",
        "online": true,
        "desired_version": 3,
        "points": [{
            "name": "zone1_setpoint",
            "type": "f64",
            "unit": "Cel",
            "access": "read_write",
            "write_min": 60.0,
            "write_max": 140.0,
            "stale_ms": 5000,
            "value": 110.0,
            "quality": "good",
            "source_us": 1_795_000_000_000_000_i64,
            "received_us": 1_795_000_000_000_150_i64
        }]
    })
}

/// A command.
pub(super) fn command() -> Json {
    json!({
        "id": "0192d5a0-7d3e-7c11-8f43-6a1c3a0f9b01",
        "twin": "6f1c2a30-2f7e-5a38-9d61-0c9c0e6c1b11",
        "asset": "plant/coating/line1/oven",
        "point": "zone1_setpoint",
        "value": 115.0,
        "requester": {"name": "anna", "origin": "cloud"},
        "reason": "solvent still in the foil",
        "state": "sent",
        "created_us": 1_795_000_000_000_000_i64,
        "expires_us": 1_795_000_010_000_000_i64,
        "steps": [
            {"state": "accepted", "at_us": 1_795_000_000_000_000_i64},
            {"state": "sent", "at_us": 1_795_000_000_002_000_i64}
        ]
    })
}

/// An alarm.
pub(super) fn alarm() -> Json {
    json!({
        "id": "5d0a6c1e-6a0b-5b0e-9d0c-2f4b8f6d7a10",
        "twin": "6f1c2a30-2f7e-5a38-9d61-0c9c0e6c1b11",
        "asset": "plant/coating/line1/oven",
        "point": "zone1_temperature",
        "name": "hi",
        "kind": "hi",
        "priority": "high",
        "text": "zone 1 runs hot",
        "state": "active",
        "change": "raised",
        "raised_us": 1_795_000_000_000_000_i64,
        "at_us": 1_795_000_000_000_000_i64,
        "value": 164.5,
        "quality": "good",
        "limit": 160.0,
        "unit": "Cel",
        "actor": "system"
    })
}

/// What asks for it.
pub(super) fn command_request() -> Json {
    json!({"point": "zone1_setpoint", "value": 115.0, "ttl_ms": 10_000, "reason": "solvent still in the foil"})
}

/// A change of desired values.
pub(super) fn desired() -> Json {
    json!({
        "zone1_setpoint": {"value": 115.0, "ttl_ms": 3_600_000, "reason": "recipe 12"},
        "zone2_setpoint": null
    })
}

/// A history.
pub(super) fn history() -> Json {
    json!({
        "twin": "plant/coating/line1/oven",
        "point": "zone1_temperature",
        "unit": "Cel",
        "from_us": 1_794_996_400_000_000_i64,
        "to_us": 1_795_000_000_000_000_i64,
        "resolution": {"kind": "rollup", "bucket_us": 60_000_000},
        "points": [{
            "t_us": 1_794_996_420_000_000_i64, "value": 109.8, "quality": "good",
            "min": 109.1, "max": 110.4, "mean": 109.9, "first": 109.4, "count": 60, "good": 60,
            "times": {"good_us": 60_000_000, "uncertain_us": 0, "bad_us": 0, "nothing_us": 0},
            "first_sample": {"t_us": 1_794_996_420_000_000_i64, "value": 109.4, "quality": "good"},
            "last_sample": {"t_us": 1_794_996_479_000_000_i64, "value": 109.8, "quality": "good"}
        }],
        "times": {"good_us": 3_558_000_000_i64, "uncertain_us": 0, "bad_us": 0, "nothing_us": 42_000_000},
        "gaps": [{"from_us": 1_794_998_000_000_000_i64, "to_us": 1_794_998_042_000_000_i64, "cause": "gateway_down"}]
    })
}

/// An entry of the audit.
pub(super) fn log_entry() -> Json {
    json!({
        "at_us": 1_795_000_000_000_000_i64,
        "actor": "anna",
        "action": "command.accepted",
        "target": "plant/coating/line1/oven/zone1_setpoint",
        "twin": "6f1c2a30-2f7e-5a38-9d61-0c9c0e6c1b11",
        "severity": "info",
        "detail": "value 115.0, because: solvent still in the foil"
    })
}

/// A gateway.
pub(super) fn gateway() -> Json {
    json!({
        "id": "gw1", "connected": true, "since_us": 1_794_990_000_000_000_i64,
        "last_seen_us": 1_795_000_000_000_000_i64, "twins": 7
    })
}

/// A box that is held back.
pub(super) fn held() -> Json {
    json!({
        "box_id": "9a1c7f40-58f1-4d5e-8a8e-0d6f3c1b2a10", "incarnation": "00112233445566778899aabbccddeeff",
        "peer": "10.0.4.17:50112", "version": "0.1.0", "since_us": 1_794_990_000_000_000_i64,
        "last_us": 1_795_000_000_000_000_i64, "reason": "another box is this gateway. ..."
    })
}

/// A frame that could not be taken.
pub(super) fn set_aside() -> Json {
    json!({
        "id": "7", "incarnation": "00112233445566778899aabbccddeeff", "seq": 41, "at_us": 1_795_000_000_000_000_i64,
        "cause": "frame", "detail": "13 bytes more expected", "bytes": 811
    })
}

/// Frames that could not be taken.
pub(super) fn set_aside_list() -> Json {
    json!({"items": [set_aside()], "removed_frames": 0, "removed_bytes": 0})
}

/// A node of the tree.
pub(super) fn asset() -> Json {
    json!({
        "path": "plant/coating/line1/oven", "name": "oven", "kind": "cell",
        "twins": ["6f1c2a30-2f7e-5a38-9d61-0c9c0e6c1b11"]
    })
}

/// Grants.
pub(super) fn grants() -> Json {
    json!([{"path": "plant/coating", "role": "operator"}, {"path": "plant", "role": "viewer"}])
}

/// An account.
pub(super) fn user() -> Json {
    json!({"name": "anna", "grants": grants(), "created_us": 1_794_000_000_000_000_i64})
}

/// A key.
pub(super) fn key() -> Json {
    json!({
        "name": "historian", "grants": [{"path": "plant", "role": "viewer"}],
        "created_us": 1_794_000_000_000_000_i64, "expires_us": 1_826_000_000_000_000_i64
    })
}

/// A page with one row.
pub(super) fn page(row: &Json) -> Json {
    json!({"items": [row]})
}

#[cfg(test)]
mod tests {
    use common::api::{
        ApiKeyView, AssetNode, CommandRequest, CommandView, DesiredPatch, GatewayView, HeldBox,
        HistoryResponse, Page, SetAsideList, TwinView, UserView,
    };
    use common::command::LogEntry;
    use serde::de::DeserializeOwned;

    use super::*;

    #[track_caller]
    fn read<T: DeserializeOwned>(example: Json) {
        if let Err(e) = serde_json::from_value::<T>(example.clone()) {
            panic!("{e} in {example}");
        }
    }

    #[test]
    fn every_example_is_one() {
        read::<TwinView>(twin());
        read::<CommandView>(command());
        read::<common::alarm::AlarmView>(alarm());
        read::<CommandRequest>(command_request());
        read::<DesiredPatch>(desired());
        read::<HistoryResponse>(history());
        read::<LogEntry>(log_entry());
        read::<GatewayView>(gateway());
        read::<HeldBox>(held());
        read::<SetAsideList>(set_aside_list());
        read::<AssetNode>(asset());
        read::<UserView>(user());
        read::<ApiKeyView>(key());
        read::<Page<UserView>>(page(&user()));
    }
}
