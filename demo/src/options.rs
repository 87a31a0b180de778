//! What the demo is asked to do.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

/// A simulated electrode coating line with its gateway and cloud, in one command.
#[derive(Debug, Clone, Parser)]
#[command(name = "demo", version)]
pub struct Options {
    /// Folder for all state.
    #[arg(long, default_value = "demo-data")]
    pub dir: PathBuf,

    /// Start over: remove the folder first (only if the demo made it).
    #[arg(long)]
    pub fresh: bool,

    /// First of seven ports on 127.0.0.1: page and API, gateway uplink, gateway API, MQTT, Modbus, OPC UA of the oven,
    /// OPC UA of the gateway. 0: any free ports.
    #[arg(long, default_value_t = 8700)]
    pub port_base: u16,

    /// When all is up, print one line of JSON with `cloud`, `gateway`, `socket`, `uplink`, `mqtt`, `modbus`, `oven`, `opcua`,
    /// `user`, `password`, `box_user`, `box_token`, and nothing else.
    #[arg(long)]
    pub json: bool,

    /// Something that goes wrong by itself and recovers.
    #[arg(long, value_enum)]
    pub fault: Option<Fault>,

    /// When the fault begins.
    #[arg(long, default_value = "15s", value_parser = humantime::parse_duration)]
    pub fault_after: Duration,

    /// How long the fault lasts.
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration)]
    pub fault_for: Duration,
}

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// the PLC stops answering
    UnitStop,
    /// the oven's controller stops answering
    OvenStop,
    /// the link between gateway and cloud is cut
    LinkCut,
    /// the cloud is stopped
    CloudStop,
}

impl Fault {
    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::UnitStop => "unit-stop",
            Self::OvenStop => "oven-stop",
            Self::LinkCut => "link-cut",
            Self::CloudStop => "cloud-stop",
        }
    }
}
