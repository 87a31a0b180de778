//! What an adapter is to the rest of the gateway. Adapters read and report; they write only when control
//! asks them through `DeviceWriter`.

use std::sync::Arc;

use async_trait::async_trait;
use common::names::Code;
use common::supervise::PartError;
use common::{Drain, PointId, Value};
use tokio::time::Instant;

/// One device's driver. It pushes raw samples into a `RawSender` that it got when made, and its device's
/// state into `Health`.
#[async_trait]
pub trait Adapter: Send + Sync {
    /// Reads the device until drained. It reconnects by itself and returns an error only for what a new
    /// start could mend.
    ///
    /// # Errors
    /// A fault of the adapter itself; the supervisor starts it again.
    async fn run(&self, drain: Drain) -> Result<(), PartError>;

    /// From here on nothing is missed that is published for the device, though `run` begins later. Called once, before the
    /// first run and before the broker lets anybody in; a run after a fault hears what comes from its own beginning.
    fn listen(&self) {}

    /// The way to write to the device, if the protocol and configuration allow any.
    fn writer(&self) -> Option<Arc<dyn DeviceWriter>>;
}

/// What a read-back found.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Raw value read from the device after the write; none if the point cannot be read.
    pub raw: Option<Value>,
}

/// Why a write did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Nothing was sent to the device.
    #[error("not sent: {detail}")]
    NotSent {
        /// Why, stable.
        code: Code,
        /// Why, for people.
        detail: String,
    },
    /// The device answered that it did not do it.
    #[error("refused by the device: {detail}")]
    Refused {
        /// What it said.
        detail: String,
    },
    /// Something was sent and nothing sure came back: the write may have happened.
    #[error("outcome not known: {detail}")]
    Unsure {
        /// What happened.
        detail: String,
    },
}

/// Asked right before a write is sent, after all waiting: whether it may still happen. The code and a sentence
/// if not. It does not wait.
pub type Permit = Arc<dyn Fn() -> Result<(), (Code, String)> + Send + Sync>;

/// The way to write to a device. Only control holds one.
#[async_trait]
pub trait DeviceWriter: Send + Sync {
    /// Writes a raw value, in the type of the point's `RawRange`, and reads it back. Not begun after
    /// `deadline`, nor without the `permit`, which is asked when the device is free, nor once the caller no
    /// longer waits.
    ///
    /// # Errors
    /// See `WriteError`. An error of the read-back after an acknowledged write is `Unsure`.
    async fn write(
        &self,
        point: PointId,
        raw: Value,
        deadline: Instant,
        permit: Permit,
    ) -> Result<Reading, WriteError>;

    /// Reads the point's raw value now, to settle what an earlier write did.
    ///
    /// # Errors
    /// When the device gives no answer.
    async fn read(&self, point: PointId) -> Result<Reading, WriteError>;
}
