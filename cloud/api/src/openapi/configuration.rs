//! What the description says of configuration documents.

use common::names::Code;
use serde_json::{Value as Json, json};

use super::operations::{Doc, JSON, doc};
use super::parameters::{header, paging};
use crate::table::Op;

const ETAG: (&str, &str) =
    ("etag", "version of the document that is wanted in quotes, for If-Match; 0: none");

fn entry() -> Json {
    json!({
        "version": 3, "hash": "d5ef39c5", "bytes": 812, "author": "anna", "at_us": 1_795_000_000_000_000_i64,
        "note": "second oven", "base": "9a4c01be", "force": false
    })
}

fn view() -> Json {
    json!({
        "gateway": "gw1", "wanted": entry(), "state": "refused",
        "reason": "cloud-configuration.toml:7:1: device[0].point[1].unit: expected a text",
        "report": {
            "accepts": "read", "judged": {"version": 3, "hash": "d5ef39c5"}, "state": "refused",
            "reason": "cloud-configuration.toml:7:1: device[0].point[1].unit: expected a text",
            "running": {"version": 2, "hash": "77ab0c12"}, "local": "9a4c01be", "settled": "9a4c01be", "changed": false,
            "at_us": 1_795_000_001_000_000_i64
        }
    })
}

pub(super) fn describe(op: Op) -> Doc {
    match op {
        Op::GetConfiguration => doc(
            "gateways",
            "The configuration that a gateway should run, and how it stands",
            "The box judges a document, not the cloud: `state` and `reason` are its last word. A state of `trial` becomes `applied` once \
             the cloud has stored what the box sent with it, or `refused` when the box had to go back.",
        )
        .gives(200, "the configuration", "ConfigurationView", view())
        .heads(&[ETAG])
        .fails(&[Code::NotFound]),
        Op::PutConfiguration => doc(
            "gateways",
            "Put a configuration document",
            "Kept as the next version and handed to the box, which runs it beside its own files or says why not. It holds `[[device]]`, \
             `[[template]]` and `[[line]]`; what is the box's alone (its identity, its way to the cloud, its listeners, its secrets) is \
             refused there. An empty document takes back what the cloud gave. At most 1 MiB; 200 documents are kept.",
        )
        .with([header("If-Match", "ETag of the configuration that the document rests on; `\"0\"` for the first",
            r#"^(\*|(W/)?"[^"]*"(, *(W/)?"[^"]*")*)$"#, "\"2\"")])
        .takes(JSON, "ConfigurationRequest", json!({"document": "[[device]]\nname = \"oven2\"\n", "note": "second oven", "force": false}))
        .gives(200, "kept", "ConfigurationView", view())
        .heads(&[ETAG])
        .fails(&[Code::NotFound, Code::PreconditionRequired, Code::PreconditionFailed, Code::TooLarge]),
        Op::ListConfigurations => doc(
            "gateways",
            "Configuration documents of a gateway",
            "Without their texts, newest first. The newest 200 are kept.",
        )
        .with(paging())
        .gives(200, "a page of documents", "ConfigurationEntryPage", json!({"items": [entry()]}))
        .fails(&[Code::NotFound]),
        _ => doc("gateways", "A configuration document with its text", "")
            .gives(
                200,
                "the document",
                "ConfigurationDocument",
                json!({"entry": entry(), "document": "[[device]]\nname = \"oven2\"\n"}),
            )
            .fails(&[Code::NotFound]),
    }
}
