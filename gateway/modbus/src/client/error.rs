//! Why a request did not succeed.

use std::time::Duration;

use crate::frame::FrameError;
use crate::pdu::{DecodeError, EncodeError, Exception, Misfit};

/// Why a request did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The connection is gone; nothing was sent.
    #[error("not connected")]
    Closed,
    /// There is no such request; nothing was sent.
    #[error("no such request: {0}")]
    Request(EncodeError),
    /// The line does not become silent; nothing was sent.
    #[error("the line is never silent")]
    Noise,
    /// No answer in time.
    #[error("no answer within {} ms", limit.as_millis())]
    Timeout {
        /// The limit.
        limit: Duration,
    },
    /// The connection broke before the answer. It is gone.
    #[error("connection lost: {detail}")]
    Broken {
        /// What the system said.
        detail: String,
    },
    /// What came was not the answer.
    #[error("wrong answer: {0}")]
    Wrong(Wrong),
    /// The device refused. The connection lives.
    #[error("{0}")]
    Refused(Exception),
}

/// How what came was not the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// No frame.
    #[error("{0}")]
    Frame(FrameError),
    /// No answer.
    #[error("{0}")]
    Answer(DecodeError),
    /// An answer to something else.
    #[error("{0}")]
    Misfit(Misfit),
    /// A transaction that was never begun.
    #[error("transaction {got} is none of ours")]
    Transaction {
        /// Which.
        got: u16,
    },
    /// Another unit.
    #[error("unit {got} answered, asked was {asked}")]
    Unit {
        /// Which was asked.
        asked: u8,
        /// Which answered.
        got: u8,
    },
    /// Not what was sent came back, on a line that gives back what is sent.
    #[error("the line did not give back what was sent")]
    Echo,
}

impl CallError {
    /// Whether the device may have heard of the request.
    pub fn is_sent(&self) -> bool {
        !matches!(self, Self::Closed | Self::Request(_) | Self::Noise)
    }

    /// Whether the device answered, if only to refuse.
    pub fn is_answer(&self) -> bool {
        matches!(self, Self::Refused(_))
    }
}
