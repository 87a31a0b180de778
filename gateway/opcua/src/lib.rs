//! OPC UA beneath both roles: the folders of certificates, and how values, status codes and node ids are ours. No session.

pub mod pki;
