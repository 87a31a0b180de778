//! The keys of the configuration file, each with its default beside it. Only shapes here; what only the keys
//! together show is in `check`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use common::api::Accepts;
use common::{Access, Class, GatewayId, TenantId, TwinId, ValueType};
use gateway_adapters::{modbus, mqtt, opcua, sparkplug};
use serde::Deserialize;

use super::publish::PublishSection;
use serde::de::IgnoredAny;

use super::alarms::AlarmSection;
pub use super::broker::{BrokerSection, ListenerSection, RightsSection};
use super::derived::{VirtualDevice, VirtualPoint};
use super::opcua_server::{IdentificationSection, OpcuaServerSection};

/// One file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// Who this gateway is.
    pub gateway: GatewaySection,
    /// The cloud. Default: none, the gateway works alone.
    pub uplink: Option<UplinkSection>,
    /// The local HTTP API.
    pub api: ApiSection,
    /// The embedded MQTT broker.
    pub broker: BrokerSection,
    /// The OPC UA server. Default: none.
    pub opcua_server: Option<OpcuaServerSection>,
    /// The buffer on disk.
    pub buffer: BufferSection,
    /// The command path.
    pub control: ControlSection,
    /// Modbus lines, which devices name.
    pub line: Vec<modbus::LineConfig>,
    /// Processed points for programs of others. Default: none.
    pub publish: Vec<PublishSection>,
    /// Devices, in the order of their points' numbers.
    pub device: Vec<DeviceSection>,
    /// Templates: keys and points of a device, with `name` and `parameters`. See `template`.
    pub template: Vec<IgnoredAny>,
}

/// `[gateway]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GatewaySection {
    /// Name of this gateway, unique in its tenant. No default.
    pub id: Option<GatewayId>,
    /// Tenant. Default `default`.
    pub tenant: TenantId,
    /// Folder of the buffer and its state. Default `/var/lib/twinway`.
    pub data_dir: PathBuf,
    /// A configuration that has run for so long without a part that fails is kept as the last good one, s.
    /// Default 60.
    pub proven_after_s: u64,
}

impl Default for GatewaySection {
    fn default() -> Self {
        Self {
            id: None,
            tenant: TenantId::default(),
            data_dir: "/var/lib/twinway".into(),
            proven_after_s: 60,
        }
    }
}

/// `[uplink]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UplinkSection {
    /// Where the cloud's ingress listens: `mqtt://host:1883`, or `mqtts://host:8883` with TLS. Default: what the cloud told
    /// when the box was enrolled.
    pub url: String,
    /// User name. Default `<tenant>/<gateway id>`.
    pub username: Option<String>,
    /// File that holds the password, readable by its owner alone. Default: none, it signs in with what it was enrolled with.
    pub password_file: Option<PathBuf>,
    /// Certificates (PEM) that the cloud's may be signed by, for `mqtts`. Default: the system's.
    pub ca_file: Option<PathBuf>,
    /// Most bytes of frames on their way without the cloud's ack, of live ones and of the backlog each.
    /// Default 1048576.
    pub window_bytes: usize,
    /// File that tells this machine from others: with another content, a box that has lost its state is another one
    /// to the cloud. Default `/etc/machine-id`.
    pub machine_id_file: PathBuf,
    /// Whether the link is paid by the byte: samples go together, and signs of life are few. Default false.
    pub metered: bool,
    /// On a metered link: samples wait for so long at most to go together, s. Default 60.
    pub max_delay_s: u64,
    /// Most MB (of 1,000,000 bytes) a day, in both directions. When they are used up, samples wait in the buffer.
    /// Default: any.
    pub day_mb: Option<f64>,
    /// The same for a month. Default: any.
    pub month_mb: Option<f64>,
    /// With a budget, samples of trends go while less than so much of it is used, percent. Default 80.
    pub trend_percent: u64,
    /// Parts of the day, such as `22:00-06:00`, in which samples wait in the buffer. Default: none.
    pub quiet: Vec<String>,
    /// The calendar of days, months and quiet hours: the box's own zone, or UTC. Default `local`.
    pub calendar: Calendar,
    /// What configuration documents of the cloud may add: nothing (`off`), devices that are read (`read`), or devices that
    /// are read and written (`write`). Default `off`.
    pub accept_configuration: Accepts,
    /// A document with which the cloud is not reached for so long gives way to what ran before, s. Default 300.
    pub configuration_trial_s: u64,
    /// Whether bundles of updates that the cloud offers are taken, if a key of `update_trust` signed them. Default false.
    pub accept_updates: bool,
    /// Folder of versions, in whose `incoming` the updater finds bundles. Default `/var/lib/twinway-update`.
    pub update_folder: PathBuf,
    /// Folder of the public keys that are trusted. Default `/etc/twinway/update-keys`.
    pub update_trust: PathBuf,
}

/// Whose calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Calendar {
    /// of the box's time zone
    #[default]
    Local,
    /// of UTC
    Utc,
}

impl Default for UplinkSection {
    fn default() -> Self {
        Self {
            url: String::new(),
            username: None,
            password_file: None,
            ca_file: None,
            window_bytes: 1024 * 1024,
            machine_id_file: "/etc/machine-id".into(),
            metered: false,
            max_delay_s: 60,
            day_mb: None,
            month_mb: None,
            trend_percent: 80,
            quiet: Vec::new(),
            calendar: Calendar::default(),
            accept_configuration: Accepts::Off,
            configuration_trial_s: 300,
            accept_updates: false,
            update_folder: "/var/lib/twinway-update".into(),
            update_trust: "/etc/twinway/update-keys".into(),
        }
    }
}

/// `[api]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApiSection {
    /// Where the local HTTP API listens; loopback only. Default `127.0.0.1:8480`.
    pub listen: SocketAddr,
    /// Unix socket of the same API. Its callers are known by their user: root and the gateway's own user are
    /// admin, others viewer. Default: none.
    pub socket: Option<PathBuf>,
    /// File of tokens for callers over TCP, a line each: `name:role:sha256 of the token as hex`. Readable by its
    /// owner alone. Default: none, nobody can sign in over TCP.
    pub tokens_file: Option<PathBuf>,
    /// Names besides those of loopback that callers may give as `Host`. Default: none.
    pub hosts: Vec<String>,
}

impl Default for ApiSection {
    fn default() -> Self {
        Self { listen: loopback(8480), socket: None, tokens_file: None, hosts: Vec::new() }
    }
}

/// `[buffer]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BufferSection {
    /// Most MiB of frames on disk, acknowledged ones included. Default 1024.
    pub quota_mb: u64,
    /// A frame is on disk at most so many ms after it was cut; at most 100. Default 100.
    pub sync_ms: u64,
    /// Size of one segment file, MiB. Default 16.
    pub segment_mb: u64,
    /// The same in KiB, 16 to 1024, in place of `segment_mb`: for a buffer of a few MiB. Default: none.
    pub segment_kb: Option<u64>,
    /// A frame is cut at most so many ms after its first sample. Default 10.
    pub frame_ms: u64,
    /// Whether acknowledged frames stay while there is room, for local history. Default `true`.
    pub keep_acked: bool,
    /// What goes when the quota is reached and the cloud lacks all that is there: `drop_oldest`, or `drop_newest`.
    /// Samples go, those of trends first; events, alarms, audit, commands and critical points stay within their shares.
    /// Default `drop_oldest`.
    pub overflow: Overflow,
    /// Hours after which samples go, whether the cloud has them or not; 0: never. Default 0.
    pub max_age_h: u64,
    /// The same for events, alarms, audit and commands. Default 0.
    pub records_max_age_h: u64,
    /// Their share of the quota beyond what stands among samples, percent. Default 25.
    pub records_percent: u64,
    /// Share of the quota for samples of critical points where others have gone, percent. Default 25.
    pub critical_percent: u64,
    /// Most of the quota for samples of trends, percent; they go first in any case. Default 100.
    pub trend_percent: u64,
    /// As `max_age_h`, of critical points. Default: that.
    pub critical_max_age_h: Option<u64>,
    /// As `max_age_h`, of trends. Default: that.
    pub trend_max_age_h: Option<u64>,
    /// File with the keys that the buffer is encrypted with, readable by its owner alone: one a line, 32 random bytes in
    /// base64. The first is for what is written from now on, the others for what was written with them. Default: none,
    /// and nothing is encrypted.
    pub keys_file: Option<PathBuf>,
}

/// What goes when the quota is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overflow {
    /// the oldest samples
    DropOldest,
    /// new samples, until there is room
    DropNewest,
}

impl Default for BufferSection {
    fn default() -> Self {
        Self {
            quota_mb: 1024,
            sync_ms: 100,
            segment_mb: 16,
            segment_kb: None,
            frame_ms: 10,
            keep_acked: true,
            overflow: Overflow::DropOldest,
            max_age_h: 0,
            records_max_age_h: 0,
            records_percent: 25,
            critical_percent: 25,
            trend_percent: 100,
            critical_max_age_h: None,
            trend_max_age_h: None,
            keys_file: None,
        }
    }
}

/// `[control]`. The local/remote switch has no key: it stands on local at every start.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ControlSection {
    /// How long a writer keeps a point for itself after its last write, ms: a weaker one is refused meanwhile.
    /// From strong to weak: a person at the box, a person through the cloud, a loop, a desired value.
    /// Default 60000.
    pub owner_hold_ms: u64,
    /// Orders that may wait for one device. Default 64.
    pub queue: usize,
}

impl Default for ControlSection {
    fn default() -> Self {
        Self { owner_hold_ms: 60_000, queue: 64 }
    }
}

/// `[[device]]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceSection {
    /// Name, unique in this gateway: letters, digits, `_`, `-`, `.`. No default.
    pub name: String,
    /// Identity of its twin. Default: derived from tenant, gateway and name. Set it when a device is renamed or
    /// moved to another box, so that its history goes on.
    #[serde(default)]
    pub twin: Option<TwinId>,
    /// Place in the asset tree, `site/area/line/...`, its own name last. No default.
    pub asset: String,
    /// What it is, for people. Default: empty.
    #[serde(default)]
    pub description: String,
    /// What identifies it, for the OPC UA server. Default: nothing.
    #[serde(default)]
    pub identification: IdentificationSection,
    /// Name of the template that it is made from: what stands here stands above the template's keys. Default: none.
    #[serde(default)]
    pub template: Option<String>,
    /// Values of the template's parameters. Default: theirs.
    #[serde(default)]
    pub parameters: BTreeMap<String, IgnoredAny>,
    /// Names of the template's points that this device has not. Default: none.
    #[serde(default)]
    pub omit: Vec<String>,
    /// A Modbus TCP device. A device has exactly one protocol.
    #[serde(default)]
    pub modbus: Option<modbus::DeviceConfig>,
    /// A group of topics on the gateway's own broker.
    #[serde(default)]
    pub mqtt: Option<mqtt::DeviceConfig>,
    /// An OPC UA server.
    #[serde(default)]
    pub opcua: Option<opcua::DeviceConfig>,
    /// A Sparkplug B edge node, or one of its devices, that publishes to the gateway's own broker.
    #[serde(default)]
    pub sparkplug: Option<sparkplug::DeviceConfig>,
    /// A group of points that are calculated from others.
    #[serde(default, rename = "virtual")]
    pub virtual_: Option<VirtualDevice>,
    /// Its points.
    #[serde(default)]
    pub point: Vec<PointSection>,
}

/// `[[device.point]]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PointSection {
    /// Name, unique in its device: letters, digits, `_`, `-`, `.`. No default.
    pub name: String,
    /// Type of the value in engineering units: `bool i64 u64 f64 text bytes`. No default.
    #[serde(rename = "type")]
    pub value_type: ValueType,
    /// Engineering unit (UCUM or plain text). Default: empty.
    #[serde(default)]
    pub unit: String,
    /// What it is, for people. Default: empty.
    #[serde(default)]
    pub description: String,
    /// Engineering value = raw value * scale + offset. Default 1.
    #[serde(default = "one")]
    pub scale: f64,
    /// See `scale`. Default 0.
    #[serde(default)]
    pub offset: f64,
    /// A change smaller than this, in engineering units, is not passed on. Default: every sample is.
    #[serde(default)]
    pub deadband: Option<f64>,
    /// The same in percent of `range_min` to `range_max`. Default: none.
    #[serde(default)]
    pub deadband_percent: Option<f64>,
    /// Instead of a deadband: pass on only the corners of the series. Default: none.
    #[serde(default)]
    pub compression: Option<CompressionSection>,
    /// With a deadband or compression, a sample is passed on at least so often, ms. Below `stale_ms`. Default 10000.
    #[serde(default = "max_interval")]
    pub max_interval_ms: u64,
    /// Lower end of the range in engineering units: below it a value is uncertain. Default: none.
    #[serde(default)]
    pub range_min: Option<f64>,
    /// Upper end of the range. Default: none.
    #[serde(default)]
    pub range_max: Option<f64>,
    /// `read`, `read_write` or `write`. Default `read`.
    #[serde(default = "read")]
    pub access: Access,
    /// Smallest value that may be written, in engineering units. A writable point needs both; a bool has 0 and 1.
    #[serde(default)]
    pub write_min: Option<f64>,
    /// Largest value that may be written.
    #[serde(default)]
    pub write_max: Option<f64>,
    /// Name of the point of the same device that holds this one's setpoint. Default: none.
    #[serde(default)]
    pub setpoint: Option<String>,
    /// How long a value counts as current, ms. Default: three times the point's Modbus period and at least 5000,
    /// 60000 for MQTT, a day for what an OPC UA server or a Sparkplug node sends when it changes; with a deadband at least twice `max_interval_ms`.
    #[serde(default)]
    pub stale_ms: Option<u64>,
    /// How much its samples matter where there is no room for all: `critical`, `normal` or `trend`. A full buffer drops trends first and
    /// critical ones last; a metered link carries critical ones at once and trends last. Default `normal`.
    #[serde(default)]
    pub class: Class,
    /// What operators call the values of a discrete point. Default: none.
    #[serde(default)]
    pub labels: Vec<LabelSection>,
    /// What must be true for a write, such as `door_closed and oven/temperature < 60`. Default: nothing.
    #[serde(default)]
    pub interlock: Option<String>,
    /// Largest difference, in engineering units, between what was written and what is read back. Default 0.
    #[serde(default)]
    pub read_back_tolerance: f64,
    /// Whether it reads registers that another point reads as well, and is meant to: `check` says nothing of it then.
    /// Default `false`.
    #[serde(default)]
    pub alias: bool,
    /// Where a Modbus device has it.
    #[serde(default)]
    pub modbus: Option<modbus::PointConfig>,
    /// Where an MQTT device has it.
    #[serde(default)]
    pub mqtt: Option<mqtt::PointConfig>,
    /// Which node of an OPC UA server it is.
    #[serde(default)]
    pub opcua: Option<opcua::PointConfig>,
    /// Which metric of a Sparkplug device it is. Default: the one of the point's name.
    #[serde(default)]
    pub sparkplug: Option<sparkplug::PointConfig>,
    /// How a point of a virtual device is calculated.
    #[serde(default, rename = "virtual")]
    pub virtual_: Option<VirtualPoint>,
    /// Its alarms.
    #[serde(default)]
    pub alarm: Vec<AlarmSection>,
}

/// `compression = { ... }` of a point.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CompressionSection {
    /// Straight lines between what is passed on miss no sample by more than this, in engineering units. No default.
    pub swinging_door: Option<f64>,
    /// The same in percent of `range_min` to `range_max`; one of the two.
    pub swinging_door_percent: Option<f64>,
    /// A sample nearer than this to the last one passed on is left out whatever it is, ms. Default 0.
    pub min_interval_ms: u64,
}

/// One entry of `labels`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelSection {
    /// The value. No default.
    pub value: i64,
    /// What operators call it. No default.
    pub text: String,
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}
fn one() -> f64 {
    1.0
}
fn max_interval() -> u64 {
    10_000
}
fn read() -> Access {
    Access::Read
}
