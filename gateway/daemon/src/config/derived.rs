//! Virtual points of the configuration: what their keys must be, and from their texts to formulas in an order in
//! which they can be evaluated.

use common::config::Mistake;
use common::{PointId, ValueType};
use gateway_core::expr::{Memory, parse_formula};
use gateway_core::{Deadband, Door, RawRange, Registry};
use gateway_pipeline::{Cycle, Definition};
use serde::Deserialize;

use super::files::{Files, Located};
use super::points::Wrong;
use super::sections::{CompressionSection, DeviceSection, PointSection};

/// Windows of all expressions together: each may take 23 kB.
const MAX_WINDOWS: usize = 1000;
const PERIOD_MS: std::ops::RangeInclusive<u64> = 10..=86_400_000;

/// `[device.virtual]`: its points are calculated from others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VirtualDevice {
    /// Evaluate its points so often, ms, unless one says otherwise. Default: whenever an input comes.
    pub period_ms: Option<u64>,
}

/// `virtual = { ... }` of a point.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VirtualPoint {
    /// How it is calculated, such as `avg(oven/power, 60s) / 1000`. No default.
    pub expr: String,
    /// Evaluate it so often, ms. Default: as its device says.
    #[serde(default)]
    pub period_ms: Option<u64>,
}

impl VirtualDevice {
    /// What is wrong, with its key.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        check_period(self.period_ms)
    }

    fn period_ms(&self, point: &VirtualPoint) -> Option<u64> {
        point.period_ms.or(self.period_ms)
    }

    /// How long the value of a point counts as current by default, ms.
    pub(super) fn stale_ms(&self, point: &VirtualPoint) -> u64 {
        self.period_ms(point).map_or(60_000, |p| p.saturating_mul(3).max(5000))
    }
}

impl VirtualPoint {
    /// What is wrong, with its key.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        check_period(self.period_ms)
    }

    /// There is no register that could hold less.
    pub(super) fn raw_range(value_type: ValueType) -> RawRange {
        RawRange { value_type, min: f64::MIN, max: f64::MAX }
    }
}

/// How a point of a virtual device is bound: what it can hold, how long its value counts as current, and that it is
/// not written. None if it has nothing to do with virtual devices.
#[allow(clippy::type_complexity)] // as the caller's own
pub(super) fn binding(
    d: &DeviceSection,
    p: &PointSection,
) -> Option<Result<(RawRange, u64, bool), (String, String)>> {
    let is_other = p.modbus.is_some() || p.mqtt.is_some() || p.sparkplug.is_some() || p.opcua.is_some();
    Some(match (&d.virtual_, &p.virtual_) {
        (None, None) => return None,
        (Some(device), Some(v)) if !is_other => match v.check() {
            Ok(()) => Ok((VirtualPoint::raw_range(p.value_type), device.stale_ms(v), false)),
            Err((key, message)) => Err((format!("virtual.{key}"), message)),
        },
        (Some(_), _) => Err((String::new(), super::lacking::NO_FORMULA.to_owned())),
        (None, Some(_)) => {
            let message = "its device is not virtual: such points stand in a device of their own";
            Err(("virtual".to_owned(), message.to_owned()))
        }
    })
}

/// A swinging door; by change for what no line goes through.
pub(super) fn door(
    p: &PointSection,
    c: &CompressionSection,
    number: bool,
    wrong: Wrong<'_>,
) -> Option<Deadband> {
    if p.deadband.is_some() || p.deadband_percent.is_some() {
        wrong("compression", "a point has one of deadband and compression".to_owned());
    }
    let (key, deviation) = match (c.swinging_door, c.swinging_door_percent) {
        (Some(width), None) => ("compression.swinging_door", width),
        (None, Some(width)) => ("compression.swinging_door_percent", width),
        (Some(_), Some(_)) => {
            wrong("compression", "expected one of swinging_door and swinging_door_percent".to_owned());
            return None;
        }
        (None, None) => {
            wrong("compression", "expected `swinging_door`, such as `{ swinging_door = 0.5 }`".to_owned());
            return None;
        }
    };
    if !deviation.is_finite() || deviation < 0.0 {
        wrong(key, format!("{deviation} is not a deviation: expected 0 or more"));
        return None;
    }
    let percent = c.swinging_door.is_none();
    if percent && number && (p.range_min.is_none() || p.range_max.is_none()) {
        wrong(key, "is percent of the range: expected `range_min` and `range_max` as well".to_owned());
    }
    if c.min_interval_ms > 0 && c.min_interval_ms >= p.max_interval_ms {
        let message = format!("{} is not below max_interval_ms = {}", c.min_interval_ms, p.max_interval_ms);
        wrong("compression.min_interval_ms", message);
    }
    if !number {
        return Some(Deadband::Absolute(0.0));
    }
    Some(Deadband::Door(Door { deviation, percent, min_interval_ms: c.min_interval_ms }))
}

fn check_period(period_ms: Option<u64>) -> Result<(), (&'static str, String)> {
    match period_ms {
        Some(ms) if !PERIOD_MS.contains(&ms) => {
            let (min, max) = (PERIOD_MS.start(), PERIOD_MS.end());
            Err(("period_ms", format!("{ms} is not within {min} to {max}")))
        }
        _ => Ok(()),
    }
}

/// Every virtual point with its formula. Mistakes in one leave it out.
pub(super) fn definitions(
    files: &Files<'_>,
    registry: &Registry,
    mistakes: &mut Vec<Mistake>,
) -> Vec<Definition> {
    let mut made = Vec::new();
    let mut places: Vec<(usize, usize)> = Vec::new();
    let mut windows = 0;
    for (index, located) in files.devices.iter().enumerate() {
        let Some(device) = &located.device.virtual_ else { continue };
        for (at, p) in located.device.point.iter().enumerate() {
            let Some(v) = &p.virtual_ else { continue };
            let Some(point) = registry.find(&located.device.name, &p.name) else { continue };
            let formula = match parse_formula(registry, index, &v.expr) {
                Ok(formula) => formula,
                Err(error) => {
                    let message = error.to_string();
                    // A point that has mistakes of its own is told there alone.
                    let broken = |l: &Located| {
                        l.broken.iter().any(|p| message.contains(&format!("`{}/{p}`", l.device.name)))
                    };
                    if !files.devices.iter().any(broken) {
                        mistakes.push(mistake(files, located, at, message));
                    }
                    continue;
                }
            };
            if let Some(message) = unfit(registry, &formula, p.value_type) {
                mistakes.push(mistake(files, located, at, message));
                continue;
            }
            let window = |s: &&gateway_core::expr::Slot| matches!(s.memory, Memory::Window { .. });
            windows += formula.slots().iter().filter(window).count();
            if windows > MAX_WINDOWS {
                let message = format!("is window {windows} of this gateway: expected at most {MAX_WINDOWS}");
                mistakes.push(mistake(files, located, at, message));
                return made;
            }
            let period_us = device.period_ms(v).map(|ms| ms.saturating_mul(1000));
            made.push(Definition { point: point.id, formula, period_us });
            places.push((index, at));
        }
    }
    if let Err(Cycle(way)) = gateway_pipeline::order(&made) {
        let names: Vec<String> = way.iter().map(|p| format!("`{}`", registry.path(*p))).collect();
        let first = made.iter().position(|d| Some(&d.point) == way.first()).and_then(|i| places.get(i));
        if let Some((device, at)) = first {
            let message = format!("depends on itself: {}", names.join(" needs "));
            mistakes.push(mistake(files, &files.devices[*device], *at, message));
        }
    }
    made
}

/// The same for a checked configuration, against another numbering of its points.
pub(crate) fn definitions_in(devices: &[DeviceSection], registry: &Registry) -> Vec<Definition> {
    let virtual_ones = devices.iter().filter_map(|d| Some((d, d.virtual_.as_ref()?)));
    let of_device = |(section, device): (&DeviceSection, &VirtualDevice)| {
        let Some(index) = registry.device_named(&section.name) else { return Vec::new() };
        let of_point = |p: &PointSection| {
            let v = p.virtual_.as_ref()?;
            let point = registry.find(&section.name, &p.name)?.id;
            let formula = parse_formula(registry, index, &v.expr).ok()?;
            Some(Definition {
                point,
                formula,
                period_us: device.period_ms(v).map(|ms| ms.saturating_mul(1000)),
            })
        };
        section.point.iter().filter_map(of_point).collect()
    };
    virtual_ones.flat_map(of_device).collect()
}

fn unfit(registry: &Registry, formula: &gateway_core::expr::Formula, declared: ValueType) -> Option<String> {
    let fits = match formula.value_type() {
        ValueType::Bool => declared == ValueType::Bool,
        _ => matches!(declared, ValueType::F64 | ValueType::I64 | ValueType::U64),
    };
    if !fits {
        let (is, wanted) = match formula.value_type() {
            ValueType::Bool => ("true or false", "`type = \"bool\"`"),
            _ => ("a number", "`type = \"f64\"`, or i64 or u64 with round()"),
        };
        return Some(format!("is {is}: expected {wanted}"));
    }
    let blind =
        |id: &&PointId| registry.point(**id).is_some_and(|p| p.schema.access == common::Access::Write);
    let blind = formula.inputs().iter().find(blind)?;
    Some(format!("`{}` is never read, so that this would never have a value", registry.path(*blind)))
}

fn mistake(files: &Files<'_>, located: &Located, at: usize, message: String) -> Mistake {
    files.device_mistake(located, &format!("point[{at}].virtual.expr"), message)
}

#[cfg(test)]
#[path = "derived_tests.rs"]
mod tests;
