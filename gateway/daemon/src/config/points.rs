//! From devices and points of the configuration to a registry, with every mistake that only a look at the
//! whole shows.

use std::collections::{BTreeMap, HashMap, HashSet};

use common::config::{Mistake, did_you_mean};
use common::ids::check_name;
use common::schema::Label;
use common::{Access, DeviceSchema, PointId, PointKind, Schema, TwinId, Value, ValueType};
use gateway_core::point::Shared;
use gateway_core::{Deadband, Device, PointDefinition, RawRange, Registry, Scale};

use super::files::{Files, Located};
use super::opcua;
use super::sections::{DeviceSection, PointSection};
use super::{derived, lacking};

/// More points than this are a mistake: numbers and tables are made for less.
const MAX_POINTS: usize = 200_000;
const SHORTEST_STALE_MS: u64 = 5_000;
const MQTT_STALE_MS: u64 = 60_000;
/// A node of Sparkplug says when its values end; it sends what changed, and that may be rare.
const SPARKPLUG_STALE_MS: u64 = 86_400_000;

pub(super) type Wrong<'a> = &'a mut dyn FnMut(&str, String);

/// The registry; none if there are mistakes that leave no sensible one.
pub(super) fn registry(files: &Files<'_>, mistakes: &mut Vec<Mistake>) -> Option<Registry> {
    let mut names = HashSet::new();
    let mut places = HashSet::new();
    let mut twins = HashMap::new();
    let (mut points, mut shared) = (Vec::new(), Shared::default());
    let mut devices = Vec::new();
    let mut schemas = Vec::new();
    let gateway = files.merged.gateway.clone();
    let id = gateway.id.clone().or_else(|| "unnamed".parse().ok())?;
    for (index, located) in files.devices.iter().enumerate() {
        let d = &located.device;
        let mut wrong =
            |key: &str, message: String| mistakes.push(files.device_mistake(located, key, message));
        if located.sound {
            device(d, &mut wrong);
        }
        if !names.insert(d.name.clone()) {
            wrong("name", format!("`{}` stands twice: a device has one place in the configuration", d.name));
        }
        if !places.insert(d.asset.clone()) {
            wrong("asset", format!("`{}` is the place of another device", d.asset));
        }
        let twin = d.twin.unwrap_or_else(|| TwinId::derived(&gateway.tenant, &id, &d.name));
        if let Some(other) = twins.insert(twin, d.name.clone()) {
            wrong("twin", format!("is the twin of device `{other}` as well"));
        }
        for (key, there) in [("mqtt", d.mqtt.is_some()), ("sparkplug", d.sparkplug.is_some())] {
            if there && !files.merged.broker.enabled {
                wrong(key, "needs the embedded broker: set `enabled = true` in [broker]".to_owned());
            }
        }
        let first = u32::try_from(points.len()).unwrap_or(u32::MAX);
        let own: HashMap<&str, usize> =
            d.point.iter().enumerate().map(|(at, p)| (p.name.as_str(), at)).collect();
        for (at, p) in d.point.iter().enumerate() {
            let mut wrong = |key: &str, message: String| {
                let dot = if key.is_empty() { "" } else { "." };
                mistakes.push(files.device_mistake(located, &format!("point[{at}]{dot}{key}"), message));
            };
            if !located.sound {
                continue;
            }
            if let Some(setpoint) = p.setpoint.as_deref().filter(|s| !located.broken.contains(*s))
                && let Err(message) = check_setpoint(&d.name, at, setpoint, &own)
            {
                wrong("setpoint", message);
            }
            if let Some(made) = point(d, p, &mut wrong) {
                let number = PointId(u32::try_from(points.len()).unwrap_or(u32::MAX));
                points.push(shared.point(made, number, index));
            }
        }
        let last = u32::try_from(points.len()).unwrap_or(u32::MAX);
        let protocol = protocols(d).next().unwrap_or("modbus");
        devices.push(Device { name: d.name.clone(), protocol, points: first..last });
        schemas.push(DeviceSchema {
            name: d.name.clone(),
            twin,
            asset: d.asset.clone(),
            description: d.description.clone(),
            first_point: first,
            points: vec![],
        });
    }
    overlaps(files, mistakes);
    shared_metrics(files, mistakes);
    opcua::overlaps(files, mistakes);
    if points.len() > MAX_POINTS {
        mistakes.push(files.mistake(
            "device",
            "",
            format!("{} points: expected at most {MAX_POINTS}", points.len()),
        ));
    }
    let schema = Schema { tenant: gateway.tenant, gateway: id, devices: schemas };
    match Registry::new(schema, devices, points) {
        Ok(registry) => {
            interlocks(files, &registry, mistakes);
            Some(registry)
        }
        // Names that stand twice were told at their places.
        Err(_) if !mistakes.is_empty() || !files.mistakes.is_empty() => None,
        Err(error) => {
            mistakes.push(files.mistake("device", "", error.to_string()));
            None
        }
    }
}

fn device(d: &DeviceSection, wrong: Wrong<'_>) {
    if let Err(e) = check_name(&d.name) {
        wrong("name", e.to_string());
    }
    let part = |p: &str| !p.is_empty() && p.len() <= 63 && p.trim() == p && !p.chars().any(char::is_control);
    let parts = d.asset.split('/').count();
    if !(2..=10).contains(&parts) || !d.asset.split('/').all(part) {
        let message = "is not a place: expected `site/area/.../name`, 2 to 10 parts of 1 to 63 bytes";
        wrong("asset", format!("`{}` {message}", d.asset));
    }
    let mut given = protocols(d);
    match (given.next(), given.next()) {
        (None, _) => {
            wrong("", lacking::NO_PROTOCOL.to_owned());
        }
        (Some(first), Some(second)) => {
            wrong(second, format!("a device has one protocol: {first} stands here as well"));
        }
        (Some(_), None) => {
            let checked = [
                ("mqtt", d.mqtt.as_ref().map(|c| c.check())),
                ("opcua", d.opcua.as_ref().map(|c| c.check())),
                ("sparkplug", d.sparkplug.as_ref().map(|c| c.check())),
                ("virtual", d.virtual_.as_ref().map(|c| c.check())),
            ];
            for (key, message) in d.modbus.iter().flat_map(|c| c.faults()) {
                wrong(&format!("modbus.{key}"), message);
            }
            for (protocol, checked) in checked {
                if let Some(Err((key, message))) = checked {
                    wrong(&format!("{protocol}.{key}"), message);
                }
            }
        }
    }
    let mut names = HashSet::new();
    for (at, p) in d.point.iter().enumerate() {
        if !names.insert(&p.name) {
            wrong(&format!("point[{at}].name"), format!("`{}` stands twice in device `{}`", p.name, d.name));
        }
    }
}

/// The protocols that a device names.
fn protocols(d: &DeviceSection) -> impl Iterator<Item = &'static str> {
    let named = [
        ("modbus", d.modbus.is_some()),
        ("mqtt", d.mqtt.is_some()),
        ("opcua", d.opcua.is_some()),
        ("sparkplug", d.sparkplug.is_some()),
        ("virtual", d.virtual_.is_some()),
    ];
    named.into_iter().filter_map(|(name, there)| there.then_some(name))
}

/// The raw range, and how long a value is current by default; none if the binding is wrong.
fn binding(d: &DeviceSection, p: &PointSection, wrong: Wrong<'_>) -> Option<(RawRange, u64, bool)> {
    if let Some(bound) = derived::binding(d, p).or_else(|| opcua::binding(d, p)) {
        return bound.map_err(|(key, message)| wrong(&key, message)).ok();
    }
    if d.sparkplug.is_some() || p.sparkplug.is_some() {
        if d.sparkplug.is_none() || p.modbus.is_some() || p.mqtt.is_some() {
            wrong(
                "",
                "`sparkplug` goes with a device of [device.sparkplug], and with no other protocol".to_owned(),
            );
            return None;
        }
        let metric = p.sparkplug.clone().unwrap_or_default();
        if let Err((key, message)) = metric.check() {
            wrong(&format!("sparkplug.{key}"), message);
            return None;
        }
        if p.access == Access::Write {
            let expected = "what a node did is known only from what it tells: expected `read_write`";
            wrong("access", expected.to_owned());
        }
        return Some((metric.raw_range(p.value_type), SPARKPLUG_STALE_MS, true));
    }
    match (&d.modbus, &p.modbus, &d.mqtt, &p.mqtt) {
        (Some(_), Some(m), _, None) => {
            if let Err((key, message)) = m.check() {
                wrong(&format!("modbus.{key}"), message);
                return None;
            }
            Some((m.raw_range(), m.period_ms.saturating_mul(3).max(SHORTEST_STALE_MS), m.is_writable()))
        }
        (None, None, Some(c), Some(m)) => {
            if let Err((key, message)) = m.bind(c, &d.name, &p.name) {
                wrong(&format!("mqtt.{key}"), message);
                return None;
            }
            if m.rate_hz.is_some() && p.value_type != ValueType::F64 {
                wrong(
                    "type",
                    "the value of a waveform's point is a root mean square: expected `f64`".to_owned(),
                );
                return None;
            }
            Some((m.raw_range(p.value_type), MQTT_STALE_MS, m.is_writable()))
        }
        (Some(_), ..) => {
            wrong("", lacking::NO_MODBUS.to_owned());
            None
        }
        (_, _, Some(_), _) => {
            wrong("", lacking::NO_MQTT.to_owned());
            None
        }
        _ => None, // the device has no protocol, which was told
    }
}

fn check_setpoint(device: &str, at: usize, setpoint: &str, own: &HashMap<&str, usize>) -> Result<(), String> {
    match own.get(setpoint) {
        None => {
            let meant = did_you_mean(setpoint, own.keys().copied());
            let end = meant.trim_end_matches(',');
            Err(format!("device `{device}` has no point `{setpoint}`{end}"))
        }
        Some(other) if *other == at => Err("a point is not its own setpoint".to_owned()),
        Some(_) => Ok(()),
    }
}

fn point(d: &DeviceSection, p: &PointSection, wrong: Wrong<'_>) -> Option<PointDefinition> {
    if let Err(e) = check_name(&p.name) {
        wrong("name", e.to_string());
    }
    let (raw, stale_ms, device_writable) = binding(d, p, wrong)?;
    let number = matches!(p.value_type, ValueType::I64 | ValueType::U64 | ValueType::F64);
    let deadband = match &p.compression {
        Some(compression) => derived::door(p, compression, number, wrong),
        None => deadband(p, number, wrong),
    };
    let held_ms = if deadband.is_some() { p.max_interval_ms } else { 0 };
    let stale_ms = p.stale_ms.unwrap_or(stale_ms.max(held_ms.saturating_mul(2)));
    if stale_ms == 0 {
        wrong("stale_ms", "0 would make every value stale: expected at least 1".to_owned());
    } else if deadband.is_some() && held_ms == 0 {
        wrong("max_interval_ms", "0 with a deadband would let a steady value look stale".to_owned());
    } else if held_ms >= stale_ms {
        let message =
            format!("{held_ms} is not below stale_ms = {stale_ms}: a steady value would look stale");
        wrong("max_interval_ms", message);
    }
    types(p, raw, number, wrong);
    if let (Some(min), Some(max)) = (p.range_min, p.range_max)
        && (min >= max || !min.is_finite() || !max.is_finite())
    {
        wrong("range_max", format!("{max} is not above range_min = {min}"));
    }
    if !p.read_back_tolerance.is_finite() || p.read_back_tolerance < 0.0 {
        wrong(
            "read_back_tolerance",
            format!("{} is not a tolerance: expected 0 or more", p.read_back_tolerance),
        );
    }
    let limits = limits(p, device_writable, number, wrong);
    let kind = PointKind {
        value_type: p.value_type,
        unit: p.unit.clone(),
        description: p.description.clone(),
        access: p.access,
        range_min: p.range_min,
        range_max: p.range_max,
        write_min: limits.map(|l| l.0),
        write_max: limits.map(|l| l.1),
        setpoint: p.setpoint.clone(),
        stale_ms,
        class: p.class,
        labels: p.labels.iter().map(|l| Label { value: l.value, text: l.text.clone() }).collect(),
    };
    let mut made = PointDefinition::new(kind.named(p.name.as_str()), raw);
    made.scale = Scale { factor: p.scale, offset: p.offset };
    made.deadband = deadband;
    made.max_interval_ms = p.max_interval_ms;
    made.interlock.clone_from(&p.interlock);
    made.read_back_tolerance = p.read_back_tolerance;
    if let Some((min, max)) = limits {
        for (key, limit) in [("write_min", min), ("write_max", max)] {
            if made.to_raw(&Value::F64(limit)).is_none() {
                wrong(
                    key,
                    format!("{limit} does not fit the register, which holds {} to {} raw", raw.min, raw.max),
                );
            }
        }
    }
    Some(made)
}

fn types(p: &PointSection, raw: RawRange, number: bool, wrong: Wrong<'_>) {
    if p.scale == 0.0 || !p.scale.is_finite() {
        wrong("scale", format!("{} is not a scale: expected a number that is not 0", p.scale));
    }
    if !p.offset.is_finite() {
        wrong("offset", format!("{} is not an offset", p.offset));
    }
    let scaled = !(Scale { factor: p.scale, offset: p.offset }).is_identity();
    if scaled && !number {
        wrong("scale", "only numbers (i64, u64, f64) are scaled".to_owned());
    }
    let text = |t| matches!(t, ValueType::Text | ValueType::Bytes);
    if text(raw.value_type) != text(p.value_type) {
        let message = "the register and the point do not fit: text goes with text, numbers with numbers";
        wrong("type", message.to_owned());
    }
    if !p.labels.is_empty() && !matches!(p.value_type, ValueType::Bool | ValueType::I64 | ValueType::U64) {
        wrong("labels", "only bool, i64 and u64 have labels".to_owned());
    }
    let mut values = HashSet::new();
    if let Some(twice) = p.labels.iter().find(|l| !values.insert(l.value)) {
        wrong("labels", format!("value {} stands twice", twice.value));
    }
}

fn deadband(p: &PointSection, number: bool, wrong: Wrong<'_>) -> Option<Deadband> {
    let (key, width) = match (p.deadband, p.deadband_percent) {
        (None, None) => return None,
        (Some(_), Some(_)) => {
            wrong("deadband_percent", "a point has one deadband: `deadband` stands here as well".to_owned());
            return None;
        }
        (Some(width), None) => ("deadband", width),
        (None, Some(width)) => ("deadband_percent", width),
    };
    if !width.is_finite() || width < 0.0 {
        wrong(key, format!("{width} is not a width: expected 0 or more"));
    }
    if !number {
        wrong(key, "only numbers (i64, u64, f64) have a deadband".to_owned());
    }
    if key == "deadband" {
        return Some(Deadband::Absolute(width));
    }
    if p.range_min.is_none() || p.range_max.is_none() {
        wrong(key, "is percent of the range: expected `range_min` and `range_max` as well".to_owned());
    }
    Some(Deadband::Percent(width))
}

/// The limits of a writable point.
fn limits(p: &PointSection, device_writable: bool, number: bool, wrong: Wrong<'_>) -> Option<(f64, f64)> {
    if !p.access.is_writable() {
        for (key, given) in [("write_min", p.write_min.is_some()), ("write_max", p.write_max.is_some())] {
            if given {
                wrong(key, "the point is not writable: set `access`, or leave it out".to_owned());
            }
        }
        if p.interlock.is_some() {
            wrong("interlock", "the point is not writable: set `access`, or leave it out".to_owned());
        }
        return None;
    }
    if !device_writable {
        wrong("access", "its place in the device cannot be written: expected `read`".to_owned());
        return None;
    }
    let (min, max) = match (p.value_type, p.write_min, p.write_max) {
        (ValueType::Bool, min, max) => (min.unwrap_or(0.0), max.unwrap_or(1.0)),
        _ if !number => {
            wrong(
                "access",
                "text and bytes have no limits and cannot be written: expected `read`".to_owned(),
            );
            return None;
        }
        (_, Some(min), Some(max)) => (min, max),
        (_, min, max) => {
            for (key, given) in [("write_min", min), ("write_max", max)] {
                if given.is_none() {
                    wrong(key, lacking::NO_LIMIT.to_owned());
                }
            }
            return None;
        }
    };
    if !min.is_finite() || !max.is_finite() || min > max {
        wrong("write_max", format!("{max} is below write_min = {min}"));
        return None;
    }
    Some((min, max))
}

/// Two points that write the same registers would each go round the other's limits, interlock and owner.
fn overlaps(files: &Files<'_>, mistakes: &mut Vec<Mistake>) {
    let mut taken: HashMap<Endpoint<'_>, BTreeMap<u32, (u32, String)>> = HashMap::new();
    for located in &files.devices {
        let d = &located.device;
        let Some(c) = &d.modbus else { continue };
        for (at, p) in d.point.iter().enumerate().filter(|(_, p)| p.access.is_writable()) {
            let Some(m) = &p.modbus else { continue };
            let place = c.line.as_deref().map_or((c.host.as_str(), c.port), |line| (line, 0));
            let spans = taken.entry((place, c.unit, m.table)).or_default();
            // In bits: two bits of one register are two places.
            let first = u32::from(m.address) * 16;
            let (start, end) = match m.format.bit {
                Some(bit) => (first + u32::from(bit), first + u32::from(bit) + 1),
                None => (first, first + u32::from(m.count()) * 16),
            };
            // Spans that were taken do not overlap, so that only the last one that begins before `end` can.
            let clash = spans.range(..end).next_back().filter(|(_, (other, _))| *other > start);
            if let Some((_, (_, other))) = clash {
                let message = format!("`{other}` writes the same registers: one of them must be `read`");
                mistakes.push(files.device_mistake(located, &format!("point[{at}].modbus.address"), message));
            } else {
                spans.insert(start, (end, format!("{}/{}", d.name, p.name)));
            }
        }
    }
}

/// Two points that write one metric, likewise.
fn shared_metrics(files: &Files<'_>, mistakes: &mut Vec<Mistake>) {
    let mut taken: HashMap<(&str, &str, Option<&str>, &str), String> = HashMap::new();
    for located in &files.devices {
        let d = &located.device;
        let Some(c) = &d.sparkplug else { continue };
        for (at, p) in d.point.iter().enumerate().filter(|(_, p)| p.access.is_writable()) {
            let own = p.sparkplug.as_ref().and_then(|s| s.metric.as_deref()).unwrap_or(&p.name);
            let place = (c.group.as_str(), c.node.as_str(), c.device.as_deref(), own);
            if let Some(other) = taken.get(&place) {
                let message = format!("`{other}` writes the same metric: one of them must be `read`");
                mistakes.push(files.device_mistake(located, &format!("point[{at}].access"), message));
            } else {
                taken.insert(place, format!("{}/{}", d.name, p.name));
            }
        }
    }
}

/// Host and port, or a line and 0; unit; table.
type Endpoint<'a> = ((&'a str, u16), u8, gateway_adapters::modbus::Table);

fn interlocks(files: &Files<'_>, registry: &Registry, mistakes: &mut Vec<Mistake>) {
    for (index, located) in files.devices.iter().enumerate() {
        for (at, p) in located.device.point.iter().enumerate() {
            let Some(text) = &p.interlock else { continue };
            // A point that has mistakes of its own is told there alone.
            let broken = |message: &str| {
                files
                    .devices
                    .iter()
                    .any(|l| l.broken.iter().any(|p| message.contains(&format!("`{}/{p}`", l.device.name))))
            };
            if let Err(message) = interlock(registry, index, text)
                && !broken(&message)
            {
                mistakes.push(interlock_mistake(files, located, at, message));
            }
        }
    }
}

fn interlock_mistake(files: &Files<'_>, located: &Located, at: usize, message: String) -> Mistake {
    files.device_mistake(located, &format!("point[{at}].interlock"), message)
}

fn interlock(registry: &Registry, device: usize, text: &str) -> Result<(), String> {
    let expr = gateway_control::parse_interlock(registry, device, text).map_err(|e| e.to_string())?;
    let blind = |id: &&PointId| registry.point(**id).is_some_and(|p| p.schema.access == Access::Write);
    match expr.inputs().iter().find(blind) {
        Some(id) => {
            Err(format!("`{}` is never read, so that this could never be judged", registry.path(*id)))
        }
        None => Ok(()),
    }
}
