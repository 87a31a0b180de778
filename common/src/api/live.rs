//! The live channel `GET /api/v1/live` (WebSocket). Text frames carry JSON control, events and results;
//! binary frames carry values by column.
//!
//! A binary frame is little-endian. Header, 32 bytes: magic `TW`, version u8 = 1, flags u8 = 0, area u16,
//! reserved u16, schema epoch u32, tick number u32, base time UTC us i64, rows u32, reserved u32. Then,
//! for `n` rows: values f64 x n (NaN where there is none or where it is not a number), source time minus
//! base in ms i32 x n, row numbers u32 x n, quality u8 x n, padded with 0 to a multiple of 8. Row numbers
//! refer to the `schema` message of the same area and epoch. Values are full doubles: a page that rounds
//! to 16 bits would show what the plant is not.

use serde::{Deserialize, Serialize};

use super::gateway::GatewayView;
use super::twin::{CommandView, DesiredView};
use crate::alarm::AlarmView;
use crate::command::LogEntry;
use crate::ids::TwinId;
use crate::quality::Quality;
use crate::value::Value;

/// Length of a binary frame's header.
pub const LIVE_HEADER_BYTES: usize = 32;
const MAGIC: [u8; 2] = *b"TW";
const VERSION: u8 = 1;

/// One row of a live frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LiveRow {
    /// Row number of the area's schema.
    pub row: u32,
    /// The value as a number; NaN where it has none.
    pub value: f64,
    /// Quality.
    pub quality: Quality,
    /// Source time, UTC us; the wire rounds to ms.
    pub source_us: i64,
}

/// A binary frame.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveFrame {
    /// Which area.
    pub area: u16,
    /// Which schema of the area.
    pub epoch: u32,
    /// Number of the tick.
    pub tick: u32,
    /// Time that rows refer to, UTC us.
    pub base_us: i64,
    /// Rows that changed since the client's last frame.
    pub rows: Vec<LiveRow>,
}

impl LiveFrame {
    /// The frame's bytes.
    #[allow(clippy::cast_possible_truncation)]
    pub fn encode(&self) -> Vec<u8> {
        let n = self.rows.len();
        let mut out = Vec::with_capacity(LIVE_HEADER_BYTES + n * 17 + 8);
        out.extend(MAGIC);
        out.extend([VERSION, 0]);
        out.extend(self.area.to_le_bytes());
        out.extend([0; 2]);
        out.extend(self.epoch.to_le_bytes());
        out.extend(self.tick.to_le_bytes());
        out.extend(self.base_us.to_le_bytes());
        out.extend((n as u32).to_le_bytes());
        out.extend([0; 4]);
        out.extend(self.rows.iter().flat_map(|r| r.value.to_le_bytes()));
        for r in &self.rows {
            let ms = r.source_us.saturating_sub(self.base_us).div_euclid(1000);
            let ms = ms.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32;
            out.extend(ms.to_le_bytes());
        }
        out.extend(self.rows.iter().flat_map(|r| r.row.to_le_bytes()));
        out.extend(self.rows.iter().map(|r| r.quality.code()));
        out.resize(out.len().next_multiple_of(8), 0);
        out
    }

    /// Reads a frame; none if the bytes are not one.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let u16_at = |at: usize| Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        let u32_at = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let i64_at = |at: usize| Some(i64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        if bytes.get(..4)? != [MAGIC[0], MAGIC[1], VERSION, 0] {
            return None;
        }
        let base_us = i64_at(16)?;
        let n = u32_at(24)? as usize;
        if bytes.len() != LIVE_HEADER_BYTES.checked_add(n.checked_mul(17)?)?.next_multiple_of(8) {
            return None;
        }
        let (values, times) = (LIVE_HEADER_BYTES, LIVE_HEADER_BYTES + 8 * n);
        let (numbers, qualities) = (times + 4 * n, times + 8 * n);
        let row = |i: usize| {
            Some(LiveRow {
                row: u32_at(numbers + 4 * i)?,
                value: f64::from_bits(i64_at(values + 8 * i)?.cast_unsigned()),
                quality: Quality::from_code(*bytes.get(qualities + i)?),
                source_us: base_us.saturating_add(i64::from(u32_at(times + 4 * i)?.cast_signed()) * 1000),
            })
        };
        let rows = (0..n).map(row).collect::<Option<_>>()?;
        Some(Self { area: u16_at(4)?, epoch: u32_at(8)?, tick: u32_at(12)?, base_us, rows })
    }
}

/// A value that is no number, beside the binary frames.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TextValue {
    /// Row number of the area's schema.
    pub row: u32,
    /// The value.
    pub value: Option<Value>,
    /// Quality.
    pub quality: Quality,
    /// Source time, UTC us.
    pub source_us: i64,
}

/// Client to server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum ClientMessage {
    /// Values of every area that the account may see, at most `max_hz` frames a second and area.
    Subscribe {
        /// 0.1 to 50; default 10
        #[serde(default)]
        max_hz: Option<f64>,
    },
}

/// Server to client, as text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerMessage {
    /// Rows of an area: row number `i` is `rows[i]`. All rows follow in a binary frame.
    Schema {
        /// Which area.
        area: u16,
        /// Its path in the asset tree.
        path: String,
        /// Which version of its rows.
        epoch: u32,
        /// Twin and point of each row.
        rows: Vec<(TwinId, String)>,
    },
    /// Values that are no numbers.
    Texts {
        /// Which area.
        area: u16,
        /// Which version of its rows.
        epoch: u32,
        /// The values.
        values: Vec<TextValue>,
    },
    /// A command went on.
    Command {
        /// The command.
        command: Box<CommandView>,
    },
    /// A desired value went on; `desired` is none when withdrawn.
    Desired {
        /// Which twin.
        twin: TwinId,
        /// Which point.
        point: String,
        /// Where it stands.
        desired: Option<DesiredView>,
    },
    /// Something happened.
    Event {
        /// What.
        event: LogEntry,
    },
    /// An alarm changed.
    Alarm {
        /// The alarm as it is now.
        alarm: Box<AlarmView>,
    },
    /// A gateway came, went or told how it fares.
    Gateway {
        /// The gateway.
        gateway: Box<GatewayView>,
    },
    /// Twins were added or changed: read them again.
    Twins,
    /// This client was too slow and missed so many text messages: read the lists again.
    Lost {
        /// How many.
        count: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_live_frame_is_read_back_and_aligned() {
        for n in 0..5u32 {
            let rows = (0..n)
                .map(|i| LiveRow {
                    row: i * 3,
                    value: f64::from(i) + 0.5,
                    quality: Quality::UNCERTAIN,
                    source_us: 1_000_000 - i64::from(i) * 1000,
                })
                .collect();
            let frame = LiveFrame { area: 2, epoch: 7, tick: 9, base_us: 1_000_000, rows };
            let bytes = frame.encode();
            assert_eq!(bytes.len() % 8, 0);
            assert_eq!(LiveFrame::decode(&bytes), Some(frame));
            for cut in 0..bytes.len() {
                assert_eq!(LiveFrame::decode(&bytes[..cut]), None);
            }
        }
    }
}
