//! What the gate reads of the protocol (part 6, 7.1 and 6.7.2): the header of a chunk, who opens a channel, and
//! whether a plain message asks for a session. Pure and total.

use opcua::types::StatusCode;

/// Bytes of a chunk's header.
pub(super) const HEADER: usize = 8;
/// A hello, and a request for a channel: certificates of a chain fit.
pub(super) const MOST_OPEN: usize = 64 * 1024;
/// Of a message in plain text, so much is looked at.
pub(super) const TYPE_END: usize = 28;
const NONE: &str = "http://opcfoundation.org/UA/SecurityPolicy#None";
/// Numbers of requests that need no session (part 6, A): FindServers, GetEndpoints, OpenSecureChannel, its close.
const WITHOUT_SESSION: [u16; 4] = [422, 428, 446, 452];

/// What kind of chunk it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Hello,
    Open,
    Message,
    Close,
}

/// A chunk's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    /// The last chunk of its message, or one that takes it back.
    pub(super) last: bool,
    /// All of it, the header included.
    pub(super) size: usize,
}

impl Header {
    pub(super) fn parse(bytes: &[u8; HEADER]) -> Option<Self> {
        let kind = match bytes.get(..3)? {
            b"HEL" => Kind::Hello,
            b"OPN" => Kind::Open,
            b"MSG" => Kind::Message,
            b"CLO" => Kind::Close,
            _ => return None,
        };
        let last = match bytes.get(3)? {
            b'F' | b'A' => true,
            b'C' if kind == Kind::Message => false,
            _ => return None,
        };
        let size = u32::from_le_bytes(bytes.get(4..8)?.try_into().ok()?) as usize;
        (size > HEADER).then_some(Self { kind, last, size })
    }
}

/// Who opens a channel.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Opens<'b> {
    /// Nobody says who.
    Plain,
    /// With a certificate (DER, perhaps a chain).
    Signed(&'b [u8]),
}

/// Reads what follows the header of an `OPN`.
pub(super) fn opens(body: &[u8]) -> Option<Opens<'_>> {
    let (policy, rest) = string(body.get(4..)?)?;
    let (certificate, _) = string(rest)?;
    match std::str::from_utf8(policy).ok()? {
        NONE => Some(Opens::Plain),
        _ if certificate.is_empty() => None,
        _ => Some(Opens::Signed(certificate)),
    }
}

fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let len = i32::from_le_bytes(bytes.get(..4)?.try_into().ok()?);
    let len = usize::try_from(len.max(0)).ok()?;
    Some((bytes.get(4..4 + len)?, bytes.get(4 + len..)?))
}

/// Whether the first bytes of a plain message, its header included, ask for no session.
pub(super) fn needs_no_session(first: &[u8]) -> bool {
    // Channel, token, sequence and request: 16 bytes; then the type as a numeric id in four bytes.
    let number = match first.get(24..TYPE_END) {
        Some([1, 0, low, high]) => u16::from_le_bytes([*low, *high]),
        _ => return false,
    };
    WITHOUT_SESSION.contains(&number)
}

/// A message that says why the connection ends.
pub(super) fn error(status: StatusCode, reason: &str) -> Vec<u8> {
    let size = u32::try_from(16 + reason.len()).unwrap_or(16);
    let mut bytes = b"ERRF".to_vec();
    bytes.extend(size.to_le_bytes());
    bytes.extend(status.bits().to_le_bytes());
    bytes.extend((size - 16).to_le_bytes());
    bytes.extend(reason.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_channel_is_opened_plainly_or_with_a_certificate() {
        let body = |policy: &str, certificate: &[u8]| {
            let mut body = vec![0; 4];
            body.extend(u32::try_from(policy.len()).unwrap().to_le_bytes());
            body.extend(policy.as_bytes());
            body.extend(u32::try_from(certificate.len()).unwrap().to_le_bytes());
            body.extend(certificate);
            body
        };
        let secure = "http://opcfoundation.org/UA/SecurityPolicy#Basic256Sha256";
        assert_eq!(opens(&body(NONE, b"")), Some(Opens::Plain));
        assert_eq!(opens(&body(secure, b"abc")), Some(Opens::Signed(b"abc")));
        assert_eq!(opens(&body(secure, b"")), None);
    }

    #[test]
    fn only_discovery_needs_no_session() {
        let message = |number: u16| {
            let mut first = vec![0; 24];
            first.extend([1, 0]);
            first.extend(number.to_le_bytes());
            first
        };
        assert!(needs_no_session(&message(428)));
        for session in [461, 467, 631, 0] {
            assert!(!needs_no_session(&message(session)), "{session}");
        }
        assert!(!needs_no_session(&[0; 10]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (opens(&bytes), needs_no_session(&bytes));
            if let Some(header) = bytes.first_chunk::<HEADER>() {
                let _ = Header::parse(header);
            }
        }
    }
}
