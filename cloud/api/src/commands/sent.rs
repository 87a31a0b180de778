//! Commands that were handed to a session a moment ago. The step `sent` is shown at once; it is stored with the
//! gateway's next word, and by itself only when none comes: a commit of its own would hold up the result's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::api::{CommandStep, CommandView};
use common::command::CommandUpdate;
use common::{CommandId, CommandState};

use super::Commands;

/// How long the gateway's next word is waited for.
const STORED_AFTER: Duration = Duration::from_millis(250);
/// More than these at once are stored without waiting.
const MOST: usize = 4_096;

/// When each was sent, UTC us. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub(super) struct Sent(Arc<Mutex<HashMap<CommandId, i64>>>);

impl Sent {
    fn lock(&self) -> MutexGuard<'_, HashMap<CommandId, i64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The command as it is: storage may not know yet that it was sent.
    pub(super) fn show(&self, view: &mut CommandView) {
        if view.state != CommandState::Accepted {
            return;
        }
        if let Some(at_us) = self.lock().get(&view.id).copied() {
            view.state = CommandState::Sent;
            view.steps.push(CommandStep { state: CommandState::Sent, at_us });
        }
    }
}

impl Commands {
    /// A command was handed to a session; the command as it is now.
    pub(super) fn sent(&self, mut view: CommandView, update: CommandUpdate) -> CommandView {
        let wait = {
            let mut sent = self.0.sent.lock();
            sent.insert(update.id, update.at_us);
            if sent.len() > MOST { Duration::ZERO } else { STORED_AFTER }
        };
        self.0.sent.show(&mut view);
        self.metrics.command(CommandState::Sent);
        self.publish(&view);
        let commands = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            // Changes nothing if the gateway has told it, or more.
            if let Err(error) = commands.storage.update_command(&update).await {
                tracing::error!(%error, command = %update.id, "a command's sending is not stored");
            }
            commands.0.sent.lock().remove(&update.id);
        });
        view
    }

    /// As `Sent::show`.
    pub(crate) fn shown(&self, mut view: CommandView) -> CommandView {
        self.0.sent.show(&mut view);
        view
    }
}
