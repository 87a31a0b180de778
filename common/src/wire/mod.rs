//! What gateway and cloud say to each other: frames of the stream, and the messages that carry them.
//! Pure codecs: no I/O, no clock, no panic on any bytes.

mod frame;
mod message;

pub use crate::bytes::DecodeError;
pub use frame::{
    Body, Frame, FrameHeader, FrameKind, Gap, GapCause, MAX_SAMPLES_PER_FRAME, SampleRow, decode_samples,
    encode_samples,
};
pub use message::{
    Ack, Down, FEATURE_ALARMS, Heartbeat, Hello, HelloAck, Known, MAX_MESSAGE_BYTES, Refusal, SchemaPart,
    Snapshot, StreamRange, Up, split_schema,
};
