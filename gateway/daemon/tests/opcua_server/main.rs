//! The OPC UA server against clients that we did not write (asyncua, node-opcua), over encrypted sessions: what is there,
//! what is told, what is written and refused, and who is let in.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../rig/mod.rs"]
mod rig;

mod alarms;
mod hostile;
mod model;
mod node;
mod reload;
mod security;
mod status;
mod ua;
mod values;
mod writes;
