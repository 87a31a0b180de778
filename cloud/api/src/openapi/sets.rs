//! What the description says of histories of several points, and of deletion.

use common::names::Code;
use serde_json::json;

use super::operations::{Doc, JSON, doc};
use super::parameters::query;
use crate::table::Op;

pub(super) fn describe(op: Op) -> Doc {
    let points = json!([{"twin": "line1/oven", "point": "zone1_temperature"}, {"twin": "line1/press", "point": "force"}]);
    match op {
        Op::PastPoints => doc(
            "twins",
            "Points that a twin had",
            "Those of which history is left and that the configuration has no more: they were removed or renamed. All of them at \
             once, by name. Their history is read, exported and deleted under these names.",
        )
        .gives(200, "the points", "PastPointPage", json!({
            "items": [{"point": "temp", "unit": "Cel", "type": "f64"}]
        })),
        Op::DeleteHistory => doc(
            "twins",
            "Delete a part of a point's history",
            "Samples and roll-ups; a gap with the cause `deleted` is shown in their place, and the deed is in the audit. Where \
             retention removed samples already, only whole days (UTC) can be deleted. What comes later stays.",
        )
        .with([
            query("from", "start, as for a history; must be given", "2026-11-01T00:00:00Z"),
            query("to", "end (excluded); must be given", "2026-11-02T00:00:00Z"),
            query("reason", "for the audit", "test run"),
        ])
        .gives(200, "deleted", "HistoryDeleted", json!({"samples": 86_400}))
        .fails(&[Code::UnknownPoint, Code::Conflict]),
        Op::AlignHistory => doc(
            "twins",
            "Points aligned to a grid",
            "A table with a row at every multiple of `step_ms` within the range and a column for each point, each cell with its \
             quality. Nothing is made up: a cell is `null` before the first sample, from a gap until the next sample, while \
             samples are bad, and on a line without a sample on both sides (at most one step beyond the end). At most \
             1,000,000 cells, and 16 MiB of texts in them.",
        )
        .takes(JSON, "AlignedRequest", json!({"points": points, "from": "-1h", "step_ms": 60_000, "method": "previous"}))
        .gives(200, "the table", "AlignedResponse", json!({
            "from_us": 1_795_000_020_000_000_i64, "step_us": 60_000_000, "rows": 2,
            "columns": [{
                "twin": "plant/coating/line1/oven", "point": "zone1_temperature", "unit": "Cel",
                "values": [109.8, null], "quality": ["good", "bad_timeout"]
            }]
        }))
        .fails(&[Code::NotFound, Code::UnknownPoint, Code::TooLarge]),
        _ => doc(
            "twins",
            "Samples of points as a file",
            "Every sample, point by point and by time, as CSV or Apache Parquet with the columns twin, point, time, received, \
             quality and value (Parquet: number, integer, text). With `waveforms` not the samples, but a row for each value of the \
             blocks that begin in the range, at its time in whole microseconds. Sent as it is read: an export that fails on the way is cut off. Four run \
             at a time.",
        )
        .takes(JSON, "ExportRequest", json!({"points": points, "from": "-1d", "format": "parquet"}))
        .text("the file", "application/vnd.apache.parquet", "PAR1...")
        .fails(&[Code::NotFound, Code::UnknownPoint, Code::Unavailable]),
    }
}
