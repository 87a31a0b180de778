//! A simulated electrode coating line with its gateway and cloud, in one command: real Modbus TCP, real
//! OPC UA, real MQTT, real storage. What a newcomer runs first, and what tests and benchmarks drive.

pub mod account;
pub mod console;
pub mod folder;
pub mod line;
pub mod link;
pub mod options;
pub mod oven;
pub mod plant;
pub mod plc;
mod ports;
pub mod sensors;

pub use line::Demo;
pub use options::Options;
