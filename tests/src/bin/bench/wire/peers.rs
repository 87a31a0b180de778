//! The same samples as others would send them: JSON, and Sparkplug B with aliases and no names, each packed by zstd at its
//! default level.

use common::Sample;
use gateway_sparkplug::{Metric, Payload};
use serde_json::json;

const LEVEL: i32 = 3;

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(bytes, LEVEL).expect("zstd packs")
}

/// One array of objects with name, time, value and quality.
pub fn json_zstd(samples: &[Sample]) -> Vec<u8> {
    let one = |s: &Sample| json!({ "name": format!("p{}", s.point.0), "t_us": s.source_us, "v": s.value, "q": s.quality });
    zstd(&serde_json::to_vec(&samples.iter().map(one).collect::<Vec<_>>()).expect("JSON"))
}

/// One DDATA: alias, time in ms and value of each.
pub fn sparkplug_zstd(samples: &[Sample]) -> Vec<u8> {
    let metric = |s: &Sample| {
        let value = s.value.as_ref().expect("every sample has a value");
        Metric {
            alias: Some(u64::from(s.point.0)),
            timestamp_ms: Some((s.source_us / 1000) as u64),
            datatype: None,
            ..Metric::of(gateway_sparkplug::DataType::of(value.value_type()), Some(value))
        }
    };
    let payload = Payload {
        timestamp_ms: samples.first().map(|s| (s.source_us / 1000) as u64),
        seq: Some(1),
        metrics: samples.iter().map(metric).collect(),
    };
    zstd(&payload.encode())
}
