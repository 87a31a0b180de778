//! OPC UA servers: points are subscribed or polled, written when control asks, and methods are called as commands.
//! Beneath is async-opcua with its session; which endpoint and certificate is taken, what subscriptions send and how
//! they recover is ours. Not here: values, status codes, node ids and certificates (`gateway-opcua`).

mod adapter;
mod address;
mod browse;
mod call;
mod codec;
mod config;
mod connect;
mod error;
mod events;
mod history;
mod items;
mod labels;
mod limits;
mod messages;
mod point;
mod poll;
mod publish;
mod recover;
mod session;
mod setup;
mod spec;
mod structure;
mod tool;
mod types;
mod write;

pub use adapter::{Adapter, Error};
pub use browse::{Bounds, Browsed, Found};
pub use config::{Accept, DeviceConfig, Mode, Profile, Security};
pub use connect::Kit;
pub use error::ConnectError;
pub use point::{Argument, Index, PointConfig, Trigger};
pub use tool::{NodeValue, Tool};
