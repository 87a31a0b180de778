//! Applies schemas, frames and snapshots to the live state of twins. Pure: no I/O, no clock, no lock.
//!
//! A value takes its place by `Position` alone (rank of the incarnation, sequence, row), never by time: a
//! stamp from the future freezes nothing, and applying twice or in another order ends in the same state.

mod bind;
mod merge;

pub use bind::{add_schema, put_schema, set_online};
pub use merge::{Outcome, apply_desired, apply_frame, apply_snapshot};
