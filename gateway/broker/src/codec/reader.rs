//! Reads the data types of MQTT [1.5] off a slice, never past its end.

use super::Fault;

pub(super) const fn malformed(detail: &'static str) -> Fault {
    Fault::Malformed { detail }
}

/// What is left of a packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take(&mut self, n: usize) -> Result<&'a [u8], Fault> {
        match self.0.split_at_checked(n) {
            Some((front, rest)) => {
                self.0 = rest;
                Ok(front)
            }
            None => Err(malformed("a field longer than its packet")),
        }
    }

    pub(super) fn u8(&mut self) -> Result<u8, Fault> {
        self.take(1).map(|b| b.first().copied().unwrap_or_default())
    }

    pub(super) fn u16(&mut self) -> Result<u16, Fault> {
        let bytes = self.take(2)?;
        Ok(bytes.iter().fold(0, |n, b| n << 8 | u16::from(*b)))
    }

    pub(super) fn u32(&mut self) -> Result<u32, Fault> {
        let bytes = self.take(4)?;
        Ok(bytes.iter().fold(0, |n, b| n << 8 | u32::from(*b)))
    }

    /// Binary data: two bytes of length before it.
    pub(super) fn binary(&mut self) -> Result<&'a [u8], Fault> {
        let length = self.u16()?;
        self.take(length.into())
    }

    /// UTF-8 text without U+0000.
    pub(super) fn text(&mut self) -> Result<&'a str, Fault> {
        let text = std::str::from_utf8(self.binary()?).map_err(|_| malformed("text that is not UTF-8"))?;
        if text.bytes().any(|b| b == 0) {
            return Err(malformed("text with U+0000"));
        }
        Ok(text)
    }

    /// A variable byte integer, at most four bytes.
    pub(super) fn varint(&mut self) -> Result<u32, Fault> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.u8()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(malformed("a length of more than four bytes"))
    }

    /// A packet identifier.
    pub(super) fn pkid(&mut self) -> Result<u16, Fault> {
        match self.u16()? {
            0 => Err(Fault::Protocol { detail: "packet identifier 0" }),
            id => Ok(id),
        }
    }
}
