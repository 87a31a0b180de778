//! A simulated electrode coating line with its gateway and cloud, in one command: real Modbus TCP, real
//! MQTT, real storage. What a newcomer runs first, and what tests and benchmarks drive.

pub mod plant;
pub mod plc;
pub mod sensors;
