//! Schemas from gateways: put together from parts, and checked before anybody believes them.

use std::collections::{HashMap, HashSet};

use cloud_core::GatewayKey;
use common::ids::check_name;
use common::wire::SchemaPart;
use common::{Schema, SchemaHash};

/// Bytes of all schemas that one session may have in pieces.
const MAX_BYTES: usize = 16 << 20;
/// Parts of an asset's path: enterprise levels are few.
const MAX_DEPTH: usize = 8;

/// Why a schema, or a part of one, is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SchemaError {
    #[error("parts are {size} bytes, limit {limit}")]
    TooLarge { size: usize, limit: usize },
    #[error("part {index} of {count} is out of order, expected {expected}")]
    Order { index: u32, count: u32, expected: u32 },
    #[error("content does not have the hash {hash}")]
    Hash { hash: SchemaHash },
    #[error("not a schema: {detail}")]
    Json { detail: String },
    #[error("schema is of {tenant}/{gateway}")]
    Foreign { tenant: String, gateway: String },
    #[error("{what}")]
    Invalid { what: String },
}

/// Schemas in pieces.
#[derive(Debug, Default)]
pub(crate) struct Assembly {
    pieces: HashMap<SchemaHash, (u32, Vec<u8>)>,
    bytes: usize,
}

impl Assembly {
    /// Takes a part; the canonical form when it is the last. A part that came already is ignored.
    pub(crate) fn put(&mut self, part: SchemaPart) -> Result<Option<Vec<u8>>, SchemaError> {
        let SchemaPart { hash, index, count, bytes } = part;
        let (next, so_far) = self.pieces.entry(hash).or_default();
        if index < *next {
            return Ok(None);
        }
        if index != *next || index >= count {
            return Err(SchemaError::Order { index, count, expected: *next });
        }
        let size = self.bytes + bytes.len();
        if size > MAX_BYTES {
            return Err(SchemaError::TooLarge { size, limit: MAX_BYTES });
        }
        self.bytes = size;
        so_far.extend(bytes);
        *next += 1;
        if *next < count {
            return Ok(None);
        }
        let (_, json) = self.pieces.remove(&hash).unwrap_or_default();
        self.bytes -= json.len();
        if Schema::hash_of(&json) != hash {
            return Err(SchemaError::Hash { hash });
        }
        Ok(Some(json))
    }
}

/// Reads a schema and checks what the rest of the cloud takes for granted.
pub(crate) fn read(json: &[u8], hash: SchemaHash, of: &GatewayKey) -> Result<Schema, SchemaError> {
    let schema: Schema =
        serde_json::from_slice(json).map_err(|e| SchemaError::Json { detail: e.to_string() })?;
    if schema.tenant != of.tenant || schema.gateway != of.gateway {
        let (tenant, gateway) = (schema.tenant.to_string(), schema.gateway.to_string());
        return Err(SchemaError::Foreign { tenant, gateway });
    }
    // Else the schema would have another hash once it is read from storage.
    if schema.hash() != hash {
        return Err(SchemaError::Invalid { what: "schema is not in its canonical form".into() });
    }
    check(&schema).map_err(|what| SchemaError::Invalid { what })?;
    Ok(schema)
}

fn check(schema: &Schema) -> Result<(), String> {
    let (mut twins, mut assets, mut names, mut next) = (HashSet::new(), HashSet::new(), HashSet::new(), 0u64);
    for device in &schema.devices {
        let name = &device.name;
        check_name(name).map_err(|e| format!("device: {e}"))?;
        if !names.insert(name.as_str()) {
            return Err(format!("device `{name}` stands twice"));
        }
        if !twins.insert(device.twin) {
            return Err(format!("twin {} of device `{name}` has two devices", device.twin));
        }
        if !assets.insert(device.asset.as_str()) {
            return Err(format!("asset `{}` of device `{name}` stands twice", device.asset));
        }
        if device.asset.split('/').count() > MAX_DEPTH {
            return Err(format!("asset of device `{name}` has more than {MAX_DEPTH} parts"));
        }
        for part in device.asset.split('/') {
            check_name(part).map_err(|e| format!("asset of device `{name}`: {e}"))?;
        }
        if u64::from(device.first_point) < next {
            return Err(format!("points of device `{name}` overlap those before"));
        }
        next = u64::from(device.first_point) + device.points.len() as u64;
        if next > u64::from(u32::MAX) {
            return Err(format!("points of device `{name}` have numbers that are too large"));
        }
        let mut points = HashSet::new();
        for point in &device.points {
            check_name(&point.name).map_err(|e| format!("point of device `{name}`: {e}"))?;
            if !points.insert(&*point.name) {
                return Err(format!("point `{}` of device `{name}` stands twice", point.name));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "schemas_tests.rs"]
mod tests;
