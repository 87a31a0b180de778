//! The broker from outside, packet by packet: doors (TLS, WebSocket, passwords, rights), MQTT 5, restarts, and clients
//! that mean harm.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod doors;
mod hostile;
mod paho;
mod renew;
mod restart;
mod rig;
mod v5;
