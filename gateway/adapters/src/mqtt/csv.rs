//! Rows of a CSV payload. Pure and total: quotes that do not end take the rest of their line.

/// A payload's cells by row; blank lines are left out.
pub(super) type Rows = Vec<Vec<String>>;

/// The rows of a text.
pub(super) fn rows(text: &str, separator: char) -> Rows {
    text.lines().filter(|line| !line.trim().is_empty()).map(|line| cells(line, separator)).collect()
}

/// The cells of a line; a quoted one may hold the separator, and a quote as two.
fn cells(line: &str, separator: char) -> Vec<String> {
    let mut out = Vec::new();
    let mut cell = String::new();
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                cell.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if cell.trim().is_empty() => {
                cell.clear();
                quoted = true;
            }
            c if c == separator && !quoted => out.push(std::mem::take(&mut cell).trim().to_owned()),
            c => cell.push(c),
        }
    }
    out.push(cell.trim().to_owned());
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn cells_are_split_as_people_write_them() {
        assert_eq!(
            rows("a, b ,c\r\n\n1,,\"x, \"\"y\"\"\"\n", ','),
            [vec!["a", "b", "c"], vec!["1", "", "x, \"y\""],]
        );
        assert_eq!(rows("1;2", ';'), [["1", "2"]]);
        assert_eq!(rows("1\t2", '\t'), [["1", "2"]]);
        assert_eq!(rows("\"open,1\n2", ','), [vec!["open,1"], vec!["2"]]);
        assert!(rows(" \n", ',').is_empty());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-z\",;\n ]{0,60}", other in ".{0,40}") {
            for text in [&text, &other] {
                for row in rows(text, ',') {
                    prop_assert!(!row.is_empty());
                }
            }
        }
    }
}
