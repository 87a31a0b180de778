//! `modbus ...`.

use std::ops::RangeInclusive;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use gateway_modbus::value::Order;

use super::Write;

/// `modbus`.
#[derive(Debug, Subcommand)]
pub enum Modbus {
    /// Last value of a point; exit code 1 if it is bad. With --direct a register of a device that no gateway has
    Read {
        /// Twin (id, full place, or its unambiguous end) and name of the point; with --direct a register: 40001,
        /// "4x00001", holding:0
        #[arg(required = true, num_args = 1..=2, value_name = "TWIN POINT | REGISTER")]
        what: Vec<String>,
        /// Straight to a device
        #[command(flatten)]
        direct: Direct,
        /// How the value lies there
        #[command(flatten)]
        form: Form,
    },
    /// Write a point through the gateway's command path and wait for the outcome. With --direct a register of a device
    /// that no gateway has: no limit, interlock or audit looks at it
    Write {
        /// Twin and point with its value: oven zone1=80; with --direct register and value: 40001=80
        #[arg(required = true, num_args = 1..=2, value_name = "TWIN POINT=VALUE | REGISTER=VALUE")]
        what: Vec<String>,
        /// How it goes
        #[command(flatten)]
        write: Write,
        /// Straight to a device
        #[command(flatten)]
        direct: Direct,
        /// How the value lies there
        #[command(flatten)]
        form: Form,
    },
    /// Find unit ids that answer, and with --addresses what of their registers can be read
    Scan {
        /// Where: host, host:port, or a serial port
        endpoint: String,
        /// How to talk to it
        #[command(flatten)]
        talk: Talk,
        /// Ask also on a serial port on which something is heard before anything was asked
        #[arg(long)]
        talk_over: bool,
        /// Unit ids to ask
        #[arg(long, default_value = "1-247", value_parser = units)]
        units: RangeInclusive<u8>,
        /// Addresses to try in every unit that answers, from 0; at most 2000, and at most two requests for each
        #[arg(long, value_parser = addresses)]
        addresses: Option<RangeInclusive<u16>>,
        /// Tables to try
        #[arg(long, value_enum, value_delimiter = ',', default_value = "holding,input")]
        tables: Vec<TableArg>,
        /// Most requests a second
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        rate: u32,
    },
    /// Guess type and order of a register from what it holds now, and how it changes
    Probe {
        /// Where: host, host:port, or a serial port
        endpoint: String,
        /// First register: 40001, "4x00001", holding:0
        register: String,
        /// How to talk to it
        #[command(flatten)]
        talk: Talk,
        /// Unit id
        #[arg(long, default_value_t = 1)]
        unit: u8,
        /// How often it is read
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
        samples: u32,
        /// Time between two reads
        #[arg(long, default_value = "1s", value_parser = humantime::parse_duration, value_name = "TIME")]
        every: Duration,
        /// What the device's own display shows: what comes near stands first
        #[arg(long, allow_negative_numbers = true)]
        expect: Option<f64>,
        /// Most candidates
        #[arg(long, default_value_t = 8)]
        most: usize,
    },
    /// How the gateway's Modbus devices fare: requests, times, holes, spare registers
    Status {
        /// Only this device
        device: Option<String>,
    },
}

/// Straight to a device.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Direct {
    /// Straight to the device at host, host:port or a serial port; refused while a gateway here has it
    #[arg(long, value_name = "ENDPOINT")]
    pub direct: Option<String>,
    /// Unit id, with --direct
    #[arg(long, default_value_t = 1, requires = "direct")]
    pub unit: u8,
    /// How to talk to it
    #[command(flatten)]
    pub talk: Talk,
}

/// How a device without a gateway is talked to.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct Talk {
    /// Frames; default: tcp for a host, rtu for a serial port
    #[arg(long, value_enum)]
    pub framing: Option<FramingArg>,
    /// Longest wait for one answer
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration, value_name = "TIME")]
    pub timeout: Duration,
    /// Baud of a serial port
    #[arg(long, default_value_t = 19200)]
    pub baud: u32,
    /// Parity of a serial port
    #[arg(long, value_enum, default_value = "even")]
    pub parity: ParityArg,
}

/// How a value lies in registers.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct Form {
    /// u16 i16 u32 i32 u64 i64 f32 f64 bcd16 bcd32 string bool
    #[arg(long = "type", default_value = "u16", value_name = "TYPE", requires = "direct")]
    pub raw_type: String,
    /// abcd cdab badc dcba, and for 64 bits the eight-letter ones
    #[arg(long, default_value = "abcd", requires = "direct")]
    pub order: Order,
    /// Bytes of a string
    #[arg(long, requires = "direct")]
    pub length: Option<u16>,
    /// Bit of the register
    #[arg(long, requires = "direct")]
    pub bit: Option<u8>,
    /// How many values that follow each other are read
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000), requires = "direct")]
    pub count: u16,
}

/// How frames look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FramingArg {
    /// Modbus TCP
    Tcp,
    /// serial, binary; also over TCP
    Rtu,
    /// serial, text; also over TCP
    Ascii,
}

/// Parity of a serial port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ParityArg {
    /// none
    None,
    /// even, as the standard has it
    Even,
    /// odd
    Odd,
}

/// A table of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TableArg {
    /// bits, read and write
    Coil,
    /// bits, read only
    Discrete,
    /// registers, read only
    Input,
    /// registers, read and write
    Holding,
}

impl From<TableArg> for gateway_modbus::Table {
    fn from(table: TableArg) -> Self {
        match table {
            TableArg::Coil => Self::Coil,
            TableArg::Discrete => Self::Discrete,
            TableArg::Input => Self::Input,
            TableArg::Holding => Self::Holding,
        }
    }
}

fn range<T: std::str::FromStr + PartialOrd + Copy>(text: &str) -> Result<RangeInclusive<T>, String> {
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let number = |s: &str| s.trim().parse::<T>().map_err(|_| format!("`{text}` is no range such as 1-10"));
    let (from, to) = (number(from)?, number(to)?);
    if from <= to { Ok(from..=to) } else { Err(format!("`{text}` ends before it begins")) }
}

pub(super) fn units(text: &str) -> Result<RangeInclusive<u8>, String> {
    range(text)
}

pub(super) fn addresses(text: &str) -> Result<RangeInclusive<u16>, String> {
    let range = range::<u16>(text)?;
    if range.end() - range.start() < 2000 {
        Ok(range)
    } else {
        Err("more than 2000 addresses: scan a part at a time".to_owned())
    }
}
