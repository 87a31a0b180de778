//! Words for people.

use std::fmt::Display;

/// A count with its noun: `1 device`, `2 devices`. The noun makes its plural with an s.
pub fn counted<N: Display + PartialEq + From<u8>>(n: N, noun: &str) -> String {
    let plural = if n == N::from(1) { "" } else { "s" };
    format!("{n} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn one_has_no_plural() {
        assert_eq!([0u64, 1, 2].map(|n| counted(n, "point")), ["0 points", "1 point", "2 points"]);
    }
}
