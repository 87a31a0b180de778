//! What the box's alarms are to those who bring orders from the cloud.

use common::alarm::AlarmOrder;

/// Takes orders about alarms. What became of one is in the log, as the alarm's next change.
pub trait AlarmOrders: Send + Sync {
    /// Takes an order. Asking again changes nothing more.
    fn alarm(&self, order: AlarmOrder);
}
