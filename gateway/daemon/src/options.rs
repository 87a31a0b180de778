//! Options of the parts that keep and carry samples, made from the configuration.

use std::time::Duration;

use crate::VERSION;
use crate::config::{Config, Overflow};

/// Of the buffer.
pub(crate) fn store_options(config: &Config) -> gateway_store::Options {
    let buffer = &config.buffer;
    let age = |hours: u64| (hours > 0).then(|| Duration::from_secs(hours * 3600));
    let share = |percent: u64| (buffer.quota_mb << 20) / 100 * percent;
    gateway_store::Options {
        quota_bytes: buffer.quota_mb << 20,
        sync_interval: Duration::from_millis(buffer.sync_ms),
        segment_bytes: buffer.segment_kb.map_or(buffer.segment_mb << 20, |kb| kb << 10),
        ring: buffer.keep_acked,
        records_bytes: Some(share(buffer.records_percent)),
        critical_bytes: Some(share(buffer.critical_percent)),
        trend_bytes: Some(share(buffer.trend_percent)),
        max_age: age(buffer.max_age_h),
        records_max_age: age(buffer.records_max_age_h),
        critical_max_age: age(buffer.critical_max_age_h.unwrap_or(buffer.max_age_h)),
        trend_max_age: age(buffer.trend_max_age_h.unwrap_or(buffer.max_age_h)),
        overflow: match buffer.overflow {
            Overflow::DropOldest => gateway_store::Overflow::DropOldest,
            Overflow::DropNewest => gateway_store::Overflow::DropNewest,
        },
        keys: config.buffer_keys.clone(),
        ..gateway_store::Options::new(config.data_dir.join("buffer"))
    }
}

/// Of the link to the cloud; none without one.
pub(crate) fn uplink_options(config: &Config) -> Option<gateway_sync::Options> {
    let uplink = config.uplink.as_ref()?;
    let url = uplink.url.clone();
    let tls = url.tls.then(|| gateway_sync::Tls { ca_file: uplink.ca_file.clone() });
    Some(gateway_sync::Options {
        tls,
        username: uplink.username.clone(),
        password: uplink.password.clone(),
        enrolment: uplink.enrolment.clone().map(|e| (gateway_sync::EnrolmentFolder::of(&config.data_dir), e)),
        follows: uplink.follows,
        version: VERSION.to_owned(),
        window_bytes: uplink.window_bytes,
        machine: std::fs::read_to_string(&uplink.machine_id_file)
            .ok()
            .and_then(|id| gateway_sync::machine_hash(&id)),
        max_delay: uplink.max_delay,
        plan: uplink.plan.clone(),
        ..gateway_sync::Options::new(url, config.tenant.clone(), config.id.clone())
    })
}
