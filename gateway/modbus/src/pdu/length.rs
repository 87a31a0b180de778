//! How long a request or an answer is, from its first bytes: RTU has no length of its own.

use super::REFUSED;

/// What the first bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// So many bytes in all.
    Known(usize),
    /// More bytes are needed to tell.
    More,
    /// A function whose length nobody knows: only silence ends it.
    Unknown,
}

impl Length {
    /// Whether the function's length can be told.
    pub fn is_known(self) -> bool {
        self != Self::Unknown
    }
}

/// Length of the request that begins with `pdu`.
pub fn request_length(pdu: &[u8]) -> Length {
    match pdu.first() {
        None => Length::More,
        Some(0x01..=0x06) => Length::Known(5),
        Some(0x0f | 0x10) => counted(pdu.get(5), 6),
        Some(0x16) => Length::Known(7),
        Some(_) => Length::Unknown,
    }
}

/// Length of the answer that begins with `pdu`.
pub fn answer_length(pdu: &[u8]) -> Length {
    match pdu.first() {
        None => Length::More,
        Some(0x01..=0x04) => counted(pdu.get(1), 2),
        Some(0x05 | 0x06 | 0x0f | 0x10) => Length::Known(5),
        Some(0x16) => Length::Known(7),
        Some(function) if function & REFUSED != 0 => Length::Known(2),
        Some(_) => Length::Unknown,
    }
}

fn counted(count: Option<&u8>, before: usize) -> Length {
    count.map_or(Length::More, |n| Length::Known(before + usize::from(*n)))
}
