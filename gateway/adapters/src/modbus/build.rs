//! Which devices share a line: those that name the same one, or say the same host and port.

use std::collections::HashMap;

use super::line::Error;
use super::settings::{DeviceConfig, LineConfig, Transport};

/// A line, and its devices by their place in what was given.
pub type Group = (LineConfig, Vec<usize>);

/// Every line that has devices.
///
/// # Errors
/// The place of a device that names a line which there is not, and that.
pub fn group<'a>(
    lines: &[LineConfig],
    devices: impl IntoIterator<Item = (usize, &'a DeviceConfig)>,
) -> Result<Vec<Group>, (usize, Error)> {
    let mut groups: Vec<Group> = lines.iter().map(|l| (l.clone(), Vec::new())).collect();
    let mut implicit: HashMap<(&str, u16), usize> = HashMap::new();
    for (place, device) in devices {
        let at = match &device.line {
            Some(name) => {
                let found = lines.iter().position(|l| l.name == *name);
                found.ok_or_else(|| (place, Error::NoLine { line: name.clone() }))?
            }
            None => *implicit.entry((&device.host, device.port)).or_insert_with(|| {
                groups.push((LineConfig::implicit(device), Vec::new()));
                groups.len() - 1
            }),
        };
        if let Some((_, group)) = groups.get_mut(at) {
            group.push(place);
        }
    }
    groups.retain(|(_, devices)| !devices.is_empty());
    Ok(groups)
}

impl LineConfig {
    /// Looks for what only all lines together show: which line, key, and what is wrong and expected.
    pub fn check_all(lines: &[Self]) -> Vec<(usize, &'static str, String)> {
        let mut wrong = Vec::new();
        for (at, line) in lines.iter().enumerate() {
            wrong.extend(line.faults().into_iter().map(|(key, message)| (at, key, message)));
            let before = lines.get(..at).unwrap_or_default();
            if before.iter().any(|l| l.name == line.name) {
                wrong.push((at, "name", format!("`{}` stands twice: a line has one place", line.name)));
            }
            if line.path.is_some() && before.iter().any(|l| l.path == line.path) {
                wrong.push((
                    at,
                    "path",
                    "is the port of another line: devices of one port share its line".to_owned(),
                ));
            }
            let bytes = |l: &Self| super::settings::packet(l.registration.as_deref()?).ok();
            let Some(own) = bytes(line).filter(|_| line.transport == Transport::Dtu) else { continue };
            let same = before.iter().filter(|l| l.transport == Transport::Dtu && l.listen == line.listen);
            if let Some(other) = same
                .filter_map(|l| Some((l, bytes(l)?)))
                .find(|(_, b)| b.starts_with(&own) || own.starts_with(b))
            {
                let message =
                    format!("one of this and that of line `{}` begins with the other", other.0.name);
                wrong.push((at, "registration", message));
            }
        }
        wrong
    }
}
