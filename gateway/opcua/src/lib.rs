//! OPC UA beneath both roles: the folders of certificates, and how values, status codes and node ids are ours. No session.

pub mod node;
pub mod pki;
pub mod status;
pub mod value;

pub use node::{Namespace, NodeRef, NodeRefError};
