//! The way to gateways, for those who have orders for them.

use async_trait::async_trait;
use common::Incarnation;
use common::alarm::AlarmOrder;
use common::api::{GatewayView, HeldBox, UpdateOffer};
use common::command::{CommandOrder, DesiredOrder, LogEntry};
use common::wire::WantedConfiguration;

use crate::storage::{GatewayKey, StoreError};

/// Why an order was not handed to a live session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DownlinkError {
    /// No live session.
    #[error("gateway {gateway} has no live session")]
    Offline {
        /// Which gateway.
        gateway: String,
    },
    /// The session takes no more now.
    #[error("gateway {gateway} takes no more orders now")]
    Full {
        /// Which gateway.
        gateway: String,
    },
    /// The gateway's program does not know such orders.
    #[error("gateway {gateway} runs a program that is too old for it")]
    Unsupported {
        /// Which gateway.
        gateway: String,
    },
}

/// Why a box was not let in.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BoxError {
    /// No box is held back that is meant, or several are.
    #[error("{} boxes are held back", held.len())]
    Which {
        /// Those that are held.
        held: Vec<HeldBox>,
    },
    /// It cannot be kept.
    #[error("storage")]
    Storage(#[from] StoreError),
}

/// Live sessions of gateways. An order goes to a live session or nowhere: never queued for later.
#[async_trait]
pub trait Downlink: Send + Sync {
    /// The gateway's session time in us, never ahead of the gateway's own: a deadline made from it is
    /// never too late. None without a live session.
    fn session_us(&self, gateway: &GatewayKey) -> Option<u64>;

    /// Hands over a command.
    ///
    /// # Errors
    /// When there is no live session that takes it; then the gateway has not got it.
    async fn command(&self, gateway: &GatewayKey, order: CommandOrder) -> Result<(), DownlinkError>;

    /// Hands over desired values.
    ///
    /// # Errors
    /// When there is no live session that takes them; then the gateway has not got them.
    async fn desired(&self, gateway: &GatewayKey, orders: Vec<DesiredOrder>) -> Result<(), DownlinkError>;

    /// Hands over what somebody wants done with an alarm.
    ///
    /// # Errors
    /// When there is no live session that takes it, or its program does not know alarms.
    async fn alarm(&self, gateway: &GatewayKey, order: AlarmOrder) -> Result<(), DownlinkError>;

    /// Hands over the configuration document that is wanted now, if there is a live session that takes it. Else the gateway
    /// hears of it in its next session: it is in storage.
    async fn configuration(&self, gateway: &GatewayKey, wanted: WantedConfiguration);

    /// Offers a bundle to a gateway, or takes back what was offered, if there is a live session that takes bundles and has not
    /// heard so. Else it is offered anew in its next session, by whoever rolls out.
    fn offer(&self, gateway: &GatewayKey, offer: Option<UpdateOffer>);

    /// The gateway was given another credential: its sessions end, and who has the new one is let in, whichever box it
    /// is.
    ///
    /// # Errors
    /// When storage refuses; the sessions go on.
    async fn credential_changed(&self, gateway: &GatewayKey) -> Result<(), StoreError>;

    /// Lets a box in that is held back, in place of the one before: the one of this incarnation, or the only one. The
    /// entry is put into the audit with what was done.
    ///
    /// # Errors
    /// When no such box is held, several are and none is named, or storage refuses.
    async fn accept_box(
        &self,
        gateway: &GatewayKey,
        incarnation: Option<Incarnation>,
        audit: LogEntry,
    ) -> Result<HeldBox, BoxError>;

    /// All gateways that were ever seen, and how they fare.
    fn gateways(&self) -> Vec<GatewayView>;
}
