//! Sockets: listeners' doors (plain, TLS, WebSocket), the first packet, and the life of a connection. Each connection
//! has a task of its own from the first byte on, so that nobody waits for another's handshake.

mod client;
mod door;
mod hello;
mod talk;
mod wire;
mod ws;

pub(crate) use client::serve;
pub(crate) use door::{Door, Newcomers};
