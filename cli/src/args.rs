//! The command line: what may be typed. Nothing is done here.

mod buffer;
mod configuration;
mod diag;
mod history;
mod init;
mod modbus;
mod opcua;
mod updates;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::exit::Exit;
pub use buffer::{Buffer, BufferDrop, BufferExport};
pub use configuration::{Configuration, Over, Put};
pub use diag::Diag;
pub use history::{
    Align, AlignFormat, Delete, Export, History, HistoryFormat, HistoryOf, Method, Set, Waveform,
};
pub use init::{Existing, Init};
pub use modbus::{Direct, Form, FramingArg, Modbus, ParityArg, TableArg, Talk};
pub use opcua::{Browse, Opcua, Server};
pub use updates::{Release, Rollout};

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// for people
    Text,
    /// one JSON document, or one line for each event of a stream
    Json,
}

/// One command line for gateways and the cloud.
///
/// The same verbs talk to a box (its Unix socket, or its URL) and to the cloud (its URL). Without --url and
/// --socket the program talks to TWINWAY_URL or TWINWAY_SOCKET, else to where you are signed in (`twinway login`),
/// else to the gateway of this machine.
#[derive(Debug, Parser)]
#[command(name = "twinway", version, after_help = Exit::HELP, propagate_version = true)]
pub struct Cli {
    /// How results are printed
    #[arg(long, short, global = true, value_enum, default_value = "text", value_name = "FORMAT")]
    pub output: Format,
    /// Server, such as https://twin.example.com [env: TWINWAY_URL; its token: TWINWAY_TOKEN]
    #[arg(long, global = true, conflicts_with = "socket")]
    pub url: Option<String>,
    /// Unix socket of a gateway on this machine [env: TWINWAY_SOCKET]
    #[arg(long, global = true, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Certificate authority (PEM) to trust beside the system's, for https
    #[arg(long, global = true, value_name = "FILE", env = "TWINWAY_CA")]
    pub ca: Option<PathBuf>,
    /// What to do
    #[command(subcommand)]
    pub verb: Verb,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Set this box up: name, cloud, devices found, a starting configuration, and first values
    Init(Box<Init>),
    /// Collect what somebody who is asked for help needs to know of this box, without secrets, into one file
    Diag(Diag),
    /// Sign in to a server and remember its token
    Login(Login),
    /// Sign out and forget the token
    Logout,
    /// Twins and their values
    #[command(subcommand)]
    Twins(Twins),
    /// Write a value to a point: `twinway send line1/oven zone1_sp=180`
    Send(Send),
    /// A point's history as a table, CSV or a plot
    History(History),
    /// Gateways and how they fare
    Gateways,
    /// One gateway of the cloud: which box speaks under its name, its configuration, and what of it could not be taken
    #[command(subcommand)]
    Gateway(Gateway),
    /// Signed bundles of the gateway's program that the cloud keeps
    #[command(subcommand)]
    Release(Release),
    /// A version on its way to groups of gateways
    #[command(subcommand)]
    Rollout(Rollout),
    /// Make the box of this machine a gateway of a cloud, with a code from the cloud's administrator
    Enrol(Enrol),
    /// Commands, or one of them with its steps
    Commands {
        /// One command
        id: Option<String>,
        /// Most commands to show, newest first
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
    },
    /// Alarms: what is wrong, acknowledging and shelving
    #[command(subcommand)]
    Alarms(Alarms),
    /// Who did what, and what happened, newest first
    Audit(Audit),
    /// Modbus devices: points through the gateway that owns them; scan, probe and --direct where no gateway does
    #[command(subcommand)]
    Modbus(Modbus),
    /// OPC UA servers: what they offer, trust, browsing, reading; writes and calls through the gateway's command path
    #[command(subcommand)]
    Opcua(Opcua),
    /// Publish to or subscribe at an MQTT broker, such as the one of a box
    #[command(subcommand)]
    Mqtt(Mqtt),
    /// The gateway's buffer of samples
    #[command(subcommand)]
    Buffer(Buffer),
    /// Check a gateway's configuration (runs `twinway-gateway check`)
    Check {
        /// Configuration file
        config: PathBuf,
        /// Fail for warnings as well
        #[arg(long)]
        strict: bool,
    },
    /// Points as tables for a spreadsheet: `export CONFIG --to points.xlsx`, `import points.xlsx --config CONFIG`
    /// (runs `twinway-gateway points`; see its --help)
    Points {
        /// `export` or `import`, and what belongs to it
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        words: Vec<std::ffi::OsString>,
    },
    /// Have a gateway take its configuration files anew; at the box only
    ///
    /// Only what changed is started anew. A configuration with mistakes is refused with all of them, and the one
    /// before goes on.
    Reload {
        /// Change nothing: show the configuration that runs, and why the last one was refused if it was
        #[arg(long)]
        show: bool,
    },
    /// A live screen of gateways, devices, twins and commands
    Status {
        /// Print once and end; so it is when the output is no terminal
        #[arg(long)]
        once: bool,
    },
    /// The local/remote switch; at the box only
    Switch {
        /// Where to set it; without it the position is shown
        #[arg(value_enum, requires = "reason")]
        position: Option<Position>,
        /// Why, for the audit
        #[arg(long, requires = "position")]
        reason: Option<String>,
    },
    /// Completions for a shell, to be sourced
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// `enrol`.
#[derive(Debug, clap::Args)]
pub struct Enrol {
    /// The code; asked for if it is left out
    pub code: Option<String>,
    /// The cloud's address, such as https://cloud.example
    #[arg(long, value_name = "URL")]
    pub cloud: Option<String>,
    /// Show how the box is enrolled, and change nothing
    #[arg(long, conflicts_with_all = ["code", "cloud"])]
    pub show: bool,
}

/// `gateway`.
#[derive(Debug, Subcommand)]
pub enum Gateway {
    /// A code with which a box enrols once as this gateway; who was it before is out when it does
    Code {
        /// The gateway; it need not be known yet
        gateway: String,
        /// How long the code is good, hours
        #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=168))]
        valid_h: u32,
    },
    /// Its certificates
    Certificates {
        /// The gateway
        gateway: String,
    },
    /// Lock it out: its certificates, secret and codes are worth nothing from now on
    Revoke {
        /// The gateway
        gateway: String,
        /// Why, for the audit
        #[arg(long)]
        reason: String,
    },
    /// Configuration documents that the cloud keeps for it
    #[command(subcommand)]
    Config(Configuration),
    /// Gateways with their groups, the version that runs there, and what became of an update
    List,
    /// The same of one gateway
    Show {
        /// The gateway
        gateway: String,
    },
    /// Put it into a group for rollouts, or, without one, into none
    Group {
        /// The gateway
        gateway: String,
        /// The group
        group: Option<String>,
    },
    /// Let a box in that is held back, in place of the one before
    Accept {
        /// The gateway
        gateway: String,
        /// Incarnation of the box, if several are held back
        #[arg(long)]
        incarnation: Option<common::Incarnation>,
        /// Why, for the audit
        #[arg(long)]
        reason: String,
    },
    /// Frames that the cloud could not take and set aside, newest first
    SetAside {
        /// The gateway
        gateway: String,
        /// Most frames to show
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
        /// Save the one of this number, as it was received, to be sent to the makers: an admin's
        #[arg(long, requires = "file", value_name = "ID")]
        frame: Option<u64>,
        /// File to write
        #[arg(long, requires = "frame", value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

/// `login`.
#[derive(Debug, Args)]
pub struct Login {
    /// Server, such as https://twin.example.com; --url or TWINWAY_URL if left out
    #[arg(value_name = "URL")]
    pub server: Option<String>,
    /// Account; asked for if left out
    #[arg(long, short)]
    pub user: Option<String>,
    /// Read the password from standard input instead of the terminal
    #[arg(long, requires = "user")]
    pub password_stdin: bool,
    /// Send the password over plain http to another machine: whoever listens there reads it
    #[arg(long)]
    pub allow_http: bool,
}

/// `alarms`.
#[derive(Debug, Subcommand)]
pub enum Alarms {
    /// List alarms that are open: active, unacknowledged, shelved or out of service
    Ls {
        /// Also those that are normal
        #[arg(long)]
        all: bool,
        /// Most alarms to show
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
    },
    /// Acknowledge the present occurrence of an alarm
    Ack(AlarmAct),
    /// Shelve an alarm: it is shown apart and rings nowhere until its time is up
    Shelve {
        /// Which alarm
        #[command(flatten)]
        act: AlarmAct,
        /// For how long, at most 7 days: `30m`, `8h`
        #[arg(long = "for", value_parser = humantime::parse_duration, value_name = "TIME")]
        time: Duration,
    },
    /// Take an alarm from the shelf
    Unshelve(AlarmAct),
}

/// An alarm, and what is said to it.
#[derive(Debug, Args)]
pub struct AlarmAct {
    /// Id, or the end of its place: `oven/zone1_temperature/hi`
    pub alarm: String,
    /// For the record
    #[arg(long)]
    pub comment: Option<String>,
}

/// `twins`.
#[derive(Debug, Subcommand)]
pub enum Twins {
    /// List twins
    Ls {
        /// Only those whose place contains this text
        filter: Option<String>,
    },
    /// One twin with its points
    Get {
        /// Id, full place, or its unambiguous end: `line1/oven`
        twin: String,
    },
    /// Values as they change
    Watch {
        /// Only this twin
        twin: Option<String>,
        /// Only these points
        #[arg(long = "point", requires = "twin")]
        points: Vec<String>,
        /// End after so many values
        #[arg(long)]
        count: Option<u64>,
        /// Most updates a second
        #[arg(long, default_value_t = 10.0, value_parser = max_hz)]
        max_hz: f64,
    },
}

/// How a write goes: shared by `send` and `modbus write`.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Write {
    /// How long it may take to reach the device; past it, it expires
    #[arg(long, default_value = "10s", value_parser = ttl)]
    pub ttl: Duration,
    /// Why, for the audit
    #[arg(long, default_value = "")]
    pub reason: String,
    /// Key under which asking again never writes twice; a new one if left out
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
    /// Longest wait for the outcome; default: the ttl and 30 s
    #[arg(long, value_parser = humantime::parse_duration, value_name = "TIME")]
    pub wait_timeout: Option<Duration>,
}

/// `send`.
#[derive(Debug, Args)]
pub struct Send {
    /// Id, full place, or its unambiguous end: `line1/oven`
    pub twin: String,
    /// Point and value: true, 12, 3.5, a label of the point, or "text"
    #[arg(value_name = "POINT=VALUE")]
    pub assignment: String,
    /// Follow the command to its end; the exit code tells how it ended
    #[arg(long)]
    pub wait: bool,
    /// How it goes
    #[command(flatten)]
    pub write: Write,
}

/// `audit`.
#[derive(Debug, Args)]
pub struct Audit {
    /// Only entries about this twin
    #[arg(long)]
    pub twin: Option<String>,
    /// Only entries at least as severe
    #[arg(long, value_enum)]
    pub severity: Option<Severity>,
    /// Most entries
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: u32,
}

/// How much an entry matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Severity {
    /// for the record
    Info,
    /// worth a look
    Warning,
    /// act
    Alarm,
}

/// Where the broker is: shared by `mqtt pub` and `mqtt sub`.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Broker {
    /// Host of the broker
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,
    /// Port of the broker
    #[arg(long, default_value_t = 1883)]
    pub port: u16,
    /// User
    #[arg(long, requires = "password")]
    pub username: Option<String>,
    /// Password; better from the environment than on the command line, where others see it
    #[arg(long, env = "TWINWAY_MQTT_PASSWORD", hide_env_values = true)]
    pub password: Option<String>,
    /// Quality of service: 0, 1 or 2
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub qos: u8,
    /// Longest wait: for the broker's acknowledgement when publishing, for messages when subscribed
    #[arg(long, value_parser = humantime::parse_duration, value_name = "TIME")]
    pub timeout: Option<Duration>,
}

/// `mqtt`.
#[derive(Debug, Subcommand)]
pub enum Mqtt {
    /// Publish one message and wait until the broker has it
    Pub {
        /// Topic
        topic: String,
        /// Payload; `-` reads it from standard input
        payload: String,
        /// Have the broker keep it for later subscribers
        #[arg(long)]
        retain: bool,
        /// Where
        #[command(flatten)]
        broker: Broker,
    },
    /// Who is connected to the box's broker, what waits for whom, and what was dropped
    Clients,
    /// Topics on the box's broker that no point takes, and the configuration that makes a point of one
    Discover(Discover),
    /// Print messages as they come
    Sub {
        /// Topic filters, with + and #
        #[arg(required = true)]
        filters: Vec<String>,
        /// End after so many messages
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
        count: Option<u64>,
        /// Where
        #[command(flatten)]
        broker: Broker,
    },
}

/// `mqtt discover`.
#[derive(Debug, Args)]
pub struct Discover {
    /// Print the configuration that makes a point of this topic
    #[arg(long, value_name = "TOPIC", requires_all = ["device", "point"])]
    pub adopt: Option<String>,
    /// Name of the point's device
    #[arg(long, requires = "adopt")]
    pub device: Option<String>,
    /// Name of the point
    #[arg(long, requires = "adopt")]
    pub point: Option<String>,
    /// Which value of the payload: JSON pointer, column or metric, as the list shows it
    #[arg(long, value_name = "PLACE", requires = "adopt")]
    pub at: Option<String>,
    /// Place of a new device in the asset tree, such as plant/area/line/sensors
    #[arg(long, requires = "adopt")]
    pub asset: Option<String>,
    /// Write it to this new file, such as /etc/twinway/conf.d/sensors.toml, instead of printing it
    #[arg(long, value_name = "FILE", requires = "adopt")]
    pub write: Option<PathBuf>,
}

/// Position of the switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Position {
    /// only people at the box command
    Local,
    /// the cloud may command
    Remote,
}

fn ttl(text: &str) -> Result<Duration, String> {
    let d = humantime::parse_duration(text).map_err(|e| e.to_string())?;
    if (Duration::from_millis(1)..=Duration::from_secs(600)).contains(&d) {
        Ok(d)
    } else {
        Err("use 1ms to 10min".to_owned())
    }
}

fn max_hz(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|hz| (0.1..=50.0).contains(hz)).ok_or_else(|| "use 0.1 to 50".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_time_to_live_beyond_what_the_api_takes_is_refused() {
        assert_eq!(ttl("10s"), Ok(Duration::from_secs(10)));
        for bad in ["0s", "11min", "ten"] {
            assert!(ttl(bad).is_err(), "{bad}");
        }
    }
}
