//! What a program writes, beside what is kept.

use crate::kept::{kept, path};

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
