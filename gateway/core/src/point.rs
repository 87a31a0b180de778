//! One point: its number, and what it is. Most plants have many devices that are alike, so what a point is apart from
//! its number and device is made once and shared by all that are the same (`Shared`): a thousand pumps of a hundred
//! points cost memory for a hundred points, and judging them stays in the processor's cache. How values are treated is
//! shared by points of any name: the points of one large device all have other names, and few treatments.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use common::{PointId, PointKind, PointSchema, Value, ValueType};

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
    /// What is done with its values; shared with the points of which the same is done.
    pub treatment: Arc<Treatment>,
}

impl Deref for Point {
    type Target = Treatment;

    fn deref(&self) -> &Treatment {
        &self.treatment
    }
}

/// What is done with a point's values, whatever its name.
#[derive(Debug, Clone, PartialEq)]
pub struct Treatment {
    /// Type of the processed value; the schema's.
    pub value_type: ValueType,
    /// Lower end of the engineering range; the schema's.
    pub range_min: Option<f64>,
    /// Upper end of the engineering range; the schema's.
    pub range_max: Option<f64>,
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

/// What a point is, whatever its number and device.
#[derive(Debug, Clone, PartialEq)]
pub struct PointDefinition {
    /// What the cloud is told.
    pub schema: PointSchema,
    treatment: Treatment,
}

impl Deref for PointDefinition {
    type Target = Treatment;

    fn deref(&self) -> &Treatment {
        &self.treatment
    }
}

impl DerefMut for PointDefinition {
    fn deref_mut(&mut self) -> &mut Treatment {
        &mut self.treatment
    }
}

impl PointDefinition {
    /// A point of a schema and a register, everything else at its default.
    pub fn new(schema: PointSchema, raw: RawRange) -> Self {
        let treatment = Treatment {
            value_type: schema.value_type,
            range_min: schema.range_min,
            range_max: schema.range_max,
            scale: Scale::default(),
            deadband: None,
            max_interval_ms: 0,
            raw,
            interlock: None,
            read_back_tolerance: 0.0,
        };
        Self { schema, treatment }
    }

    /// As a point with a number.
    pub fn at(self, id: PointId, device: usize) -> Point {
        let (schema, treatment) = self.parts();
        Point { id, device, schema, treatment: Arc::new(treatment) }
    }

    fn parts(self) -> (PointSchema, Treatment) {
        let Self { schema, treatment } = self;
        let PointKind { value_type, range_min, range_max, .. } = *schema.kind;
        (schema, Treatment { value_type, range_min, range_max, ..treatment })
    }
}

/// Parts of points that were made, to be used again.
#[derive(Debug, Default)]
pub struct Shared {
    names: HashSet<Arc<str>>,
    /// The last one of each digest.
    kinds: HashMap<u64, Arc<PointKind>>,
    treatments: Vec<Arc<Treatment>>,
}

impl Shared {
    /// So many treatments are looked at, the last ones: a plant in which all devices differ must not take a time that
    /// grows with its square.
    const TREATMENTS: usize = 32;

    /// A point of parts that are made once.
    pub fn point(&mut self, definition: PointDefinition, id: PointId, device: usize) -> Point {
        let (PointSchema { name, kind }, treatment) = definition.parts();
        let name = self.names.get(&name).cloned().unwrap_or_else(|| {
            self.names.insert(name.clone());
            name
        });
        let known = self.kinds.entry(digest(&kind)).or_insert_with(|| kind.clone());
        if *known != kind {
            *known = kind;
        }
        let schema = PointSchema { name, kind: known.clone() };
        let known = self.treatments.iter().rev().take(Self::TREATMENTS).find(|k| ***k == treatment);
        let treatment = known.cloned().unwrap_or_else(|| {
            let made = Arc::new(treatment);
            self.treatments.push(made.clone());
            made
        });
        Point { id, device, schema, treatment }
    }
}

/// A number that kinds which are the same share, and others hardly ever.
fn digest(kind: &PointKind) -> u64 {
    let PointKind { value_type, unit, description, access, setpoint, stale_ms, labels, class, .. } = kind;
    let numbers = [kind.range_min, kind.range_max, kind.write_min, kind.write_max];
    let mut hash = DefaultHasher::new();
    (unit, description, setpoint, stale_ms, class).hash(&mut hash);
    (*value_type as u8, *access as u8).hash(&mut hash);
    numbers.map(|n| n.map(f64::to_bits)).hash(&mut hash);
    labels.iter().for_each(|l| (l.value, &l.text).hash(&mut hash));
    hash.finish()
}

impl Treatment {
    /// Width of the deadband, or deviation of the swinging door, in engineering units; none if every sample passes.
    pub fn deadband_width(&self) -> Option<f64> {
        match self.deadband? {
            Deadband::Absolute(width) | Deadband::Door(Door { deviation: width, percent: false, .. }) => {
                Some(width)
            }
            Deadband::Percent(percent) | Deadband::Door(Door { deviation: percent, .. }) => {
                let span = self.range_max? - self.range_min?;
                Some(span.abs() * percent / 100.0)
            }
        }
    }

    /// The engineering value of a raw one; none if it has no such value (text of a scaled point, or a
    /// result that the point's type cannot hold).
    pub fn to_engineering(&self, raw: &Value) -> Option<Value> {
        if self.scale.is_identity() {
            return raw.convert(self.value_type);
        }
        let x = self.scale.apply(raw.as_f64()?);
        match self.value_type {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_share_what_is_the_same_of_them() {
        let raw = RawRange { value_type: ValueType::F64, min: 0.0, max: 1.0 };
        let made = |name: &str, unit: &str, factor| {
            let schema = PointKind { unit: unit.into(), ..PointKind::new(ValueType::F64) }.named(name);
            let mut made = PointDefinition::new(schema, raw);
            made.scale.factor = factor;
            made
        };
        let mut shared = Shared::default();
        let [a, b, c, d] = [("a", "bar", 1.0), ("b", "bar", 1.0), ("a", "bar", 2.0), ("a", "mbar", 1.0)]
            .map(|(name, unit, factor)| shared.point(made(name, unit, factor), PointId(0), 0));
        let same = |x: &Point, y: &Point| {
            let names = Arc::ptr_eq(&x.schema.name, &y.schema.name);
            (names, Arc::ptr_eq(&x.schema.kind, &y.schema.kind), Arc::ptr_eq(&x.treatment, &y.treatment))
        };
        assert_eq!(same(&a, &b), (false, true, true));
        assert_eq!(same(&a, &c), (true, true, false));
        assert_eq!(same(&a, &d), (true, false, true));
        assert_eq!((c.scale.factor, d.schema.unit.as_str()), (2.0, "mbar"));
    }

    #[test]
    fn a_treatment_is_judged_by_the_schema_that_the_point_has_in_the_end() {
        let raw = RawRange { value_type: ValueType::F64, min: 0.0, max: 1.0 };
        let mut made = PointDefinition::new(PointSchema::new("a", ValueType::F64), raw);
        made.deadband = Some(Deadband::Percent(10.0));
        (made.schema.range_min, made.schema.range_max) = (Some(0.0), Some(50.0));
        assert_eq!(made.at(PointId(0), 0).deadband_width(), Some(5.0));
    }
}
