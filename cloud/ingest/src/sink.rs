//! Where the ingress hands on what came. The service joins it to the twins and the live channel.

use std::sync::Arc;

use cloud_core::{GatewayKey, NewFrame};
use common::Schema;
use common::api::GatewayView;
use common::command::LogEntry;
use common::wire::Snapshot;

/// Takes what gateways say. Called from the sessions' tasks: none of these may block.
pub trait Sink: Send + Sync {
    /// Frames that are durable and were not there before, in the order of their commit.
    fn frames(&self, frames: &[NewFrame]);

    /// Current values.
    fn snapshot(&self, gateway: &GatewayKey, rank: u64, schema: &Schema, snapshot: &Snapshot);

    /// A schema that is stored. `current`: the gateway's points are so now; otherwise only older frames
    /// refer to it.
    fn schema(&self, gateway: &GatewayKey, schema: &Arc<Schema>, rank: u64, current: bool);

    /// A gateway came, went or told how it fares.
    fn gateway(&self, gateway: &GatewayKey, view: GatewayView);

    /// A session can take orders, and the gateway's twins are there.
    fn session_started(&self, gateway: &GatewayKey);

    /// Something happened that people should see; it is in the audit already.
    fn event(&self, entry: &LogEntry);
}
