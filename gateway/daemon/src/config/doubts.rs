//! Warnings: what a configuration may say, but hardly means. Nothing here refuses anything.

use std::collections::{BTreeMap, HashMap, HashSet};

use common::Access;
use common::config::Mistake;
use gateway_adapters::modbus::Table;

use super::files::{Files, Located};
use super::sections::PointSection;

/// A request over TCP takes about so long at the least, ms.
const TCP_MS: f64 = 1.0;
/// Registers between points that are read along rather than asked for anew, as an estimate.
const GAP: u32 = 16;
/// Most registers of one answer.
const LONGEST: u32 = 125;
/// Bytes of a request and of the frame around an answer's values, on a serial line.
const FRAME_BYTES: f64 = 8.0 + 5.0;
/// Silence before and after a request, in characters.
const SILENCE_CHARACTERS: f64 = 7.0;

pub(super) fn all(files: &Files<'_>) -> Vec<Mistake> {
    let mut told = Vec::new();
    for located in &files.devices {
        for (at, p) in located.device.point.iter().enumerate() {
            point(p, &mut |key, message| {
                told.push(files.device_mistake(located, &format!("point[{at}].{key}"), message));
            });
        }
    }
    registers(files, &mut told);
    loads(files, &mut told);
    unused(files, &mut told);
    told
}

fn point(p: &PointSection, odd: &mut dyn FnMut(&str, String)) {
    let (Some(min), Some(max)) = (p.range_min, p.range_max) else { return };
    if let Some(width) = p.deadband.filter(|w| *w >= max - min) {
        odd(
            "deadband",
            format!("{width} is as wide as the range {min} to {max}: no change would be passed on"),
        );
    }
    for (key, limit) in [("write_min", p.write_min), ("write_max", p.write_max)] {
        if let Some(limit) = limit.filter(|l| *l < min || *l > max) {
            odd(
                key,
                format!("{limit} is outside of the range {min} to {max}: such a value would be uncertain"),
            );
        }
    }
}

/// What a device is on: its line, or host and port; and its unit.
type Unit<'f> = (&'f str, u16, u8);

fn unit(located: &Located) -> Option<Unit<'_>> {
    let c = located.device.modbus.as_ref()?;
    Some(match c.line.as_deref() {
        Some(line) => (line, 0, c.unit),
        None => (c.host.as_str(), c.port, c.unit),
    })
}

/// Points that read the same registers. Bits of one register, and what is written at one place and read at the same,
/// are no doubts; others say `alias = true`.
fn registers(files: &Files<'_>, told: &mut Vec<Mistake>) {
    type Spans<'f> = BTreeMap<u32, (u32, String, bool)>;
    let mut taken: HashMap<(Unit<'_>, Table), Spans<'_>> = HashMap::new();
    for located in &files.devices {
        let Some(unit) = unit(located) else { continue };
        for (at, p) in located.device.point.iter().enumerate() {
            let Some(m) = p.modbus.as_ref().filter(|_| p.access != Access::Write && !p.alias) else {
                continue;
            };
            let (start, end) = (u32::from(m.address), u32::from(m.address) + u32::from(m.count()));
            let bit = !m.table.is_bits() && p.value_type == common::ValueType::Bool;
            let spans = taken.entry((unit, m.table)).or_default();
            let clash = spans
                .range(..end)
                .next_back()
                .filter(|(_, (other, _, bits))| *other > start && !(bit && *bits));
            if let Some((first, (last, other, _))) = clash {
                let how =
                    if (*first, *last) == (start, end) { "the same address as" } else { "registers of" };
                let message = format!("has {how} `{other}`: set `alias = true` if it is meant so");
                told.push(files.device_mistake(located, &format!("point[{at}].modbus.address"), message));
            }
            spans.entry(start).or_insert_with(|| (end, format!("{}/{}", located.device.name, p.name), bit));
        }
    }
}

/// Lines that cannot keep the periods of their points, by an estimate from below: the requests that are needed, at the
/// line's rate or a short round trip.
fn loads(files: &Files<'_>, told: &mut Vec<Mistake>) {
    let mut lines: HashMap<(&str, u16), (f64, &Located)> = HashMap::new();
    for located in &files.devices {
        let Some((line, port, _)) = unit(located) else { continue };
        let settings = files.merged.line.iter().find(|l| l.name == line && port == 0);
        let baud = settings.filter(|l| l.path.is_some()).map(|l| f64::from(l.baud.max(1)));
        let mut spans: HashMap<(Table, u64), Vec<(u32, u32)>> = HashMap::new();
        for p in located.device.point.iter().filter(|p| p.access != Access::Write) {
            let Some(m) = &p.modbus else { continue };
            let start = u32::from(m.address);
            spans.entry((m.table, m.period_ms)).or_default().push((start, start + u32::from(m.count())));
        }
        let mut load = 0.0;
        for ((table, period_ms), mut spans) in spans {
            spans.sort_unstable();
            let mut blocks: Vec<(u32, u32)> = Vec::new();
            for (start, end) in spans {
                match blocks.last_mut() {
                    Some(b) if start <= b.1 + GAP && end <= b.0 + LONGEST => b.1 = b.1.max(end),
                    _ => blocks.push((start, end)),
                }
            }
            for (start, end) in blocks {
                let values = f64::from(end - start);
                let bytes = FRAME_BYTES + if table.is_bits() { values / 8.0 } else { values * 2.0 };
                let ms = baud.map_or(TCP_MS, |b| (bytes + SILENCE_CHARACTERS) * 11.0 * 1000.0 / b);
                #[allow(clippy::cast_precision_loss)] // at most a day
                let period = period_ms.max(1) as f64;
                load += ms / period;
            }
        }
        lines.entry((line, port)).or_insert((0.0, located)).0 += load;
    }
    for ((line, port), (load, located)) in lines {
        if load <= 1.0 {
            continue;
        }
        let name = if port == 0 { format!("line `{line}`") } else { format!("{line}:{port}") };
        let message = format!(
            "{name} would need {:.0} % of the time for the periods of its points: ask for less, or less often",
            load * 100.0
        );
        told.push(files.device_mistake(located, "modbus", message));
    }
}

/// Lines without a device, and templates that no device is made from.
fn unused(files: &Files<'_>, told: &mut Vec<Mistake>) {
    let lines: HashSet<&str> =
        files.devices.iter().filter_map(|l| l.device.modbus.as_ref()?.line.as_deref()).collect();
    for (at, line) in files.merged.line.iter().enumerate().filter(|(_, l)| !lines.contains(l.name.as_str())) {
        told.push(files.mistake(
            &format!("line[{at}]"),
            "name",
            format!("no device is on line `{}`", line.name),
        ));
    }
    let used: HashSet<&str> = files.devices.iter().filter_map(|l| l.device.template.as_deref()).collect();
    for template in files.templates().iter().filter(|t| !used.contains(t.name.as_str())) {
        told.extend(files.template_doubt(template));
    }
}

#[cfg(test)]
mod tests {
    use super::super::Report;
    use common::config::Source;

    fn warnings(text: &str) -> Vec<String> {
        let report = Report::of(&[Source { path: "0.toml".into(), text: text.to_owned() }], false);
        assert_eq!(report.mistakes, []);
        report.warnings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_hardly_meant_is_told() {
        let point = |name: &str, keys: &str, place: &str| {
            format!(
                "[[device.point]]\nname = \"{name}\"\ntype = \"f64\"\n{keys}modbus = {{ table = \"holding\", {place} }}\n"
            )
        };
        let text = |points: &str| {
            format!(
                "[gateway]\nid = \"g\"\n[[line]]\nname = \"bus\"\ntransport = \"rtu\"\npath = \"/dev/ttyS0\"\nbaud = 9600\n\
                 [[device]]\nname = \"d\"\nasset = \"p/d\"\nmodbus = {{ line = \"bus\", unit = 1 }}\n{points}"
            )
        };
        assert_eq!(warnings(&text(&point("a", "", "address = 0"))), [""; 0]);
        for (points, expected) in [
            (
                point("a", "", "address = 0") + &point("b", "", "address = 0"),
                "device[0].point[1].modbus.address: has the same address as `d/a`",
            ),
            (
                point("a", "", "address = 0, type = \"f32\"") + &point("b", "", "address = 1"),
                "device[0].point[1].modbus.address: has registers of `d/a`",
            ),
            (
                point("a", "range_min = 0\nrange_max = 1\ndeadband = 2\n", "address = 0"),
                "device[0].point[0].deadband: 2 is as wide as the range",
            ),
            (
                point(
                    "a",
                    "range_min = 0\nrange_max = 1\naccess = \"read_write\"\nwrite_min = 0\nwrite_max = 5\n",
                    "address = 0",
                ),
                "device[0].point[0].write_max: 5 is outside of the range",
            ),
            (point("a", "", "address = 0, period_ms = 10"), "device[0].modbus: line `bus` would need 2"),
        ] {
            let told = warnings(&text(&points));
            assert!(told.iter().any(|w| w.contains(expected)), "{expected}: {told:#?}");
            assert_eq!(told.len(), 1, "{told:#?}");
        }
        let alias = point("a", "", "address = 0") + &point("b", "alias = true\n", "address = 0");
        assert_eq!(warnings(&text(&alias)), [""; 0]);
        let unused = warnings(
            "[gateway]\nid = \"g\"\n[[line]]\nname = \"bus\"\ntransport = \"rtu\"\npath = \"/dev/ttyS0\"\n[[template]]\nname = \"t\"\n",
        );
        assert!(
            unused[0].contains("no device is on line `bus`")
                && unused[1].contains("no device is made from it"),
            "{unused:#?}"
        );
    }
}
