//! What the scalar sections must be beyond their types.

use common::config::Mistake;
use gateway_adapters::modbus::LineConfig;

use super::Uplink;
use super::files::Files;
use super::sections::Calendar;
use crate::pushed::Pushes;
use crate::updates::Takes;

pub(super) fn sections(files: &Files<'_>, mistakes: &mut Vec<Mistake>) {
    let f = &files.merged;
    let mut no = |section, key, message: String| mistakes.push(files.mistake(section, key, message));
    if f.gateway.id.is_none() {
        no("gateway", "id", "missing: the gateway needs a name, such as `id = \"line1-box\"`".to_owned());
    }
    if f.gateway.data_dir.as_os_str().is_empty() {
        no("gateway", "data_dir", "expected a folder".to_owned());
    }
    if !f.api.listen.ip().is_loopback() {
        let message =
            format!("{} is not on loopback: expected `127.0.0.1:<port>` or `[::1]:<port>`", f.api.listen);
        no("api", "listen", message);
    }
    if f.broker.enabled && f.api.listen == f.broker.listen && f.api.listen.port() != 0 {
        no("broker", "listen", format!("{} is the address of the API as well", f.broker.listen));
    }
    let b = &f.buffer;
    for (key, value, min, max) in [
        ("quota_mb", b.quota_mb, 1, 1 << 24),
        ("sync_ms", b.sync_ms, 1, 100),
        ("segment_mb", b.segment_mb, 1, 1024),
        ("frame_ms", b.frame_ms, 1, 60_000),
        ("max_age_h", b.max_age_h, 0, 876_000),
        ("records_max_age_h", b.records_max_age_h, 0, 876_000),
        ("records_percent", b.records_percent, 1, 100),
        ("critical_percent", b.critical_percent, 1, 100),
        ("trend_percent", b.trend_percent, 1, 100),
        ("critical_max_age_h", b.critical_max_age_h.unwrap_or(0), 0, 876_000),
        ("trend_max_age_h", b.trend_max_age_h.unwrap_or(0), 0, 876_000),
    ] {
        if !(min..=max).contains(&value) {
            no("buffer", key, format!("{value} is not within {min} to {max}"));
        }
    }
    if let Some(kb) = b.segment_kb.filter(|kb| !(16..=1024).contains(kb)) {
        no("buffer", "segment_kb", format!("{kb} is not within 16 to 1024"));
    }
    if b.segment_kb.is_none() && b.segment_mb.saturating_mul(4) > b.quota_mb.max(4) {
        no(
            "buffer",
            "segment_mb",
            format!("{} is more than a quarter of quota_mb = {}", b.segment_mb, b.quota_mb),
        );
    }
    if f.control.owner_hold_ms > 86_400_000 {
        no("control", "owner_hold_ms", format!("{} is more than a day (86400000)", f.control.owner_hold_ms));
    }
    if !(1..=10_000).contains(&f.control.queue) {
        no("control", "queue", format!("{} is not within 1 to 10000", f.control.queue));
    }
    for host in &f.api.hosts {
        if host.is_empty() || host.contains(['/', ' ', '@']) {
            no("api", "hosts", format!("`{host}` is not a host name"));
        }
    }
}

/// Modbus lines, and that devices name those that there are.
pub(super) fn lines(files: &Files<'_>, mistakes: &mut Vec<Mistake>) {
    let lines = &files.merged.line;
    for (at, key, message) in LineConfig::check_all(lines) {
        mistakes.push(files.mistake(&format!("line[{at}]"), key, message));
    }
    for located in &files.devices {
        let Some(name) = located.device.modbus.as_ref().and_then(|m| m.line.as_ref()) else { continue };
        if !lines.iter().any(|l| l.name == *name) {
            let message = format!("there is no [[line]] with the name `{name}`");
            mistakes.push(files.device_mistake(located, "modbus.line", message));
        }
    }
}

/// What documents of the cloud may do.
pub(super) fn pushes(files: &Files<'_>) -> Pushes {
    let section = files.merged.uplink.clone().unwrap_or_default();
    Pushes {
        accepts: section.accept_configuration,
        trial: std::time::Duration::from_secs(section.configuration_trial_s),
    }
}

/// Whether bundles of the cloud are taken, and where they go.
pub(super) fn updates(files: &Files<'_>) -> Takes {
    let section = files.merged.uplink.clone().unwrap_or_default();
    Takes { accepts: section.accept_updates, folder: section.update_folder, keys: section.update_trust }
}

/// The uplink: by its section, by how the box is enrolled, or by both.
pub(super) fn uplink(files: &Files<'_>, mistakes: &mut Vec<Mistake>) -> Option<Uplink> {
    let enrolment = files.enrolment.as_ref().and_then(Option::as_ref);
    if files.merged.uplink.is_none() && enrolment.is_none() {
        return None;
    }
    let section = files.merged.uplink.clone().unwrap_or_default();
    let mut no = |key, message: String| mistakes.push(files.mistake("uplink", key, message));
    // Who is given a password signs in with that.
    let enrolment = enrolment.filter(|_| section.password_file.is_none());
    let address = match enrolment.filter(|_| section.url.is_empty()) {
        Some(enrolment) => enrolment.url(),
        None => section.url.parse::<gateway_sync::Url>(),
    };
    match &address {
        // Whether the box is enrolled was not looked at.
        Err(_) if section.url.is_empty() && files.enrolment.is_none() => {}
        Err(message) => no("url", message.clone()),
        Ok(url) if url.port == 0 => no("url", "0 is not a port: expected mqtt://host:1 to 65535".to_owned()),
        Ok(url) if enrolment.is_some() && !url.tls => {
            no("url", "a box that is enrolled shows its certificate: expected mqtts://".to_owned());
        }
        Ok(_) => {}
    }
    if section.password_file.is_none() && files.enrolment == Some(None) {
        no(
            "password_file",
            "missing: expected the file that holds the gateway's password, or a box that is enrolled (`twinway enrol`)"
                .to_owned(),
        );
    }
    let gateway = &files.merged.gateway;
    if let Some(enrolled) = enrolment.map(|e| &e.enrolled)
        && let Some(id) =
            gateway.id.as_ref().filter(|id| **id != enrolled.gateway || gateway.tenant != enrolled.tenant)
    {
        let (tenant, own) = (&gateway.tenant, id);
        let message = format!(
            "this box is enrolled as {}/{} and configured as {tenant}/{own}: set `id` (and `tenant`) to that, or enrol it as this",
            enrolled.tenant, enrolled.gateway
        );
        mistakes.push(files.mistake("gateway", "id", message));
    }
    let mut no = |key, message: String| mistakes.push(files.mistake("uplink", key, message));
    if !(65_536..=1 << 30).contains(&section.window_bytes) {
        no("window_bytes", format!("{} is not within 65536 to 1073741824", section.window_bytes));
    }
    if !(1..=3600).contains(&section.max_delay_s) {
        no("max_delay_s", format!("{} is not within 1 to 3600", section.max_delay_s));
    }
    if !(5..=86_400).contains(&section.configuration_trial_s) {
        no("configuration_trial_s", format!("{} is not within 5 to 86400", section.configuration_trial_s));
    }
    for (key, mb) in [("day_mb", section.day_mb), ("month_mb", section.month_mb)] {
        if let Some(mb) = mb.filter(|mb| !(0.01..=1e8).contains(mb)) {
            no(key, format!("{mb} is not within 0.01 to 100000000"));
        }
    }
    if !(1..=100).contains(&section.trend_percent) {
        no("trend_percent", format!("{} is not within 1 to 100", section.trend_percent));
    }
    let mut quiet = Vec::new();
    for part in &section.quiet {
        match part.parse() {
            Ok(part) => quiet.push(part),
            Err(message) => no("quiet", message),
        }
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // within the above, else refused
    let bytes = |mb: f64| (mb * 1e6) as u64;
    let plan = gateway_sync::Plan {
        day_bytes: section.day_mb.map(bytes),
        month_bytes: section.month_mb.map(bytes),
        trend_percent: Some(section.trend_percent),
        quiet,
        utc: section.calendar == Calendar::Utc,
    };
    let url = address.ok()?;
    if !url.tls && section.ca_file.is_some() {
        no("ca_file", "`mqtt` uses no certificates: use `mqtts`, or leave it out".to_owned());
    }
    let user = || Some(format!("{}/{}", files.merged.gateway.tenant, files.merged.gateway.id.as_ref()?));
    Some(Uplink {
        url,
        ca_file: section.ca_file.clone(),
        username: section.username.clone().or_else(user).unwrap_or_default(),
        password: String::new(),
        enrolment: enrolment.cloned(),
        follows: enrolment.is_some() && section.url.is_empty(),
        window_bytes: section.window_bytes,
        machine_id_file: section.machine_id_file.clone(),
        max_delay: section.metered.then(|| std::time::Duration::from_secs(section.max_delay_s)),
        plan,
    })
}
