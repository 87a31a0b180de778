//! What the box's alarms are to those who show them and bring orders.

use common::alarm::{AlarmAct, AlarmId, AlarmOrder, AlarmView, Remark};
use common::names::Code;
use tokio::sync::broadcast;

/// Takes orders about alarms. What became of one is in the log, as the alarm's next change.
pub trait AlarmOrders: Send + Sync {
    /// Takes an order. Asking again changes nothing more.
    fn alarm(&self, order: AlarmOrder);
}

/// The box's alarms as they are.
pub trait AlarmDesk: Send + Sync {
    /// All alarms, the most urgent first.
    fn list(&self) -> Vec<AlarmView>;

    /// One alarm.
    fn get(&self, id: AlarmId) -> Option<AlarmView>;

    /// What was said of an alarm last.
    fn said(&self, id: AlarmId) -> Option<Remark>;

    /// Does what somebody wants, at once. No comment leaves what was said before.
    ///
    /// # Errors
    /// The code and a sentence, when there is no such alarm or it cannot be changed.
    fn act(
        &self,
        id: AlarmId,
        act: AlarmAct,
        who: &str,
        comment: Option<&str>,
    ) -> Result<AlarmView, (Code, String)>;

    /// Every change as it happens. A slow listener misses some and is told (`RecvError::Lagged`).
    fn changes(&self) -> broadcast::Receiver<AlarmView>;
}
