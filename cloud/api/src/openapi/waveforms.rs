//! What the description says of blocks of waveforms.

use common::names::Code;
use serde_json::json;

use super::operations::{Doc, doc};
use super::parameters::query;
use crate::table::Op;

pub(super) fn describe(op: Op) -> Doc {
    let (twin, point, unit) = ("plant/coating/line1/spindle", "vibration", "m/s2");
    let t0 = 1_795_000_000_000_000_i64;
    match op {
        Op::Waveforms => doc(
            "twins",
            "Blocks of a waveform",
            "Blocks that begin in the range, by time, without their values. Where there are more, `next_us` is the `from` of the \
             next ones.",
        )
        .with([
            query("from", "start: RFC 3339, microseconds since 1970, `now`, or a time ago; default `-1h`", "-15m"),
            query("to", "end (excluded), in the same forms; default `now`", "now"),
            query("limit", "most blocks, 1 to 1,000; default 100", "100"),
        ])
        .gives(200, "the blocks", "WaveformList", json!({
            "twin": twin, "point": point, "unit": unit,
            "items": [{"t0_us": t0, "rate_hz": 25_600.0, "total": 25_600, "stored": 25_600, "bytes": 26_112}]
        }))
        .fails(&[Code::UnknownPoint]),
        _ => doc(
            "twins",
            "A block of a waveform",
            "Its values in the point's unit; beyond `max_points` the least and the greatest of each `step` values, so that no \
             extreme is lost. With `format=binary` all values as little-endian doubles, NaN where one is not stored.",
        )
        .with([
            query("max_points", "most rows, 1 to 1,000,000; default 1,000,000", "2000"),
            query("format", "`json` or `binary`; default `json`", "json"),
        ])
        .gives(200, "the block", "WaveformBlock", json!({
            "twin": twin, "point": point, "unit": unit, "t0_us": t0, "received_us": t0 + 1_000_123, "rate_hz": 25_600.0,
            "quality": "good", "type": "i16", "total": 4, "stored": 4, "step": 2, "values": [], "min": [-0.5, 0.25],
            "max": [0.75, 1.5]
        }))
        .fails(&[Code::NotFound, Code::UnknownPoint]),
    }
}
