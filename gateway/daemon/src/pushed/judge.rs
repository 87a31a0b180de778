//! Whether a document of the cloud may run beside the box's own files. What is wrong with it is told as by `check`; what
//! it may not touch is refused by name: the box's identity, its way to the cloud, what it opens to its network, its
//! secrets, and devices that its own files have.

use std::collections::HashMap;
use std::path::Path;

use common::Access;
use common::api::{Accepts, MAX_DOCUMENT_BYTES};
use common::config::{Mistake, Node, Source, Value, parse_tree};
use common::text::hex;
use common::wire::WantedConfiguration;
use gateway_adapters::modbus::LineConfig;
use sha2::{Digest as _, Sha256};

use super::shelf::FILE;
use crate::config::sections::DeviceSection;
use crate::config::{Config, Report, digest};

/// Sections that a document may have.
const SECTIONS: [&str; 3] = ["device", "line", "template"];
/// Keys within them that are the box's: what it opens to its network, and its secrets.
const OWN_KEYS: [&str; 3] = ["listen", "user_certificate", "user_key"];
/// Mistakes that are told; the others are counted.
const TOLD: usize = 8;

/// Judges a document; why not, if it may not run.
pub(super) fn judge(
    local: &[Source],
    wanted: &WantedConfiguration,
    accepts: Accepts,
    is_changed: bool,
) -> Result<(), String> {
    let text = wanted.document.as_str();
    if text.len() > MAX_DOCUMENT_BYTES {
        return Err(format!("it has more than {MAX_DOCUMENT_BYTES} bytes"));
    }
    if hex(&Sha256::digest(text.as_bytes())) != wanted.hash {
        return Err("its text is not what its SHA-256 says: it was spoilt on its way".to_owned());
    }
    if accepts == Accepts::Off {
        return Err(
            "the box takes no configuration from the cloud: `accept_configuration` in its `[uplink]` is off"
                .to_owned(),
        );
    }
    let is_other = wanted.base.as_ref().is_some_and(|base| *base != digest(local));
    if !wanted.force && (is_other || is_changed) {
        let what = if is_changed { "the document that ran" } else { "the box's own files" };
        return Err(format!(
            "somebody changed {what} at the box since the last one was taken: look there, then put it with --force"
        ));
    }
    let own = Report::of(local, false);
    let Some(before) = own.config.filter(|_| own.mistakes.is_empty()) else {
        return Err(format!("the box's own files have mistakes: {}", told(&own.mistakes)));
    };
    let path = Path::new(FILE);
    let foreign = foreign(path, text);
    if !foreign.is_empty() {
        return Err(told(&foreign));
    }
    let mut sources = local.to_vec();
    sources.push(Source { path: path.to_owned(), text: text.to_owned() });
    let report = Report::of(&sources, true);
    let Some(after) = report.config.filter(|_| report.mistakes.is_empty()) else {
        return Err(told(&report.mistakes));
    };
    devices(&before, &after, accepts)
}

/// Keys that are not for a document.
fn foreign(path: &Path, text: &str) -> Vec<Mistake> {
    let (root, _) = parse_tree(text, 0);
    let mut found = Vec::new();
    for entry in root.table().map(|t| &t.0[..]).unwrap_or_default() {
        if SECTIONS.contains(&&*entry.key) {
            own_keys(&entry.node, &entry.key, &mut found);
        } else {
            let message = "this section is the box's own: a document from the cloud holds `device`, `template` and `line`";
            found.push((entry.at, entry.key.to_string(), message.to_owned()));
        }
    }
    let place = |at: u32| {
        let before = text.get(..at as usize).unwrap_or_default();
        let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
        (line, before.chars().rev().take_while(|c| *c != '\n').count() + 1)
    };
    found.into_iter().map(|(at, key, message)| Mistake::new(path, Some(place(at)), &key, message)).collect()
}

fn own_keys(node: &Node<'_>, name: &str, found: &mut Vec<(u32, String, String)>) {
    match &node.value {
        Value::Table(table) => {
            for entry in &table.0 {
                let name = format!("{name}.{}", entry.key);
                if OWN_KEYS.contains(&&*entry.key) || entry.key.ends_with("_file") {
                    let message =
                        "what the box opens to its network, and its secrets, are told in its own files alone";
                    found.push((entry.at, name, message.to_owned()));
                } else {
                    own_keys(&entry.node, &name, found);
                }
            }
        }
        Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                own_keys(item, &format!("{name}[{n}]"), found);
            }
        }
        _ => {}
    }
}

/// What only all files together show: devices of the box stay as they are, and new ones do no more than they may.
fn devices(before: &Config, after: &Config, accepts: Accepts) -> Result<(), String> {
    let by_name = |config: &Config| -> HashMap<String, DeviceSection> {
        config.devices.iter().map(|d| (d.name.clone(), d.clone())).collect()
    };
    let (own, all) = (by_name(before), by_name(after));
    if let Some(name) =
        own.iter().find(|(name, device)| all.get(*name) != Some(*device)).map(|(name, _)| name)
    {
        return Err(format!("device `{name}` is the box's own, and would be another one with it"));
    }
    let reached: Vec<(Reached, &str)> = before
        .devices
        .iter()
        .flat_map(|d| reaches(d, before).into_iter().map(|r| (r, d.name.as_str())))
        .collect();
    for new in after.devices.iter().filter(|d| !own.contains_key(&d.name)) {
        let name = &new.name;
        if new.opcua.as_ref().is_some_and(|o| o.password_file.is_some() || o.user_key.is_some()) {
            return Err(format!(
                "device `{name}` takes a secret from a template of the box: say it in the box's own files"
            ));
        }
        let Some(point) = new.point.iter().find(|p| p.access != Access::Read) else { continue };
        let point = &point.name;
        if accepts < Accepts::Write {
            return Err(format!(
                "point `{point}` of device `{name}` can be written, which `accept_configuration = \"read\"` in the box's `[uplink]` forbids"
            ));
        }
        // Else its own limits and interlocks would stand beside those of the box.
        let new = reaches(new, after);
        if let Some((_, own)) = reached.iter().find(|(own, _)| new.iter().any(|r| r.is_in(own))) {
            return Err(format!(
                "point `{point}` of device `{name}` can be written, and reaches what the box's own device `{own}` reaches"
            ));
        }
    }
    Ok(())
}

/// What a device is reached by. Names are not looked up: two of one machine are two.
struct Reached {
    at: String,
    /// None: every unit there, or whichever it is.
    unit: Option<u8>,
}

impl Reached {
    fn is_in(&self, other: &Self) -> bool {
        self.at == other.at && (self.unit.is_none() || other.unit.is_none() || self.unit == other.unit)
    }
}

/// All ways to a device: a line may have a second host.
fn reaches(device: &DeviceSection, of: &Config) -> Vec<Reached> {
    let whole = |at: String| vec![Reached { at, unit: None }];
    if let Some(m) = &device.modbus {
        // 0 is everyone on a serial line; on TCP it and those from 248 on are the device that has the address.
        let unit = Some(m.unit).filter(|unit| (1..248).contains(unit) && !m.any_unit);
        let line = m.line.as_ref().and_then(|name| of.lines.iter().find(|l| l.name == *name));
        let places = line.map_or_else(|| vec![tcp(&m.host, m.port)], places);
        return places.into_iter().map(|at| Reached { at, unit }).collect();
    }
    if let Some(o) = &device.opcua {
        return whole(format!("opcua {}", server(&o.url)));
    }
    let sparkplug = device.sparkplug.as_ref();
    sparkplug.map_or_else(Vec::new, |s| whole(format!("sparkplug {}/{}/{:?}", s.group, s.node, s.device)))
}

fn places(line: &LineConfig) -> Vec<String> {
    let host = line.host.iter().map(|host| tcp(host, line.port));
    let backup = line.backup_host.iter().map(|host| tcp(host, line.backup_port.unwrap_or(line.port)));
    let serial = line.path.iter().map(|path| {
        let port = std::fs::canonicalize(path).unwrap_or_else(|_| path.into());
        format!("serial {}", port.display())
    });
    let mut all: Vec<String> = host.chain(backup).chain(serial).collect();
    if all.is_empty() {
        all.push(format!("line {}", line.name));
    }
    all
}

fn tcp(host: &str, port: u16) -> String {
    format!("modbus {} {port}", host_of(host))
}

/// One spelling of a host.
fn host_of(host: &str) -> String {
    let host = host.trim_end_matches('.').trim_matches(['[', ']']).to_ascii_lowercase();
    match host.parse::<std::net::IpAddr>() {
        Ok(address) => address.to_canonical().to_string(),
        Err(_) if host == "localhost" => "127.0.0.1".to_owned(),
        Err(_) => host,
    }
}

/// Host and port of an OPC UA server's address: what follows them is the same server.
fn server(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let place = rest.split('/').next().unwrap_or(rest);
    let port = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let (host, port) = place.rsplit_once(':').filter(|(_, p)| port(p)).unwrap_or((place, "4840"));
    format!("{} {port}", host_of(host))
}

fn told(mistakes: &[Mistake]) -> String {
    let mut out: Vec<_> = mistakes.iter().take(TOLD).map(ToString::to_string).collect();
    if mistakes.len() > TOLD {
        out.push(format!("and {} more mistakes", mistakes.len() - TOLD));
    }
    out.join("\n")
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
