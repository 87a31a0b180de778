//! Reading and writing little-endian bytes and variable-length integers, and packing bytes. A read past the end is an
//! error, never a panic.

/// Why bytes could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end too early.
    #[error("truncated at byte {at}")]
    Truncated {
        /// Where the end was met.
        at: usize,
    },
    /// A version that this program does not know.
    #[error("unknown version {version}")]
    Version {
        /// The version found.
        version: u8,
    },
    /// A kind that this program does not know.
    #[error("unknown {what} kind {kind}")]
    Kind {
        /// Of what.
        what: &'static str,
        /// The kind found.
        kind: u8,
    },
    /// A field holds what it must not.
    #[error("invalid {what}")]
    Invalid {
        /// Which field.
        what: &'static str,
    },
    /// More than the limit.
    #[error("{what} is {size}, limit {limit}")]
    TooLarge {
        /// Of what.
        what: &'static str,
        /// How much.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// Bytes after the end.
    #[error("{extra} bytes after the end")]
    Trailing {
        /// How many.
        extra: usize,
    },
    /// JSON that does not fit.
    #[error("json: {0}")]
    Json(String),
}

/// Reads bytes from the front; what does not fit is an error.
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Of these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next `n` bytes.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], DecodeError> {
        let end = self.at.checked_add(n).filter(|e| *e <= self.bytes.len());
        let end = end.ok_or(DecodeError::Truncated { at: self.bytes.len() })?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    /// A byte.
    ///
    /// # Errors
    /// At the end.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }

    /// Little-endian.
    ///
    /// # Errors
    /// When too few bytes are left.
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Little-endian.
    ///
    /// # Errors
    /// When too few bytes are left.
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Little-endian.
    ///
    /// # Errors
    /// When too few bytes are left.
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    /// Little-endian.
    ///
    /// # Errors
    /// When too few bytes are left.
    pub fn u128(&mut self) -> Result<u128, DecodeError> {
        Ok(u128::from_le_bytes(self.array()?))
    }

    /// LEB128, at most ten bytes.
    ///
    /// # Errors
    /// When it is longer, or cut short.
    pub fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for shift in (0..).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift > 63 || (shift == 63 && bits > 1) {
                return Err(DecodeError::Invalid { what: "varint" });
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::Invalid { what: "varint" })
    }

    /// A signed number as zigzag LEB128.
    ///
    /// # Errors
    /// As `varint`.
    pub fn zigzag(&mut self) -> Result<i64, DecodeError> {
        Ok(unzigzag(self.varint()?))
    }

    /// A length of at most `limit`.
    ///
    /// # Errors
    /// When it is greater.
    pub fn count(&mut self, what: &'static str, limit: usize) -> Result<usize, DecodeError> {
        let n = usize::try_from(self.varint()?).map_err(|_| DecodeError::Invalid { what })?;
        if n > limit {
            return Err(DecodeError::TooLarge { what, size: n, limit });
        }
        Ok(n)
    }

    /// A length as LEB128, and so many bytes.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn sized(&mut self) -> Result<&'a [u8], DecodeError> {
        let n = self.count("length", self.bytes.len())?;
        self.take(n)
    }

    /// How many bytes are left.
    pub fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        let rest = &self.bytes[self.at..];
        self.at = self.bytes.len();
        rest
    }

    /// Nothing may be left.
    ///
    /// # Errors
    /// When something is.
    pub fn end(&self) -> Result<(), DecodeError> {
        match self.left() {
            0 => Ok(()),
            extra => Err(DecodeError::Trailing { extra }),
        }
    }
}

/// Appends LEB128.
pub fn put_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        #[allow(clippy::cast_possible_truncation)]
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    #[allow(clippy::cast_possible_truncation)]
    out.push(n as u8);
}

/// Appends zigzag LEB128.
pub fn put_zigzag(out: &mut Vec<u8>, n: i64) {
    put_varint(out, zigzag(n));
}

/// Zigzag: small numbers of either sign become small ones.
#[allow(clippy::cast_sign_loss)]
pub(crate) fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)) as u64
}

/// What `zigzag` was made of.
#[allow(clippy::cast_possible_wrap)]
pub(crate) fn unzigzag(n: u64) -> i64 {
    (n >> 1) as i64 ^ -((n & 1) as i64)
}

/// Shorter bytes are not worth compressing.
const PACK_FROM: usize = 128;

/// As LZ4 in block format, where that is worth it and shorter.
pub(crate) fn pack(bytes: &[u8]) -> Option<Vec<u8>> {
    (bytes.len() >= PACK_FROM).then(|| lz4_flex::block::compress(bytes)).filter(|p| p.len() < bytes.len())
}
