//! The terminal while `status` runs: an alternate screen that is given back however the program ends, and
//! pictures drawn over each other without flicker.

use crate::error::Result;
use crate::out::Out;
use crate::plot::Size;
use crate::table::cut;

/// How lines are marked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    colour: bool,
}

const RESET: &str = "\x1b[0m";

impl Style {
    pub(super) fn new(colour: bool) -> Self {
        Self { colour }
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.colour { format!("{code}{text}{RESET}") } else { text.to_owned() }
    }

    pub(super) fn strong(self, text: &str) -> String {
        self.wrap("\x1b[1m", text)
    }

    pub(super) fn faint(self, text: &str) -> String {
        self.wrap("\x1b[2m", text)
    }

    pub(super) fn bad(self, text: &str) -> String {
        self.wrap("\x1b[31m", text)
    }
}

/// The taken screen.
pub(super) struct Screen {
    out: Out,
}

impl Screen {
    /// Takes the screen and hides the cursor.
    pub(super) fn take(out: Out) -> Result<Self> {
        out.raw(b"\x1b[?1049h\x1b[?25l\x1b[2J")?;
        Ok(Self { out })
    }

    /// Draws lines over what is there, at once.
    pub(super) fn draw(&self, lines: &[String], size: Size) -> Result<()> {
        self.out.raw(picture(lines, size).as_bytes())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.out.raw(b"\x1b[?25h\x1b[?1049l");
    }
}

/// Lines cut to the terminal, each cleared to its end, the rest cleared below.
fn picture(lines: &[String], size: Size) -> String {
    let (columns, rows) = (usize::from(size.columns).max(1), usize::from(size.rows).max(1));
    let mut text = "\x1b[H".to_owned();
    for (i, line) in lines.iter().take(rows).enumerate() {
        if i > 0 {
            text.push_str("\r\n");
        }
        text.push_str(&cut_styled(line, columns));
        text.push_str("\x1b[K");
    }
    text.push_str("\x1b[J");
    text
}

/// A line is plain, or one style around plain text: the cut must not lose the end of the style.
fn cut_styled(line: &str, columns: usize) -> String {
    let styled =
        line.strip_suffix(RESET).and_then(|l| l.split_once('m').filter(|(code, _)| code.starts_with('\x1b')));
    match styled {
        Some((code, plain)) => format!("{code}m{}{RESET}", cut(plain, columns)),
        None => cut(line, columns),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_fits_the_terminal_and_ends_its_styles() {
        let style = Style::new(true);
        let lines = [style.bad("down 烘箱"), "plain text".into(), "third".into()];
        let text = picture(&lines, Size { columns: 7, rows: 2 });
        assert_eq!(text, "\x1b[H\x1b[31mdown 烘\x1b[0m\x1b[K\r\nplain t\x1b[K\x1b[J");
    }
}
