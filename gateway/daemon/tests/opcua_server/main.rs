//! The OPC UA server against a client that we did not write (asyncua), over encrypted sessions: what is there, what is
//! told, what is written and refused, and who is let in.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../rig/mod.rs"]
mod rig;

mod hostile;
mod model;
mod security;
mod ua;
mod values;
mod writes;
