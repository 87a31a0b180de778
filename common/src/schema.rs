//! What a gateway's points are: frames name the hash of this and refer to points by number. A changed
//! type or unit is a new schema.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::class::Class;
use crate::ids::{GatewayId, SchemaHash, TenantId, TwinId};
use crate::sample::PointId;
use crate::value::{Value, ValueType};

/// Whether a point may be read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// read only
    Read,
    /// read and write
    ReadWrite,
    /// write only
    Write,
}

impl Access {
    /// Whether commands may address the point.
    pub fn is_writable(self) -> bool {
        self != Self::Read
    }
}

/// A name for one value of a discrete point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Label {
    /// the value
    pub value: i64,
    /// what operators call it
    pub text: String,
}

/// One point of a device. Cheap to clone: its name, and what it is apart from that, are kept once for all that share them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PointSchema {
    /// Name, unique in its device.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: Arc<str>,
    /// What it is.
    #[serde(flatten)]
    #[cfg_attr(feature = "openapi", schema(value_type = PointKind))]
    pub kind: Arc<PointKind>,
}

/// What a point is, whatever its name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PointKind {
    /// Type of the processed value.
    #[serde(rename = "type")]
    pub value_type: ValueType,
    /// Engineering unit as UCUM or plain text; empty if none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unit: String,
    /// What it is, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Read, write or both.
    pub access: Access,
    /// Lower end of the engineering range (display), in `unit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range_min: Option<f64>,
    /// Upper end of the engineering range (display), in `unit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range_max: Option<f64>,
    /// Smallest value that a command may write, in `unit`. Set exactly when the point is writable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_min: Option<f64>,
    /// Largest value that a command may write, in `unit`. Set exactly when the point is writable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_max: Option<f64>,
    /// Name of the point of the same device that holds this point's setpoint, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setpoint: Option<String>,
    /// How long a value counts as current, in ms; older is stale.
    pub stale_ms: u64,
    /// How much its samples matter where there is no room for all. Told if it is not `normal`.
    #[serde(default, skip_serializing_if = "Class::is_normal")]
    pub class: Class,
    /// Names of discrete values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<Label>,
}

impl PointKind {
    /// A point that is read, without unit, ranges or limits, current for 5 s.
    pub fn new(value_type: ValueType) -> Self {
        Self {
            value_type,
            unit: String::new(),
            description: String::new(),
            access: Access::Read,
            range_min: None,
            range_max: None,
            write_min: None,
            write_max: None,
            setpoint: None,
            stale_ms: 5_000,
            class: Class::Normal,
            labels: Vec::new(),
        }
    }

    /// As a point of this name.
    pub fn named(self, name: impl Into<Arc<str>>) -> PointSchema {
        PointSchema { name: name.into(), kind: Arc::new(self) }
    }

    /// The label of a value, if it has one.
    pub fn label(&self, value: &Value) -> Option<&str> {
        let Value::I64(n) = value.convert(ValueType::I64)? else { return None };
        self.labels.iter().find(|l| l.value == n).map(|l| l.text.as_str())
    }
}

impl PointSchema {
    /// A point that is read, without unit, ranges or limits, current for 5 s.
    pub fn new(name: impl Into<Arc<str>>, value_type: ValueType) -> Self {
        PointKind::new(value_type).named(name)
    }
}

impl Deref for PointSchema {
    type Target = PointKind;

    fn deref(&self) -> &PointKind {
        &self.kind
    }
}

impl DerefMut for PointSchema {
    fn deref_mut(&mut self) -> &mut PointKind {
        Arc::make_mut(&mut self.kind)
    }
}

/// One device and the twin that it is bound to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeviceSchema {
    /// Name, unique in its gateway.
    pub name: String,
    /// Its twin.
    pub twin: TwinId,
    /// Place in the asset tree, `site/area/line/cell`; the last part is the twin's own name.
    pub asset: String,
    /// What it is, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Number of its first point; its points follow each other.
    pub first_point: u32,
    /// Its points.
    pub points: Vec<PointSchema>,
}

/// Every point of one gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Schema {
    /// Tenant of the gateway.
    pub tenant: TenantId,
    /// The gateway.
    pub gateway: GatewayId,
    /// Its devices.
    pub devices: Vec<DeviceSchema>,
}

impl Schema {
    /// The canonical form: what is hashed, stored and sent.
    pub fn to_json(&self) -> Vec<u8> {
        // Maps with string keys and finite numbers only: this cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The hash that frames name.
    pub fn hash(&self) -> SchemaHash {
        Self::hash_of(&self.to_json())
    }

    /// The hash of a canonical form.
    pub fn hash_of(json: &[u8]) -> SchemaHash {
        let digest = Sha256::digest(json);
        let mut hash = [0; 16];
        hash.copy_from_slice(&digest[..16]);
        SchemaHash(hash)
    }

    /// How many points there are.
    pub fn point_count(&self) -> usize {
        self.devices.iter().map(|d| d.points.len()).sum()
    }

    /// Device and point of a number.
    pub fn point(&self, id: PointId) -> Option<(&DeviceSchema, &PointSchema)> {
        // Devices are sorted by their first point.
        let at = self.devices.partition_point(|d| d.first_point <= id.0);
        let device = self.devices.get(at.checked_sub(1)?)?;
        let point = device.points.get((id.0 - device.first_point) as usize)?;
        Some((device, point))
    }
}
