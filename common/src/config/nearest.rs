//! The known word that somebody most likely meant.

/// The candidate nearest to `word`, if one is near enough to be meant: a third of its letters may differ. Letters
/// of other case, and `-` for `_`, count as the same.
pub fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let plain = |s: &str| s.to_lowercase().replace('-', "_");
    let word = plain(word);
    let allowed = (word.chars().count().max(2) / 3).clamp(1, 4);
    let near = |c: &'c str| Some((distance(&word, &plain(c), allowed)?, c));
    candidates.into_iter().filter_map(near).min_by_key(|(d, _)| *d).map(|(_, c)| c)
}

/// `: did you mean ...?`, or a comma, before what was expected.
pub fn did_you_mean<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> String {
    nearest(word, candidates).map_or_else(|| ",".to_owned(), |c| format!(": did you mean `{c}`?"))
}

/// How many letters must be put in, taken out, changed or swapped with their neighbour; none if more than `most`.
fn distance(a: &str, b: &str, most: usize) -> Option<usize> {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > most {
        return None;
    }
    // Rows of the usual table; the one before the last is needed for swaps.
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = change.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().filter(|d| *d <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found_and_a_far_one_is_not() {
        let keys = ["address", "table", "type", "order", "period_ms", "length"];
        for (word, meant) in [
            ("adress", Some("address")),
            ("addres", Some("address")),
            ("tpye", Some("type")),
            ("period-ms", Some("period_ms")),
            ("Period_MS", Some("period_ms")),
            ("preiod_ms", Some("period_ms")),
            ("nonsense", None),
            ("", None),
            ("ü", None),
        ] {
            assert_eq!(nearest(word, keys), meant, "{word}");
        }
        assert_eq!(did_you_mean("tabel", keys), ": did you mean `table`?");
        assert_eq!(did_you_mean("xyz", keys), ",");
    }

    #[test]
    fn one_letter_words_are_not_all_alike() {
        assert_eq!(nearest("abcdef", ["a", "b"]), None);
        assert_eq!(nearest("cdab", ["abcd", "cdab"]), Some("cdab"));
    }
}
