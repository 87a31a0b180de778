//! Which simulated units share a line, and where each line is served.

use std::fmt;

use gateway_adapters::modbus::{self, LineConfig};
use gateway_modbus::frame::Framing;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::Config;

/// Where a line is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its name in the configuration, or host and port.
    pub line: String,
    /// Address, or serial port.
    pub at: String,
    /// How frames look.
    pub framing: Framing,
    /// Unit ids, and the devices under each.
    pub units: Vec<(u8, String)>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let framing = match self.framing {
            Framing::Mbap => "tcp",
            Framing::Rtu => "rtu",
            Framing::Ascii => "ascii",
        };
        write!(f, "{} ({framing}): line {}", self.at, self.line)?;
        self.units.iter().try_for_each(|(unit, device)| write!(f, ", unit {unit} {device}"))
    }
}

/// What a serial port is to us.
pub(super) trait Port: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Port for T {}

/// A line of the configuration, and its units by index of their devices.
pub(super) struct Wanted {
    pub(super) settings: LineConfig,
    pub(super) units: Vec<(u8, usize)>,
}

impl Wanted {
    /// Over TCP a serial line is served as Modbus TCP, unless it is meant to carry its own frames there.
    pub(super) fn framing_over_tcp(&self) -> Framing {
        if self.settings.is_serial() { Framing::Mbap } else { self.settings.framing() }
    }

    pub(super) fn named_units(&self, config: &Config) -> Vec<(u8, String)> {
        let name = |index: usize| config.devices.get(index).map(|d| d.name.clone()).unwrap_or_default();
        self.units.iter().map(|(unit, index)| (*unit, name(*index))).collect()
    }
}

/// Every line that has devices.
pub(super) fn lines(config: &Config) -> Vec<Wanted> {
    let devices = config.devices.iter().enumerate().filter_map(|(i, d)| Some((i, d.modbus.as_ref()?)));
    let units = |indices: Vec<usize>| {
        let unit = |i: usize| Some((config.devices.get(i)?.modbus.as_ref()?.unit, i));
        indices.into_iter().filter_map(unit).collect()
    };
    // A device that names a line which there is not was refused with the configuration.
    let groups = modbus::group(&config.lines, devices).unwrap_or_default();
    groups.into_iter().map(|(settings, indices)| Wanted { settings, units: units(indices) }).collect()
}

/// Opens the serial port that a line is served on.
pub(super) fn serial(settings: &LineConfig, path: &str) -> Result<Box<dyn Port>, String> {
    let settings = LineConfig { path: Some(path.to_owned()), rs485: None, ..settings.clone() };
    Ok(Box::new(modbus::open_serial(&settings)?))
}
