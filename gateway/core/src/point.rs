//! One point: its number, and what it is. Most plants have many devices that are alike, so what a point is apart from
//! its number and device is made once and shared by all that are the same (`Shared`): a thousand pumps of a hundred
//! points cost memory for a hundred points, and judging them stays in the processor's cache.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;

use common::{PointId, PointSchema, Value, ValueType};

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
    /// What it is; shared with the points that are the same.
    pub definition: Arc<PointDefinition>,
}

impl Deref for Point {
    type Target = PointDefinition;

    fn deref(&self) -> &PointDefinition {
        &self.definition
    }
}

/// What a point is, whatever its number and device.
#[derive(Debug, Clone, PartialEq)]
pub struct PointDefinition {
    /// What the cloud is told.
    pub schema: Arc<PointSchema>,
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

impl PointDefinition {
    /// A point of a schema and a register, everything else at its default.
    pub fn new(schema: PointSchema, raw: RawRange) -> Self {
        Self {
            schema: Arc::new(schema),
            scale: Scale::default(),
            deadband: None,
            max_interval_ms: 0,
            raw,
            interlock: None,
            read_back_tolerance: 0.0,
        }
    }

    /// As a point with a number.
    pub fn at(self, id: PointId, device: usize) -> Point {
        Point { id, device, definition: Arc::new(self) }
    }
}

/// Definitions that were made, to be used again.
#[derive(Debug, Default)]
pub struct Shared(HashMap<String, Vec<Arc<PointDefinition>>>);

impl Shared {
    /// Of so many definitions of one name the last ones are looked at: a plant in which all devices differ must not
    /// take a time that grows with its square.
    const LOOKED_AT: usize = 8;

    /// The same definition, made once.
    pub fn one(&mut self, definition: PointDefinition) -> Arc<PointDefinition> {
        let Some(known) = self.0.get_mut(&definition.schema.name) else {
            let made = Arc::new(definition);
            self.0.insert(made.schema.name.clone(), vec![made.clone()]);
            return made;
        };
        if let Some(same) = known.iter().rev().take(Self::LOOKED_AT).find(|k| ***k == definition) {
            return same.clone();
        }
        let made = Arc::new(definition);
        known.push(made.clone());
        made
    }
}

impl PointDefinition {
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
