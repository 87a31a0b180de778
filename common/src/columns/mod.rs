//! Columns: how samples become few bytes. Numbers stand by column, what is alike beside what is alike; each column is
//! predicted and only what was not expected is written, in as many bits as it needs. Nothing is lost, to the bit.
//!
//! Pure and total: no I/O, no clock; any numbers can be written, and no bytes make the reader panic or take more
//! memory than the count of rows and the bytes of text that its caller allows. The bytes are specified in `docs/protocol.md`.

mod bits;
mod blocks;
mod floats;
mod ints;
mod step;
mod table;
mod values;

pub use bits::{BitReader, BitWriter};
pub use floats::{put_floats, take_floats};
pub use ints::{put_plain, put_residuals, put_series, take_plain, take_residuals, take_series};
pub use table::{Columns, put_table, take_columns, take_table};
pub use values::{Texts, put_values, take_values};

/// Runs of these lengths, one after the other; short ones where `all` ends early.
fn runs<T>(all: &[T], lengths: impl IntoIterator<Item = usize>) -> impl Iterator<Item = &[T]> {
    let mut rest = all;
    lengths.into_iter().map(move |n| {
        let (run, after) = rest.split_at(n.min(rest.len()));
        rest = after;
        run
    })
}
