//! What the description says of updates.

use common::names::Code;
use serde_json::{Value as Json, json};

use super::operations::{Doc, JSON, doc};
use crate::table::Op;

const BUNDLE: &[&str] = &["application/octet-stream"];
const AT_US: i64 = 1_795_000_000_000_000;

fn release() -> Json {
    json!({
        "version": "1.4.0", "arch": "arm64", "sha256": "9c56cc51", "bytes": 7_900_000, "digest": "77ab0c12",
        "commit": "d5ef39c5", "signed_by": ["1f0c36a2b7e94d58"], "author": "anna", "at_us": AT_US
    })
}

fn view() -> Json {
    json!({
        "gateway": "gw1", "group": "canary", "report": {
            "accepts": true, "version": "1.3.0", "arch": "arm64",
            "offer": {"rollout": 4, "version": "1.4.0", "arch": "arm64", "bytes": 7_900_000, "sha256": "9c56cc51"},
            "state": "receiving", "received": 3_900_000, "at_us": AT_US
        }
    })
}

fn rollout() -> Json {
    json!({
        "rollout": {
            "id": 4, "revision": 2, "version": "1.4.0", "groups": ["canary", "rest"], "stage": 0, "state": "running",
            "stay_s": 3600, "author": "anna", "note": "", "began_us": AT_US, "changed_us": AT_US
        },
        "boxes": [{
            "gateway": "gw1", "group": "canary", "state": "updating", "reason": "3900000 of 7900000 bytes are there",
            "connected": true, "version": "1.3.0"
        }]
    })
}

pub(super) fn describe(op: Op) -> Doc {
    match op {
        Op::AddRelease => doc(
            "updates",
            "Give the cloud a signed bundle",
            "The bundle itself, as `twinway-gateway update sign` makes it, at most 512 MiB. It is kept if it is whole; its signature is for \
             the boxes to verify, with the keys that each of them trusts. One bundle of a version and architecture, one upload at a time, \
             200 bundles.",
        )
        .takes(BUNDLE, "Bundle", json!("TWINWAY-UPDATE 1"))
        .gives(201, "kept", "Release", release())
        .fails(&[Code::Conflict, Code::TooLarge]),
        Op::ListReleases => doc("updates", "Bundles that the cloud keeps", "All of them, newest first.")
            .gives(200, "the bundles", "ReleasePage", json!({"items": [release()]})),
        Op::RemoveRelease => doc("updates", "Remove the bundles of a version", "Of every architecture. What boxes run stays.")
            .empty(204, "removed")
            .fails(&[Code::NotFound, Code::Conflict]),
        Op::SetGroup => doc("updates", "Put a gateway into a group", "For rollouts. A gateway is in one group or none.")
            .takes(JSON, "GroupRequest", json!({"group": "canary"}))
            .empty(204, "done")
            .fails(&[Code::NotFound]),
        Op::ListUpdates => doc(
            "updates",
            "Gateways with their groups, and what runs there",
            "Every gateway that has a group or told of updates.",
        )
        .gives(200, "the gateways", "UpdateViewPage", json!({"items": [view()]})),
        Op::GetUpdate => doc("updates", "What runs at a gateway, and what became of an update", "The box's own word.")
            .gives(200, "the gateway", "UpdateView", view())
            .fails(&[Code::NotFound]),
        Op::StartRollout => doc(
            "updates",
            "Roll a version out, group by group",
            "A box that is away gets it when it comes back; one that runs it already counts as done. The next group has its turn when all \
             boxes of the one before run the version and stayed connected for `stay_s`. Any refusal, and any version that gave way, halts \
             it. One rollout runs at a time.",
        )
        .takes(JSON, "RolloutRequest", json!({"version": "1.4.0", "groups": ["canary", "rest"], "stay_s": 3600, "note": ""}))
        .gives(201, "it runs", "RolloutView", rollout())
        .fails(&[Code::Conflict]),
        Op::HaltRollout => doc("updates", "Halt the rollout", "Nothing is offered from then on; what boxes have on trial goes on.")
            .takes(JSON, "RolloutChange", json!({"reason": "the plant starts up"}))
            .gives(200, "halted", "RolloutView", rollout())
            .fails(&[Code::NotFound, Code::Conflict]),
        Op::ResumeRollout => doc("updates", "Let a halted rollout go on", "Boxes that failed are passed over.")
            .takes(JSON, "RolloutChange", json!({"reason": "gw1 has a full disk"}))
            .gives(200, "it runs", "RolloutView", rollout())
            .fails(&[Code::NotFound, Code::Conflict]),
        _ => doc("updates", "The newest rollout and its gateways", "")
            .gives(200, "the rollout", "RolloutView", rollout())
            .fails(&[Code::NotFound]),
    }
}
