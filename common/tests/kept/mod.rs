//! Kept bytes: hexadecimal in lines, `#` begins a comment.

pub(crate) mod frames;

use std::path::PathBuf;

pub(crate) fn path(name: &str) -> PathBuf {
    // Of whichever crate's tests read them.
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../common/tests/wire").join(name)
}

/// The bytes of a vector.
pub(crate) fn kept(name: &str) -> Vec<u8> {
    let text = std::fs::read_to_string(path(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    let digits: String =
        text.lines().filter(|l| !l.starts_with('#')).flat_map(str::split_whitespace).collect();
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal");
    (0..digits.len()).step_by(2).map(byte).collect()
}
