//! Arguments of `init`: each question of it has one.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::ParityArg;
use super::modbus::{addresses, units};
use crate::machine::Range;

/// `init`.
#[derive(Debug, Clone, Args)]
pub struct Init {
    /// Ask nothing: what no argument says has its default, and a step without one is left out
    #[arg(long, short)]
    pub yes: bool,
    /// The gateway's configuration
    #[arg(long, value_name = "FILE", default_value = "/etc/twinway/gateway.toml")]
    pub config: PathBuf,
    /// Name of this box, unique in its cloud; default: the one it has, else the machine's
    #[arg(long)]
    pub name: Option<String>,
    /// Place of its devices in the asset tree: site/area/line; default: plant/NAME
    #[arg(long, value_name = "PLACE")]
    pub location: Option<String>,
    /// The cloud's address, such as https://cloud.example
    #[arg(long, value_name = "URL")]
    pub cloud: Option<String>,
    /// The code of the cloud's administrator
    #[arg(long, requires = "cloud")]
    pub code: Option<String>,
    /// A serial port on which Modbus devices are looked for, or `all`; may be given several times
    #[arg(long, value_name = "PORT")]
    pub serial: Vec<String>,
    /// Baud of serial ports; default: the usual ones are tried
    #[arg(long)]
    pub baud: Option<u32>,
    /// Parity of serial ports; default: the usual ones are tried
    #[arg(long, value_enum)]
    pub parity: Option<ParityArg>,
    /// Ask also on serial ports on which something is heard before anything was asked
    #[arg(long)]
    pub talk_over: bool,
    /// A Modbus TCP device or gateway, host or host:port; may be given several times
    #[arg(long, value_name = "HOST")]
    pub modbus: Vec<String>,
    /// Unit ids to ask behind each of them, and on serial ports
    #[arg(long, default_value = "1-16", value_parser = units)]
    pub units: RangeInclusive<u8>,
    /// Addresses to try in each Modbus device, from 0
    #[arg(long, default_value = "0-99", value_parser = addresses)]
    pub addresses: RangeInclusive<u16>,
    /// An OPC UA server, opc.tcp://host:4840; may be given several times
    #[arg(long, value_name = "URL")]
    pub opcua: Vec<String>,
    /// Talk to OPC UA servers that offer no security
    #[arg(long)]
    pub insecure: bool,
    /// Trust the OPC UA server whose certificate has this fingerprint (SHA-256, at least 8 digits)
    #[arg(long, value_name = "FINGERPRINT")]
    pub trust: Vec<String>,
    /// A network in which both are looked for, such as 192.168.10.0/24: every address is connected to once
    #[arg(long, value_name = "NETWORK")]
    pub network: Vec<Range>,
    /// Port of Modbus TCP in such a network
    #[arg(long, default_value_t = 502, value_name = "PORT")]
    pub modbus_port: u16,
    /// Port of OPC UA in such a network
    #[arg(long, default_value_t = 4840, value_name = "PORT")]
    pub opcua_port: u16,
    /// Most requests a second to a device, and addresses a second of a network
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rate: u32,
    /// Most points that are proposed for a Modbus device; for an OPC UA server five times as many
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub points: u16,
    /// What becomes of a configuration that has devices; default: the new ones are added
    #[arg(long, value_enum)]
    pub existing: Option<Existing>,
    /// Leave the gateway as it is: only write
    #[arg(long)]
    pub no_start: bool,
    /// The gateway's service, where systemd runs it
    #[arg(long, value_name = "UNIT", default_value = "twinway-gateway")]
    pub service: String,
    /// Longest wait for the gateway to run with it, and for first values
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration, value_name = "TIME")]
    pub wait: Duration,
}

/// What becomes of a configuration that has devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Existing {
    /// it stays as it is; new devices become a file in conf.d beside it
    Add,
    /// its devices give way; its other settings stay, and a copy of all of it
    Replace,
}
