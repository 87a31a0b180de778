//! `opcua ...`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::Write;

/// `opcua`.
#[derive(Debug, Subcommand)]
pub enum Opcua {
    /// What a server offers: security, sign-in, and whether its certificate is trusted
    Endpoints {
        /// Server, such as opc.tcp://10.0.0.5:4840
        #[arg(value_name = "URL")]
        server: String,
    },
    /// Certificates that the gateway knows; with a fingerprint, trust that one
    Trust {
        /// First digits (at least 8) of the SHA-256 fingerprint of a refused certificate
        fingerprint: Option<String>,
        /// Trust it no longer
        #[arg(long, requires = "fingerprint")]
        revoke: bool,
        /// Of a user who signs in to the gateway's own server with it, rather than of an application
        #[arg(long, conflicts_with = "own")]
        user: bool,
        /// Only the gateway's own, which servers must trust
        #[arg(long, conflicts_with = "fingerprint")]
        own: bool,
    },
    /// The nodes of a server, or the configuration that makes points of them
    Browse(Browse),
    /// What nodes are now, straight from the server
    Read {
        /// Which server
        #[command(flatten)]
        server: Server,
        /// Nodes, such as ns=2;s=Pump.Speed or nsu=http://vendor/plant;i=7
        #[arg(required = true)]
        nodes: Vec<String>,
    },
    /// Write a point through the gateway's command path and wait for the outcome
    Write {
        /// Twin (id, full place, or its unambiguous end)
        twin: String,
        /// Point and value: speed=40
        assignment: String,
        /// How it goes
        #[command(flatten)]
        write: Write,
    },
    /// Call the method of a point through the gateway's command path and wait for the outcome
    Call {
        /// Twin (id, full place, or its unambiguous end)
        twin: String,
        /// Point, with the argument that it takes if it takes one: start=40, or reset
        call: String,
        /// How it goes
        #[command(flatten)]
        write: Write,
    },
    /// Points of OPC UA servers with their nodes, and what the server last said of each
    Points {
        /// Only this device
        device: Option<String>,
    },
}

/// Which server.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Server {
    /// Name of a device of the gateway, or a server's address: opc.tcp://10.0.0.5:4840
    pub server: String,
    /// Talk to the address without any security
    #[arg(long)]
    pub insecure: bool,
}

/// `opcua browse`.
#[derive(Debug, Args)]
pub struct Browse {
    /// Which server
    #[command(flatten)]
    pub server: Server,
    /// Where to begin; the folder Objects if left out
    #[arg(long)]
    pub node: Option<String>,
    /// Levels below it
    #[arg(long, default_value_t = 20)]
    pub depth: usize,
    /// Most nodes
    #[arg(long, default_value_t = 10_000)]
    pub max: usize,
    /// Longest time
    #[arg(long, default_value = "25s", value_parser = humantime::parse_duration, value_name = "TIME")]
    pub time: Duration,
    /// Only nodes whose path fits: Plant/*/Temp; * stands for any text
    #[arg(long, value_name = "PATTERN")]
    pub path: Option<String>,
    /// Only variables of this type, such as Double; may be given several times
    #[arg(long = "type", value_name = "TYPE")]
    pub types: Vec<String>,
    /// Only what may be written, and methods
    #[arg(long)]
    pub writable: bool,
    /// Instead of the list: the configuration of a device with these points
    #[arg(long, value_name = "DEVICE", requires = "asset")]
    pub device: Option<String>,
    /// Place of the device in the asset tree, such as plant/area/line/press
    #[arg(long, requires = "device")]
    pub asset: Option<String>,
    /// Write it to this new file, such as /etc/twinway/conf.d/press.toml, instead of printing it
    #[arg(long, value_name = "FILE", requires = "device")]
    pub write: Option<PathBuf>,
}
