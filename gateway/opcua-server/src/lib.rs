//! One OPC UA address space for every device, whatever protocol it speaks: gateway, areas, devices of shared types,
//! typed points. Reads come from the current values, subscriptions from the bus, history from the buffer; what is
//! written goes through the command path. No node is stored, and no value is copied.

mod auth;
mod events;
mod gate;
mod manager;
mod options;
mod pump;
mod refusal;
mod server;
mod space;
mod users;
mod watch;

pub use options::{
    CurrentNameplates, Identification, Limits, Nameplate, Nameplates, Options, Parts, Policy, SignIn,
    namespace,
};
pub use server::{Error, Handle, Server};
pub use space::nodeset_xml;
