//! Opens a serial port. A port that vanishes ends its stream; the next attempt opens the path anew, so a by-id path
//! finds the same adapter under whatever number it came back.

use std::time::Duration;

use serial2_tokio::rs4xx::{Rs485Config, TransceiverMode};
use serial2_tokio::{CharSize, FlowControl, Parity as Bit, SerialPort, Settings, StopBits};

use crate::modbus::settings::{LineConfig, Parity};

/// Opens the line's port and sets it.
///
/// # Errors
/// What the system said.
pub fn open(config: &LineConfig) -> Result<SerialPort, String> {
    let path = config.path.as_deref().unwrap_or_default();
    let port = SerialPort::open(path, |mut settings: Settings| {
        settings.set_raw();
        settings.set_baud_rate(config.baud)?;
        settings.set_char_size(if config.data_bits() == 7 { CharSize::Bits7 } else { CharSize::Bits8 });
        settings.set_stop_bits(if config.stop_bits() == 2 { StopBits::Two } else { StopBits::One });
        settings.set_parity(match config.parity {
            Parity::None => Bit::None,
            Parity::Even => Bit::Even,
            Parity::Odd => Bit::Odd,
        });
        settings.set_flow_control(FlowControl::None);
        Ok(settings)
    });
    let port = port.map_err(|e| format!("cannot open {path}: {e}"))?;
    if let Some(wanted) = config.rs485 {
        let mut mode = Rs485Config::new();
        mode.set_invert_rts(wanted.invert_rts);
        mode.set_full_duplex(wanted.full_duplex);
        mode.set_bus_termination(wanted.termination);
        mode.set_delay_before_send(Duration::from_millis(wanted.delay_before_ms));
        mode.set_delay_after_send(Duration::from_millis(wanted.delay_after_ms));
        port.set_rs4xx_mode(TransceiverMode::Rs485(mode))
            .map_err(|e| format!("{path} cannot switch direction itself: {e}"))?;
    }
    port.discard_buffers().map_err(|e| format!("cannot clear {path}: {e}"))?;
    Ok(port)
}
