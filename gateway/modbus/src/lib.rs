//! Modbus as it is on the line: requests and answers, the three framings, and a conversation over any stream that
//! takes no answer for another. Pure but for the conversation: no socket, no port, no configuration. Not here:
//! when to read what (`gateway-adapters`), and what values mean (`gateway-pipeline`). `value`, `address` and `plan` say how
//! points lie in registers and which are read together.

mod address;
pub mod client;
pub mod frame;
pub mod pdu;
pub mod plan;
pub mod server;
mod table;
pub mod value;

pub use address::{Address, AddressError};
pub use table::Table;
