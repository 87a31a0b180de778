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

/// Executions of a property test: `TWINWAY_FUZZ_CASES` for long runs.
#[cfg(test)]
fn cases(usual: u32) -> proptest::test_runner::Config {
    let cases = std::env::var("TWINWAY_FUZZ_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(usual);
    // What a case leaves out grows with their number.
    let max_global_rejects = cases.max(1024);
    proptest::test_runner::Config {
        cases,
        max_global_rejects,
        failure_persistence: None,
        ..Default::default()
    }
}

pub use address::{Address, AddressError};
pub use table::Table;
