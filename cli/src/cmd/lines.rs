//! What differs between two texts, line by line.

/// Lines around a difference that are shown.
const AROUND: usize = 3;
/// Beyond so many pairs of lines what differs is told as a whole: a table of them would be too large.
const MOST_PAIRS: usize = 16_000_000;

/// A line of one text, or of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line<'t> {
    /// in both
    Same(&'t str),
    /// on the left alone
    Left(&'t str),
    /// on the right alone
    Right(&'t str),
}

/// The longest common lines of both in their order, and what stands between them.
pub(super) fn compare<'t>(left: &'t str, right: &'t str) -> Vec<Line<'t>> {
    let (a, b): (Vec<_>, Vec<_>) = (left.lines().collect(), right.lines().collect());
    let start = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let ends = a[start..].iter().rev().zip(b[start..].iter().rev()).take_while(|(x, y)| x == y).count();
    let (middle_a, middle_b) = (&a[start..a.len() - ends], &b[start..b.len() - ends]);
    let mut out: Vec<_> = a[..start].iter().copied().map(Line::Same).collect();
    out.extend(between(middle_a, middle_b));
    out.extend(a[a.len() - ends..].iter().copied().map(Line::Same));
    out
}

fn between<'t>(a: &[&'t str], b: &[&'t str]) -> Vec<Line<'t>> {
    let width = b.len() + 1;
    let all = || a.iter().copied().map(Line::Left).chain(b.iter().copied().map(Line::Right)).collect();
    if a.is_empty() || b.is_empty() || a.len().saturating_mul(b.len()) > MOST_PAIRS {
        return all();
    }
    // Of each pair of places, how many lines the rest of both has in common.
    let mut common = vec![0u32; (a.len() + 1) * width];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            common[i * width + j] = if a[i] == b[j] {
                common[(i + 1) * width + j + 1] + 1
            } else {
                common[(i + 1) * width + j].max(common[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut out = Vec::with_capacity(a.len() + b.len());
    while i < a.len() && j < b.len() {
        if a[i] == b[j] {
            out.push(Line::Same(a[i]));
            (i, j) = (i + 1, j + 1);
        } else if common[(i + 1) * width + j] >= common[i * width + j + 1] {
            out.push(Line::Left(a[i]));
            i += 1;
        } else {
            out.push(Line::Right(b[j]));
            j += 1;
        }
    }
    out.extend(a[i..].iter().copied().map(Line::Left));
    out.extend(b[j..].iter().copied().map(Line::Right));
    out
}

/// Differences with a few lines around each; `@@` stands for what is left out, with the line on the left where it goes on.
pub(super) fn short(lines: &[Line<'_>]) -> Vec<String> {
    let differs = |l: &Line<'_>| !matches!(l, Line::Same(_));
    let mut out = Vec::new();
    let (mut left, mut shown) = (0usize, true);
    for (n, line) in lines.iter().enumerate() {
        let from = n.saturating_sub(AROUND);
        let near = lines[from..(n + AROUND + 1).min(lines.len())].iter().any(differs);
        if near && !shown {
            out.push(format!("@@ line {}", left + 1));
        }
        shown = near;
        let (sign, text) = match line {
            Line::Same(text) => (' ', text),
            Line::Left(text) => ('-', text),
            Line::Right(text) => ('+', text),
        };
        if near {
            out.push(format!("{sign}{text}"));
        }
        left += usize::from(!matches!(line, Line::Right(_)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(left: &str, right: &str) -> Vec<String> {
        short(&compare(left, right))
    }

    #[test]
    fn a_changed_line_is_told_with_its_neighbours() {
        let left = (1..=20).map(|n| format!("{n}\n")).collect::<String>();
        let right = left.replace("10\n", "ten\nmore\n");
        assert_eq!(
            shown(&left, &right),
            ["@@ line 7", " 7", " 8", " 9", "-10", "+ten", "+more", " 11", " 12", " 13"]
        );
        assert!(shown(&left, &left).is_empty());
        assert_eq!(shown("", "a\n"), ["+a"]);
        assert_eq!(shown("a\nb\n", ""), ["-a", "-b"]);
    }

    #[test]
    fn each_side_can_be_put_together_again() {
        for (left, right) in [("a\nb\nc\nd\n", "b\nx\nd\ne\n"), ("x\nx\ny\n", "y\nx\n"), ("", ""), ("a", "b")]
        {
            let lines = compare(left, right);
            let side = |of_left: bool| -> Vec<&str> {
                let one = |l: &Line<'static>| match *l {
                    Line::Same(t) => Some(t),
                    Line::Left(t) => of_left.then_some(t),
                    Line::Right(t) => (!of_left).then_some(t),
                };
                lines.iter().filter_map(one).collect()
            };
            assert_eq!(side(true), left.lines().collect::<Vec<_>>());
            assert_eq!(side(false), right.lines().collect::<Vec<_>>());
        }
    }
}
