//! What a configuration document was made from: a comment in its first line that `config get` writes and `config put` reads,
//! so that a file on its way through an editor does not lose it. It is no part of the document: the cloud does not see it.

use common::api::ConfigurationEntry;

const BEGINS: &str = "# made from document ";
const ENDS: &str = "): `twinway gateway config put` reads this line and leaves it out";
/// Digits of the hash: two clouds that count alike, or one of a restored backup, do not pass for each other.
const DIGITS: usize = 12;

/// A version of a gateway's document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) version: u64,
    pub(super) gateway: String,
    hash: String,
}

impl Origin {
    pub(super) fn of(gateway: &str, entry: &ConfigurationEntry) -> Self {
        let hash = entry.hash.get(..DIGITS).unwrap_or(&entry.hash).to_owned();
        Self { version: entry.version, gateway: gateway.to_owned(), hash }
    }

    /// The line, with its end.
    pub(super) fn line(&self) -> String {
        format!("{BEGINS}{} of {} ({}{ENDS}\n", self.version, self.gateway, self.hash)
    }

    fn read(line: &str) -> Option<Self> {
        let (version, rest) = line.strip_prefix(BEGINS)?.strip_suffix(ENDS)?.split_once(" of ")?;
        let (gateway, hash) = rest.split_once(" (")?;
        Some(Self { version: version.parse().ok()?, gateway: gateway.to_owned(), hash: hash.to_owned() })
    }
}

/// What a text says of itself, and the document without it.
pub(super) fn split(text: &str) -> (Option<Origin>, &str) {
    let (mut origin, mut rest) = (None, text);
    while let Some((line, after)) = rest.split_once('\n').or((!rest.is_empty()).then_some((rest, ""))) {
        // The end of a line may be that of another system's editor.
        let Some(found) = Origin::read(line.trim_end_matches('\r')) else { break };
        origin.get_or_insert(found);
        rest = after;
    }
    (origin, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(version: u64) -> Origin {
        Origin { version, gateway: "line1-box".into(), hash: "440f87a565a2".into() }
    }

    #[test]
    fn what_get_writes_is_read_and_left_out() {
        for document in ["", "# one", "# one\n", "\n\n[[device]]\n"] {
            let text = origin(3).line() + document;
            assert_eq!(split(&text), (Some(origin(3)), document));
            // From an editor that ends lines otherwise.
            let (found, rest) = (split(&text.replace('\n', "\r\n")).0, document.replace('\n', "\r\n"));
            assert_eq!(found, Some(origin(3)));
            assert_eq!(split(&text.replace('\n', "\r\n")).1, rest);
        }
        assert_eq!(split(origin(3).line().trim_end()), (Some(origin(3)), ""));
    }

    #[test]
    fn of_two_lines_the_first_holds_and_none_stays() {
        let text = origin(4).line() + &origin(3).line() + "# one\n";
        assert_eq!(split(&text), (Some(origin(4)), "# one\n"));
    }

    #[test]
    fn what_is_no_such_line_is_document() {
        let line = origin(3).line();
        let further_down = format!("# one\n{line}");
        let cut = line.replace("440f87a565a2", "");
        for text in [
            "",
            "# one\n",
            "# made from document 3 of line1-box\n",
            &line.replace("3 of", "x of"),
            &further_down,
            line[..40].as_ref(),
        ] {
            assert_eq!(split(text), (None, text));
        }
        // Without a hash it is of no document that there is.
        assert_eq!(split(&cut).0.map(|o| o.hash), Some(String::new()));
    }
}
