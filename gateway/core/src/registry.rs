//! The point registry: every device and point of the configuration, numbered. Made once from checked
//! configuration and never changed; a new configuration makes a new one (see `generation`).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use common::{DeviceSchema, PointId, PointSchema, Schema, SchemaHash, Value, ValueType};

use crate::generation::Changes;

/// From raw to engineering units: `engineering = raw * factor + offset`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    /// Not zero, finite.
    pub factor: f64,
    /// Finite.
    pub offset: f64,
}

impl Default for Scale {
    fn default() -> Self {
        Self { factor: 1.0, offset: 0.0 }
    }
}

impl Scale {
    /// Whether it changes nothing.
    #[allow(clippy::float_cmp)] // exactly these
    pub fn is_identity(self) -> bool {
        self.factor == 1.0 && self.offset == 0.0
    }

    /// Engineering value of a raw one.
    pub fn apply(self, raw: f64) -> f64 {
        raw.mul_add(self.factor, self.offset)
    }

    /// Raw value of an engineering one.
    pub fn invert(self, engineering: f64) -> f64 {
        (engineering - self.offset) / self.factor
    }
}

/// How much a value must change before it is passed on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Deadband {
    /// in engineering units
    Absolute(f64),
    /// in percent of the engineering range
    Percent(f64),
    /// swinging door: corners of the series are passed on
    Door(Door),
}

/// A swinging door: how far straight lines between what is passed on may miss what is not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Door {
    /// in engineering units, or in percent of the engineering range
    pub deviation: f64,
    /// Whether `deviation` is in percent.
    pub percent: bool,
    /// A sample nearer than this to the last one passed on is left out whatever it is, ms.
    pub min_interval_ms: u64,
}

/// What the device's register can hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RawRange {
    /// Type that the adapter writes.
    pub value_type: ValueType,
    /// Smallest raw value.
    pub min: f64,
    /// Largest raw value.
    pub max: f64,
}

/// One point.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Its number.
    pub id: PointId,
    /// Index of its device.
    pub device: usize,
    /// What the cloud is told.
    pub schema: PointSchema,
    /// From raw to engineering.
    pub scale: Scale,
    /// When a change is passed on; none: every sample.
    pub deadband: Option<Deadband>,
    /// A sample is passed on at least this often, ms, whatever the deadband; 0: no such limit.
    pub max_interval_ms: u64,
    /// What its register can hold.
    pub raw: RawRange,
    /// Interlock that must be true for a write, as text; control parses it.
    pub interlock: Option<String>,
    /// Largest difference, in engineering units, between what was written and what is read back.
    pub read_back_tolerance: f64,
}

/// One device.
#[derive(Debug, Clone, PartialEq)]
pub struct Device {
    /// Name, unique.
    pub name: String,
    /// Protocol, as in the table of adapters.
    pub protocol: &'static str,
    /// Numbers of its points.
    pub points: std::ops::Range<u32>,
}

/// Why a registry cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// The parts do not fit each other.
    #[error("points of device `{device}` are not numbered in order")]
    Numbering {
        /// Which device.
        device: String,
    },
    /// Two of one name.
    #[error("`{name}` stands twice")]
    Twice {
        /// Device, or device and point.
        name: String,
    },
}

/// All devices and points of one configuration: a generation. Numbers of points and devices are kept from one
/// generation to the next (see `succeed`), so there may be numbers without a point.
#[derive(Debug, Clone, PartialEq)]
pub struct Registry {
    pub(crate) schema: Schema,
    pub(crate) hash: SchemaHash,
    pub(crate) devices: Vec<Option<Device>>,
    /// Place in the schema, by device.
    pub(crate) told: Vec<usize>,
    pub(crate) names: HashMap<String, usize>,
    pub(crate) points: Vec<Option<Point>>,
    pub(crate) count: usize,
    pub(crate) generation: u64,
    /// What changed since the generation before.
    pub(crate) changes: Arc<Changes>,
}

impl Registry {
    /// A registry of `points`, which are in order of their numbers; `schema` names the gateway and lists
    /// the same devices (its points are filled in from `points`).
    ///
    /// # Errors
    /// When numbers are out of order or names stand twice.
    pub fn new(mut schema: Schema, devices: Vec<Device>, points: Vec<Point>) -> Result<Self, RegistryError> {
        let mut names = HashMap::with_capacity(devices.len());
        let mut next = 0;
        for (index, (device, told)) in devices.iter().zip(&mut schema.devices).enumerate() {
            let own = points.get(device.points.start as usize..device.points.end as usize).unwrap_or(&[]);
            let numbered = (next..).zip(own).all(|(n, p)| p.id.0 == n && p.device == index);
            if device.points.start != next
                || own.len() != device.points.len()
                || !numbered
                || told.name != device.name
            {
                return Err(RegistryError::Numbering { device: device.name.clone() });
            }
            next = device.points.end;
            if names.insert(device.name.clone(), index).is_some() {
                return Err(RegistryError::Twice { name: device.name.clone() });
            }
            let mut own_names = HashSet::with_capacity(own.len());
            for point in own {
                if !own_names.insert(point.schema.name.as_str()) {
                    let name = format!("{}/{}", device.name, point.schema.name);
                    return Err(RegistryError::Twice { name });
                }
            }
            told.first_point = device.points.start;
            told.points = own.iter().map(|p| p.schema.clone()).collect();
        }
        if next as usize != points.len() || devices.len() != schema.devices.len() {
            return Err(RegistryError::Numbering { device: String::new() });
        }
        Ok(Self {
            hash: schema.hash(),
            schema,
            told: (0..devices.len()).collect(),
            names,
            count: points.len(),
            devices: devices.into_iter().map(Some).collect(),
            points: points.into_iter().map(Some).collect(),
            generation: 0,
            changes: Arc::default(),
        })
    }

    /// What the cloud is told.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Hash of the schema.
    pub fn hash(&self) -> SchemaHash {
        self.hash
    }

    /// Which generation this is, from 0.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// All devices with their indices.
    pub fn devices(&self) -> impl Iterator<Item = (usize, &Device)> {
        self.devices.iter().enumerate().filter_map(|(index, d)| Some((index, d.as_ref()?)))
    }

    /// How many devices there are.
    pub fn device_count(&self) -> usize {
        self.names.len()
    }

    /// Devices have indices below this.
    pub fn device_slots(&self) -> usize {
        self.devices.len()
    }

    /// A device by index.
    pub fn device(&self, index: usize) -> Option<&Device> {
        self.devices.get(index)?.as_ref()
    }

    /// Index of a device by its name.
    pub fn device_named(&self, name: &str) -> Option<usize> {
        self.names.get(name).copied()
    }

    /// What the cloud is told of a device.
    pub fn told(&self, index: usize) -> Option<&DeviceSchema> {
        self.device(index)?;
        self.schema.devices.get(*self.told.get(index)?)
    }

    /// All points in the order of their numbers.
    pub fn points(&self) -> impl Iterator<Item = &Point> {
        self.points.iter().flatten()
    }

    /// How many points there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Points have numbers below this: the size of a table by number.
    pub fn slots(&self) -> usize {
        self.points.len()
    }

    /// A point by number.
    pub fn point(&self, id: PointId) -> Option<&Point> {
        self.points.get(id.index())?.as_ref()
    }

    /// A point by the names of its device and itself.
    pub fn find(&self, device: &str, point: &str) -> Option<&Point> {
        self.points_of(self.device(self.device_named(device)?)?).find(|p| p.schema.name == point)
    }

    /// Index of the device of a twin.
    pub fn device_of_twin(&self, twin: common::TwinId) -> Option<usize> {
        self.device_named(&self.schema.devices.iter().find(|d| d.twin == twin)?.name)
    }

    /// A point by its twin and name.
    pub fn find_in_twin(&self, twin: common::TwinId, point: &str) -> Option<&Point> {
        self.points_of(self.device(self.device_of_twin(twin)?)?).find(|p| p.schema.name == point)
    }

    /// The points of a device.
    pub fn points_of(&self, device: &Device) -> impl Iterator<Item = &Point> {
        let own = self.points.get(device.points.start as usize..device.points.end as usize);
        own.unwrap_or_default().iter().flatten()
    }

    /// What the cloud is told of a point's device.
    pub fn device_schema(&self, point: &Point) -> &DeviceSchema {
        &self.schema.devices[self.told[point.device]]
    }

    /// `<place in the asset tree>/point`, as the cloud names it.
    pub fn place(&self, id: PointId) -> String {
        match self.point(id) {
            Some(p) => format!("{}/{}", self.device_schema(p).asset, p.schema.name),
            None => format!("point {}", id.0),
        }
    }

    /// `device/point`, for people.
    pub fn path(&self, id: PointId) -> String {
        match self.point(id).and_then(|p| Some((self.device(p.device)?, p))) {
            Some((device, p)) => format!("{}/{}", device.name, p.schema.name),
            None => format!("point {}", id.0),
        }
    }
}

impl Point {
    /// Width of the deadband, or deviation of the swinging door, in engineering units; none if every sample passes.
    pub fn deadband_width(&self) -> Option<f64> {
        match self.deadband? {
            Deadband::Absolute(width) | Deadband::Door(Door { deviation: width, percent: false, .. }) => {
                Some(width)
            }
            Deadband::Percent(percent) | Deadband::Door(Door { deviation: percent, .. }) => {
                let span = self.schema.range_max? - self.schema.range_min?;
                Some(span.abs() * percent / 100.0)
            }
        }
    }

    /// The engineering value of a raw one; none if it has no such value (text of a scaled point, or a
    /// result that the point's type cannot hold).
    pub fn to_engineering(&self, raw: &Value) -> Option<Value> {
        if self.scale.is_identity() {
            return raw.convert(self.schema.value_type);
        }
        let x = self.scale.apply(raw.as_f64()?);
        match self.schema.value_type {
            ValueType::F64 => Some(Value::F64(x)),
            t => Value::F64(x.round()).convert(t),
        }
    }

    /// The raw value of an engineering one, rounded to the register's type; none if the register cannot
    /// hold it. NaN and infinities have none.
    pub fn to_raw(&self, engineering: &Value) -> Option<Value> {
        if let (true, Value::Text(_) | Value::Bytes(_) | Value::Bool(_)) =
            (self.scale.is_identity(), engineering)
        {
            return engineering.convert(self.raw.value_type);
        }
        if self.scale.is_identity()
            && let (Value::I64(_) | Value::U64(_), ValueType::I64 | ValueType::U64) =
                (engineering, self.raw.value_type)
        {
            return engineering.convert(self.raw.value_type).filter(|v| self.holds(v));
        }
        let x = self.scale.invert(engineering.as_f64()?);
        if !x.is_finite() {
            return None;
        }
        let raw = match self.raw.value_type {
            ValueType::F64 => Value::F64(x),
            t => Value::F64(x.round()).convert(t)?,
        };
        self.holds(&raw).then_some(raw)
    }

    fn holds(&self, raw: &Value) -> bool {
        raw.as_f64().is_some_and(|x| x >= self.raw.min && x <= self.raw.max)
    }
}
