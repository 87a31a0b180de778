//! Strings in registers: which bytes of a register hold characters, where the text ends, and in which encoding.

use std::sync::Arc;

use serde::Deserialize;

use super::{Flaw, Misfit, Order};

/// What is cut off the end when read; what a shorter text is filled up with when written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trim {
    /// read up to the first 0 byte; filled with 0 bytes
    #[default]
    Zeros,
    /// spaces at the end are no part of it; filled with spaces
    Spaces,
    /// up to the first 0 byte and then without spaces at the end; filled with 0 bytes
    Both,
    /// all of it, filled with 0 bytes, which are read back as part of it
    None,
}

/// How bytes are characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// UTF-8, checked: other bytes are a bad value
    #[default]
    Utf8,
    /// ISO 8859-1: every byte is a character
    Latin1,
}

/// Which bytes of a register hold characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Chars {
    /// two a register
    #[default]
    Both,
    /// one, the low byte
    Low,
    /// one, the high byte
    High,
}

/// Most bytes of a string: what one write request can carry.
pub const MAX_STRING_BYTES: u16 = 246;

/// How a string lies in its registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Layout {
    pub(super) bytes: u16,
    pub(super) swapped: bool,
    pub(super) trim: Trim,
    pub(super) encoding: Encoding,
    pub(super) chars: Chars,
}

impl Layout {
    pub(super) fn new(bytes: u16, order: Order, trim: Trim, encoding: Encoding, chars: Chars) -> Self {
        Self { bytes, swapped: order.swaps_bytes(), trim, encoding, chars }
    }

    pub(super) fn registers(&self) -> u16 {
        match self.chars {
            Chars::Both => self.bytes.div_ceil(2),
            Chars::Low | Chars::High => self.bytes,
        }
    }

    /// Where the byte `n` of the text stands among the registers' bytes.
    fn place(&self, n: usize) -> usize {
        let place = match self.chars {
            Chars::Both => n,
            Chars::High => 2 * n,
            Chars::Low => 2 * n + 1,
        };
        if self.swapped { place ^ 1 } else { place }
    }

    pub(super) fn decode(&self, raw: &[u8]) -> Result<Arc<str>, Flaw> {
        let mut text = [0; MAX_STRING_BYTES as usize];
        let text = text.get_mut(..self.bytes.into()).ok_or(Flaw::Length)?;
        for (n, byte) in text.iter_mut().enumerate() {
            *byte = *raw.get(self.place(n)).ok_or(Flaw::Length)?;
        }
        let mut text = &*text;
        if matches!(self.trim, Trim::Zeros | Trim::Both) {
            let end = text.iter().position(|b| *b == 0).unwrap_or(text.len());
            text = text.get(..end).unwrap_or_default();
        }
        if matches!(self.trim, Trim::Spaces | Trim::Both) {
            let end = text.iter().rposition(|b| *b != b' ').map_or(0, |last| last + 1);
            text = text.get(..end).unwrap_or_default();
        }
        match self.encoding {
            Encoding::Utf8 => Ok(std::str::from_utf8(text).map_err(|_| Flaw::Text)?.into()),
            Encoding::Latin1 => Ok(text.iter().map(|b| char::from(*b)).collect::<String>().into()),
        }
    }

    pub(super) fn encode(&self, text: &str) -> Result<Vec<u16>, Misfit> {
        let mut bytes = match self.encoding {
            Encoding::Utf8 => text.as_bytes().to_vec(),
            Encoding::Latin1 => {
                let byte =
                    |c: char| u8::try_from(u32::from(c)).map_err(|_| Misfit::Character { character: c });
                text.chars().map(byte).collect::<Result<_, _>>()?
            }
        };
        if bytes.len() > usize::from(self.bytes) {
            return Err(Misfit::TooLong { bytes: bytes.len(), room: self.bytes });
        }
        // What would be read back as another text is not written.
        let cut = match self.trim {
            Trim::None => false,
            Trim::Zeros => bytes.contains(&0),
            Trim::Spaces => bytes.last() == Some(&b' '),
            Trim::Both => bytes.contains(&0) || bytes.last() == Some(&b' '),
        };
        if cut {
            return Err(Misfit::Trimmed);
        }
        bytes.resize(self.bytes.into(), if self.trim == Trim::Spaces { b' ' } else { 0 });
        let mut raw = vec![0; usize::from(self.registers()) * 2];
        for (n, byte) in bytes.into_iter().enumerate() {
            if let Some(place) = raw.get_mut(self.place(n)) {
                *place = byte;
            }
        }
        Ok(raw.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(bytes: u16, trim: Trim, encoding: Encoding, chars: Chars) -> Layout {
        Layout::new(bytes, Order::ABCD, trim, encoding, chars)
    }

    #[test]
    fn the_end_is_where_trimming_says() {
        for (trim, text) in
            [(Trim::Zeros, "ab  "), (Trim::Both, "ab"), (Trim::Spaces, "ab  \0\0"), (Trim::None, "ab  \0\0")]
        {
            let l = layout(6, trim, Encoding::Utf8, Chars::Both);
            assert_eq!(&*l.decode(b"ab  \0\0").unwrap(), text, "{trim:?}");
        }
        let l = layout(6, Trim::Spaces, Encoding::Utf8, Chars::Both);
        assert_eq!(l.encode("ab").unwrap(), [0x6162, 0x2020, 0x2020]);
        assert_eq!(&*l.decode(b"ab    ").unwrap(), "ab");
        assert_eq!(l.encode("ab "), Err(Misfit::Trimmed), "it would be read back as another text");
    }

    #[test]
    fn one_character_a_register_low_or_high_and_swapped() {
        let low = layout(2, Trim::Zeros, Encoding::Utf8, Chars::Low);
        assert_eq!((low.registers(), low.encode("Hi").unwrap()), (2, vec![0x0048, 0x0069]));
        assert_eq!(&*low.decode(&[9, b'H', 9, b'i']).unwrap(), "Hi");
        let high = layout(2, Trim::Zeros, Encoding::Utf8, Chars::High);
        assert_eq!(high.encode("Hi").unwrap(), [0x4800, 0x6900]);
        let swapped = Layout::new(3, Order::BADC, Trim::Zeros, Encoding::Utf8, Chars::Both);
        assert_eq!(swapped.encode("Hi!").unwrap(), [0x6948, 0x0021]);
        assert_eq!(&*swapped.decode(b"iH\xff!").unwrap(), "Hi!", "the last byte is not the text's");
    }

    #[test]
    fn the_encoding_is_checked() {
        let utf8 = layout(2, Trim::Zeros, Encoding::Utf8, Chars::Both);
        let latin1 = layout(2, Trim::Zeros, Encoding::Latin1, Chars::Both);
        assert_eq!(utf8.decode(&[0xe9, 0]), Err(Flaw::Text));
        assert_eq!(&*latin1.decode(&[0xe9, 0]).unwrap(), "\u{e9}");
        assert_eq!(latin1.encode("\u{e9}").unwrap(), [0xe900]);
        assert_eq!(latin1.encode("\u{20ac}"), Err(Misfit::Character { character: '\u{20ac}' }));
        assert_eq!(utf8.encode("\u{20ac}"), Err(Misfit::TooLong { bytes: 3, room: 2 }));
    }
}
