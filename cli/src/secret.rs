//! Asks at the terminal for what must not be shown. The echo is off before the prompt is seen: what is
//! typed or pasted at the sight of it never shows. However it ends, the terminal is as it was.

use std::fs::File;
use std::io::{self, Read, Write};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

/// Longest answer, in bytes.
pub const LONGEST: usize = 4096;

/// The terminal without echo.
struct Quiet {
    terminal: File,
    before: Termios,
}

impl Quiet {
    fn new() -> io::Result<Self> {
        let terminal = File::options().read(true).write(true).open("/dev/tty")?;
        let before = tcgetattr(&terminal)?;
        let mut quiet = before.clone();
        // Signals too come as characters: a Ctrl-C must not end the program with the echo off.
        quiet.local_modes &= !(LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG);
        quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        // What was typed before was shown, and so is no password: it is thrown away.
        tcsetattr(&terminal, OptionalActions::Flush, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

/// One line from the terminal, not shown.
///
/// # Errors
/// Without a terminal; [`io::ErrorKind::Interrupted`] on Ctrl-C, [`io::ErrorKind::UnexpectedEof`] on Ctrl-D.
pub fn ask(prompt: &str) -> io::Result<String> {
    let quiet = Quiet::new()?;
    let mut to = &quiet.terminal;
    to.write_all(prompt.as_bytes())?;
    let line = read(&quiet.terminal);
    to.write_all(b"\n")?;
    line
}

/// Reads a line with the usual keys: a terminal in this mode edits nothing by itself.
fn read(mut from: impl Read) -> io::Result<String> {
    let mut line: Vec<u8> = Vec::new();
    let mut byte = [0];
    loop {
        match from.read(&mut byte) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        }
        match byte[0] {
            b'\n' | b'\r' => {
                return String::from_utf8(line).map_err(|_| io::Error::other("it is not UTF-8"));
            }
            0x03 => return Err(io::ErrorKind::Interrupted.into()),
            0x04 if line.is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
            // Backspace takes the whole of a character.
            0x08 | 0x7f => while line.pop().is_some_and(|b| b & 0xc0 == 0x80) {},
            0x15 => line.clear(),
            control if control < 0x20 => {}
            _ if line.len() == LONGEST => return Err(io::Error::other("it is too long")),
            other => line.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_edited_with_the_usual_keys() {
        for (keys, line) in [
            ("ab c\n", "ab c"),
            ("ab\x7fc\r", "ac"),
            ("a密\x08b\n", "ab"),
            ("\x7f\x7fa\n", "a"),
            ("wrong\x15right\nmore", "right"),
            ("a\x04\x00b\n", "ab"),
        ] {
            assert_eq!(read(keys.as_bytes()).unwrap(), line, "{keys:?}");
        }
    }

    #[test]
    fn an_interrupted_or_endless_line_is_no_answer() {
        let kind = |keys: &str| read(keys.as_bytes()).unwrap_err().kind();
        assert_eq!(kind("ab\x03c\n"), io::ErrorKind::Interrupted);
        assert_eq!(kind("\x04"), io::ErrorKind::UnexpectedEof);
        assert_eq!(kind("abc"), io::ErrorKind::UnexpectedEof);
        assert!(read("x".repeat(LONGEST + 1).as_bytes()).is_err());
    }
}
