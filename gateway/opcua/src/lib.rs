//! OPC UA beneath both roles: the folders of certificates, and how values, status codes and node ids are ours. No session.

pub mod node;
#[cfg(feature = "stack")]
pub mod pki;
#[cfg(feature = "stack")]
pub mod status;
#[cfg(feature = "stack")]
pub mod value;

pub use node::{Identifier, Namespace, NodeRef, NodeRefError};
