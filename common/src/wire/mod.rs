//! What gateway and cloud say to each other: frames of the stream, and the messages that carry them.
//! Pure codecs: no I/O, no clock, no panic on any bytes.

mod batch;
mod configuration;
mod frame;
mod gap;
mod identity;
mod message;
mod samples;
mod update;
mod waveform;

pub use crate::bytes::DecodeError;
pub use batch::{Batch, MAX_BATCH_FRAMES, MAX_BATCH_ROWS};
pub use configuration::{ConfigurationPart, ConfigurationParts, WantedConfiguration};
pub use frame::{Body, Frame, FrameHeader, FrameKind, Gap, GapCause, MAX_SAMPLES_PER_FRAME, SampleRow};
pub use identity::{Identity, MAX_LINE, SetAside};
pub use message::{
    Ack, Credit, Down, FEATURE_ALARMS, FEATURE_BATCH, FEATURE_CERTIFICATES, FEATURE_COLUMNS,
    FEATURE_CONFIGURATION, FEATURE_CREDIT, FEATURE_GAP_CAUSES, FEATURE_SELDOM, FEATURE_SET_ASIDE,
    FEATURE_UPDATES, FEATURE_WAVEFORMS, Heartbeat, Hello, HelloAck, Known, MAX_MESSAGE_BYTES, Refusal,
    SchemaPart, Snapshot, StreamRange, Up, split_schema,
};
pub use samples::{decode_samples, encode_samples};
pub use update::{MAX_PIECE_BYTES, Piece, PieceRequest};
pub use waveform::{MAX_BLOCK_VALUES, MAX_WAVEFORM_VALUES, WaveValues, Waveform};
