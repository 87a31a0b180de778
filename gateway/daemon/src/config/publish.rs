//! `[[publish]]`: processed points for programs of others. Its keys with their defaults, and what they must be.

use std::collections::HashSet;
use std::path::PathBuf;

use common::config::Mistake;
use common::ids::check_name;
use gateway_core::Registry;
use gateway_core::messages::check_topic;
use gateway_publish::{Format, Json, Per, Sparkplug, Template, Url};
use gateway_sparkplug::check_id;
use serde::Deserialize;

use super::files::Files;

/// `[[publish]]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PublishSection {
    /// Name, unique: of its part, and of its place in the buffer. No default.
    pub name: String,
    /// Another broker: `mqtt://host:1883`, or `mqtts://host:8883` with TLS. Default: the gateway's own.
    pub url: Option<String>,
    /// Client id there. Default `twinway-<gateway>-<name>`.
    pub client_id: Option<String>,
    /// User there. Default: none.
    pub username: Option<String>,
    /// File that holds the password, readable by its owner alone. Default: none.
    pub password_file: Option<PathBuf>,
    /// Certificates (PEM) that the broker's may be signed by, for `mqtts`. Default: the system's.
    pub ca_file: Option<PathBuf>,
    /// `json` or `sparkplug`. Default `json`.
    pub format: PublishFormat,
    /// JSON: topic, with `{tenant} {gateway} {site} {area} {line} {cell} {name} {asset} {device} {point}`.
    /// Default `{asset}/{point}`, or `{asset}` for a message per device.
    pub topic: Option<String>,
    /// JSON: a message per `point`, or per `device` with all values that came together. Default `point`.
    pub per: Option<PublishPer>,
    /// JSON: whether the broker keeps the last message of each topic. Default `false`.
    pub retain: Option<bool>,
    /// JSON: quality of service, 0 or 1. Default 1.
    pub qos: Option<u8>,
    /// Sparkplug: group of the edge node. No default.
    pub group: Option<String>,
    /// Sparkplug: the edge node. Default: the gateway's id.
    pub node: Option<String>,
    /// Sparkplug: births wait for this host application; while it is offline, frames wait in the buffer. Default:
    /// none, births come at once.
    pub primary_host: Option<String>,
    /// Sparkplug: whether hosts may write (DCMD). Writes go through the command path and all its rules. Default
    /// `false`.
    pub commands: Option<bool>,
    /// Names of the devices that are published. Default: all.
    pub devices: Option<Vec<String>>,
    /// Most MiB of the buffer that are kept for this publisher alone, while its broker is away. Default 256.
    pub lag_mb: Option<u64>,
}

/// What is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PublishFormat {
    /// JSON under topics of a template
    #[default]
    Json,
    /// a Sparkplug B edge node
    Sparkplug,
}

/// What one JSON message holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PublishPer {
    /// one sample of one point
    #[default]
    Point,
    /// a device's samples that came together
    Device,
}

/// A publisher without mistakes.
#[derive(Clone, PartialEq, Eq)]
pub struct Publish {
    /// Its name.
    pub name: String,
    /// The other broker; none: the gateway's own.
    pub external: Option<gateway_publish::External>,
    /// What is published.
    pub format: Format,
    /// Names of the devices that are published; none: all.
    pub devices: Option<Vec<String>>,
    /// Most bytes of the buffer that are kept for it alone.
    pub lag_bytes: u64,
}

impl std::fmt::Debug for Publish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "publish {} {:?}", self.name, self.format)
    }
}

/// All publishers, as far as they can be made.
pub(super) fn publishers(
    files: &Files<'_>,
    registry: Option<&Registry>,
    mistakes: &mut Vec<Mistake>,
) -> Vec<Publish> {
    let mut names = HashSet::new();
    let mut nodes = HashSet::new();
    let mut all = Vec::new();
    for (at, section) in files.merged.publish.iter().enumerate() {
        let mut no = |key: &str, message: String| {
            mistakes.push(files.mistake(&format!("publish[{at}]"), key, message));
        };
        if let Err(e) = check_name(&section.name) {
            no("name", e.to_string());
        } else if !names.insert(section.name.as_str()) {
            no("name", format!("`{}` stands twice", section.name));
        }
        if let (Some(wanted), Some(registry)) = (&section.devices, registry)
            && let Some(unknown) = wanted.iter().find(|d| registry.device_named(d).is_none())
        {
            no("devices", format!("there is no device `{unknown}`"));
        }
        if !(1..=1 << 20).contains(&section.lag_mb.unwrap_or(256)) {
            no("lag_mb", "expected 1 to 1048576".to_owned());
        }
        if section.url.is_none() && !files.merged.broker.enabled {
            no("url", "missing: the gateway's own broker is switched off in [broker]".to_owned());
        }
        let external = external(files, section, &mut no);
        let format = format(files, section, registry, &mut no);
        if let Some(Format::Sparkplug(s)) = &format
            && !nodes.insert((section.url.clone(), s.group.clone(), s.node.clone()))
        {
            no("node", format!("`{}` of group `{}` stands twice for one broker", s.node, s.group));
        }
        if let (Ok(external), Some(format)) = (external, format) {
            all.push(Publish {
                name: section.name.clone(),
                external,
                format,
                devices: section.devices.clone(),
                lag_bytes: section.lag_mb.unwrap_or(256) << 20,
            });
        }
    }
    all
}

type No<'a> = &'a mut dyn FnMut(&str, String);

fn external(
    files: &Files<'_>,
    section: &PublishSection,
    no: No<'_>,
) -> Result<Option<gateway_publish::External>, ()> {
    let Some(url) = &section.url else {
        for (key, there) in [
            ("client_id", section.client_id.is_some()),
            ("username", section.username.is_some()),
            ("password_file", section.password_file.is_some()),
            ("ca_file", section.ca_file.is_some()),
        ] {
            if there {
                no(key, "is for another broker: give its `url`, or leave it out".to_owned());
            }
        }
        return Ok(None);
    };
    let url: Url = url.parse().map_err(|message| no("url", message))?;
    if !url.tls && section.ca_file.is_some() {
        no("ca_file", "`mqtt` uses no certificates: use `mqtts`, or leave it out".to_owned());
    }
    if section.username.is_none() && section.password_file.is_some() {
        no("username", "missing: a password needs its user".to_owned());
    }
    let own = || {
        let gateway = files.merged.gateway.id.as_ref().map(ToString::to_string).unwrap_or_default();
        format!("twinway-{gateway}-{}", section.name)
    };
    let client_id = section.client_id.clone().unwrap_or_else(own);
    if client_id.is_empty() || client_id.len() > 256 {
        no("client_id", "expected 1 to 256 bytes".to_owned());
    }
    let login = section.username.clone().map(|user| (user, String::new()));
    Ok(Some(gateway_publish::External { url, ca_file: section.ca_file.clone(), client_id, login }))
}

fn format(
    files: &Files<'_>,
    section: &PublishSection,
    registry: Option<&Registry>,
    no: No<'_>,
) -> Option<Format> {
    let json = section.format == PublishFormat::Json;
    for (key, there, of_json) in [
        ("topic", section.topic.is_some(), true),
        ("per", section.per.is_some(), true),
        ("retain", section.retain.is_some(), true),
        ("qos", section.qos.is_some(), true),
        ("group", section.group.is_some(), false),
        ("node", section.node.is_some(), false),
        ("primary_host", section.primary_host.is_some(), false),
        ("commands", section.commands.is_some(), false),
    ] {
        if there && of_json != json {
            let own = if of_json { "json" } else { "sparkplug" };
            no(key, format!("belongs to `format = \"{own}\"`"));
        }
    }
    if !json {
        return sparkplug(files, section, no);
    }
    let per = match section.per.unwrap_or_default() {
        PublishPer::Point => Per::Point,
        PublishPer::Device => Per::Device,
    };
    let default = if per == Per::Point { "{asset}/{point}" } else { "{asset}" };
    let qos = section.qos.unwrap_or(1);
    if qos > 1 {
        no("qos", format!("{qos} is not 0 or 1"));
    }
    let text = section.topic.as_deref().unwrap_or(default);
    match Template::parse(text, per == Per::Point) {
        Err(error) => {
            no("topic", error.to_string());
            None
        }
        Ok(topic) => {
            if let Some(registry) = registry
                && let Some(message) = clash(registry, section, &topic, per)
            {
                no("topic", message);
            }
            Some(Format::Json(Json { topic, per, retain: section.retain.unwrap_or(false), qos }))
        }
    }
}

/// Two that would share a topic, or one whose topic is none.
fn clash(registry: &Registry, section: &PublishSection, topic: &Template, per: Per) -> Option<String> {
    let schema = registry.schema();
    let mut seen = HashSet::new();
    for device in &schema.devices {
        if section.devices.as_ref().is_some_and(|wanted| !wanted.contains(&device.name)) {
            continue;
        }
        let points: Vec<&str> = match per {
            Per::Point => device.points.iter().map(|p| &*p.name).collect(),
            Per::Device => vec![""],
        };
        for point in points {
            let made = topic.topic(&schema.tenant, &schema.gateway, device, point);
            if let Err(error) = check_topic(&made) {
                return Some(format!("device `{}` has topic `{made}`: {error}", device.name));
            }
            if let Some(twice) = seen.replace(made) {
                return Some(format!("`{twice}` is the topic of two: add {{device}}, or {{asset}}"));
            }
        }
    }
    None
}

fn sparkplug(files: &Files<'_>, section: &PublishSection, no: No<'_>) -> Option<Format> {
    let own = || files.merged.gateway.id.as_ref().map(ToString::to_string);
    let node = section.node.clone().or_else(own).unwrap_or_default();
    let Some(group) = section.group.clone() else {
        no("group", "missing: expected the group of the edge node".to_owned());
        return None;
    };
    let host = section.primary_host.clone();
    for (key, id) in [("group", Some(&group)), ("node", Some(&node)), ("primary_host", host.as_ref())] {
        if let Some(id) = id
            && let Err(expected) = check_id(id)
        {
            no(key, format!("`{id}`: {expected}"));
        }
    }
    Some(Format::Sparkplug(Sparkplug {
        group,
        node,
        primary_host: host,
        commands: section.commands.unwrap_or(false),
    }))
}
