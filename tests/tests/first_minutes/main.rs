//! The first minutes of a box: `twinway init` finds a Modbus RTU device on a serial line, a Modbus TCP device and an OPC UA server,
//! writes a configuration, enrols the box, and what the gateway reads with it reaches the cloud. And `twinway diag`, which tells all of a
//! box but its secrets. Real processes throughout.

mod diag;
mod init;
mod site;
