//! Kept bytes: hexadecimal in lines, `#` begins a comment.

use std::path::PathBuf;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/wire").join(name)
}

/// The bytes of a vector.
pub(crate) fn kept(name: &str) -> Vec<u8> {
    let text = std::fs::read_to_string(path(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    let digits: String =
        text.lines().filter(|l| !l.starts_with('#')).flat_map(str::split_whitespace).collect();
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal");
    (0..digits.len()).step_by(2).map(byte).collect()
}

/// What a vector's file would hold, for those who add one.
fn text(bytes: &[u8]) -> String {
    let mut out = String::new();
    for line in bytes.chunks(48) {
        out.extend(line.iter().map(|b| format!("{b:02x}")));
        out.push('\n');
    }
    out
}

/// Of what can be written in one way only.
pub(crate) fn is_kept(name: &str, bytes: &[u8]) {
    let is = path(name).exists() && kept(name) == bytes;
    assert!(is, "{name} is not what this program writes, which is\n{}", text(bytes));
}
