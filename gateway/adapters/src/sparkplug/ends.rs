//! What devices on the gateway's own broker are given of it.

use std::sync::Arc;

use gateway_core::{Messages, Publish};

use super::nodes::Nodes;

/// Both ways to the broker, and what is known of who was asked for births.
#[derive(Clone)]
pub struct Ends {
    /// Where messages are read.
    pub source: Arc<dyn Messages>,
    /// Where requests for births and commands go.
    pub publish: Arc<dyn Publish>,
    /// Shared by all devices.
    pub nodes: Nodes,
}
