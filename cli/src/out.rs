//! The one place that writes to standard output and error. What a server says is cleaned of control
//! characters before a terminal sees it.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::args::Format;
use crate::error::{Error, Result};

/// Where results go.
#[derive(Debug, Clone, Copy)]
pub struct Out {
    format: Format,
    terminal: bool,
    colour: bool,
}

impl Out {
    /// For standard output.
    pub fn new(format: Format) -> Self {
        let terminal = io::stdout().is_terminal();
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        Self { format, terminal, colour }
    }

    /// Whether JSON is wanted.
    pub fn is_json(self) -> bool {
        self.format == Format::Json
    }

    /// Whether a terminal shows it.
    pub fn is_terminal(self) -> bool {
        self.terminal
    }

    /// Whether colours may be used.
    pub fn has_colour(self) -> bool {
        self.colour
    }

    /// One line of text.
    pub fn line(self, text: &str) -> Result<()> {
        self.raw(format!("{text}\n").as_bytes())
    }

    /// Bytes as they are, at once.
    pub fn raw(self, bytes: &[u8]) -> Result<()> {
        let mut to = io::stdout().lock();
        to.write_all(bytes).and_then(|()| to.flush()).map_err(Error::output)
    }

    /// One JSON document, indented on a terminal.
    pub fn json(self, value: &impl Serialize) -> Result<()> {
        let text =
            if self.terminal { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
        self.line(&text.map_err(|e| Error::Output(e.into()))?)
    }

    /// One line of a stream of JSON documents.
    pub fn json_line(self, value: &impl Serialize) -> Result<()> {
        self.line(&serde_json::to_string(value).map_err(|e| Error::Output(e.into()))?)
    }

    /// JSON if wanted, else the text that `text` makes of it.
    pub fn show<T: Serialize>(self, value: &T, text: impl FnOnce(&T) -> String) -> Result<()> {
        if self.is_json() { self.json(value) } else { self.raw(text(value).as_bytes()) }
    }

    /// A remark for people, on standard error; nothing depends on it.
    pub fn note(self, text: &str) {
        if !self.is_json() {
            stderr(text);
        }
    }

    /// How the program fails, on standard error.
    pub fn error(self, error: &Error) {
        let (remedy, detail) = (error.what_to_do(), error.to_string());
        if self.is_json() {
            let detail = match error {
                Error::Problem { problem, .. } => problem.detail.clone(),
                _ => detail,
            };
            let mut body = serde_json::json!({ "exit": error.exit().code(), "detail": detail });
            if let Some(code) = error.code() {
                body["code"] = code.as_str().into();
            }
            if let Some(remedy) = remedy {
                body["remedy"] = remedy.into();
            }
            stderr(&serde_json::json!({ "error": body }).to_string());
        } else {
            stderr(&format!("twinway: {}", clean(&detail)));
            if let Some(remedy) = remedy {
                stderr(&format!("  {}", clean(&remedy)));
            }
        }
    }
}

/// A closed standard error is no reason to fail.
fn stderr(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Text without control characters: what a device or server sends must not steer the terminal. Invisible
/// characters that turn the direction of writing go as well.
pub fn clean(text: &str) -> Cow<'_, str> {
    let bad = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(bad) {
        return Cow::Borrowed(text);
    }
    text.chars()
        .fold(String::with_capacity(text.len() + 8), |mut out, c| {
            if bad(c) {
                out.extend(c.escape_default())
            } else {
                out.push(c)
            }
            out
        })
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_sends_cannot_steer_the_terminal() {
        assert_eq!(clean("oven 烘箱 °C"), "oven 烘箱 °C");
        assert_eq!(clean("\x1b[2Jx\r\n"), "\\u{1b}[2Jx\\r\\n");
        assert_eq!(clean("a\u{202e}b"), "a\\u{202e}b");
    }
}
