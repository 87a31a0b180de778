//! What interval sets lack: differences, within bounds.

use common::IntervalSet;

/// What is in `a` and not in `b`.
pub(crate) fn minus(a: &IntervalSet, b: &IntervalSet) -> IntervalSet {
    a.minus(b)
}

/// How many of `a` are not in `b`.
pub(crate) fn missing(a: &IntervalSet, b: &IntervalSet) -> u64 {
    if b.is_empty() { a.len() } else { minus(a, b).len() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn minus_agrees_with_plain_sets(
            a in prop::collection::vec((0u64..60, 0u64..8), 0..12),
            b in prop::collection::vec((0u64..60, 0u64..8), 0..12),
        ) {
            let set = |runs: &[(u64, u64)]| -> IntervalSet { runs.iter().map(|(s, n)| (*s, s + n)).collect::<Vec<_>>().into() };
            let plain = |runs: &[(u64, u64)]| -> BTreeSet<u64> { runs.iter().flat_map(|(s, n)| *s..=s + n).collect() };
            let got: Vec<u64> = minus(&set(&a), &set(&b)).iter().flat_map(|(s, e)| s..=e).collect();
            let want: Vec<u64> = plain(&a).difference(&plain(&b)).copied().collect();
            prop_assert_eq!(got, want);
        }
    }
}
