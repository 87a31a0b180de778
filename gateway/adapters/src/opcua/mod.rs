//! OPC UA servers: points are subscribed or polled, written when control asks, and methods are called as commands.
//! Beneath is async-opcua with its session; which endpoint and certificate is taken, what subscriptions send and how
//! they recover is ours. Not here: values, status codes, node ids and certificates (`gateway-opcua`).

#[cfg(feature = "opcua")]
mod adapter;
mod address;
#[cfg(feature = "opcua")]
mod browse;
#[cfg(feature = "opcua")]
mod call;
#[cfg(feature = "opcua")]
mod codec;
mod config;
#[cfg(feature = "opcua")]
mod connect;
#[cfg(feature = "opcua")]
mod error;
#[cfg(feature = "opcua")]
mod events;
#[cfg(feature = "opcua")]
mod history;
#[cfg(feature = "opcua")]
mod items;
#[cfg(feature = "opcua")]
mod labels;
#[cfg(feature = "opcua")]
mod limits;
#[cfg(feature = "opcua")]
mod messages;
mod point;
#[cfg(feature = "opcua")]
mod poll;
#[cfg(feature = "opcua")]
mod publish;
#[cfg(feature = "opcua")]
mod recover;
#[cfg(feature = "opcua")]
mod session;
#[cfg(feature = "opcua")]
mod setup;
#[cfg(feature = "opcua")]
mod spec;
#[cfg(feature = "opcua")]
mod structure;
#[cfg(feature = "opcua")]
mod tool;
#[cfg(feature = "opcua")]
mod types;
#[cfg(feature = "opcua")]
mod write;

#[cfg(feature = "opcua")]
pub use adapter::{Adapter, Error};
#[cfg(feature = "opcua")]
pub use browse::{Bounds, Browsed, Found};
pub use config::{Accept, DeviceConfig, Mode, Profile, Security};
#[cfg(feature = "opcua")]
pub use connect::Kit;
#[cfg(feature = "opcua")]
pub use error::ConnectError;
pub use point::{Argument, Index, PointConfig, Trigger};
#[cfg(feature = "opcua")]
pub use tool::{NodeValue, Tool};
