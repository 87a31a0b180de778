//! `[[line]]`: one connection that serves one or many devices in turn.

use std::net::SocketAddr;

use gateway_modbus::frame::Framing;
use serde::Deserialize;

use super::{DeviceConfig, Faults, Parity, Rs485, Wrong, time};

/// What carries the frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// Modbus TCP
    Tcp,
    /// RTU on a serial port
    Rtu,
    /// ASCII on a serial port
    Ascii,
    /// RTU frames over a TCP connection, as serial device servers pass them on
    RtuOverTcp,
    /// ASCII frames over a TCP connection
    AsciiOverTcp,
    /// a modem (DTU) that dials in to us and says who it is
    Dtu,
}

/// `[[line]]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LineConfig {
    /// Name, unique in this gateway; devices say it. No default.
    pub name: String,
    /// `tcp`, `rtu`, `ascii`, `rtu_over_tcp`, `ascii_over_tcp` or `dtu`. No default.
    pub transport: Transport,
    /// Name or address to connect to. Needed for `tcp`, `rtu_over_tcp` and `ascii_over_tcp`.
    #[serde(default)]
    pub host: Option<String>,
    /// TCP port. Default 502.
    #[serde(default = "default_port")]
    pub port: u16,
    /// Name or address to connect to when the first does not answer. Default: none.
    #[serde(default)]
    pub backup_host: Option<String>,
    /// Its port. Default: as `port`.
    #[serde(default)]
    pub backup_port: Option<u16>,
    /// While on the backup, how often the first one is tried, ms. Default 60000.
    #[serde(default = "default_failback_ms")]
    pub failback_ms: u64,
    /// Serial port, best as `/dev/serial/by-id/...`. Needed for `rtu` and `ascii`.
    #[serde(default)]
    pub path: Option<String>,
    /// Baud. Default 19200.
    #[serde(default = "default_baud")]
    pub baud: u32,
    /// Data bits, 7 or 8. Default 8 for `rtu`, 7 for `ascii`.
    #[serde(default)]
    pub data_bits: Option<u8>,
    /// `none`, `even` or `odd`. Default `even`.
    #[serde(default)]
    pub parity: Parity,
    /// Stop bits, 1 or 2. Default 1, and 2 without parity.
    #[serde(default)]
    pub stop_bits: Option<u8>,
    /// Direction control by the kernel: `{ invert_rts, full_duplex, termination, delay_before_ms, delay_after_ms }`.
    /// Default: none, the adapter switches by itself.
    #[serde(default)]
    pub rs485: Option<Rs485>,
    /// Whether the line gives back what is sent, as some two-wire converters do. Default false.
    #[serde(default)]
    pub echo: bool,
    /// Where we listen for modems, `dtu` only. Lines with the same address share it.
    #[serde(default)]
    pub listen: Option<SocketAddr>,
    /// What this line's modem says first: text, or bytes as `hex:01ff`. Needed for `dtu`.
    #[serde(default)]
    pub registration: Option<String>,
    /// What the modem says now and then, which is passed over: text or `hex:`. Default: none.
    #[serde(default)]
    pub heartbeat: Option<String>,
    /// Longest wait for the registration, ms. Default 10000.
    #[serde(default = "default_registration_ms")]
    pub registration_ms: u64,
    /// Frames of a modem: `rtu`, `ascii` or `tcp`. Default `rtu`; only for `dtu`.
    #[serde(default)]
    pub framing: Option<DtuFraming>,
    /// Longest wait for a connection, ms. Default 2000.
    #[serde(default = "default_connect_timeout_ms")]
    pub connect_timeout_ms: u64,
    /// Longest pause between two attempts to connect, ms; the first is 100 ms. Default 10000.
    #[serde(default = "default_reconnect_max_ms")]
    pub reconnect_max_ms: u64,
    /// Pause after connecting before the first request, ms. Default 0.
    #[serde(default)]
    pub connect_pause_ms: u64,
    /// Least pause between an answer and the next request, ms. Default 0; on serial lines 3.5 characters at least.
    #[serde(default)]
    pub gap_ms: u64,
    /// Whether the connection is closed when all due reads are done, and opened for the next. Default false.
    #[serde(default)]
    pub close_after_poll: bool,
    /// Whether a connection is closed and opened anew after a request without answer. Default: true for one
    /// device; false for several on `tcp`, where a late answer is known by its transaction. Without transactions
    /// (`rtu_over_tcp`, `ascii_over_tcp`, `dtu`) always true.
    #[serde(default)]
    pub reopen_after_timeout: Option<bool>,
}

/// Frames of a modem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DtuFraming {
    /// RTU
    #[default]
    Rtu,
    /// ASCII
    Ascii,
    /// Modbus TCP
    Tcp,
}

fn default_port() -> u16 {
    502
}
fn default_failback_ms() -> u64 {
    60_000
}
fn default_baud() -> u32 {
    19_200
}
fn default_registration_ms() -> u64 {
    10_000
}
fn default_connect_timeout_ms() -> u64 {
    2000
}
fn default_reconnect_max_ms() -> u64 {
    10_000
}

impl LineConfig {
    /// The line of a device that says `host` and `port`.
    pub fn implicit(device: &DeviceConfig) -> Self {
        Self {
            name: format!("{}:{}", device.host, device.port),
            transport: Transport::Tcp,
            host: Some(device.host.clone()),
            port: device.port,
            backup_host: None,
            backup_port: None,
            failback_ms: default_failback_ms(),
            path: None,
            baud: default_baud(),
            data_bits: None,
            parity: Parity::default(),
            stop_bits: None,
            rs485: None,
            echo: false,
            listen: None,
            registration: None,
            heartbeat: None,
            registration_ms: default_registration_ms(),
            framing: None,
            connect_timeout_ms: device.connect_timeout_ms,
            reconnect_max_ms: device.reconnect_max_ms,
            connect_pause_ms: 0,
            gap_ms: 0,
            close_after_poll: false,
            reopen_after_timeout: None,
        }
    }

    /// How frames look.
    pub fn framing(&self) -> Framing {
        match (self.transport, self.framing.unwrap_or_default()) {
            (Transport::Tcp, _) | (Transport::Dtu, DtuFraming::Tcp) => Framing::Mbap,
            (Transport::Ascii | Transport::AsciiOverTcp, _) | (Transport::Dtu, DtuFraming::Ascii) => {
                Framing::Ascii
            }
            _ => Framing::Rtu,
        }
    }

    /// Whether it is a serial port of this box.
    pub fn is_serial(&self) -> bool {
        matches!(self.transport, Transport::Rtu | Transport::Ascii)
    }

    /// Data bits of the serial port.
    pub fn data_bits(&self) -> u8 {
        self.data_bits.unwrap_or(if self.transport == Transport::Ascii { 7 } else { 8 })
    }

    /// Stop bits of the serial port.
    pub fn stop_bits(&self) -> u8 {
        self.stop_bits.unwrap_or(if self.parity == Parity::None { 2 } else { 1 })
    }

    /// Looks for what only the keys together show.
    ///
    /// # Errors
    /// Key, and what is wrong and expected: the first of `faults`.
    pub fn check(&self) -> Result<(), Wrong> {
        self.faults().into_iter().next().map_or(Ok(()), Err)
    }

    /// All that is wrong with the keys together: key, and what is wrong and expected.
    pub fn faults(&self) -> Vec<Wrong> {
        let connects =
            matches!(self.transport, Transport::Tcp | Transport::RtuOverTcp | Transport::AsciiOverTcp);
        let dials_in = self.transport == Transport::Dtu;
        let text = |text: &Option<String>| text.as_deref().is_some_and(|t| t.trim().is_empty());
        let mut found = Faults::default();
        found.when(self.name.trim().is_empty(), "name", "expected a name");
        found.add(needed("host", self.host.as_deref(), connects, "a name or an address"));
        let port = "a serial port, such as /dev/serial/by-id/...";
        found.add(needed("path", self.path.as_deref(), self.is_serial(), port));
        let said = "what the modem says first";
        found.add(needed("registration", self.registration.as_deref(), dials_in, said));
        let listens = self.listen.is_some();
        found.when(dials_in && !listens, "listen", "missing: expected address and port to listen on");
        found.when(!dials_in && listens, "listen", "only `dtu` listens: leave it out");
        let backup = "only a line that connects has one: leave it out";
        found.when(!connects && self.backup_host.is_some(), "backup_host", backup);
        found.when(connects && text(&self.backup_host), "backup_host", "expected a name or an address");
        let dtu = "only `dtu` has it: leave it out";
        found.when(!dials_in && self.framing.is_some(), "framing", dtu);
        found.when(!dials_in && self.heartbeat.is_some(), "heartbeat", dtu);
        let no_port = "0 is not a port: expected 1 to 65535";
        found.when(self.port == 0, "port", no_port);
        found.when(self.backup_port == Some(0), "backup_port", no_port);
        self.serial_faults(&mut found);
        for (key, text) in [("registration", &self.registration), ("heartbeat", &self.heartbeat)] {
            let Some(text) = text.as_deref().filter(|t| dials_in && !t.trim().is_empty()) else { continue };
            // One byte could be the beginning of any answer.
            match packet(text) {
                Ok(bytes) => found.when(bytes.len() < 2, key, "one byte: expected 2 at least"),
                Err(message) => found.add(Err((key, message))),
            }
        }
        found.add(time("failback_ms", self.failback_ms, 100, 86_400_000));
        found.add(time("registration_ms", self.registration_ms, 1, 600_000));
        found.add(time("connect_timeout_ms", self.connect_timeout_ms, 1, 600_000));
        found.add(time("reconnect_max_ms", self.reconnect_max_ms, 1, 600_000));
        found.add(time("connect_pause_ms", self.connect_pause_ms, 0, 60_000));
        found.add(time("gap_ms", self.gap_ms, 0, 60_000));
        found.0
    }

    fn serial_faults(&self, found: &mut Faults) {
        if !self.is_serial() {
            let own = "only a serial port of this box has it: leave it out";
            found.when(self.rs485.is_some(), "rs485", own);
            return;
        }
        if !(300..=4_000_000).contains(&self.baud) {
            found.add(Err(("baud", format!("{} is not a speed: expected 300 to 4000000", self.baud))));
        }
        let least = if self.transport == Transport::Rtu { 8 } else { 7 };
        if !(least..=8).contains(&self.data_bits()) {
            let expected = if least == 8 { "8: rtu needs every bit of a byte" } else { "7 or 8" };
            let message = format!("{} are not possible: expected {expected}", self.data_bits());
            found.add(Err(("data_bits", message)));
        }
        if !(1..=2).contains(&self.stop_bits()) {
            let message = format!("{} are not possible: expected 1 or 2", self.stop_bits());
            found.add(Err(("stop_bits", message)));
        }
        if let Some(rs485) = self.rs485 {
            found.add(time("rs485", rs485.delay_before_ms.max(rs485.delay_after_ms), 0, 100));
        }
    }
}

fn needed(key: &'static str, given: Option<&str>, is_needed: bool, what: &str) -> Result<(), Wrong> {
    match given {
        None if is_needed => Err((key, format!("missing: expected {what}"))),
        Some(text) if is_needed && text.trim().is_empty() => Err((key, format!("expected {what}"))),
        Some(_) if !is_needed => Err((key, "this transport does not use it: leave it out".into())),
        _ => Ok(()),
    }
}

/// Longest registration or heartbeat.
const LONGEST_PACKET: usize = 128;

/// The bytes that a text stands for: itself, or those after `hex:`.
///
/// # Errors
/// What is wrong and expected.
pub(in crate::modbus) fn packet(text: &str) -> Result<Vec<u8>, String> {
    let bytes = match text.strip_prefix("hex:") {
        None => text.as_bytes().to_vec(),
        Some(digits) => {
            let digits: Vec<_> = digits.chars().filter(|c| !c.is_whitespace()).collect();
            let pairs = digits.chunks(2).map(|pair| match pair {
                [high, low] => Some((high.to_digit(16)? << 4 | low.to_digit(16)?).try_into().unwrap_or(0)),
                _ => None,
            });
            pairs.collect::<Option<Vec<u8>>>().ok_or("expected pairs of hexadecimal digits after `hex:`")?
        }
    };
    if (1..=LONGEST_PACKET).contains(&bytes.len()) {
        Ok(bytes)
    } else {
        Err(format!("{} bytes: expected 1 to {LONGEST_PACKET}", bytes.len()))
    }
}
