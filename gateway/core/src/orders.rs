//! What control is to those who bring orders: the uplink, the local API, and later OPC UA clients.

use async_trait::async_trait;
use common::api::{CommandRequest, SwitchPosition};
use common::command::{CommandOrder, CommandUpdate, DesiredOrder, Requester};
use common::names::Code;
use common::{CommandId, TwinId};

/// The command path. All answers also go to the log as frames and to `updates`.
#[async_trait]
pub trait Orders: Send + Sync {
    /// Takes a command of the cloud. Returns at once; the outcome goes to the log. The same id again
    /// changes nothing; its last update is logged again.
    fn command(&self, order: CommandOrder);

    /// Takes desired values of the cloud. The outcome goes to the log.
    fn desired(&self, orders: Vec<DesiredOrder>);

    /// Takes a command at the box. The same idempotency key with the same request gives the same command.
    ///
    /// # Errors
    /// The code and a sentence, when the command is refused before it has an identity (`queue_full`,
    /// `idempotency_conflict`, `unknown_point`).
    async fn submit(
        &self,
        twin: TwinId,
        request: CommandRequest,
        requester: Requester,
        idempotency_key: String,
    ) -> Result<CommandUpdate, (Code, String)>;

    /// The last update of a command.
    fn get(&self, id: CommandId) -> Option<CommandUpdate>;

    /// The last updates of the newest commands, newest first.
    fn recent(&self, limit: usize) -> Vec<CommandUpdate>;

    /// Every update as it happens. A slow listener misses some and is told (`RecvError::Lagged`).
    fn updates(&self) -> tokio::sync::broadcast::Receiver<CommandUpdate>;

    /// Where the local/remote switch stands.
    fn switch(&self) -> SwitchPosition;

    /// Sets the switch. Only for callers at the box. To local it is set at once and always; to remote once the
    /// change is on disk.
    ///
    /// # Errors
    /// To remote: `audit_unavailable` when the change cannot be put on disk, `local_mode` when somebody set it
    /// to local meanwhile; then it is not made.
    async fn set_switch(&self, to: SwitchPosition, who: &str, reason: &str) -> Result<(), (Code, String)>;
}
