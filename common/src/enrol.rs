//! Enrolment: how a box gets its certificate with a code that is good once. The code's secret is not sent: both sides
//! prove with it that they know it, over what they say, so that nobody on the way can change the request or the answer,
//! whatever the transport is.

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

type HmacSha256 = Hmac<Sha256>;

/// Characters of a code: none is taken for another.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// The first characters name the code.
const ID: usize = 5;
/// Then comes its secret of 95 bits.
const SECRET: usize = 19;
/// And one by which a mistyped character is found.
const ALL: usize = ID + SECRET + 1;
/// Written in groups of so many.
const GROUP: usize = 5;

/// A code with which a box enrols once, as `7Q2KD-...`: shown to an administrator, typed in at the box.
#[derive(Clone, PartialEq, Eq)]
pub struct EnrolmentCode([u8; ALL]);

/// Why a text is no code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    /// Too short or too long.
    #[error("a code has {ALL} letters and digits, this one has {0}")]
    Length(usize),
    /// Something else stands in it.
    #[error("`{0}` is in no code")]
    Character(char),
    /// The last character does not fit the others.
    #[error("a character of the code is mistyped")]
    Mistyped,
}

impl EnrolmentCode {
    /// A new one.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut code = [0; ALL];
        getrandom::fill(&mut code)?;
        code.iter_mut().for_each(|c| *c %= 32);
        code[ALL - 1] = check(&code);
        Ok(Self(code.map(|c| ALPHABET[usize::from(c)])))
    }

    /// What it is looked up by. No secret.
    pub fn id(&self) -> String {
        self.text(..ID)
    }

    /// What both sides know of it.
    pub fn key(&self) -> Key {
        Key(Sha256::digest(self.0).into())
    }

    fn text(&self, part: std::ops::RangeTo<usize>) -> String {
        self.0[part].iter().copied().map(char::from).collect()
    }
}

/// Sum of the characters before the last, with odd weights: any single change is found.
fn check(digits: &[u8; ALL]) -> u8 {
    let weights = (1..).step_by(2);
    digits[..ALL - 1].iter().zip(weights).fold(0u32, |sum, (d, w)| sum + u32::from(*d) * w).to_le_bytes()[0]
        % 32
}

impl std::str::FromStr for EnrolmentCode {
    type Err = CodeError;

    /// Hyphens, spaces and the case of letters do not matter; O is 0, I and L are 1.
    fn from_str(text: &str) -> Result<Self, CodeError> {
        let mut digits = Vec::with_capacity(ALL);
        for c in text.chars().filter(|c| !c.is_whitespace() && *c != '-') {
            let upper = match c.to_ascii_uppercase() {
                'O' => '0',
                'I' | 'L' => '1',
                c => c,
            };
            let at = ALPHABET.iter().position(|a| char::from(*a) == upper).ok_or(CodeError::Character(c))?;
            digits.push(u8::try_from(at).unwrap_or_default());
        }
        let digits: [u8; ALL] = digits.try_into().map_err(|d: Vec<u8>| CodeError::Length(d.len()))?;
        if digits[ALL - 1] != check(&digits) {
            return Err(CodeError::Mistyped);
        }
        Ok(Self(digits.map(|d| ALPHABET[usize::from(d)])))
    }
}

impl std::fmt::Display for EnrolmentCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let groups: Vec<&str> = self.0.chunks(GROUP).filter_map(|g| std::str::from_utf8(g).ok()).collect();
        f.write_str(&groups.join("-"))
    }
}

impl std::fmt::Debug for EnrolmentCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EnrolmentCode({}-...)", self.id())
    }
}

/// What is known of a code's secret on both sides.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key(pub [u8; 32]);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(...)")
    }
}

/// From when a certificate should be renewed, of its two ends, UTC us: a third of its life is left.
pub fn renew_from_us(not_before_us: i64, not_after_us: i64) -> i64 {
    not_after_us.saturating_sub(not_after_us.saturating_sub(not_before_us) / 3)
}

/// Which way something goes; what proves the one proves nothing about the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// from the box: its signing request, PEM
    Request,
    /// to the box: what was issued, the JSON text
    Answer,
}

impl Key {
    /// Proof that who knows the key says this, hexadecimal.
    pub fn prove(&self, way: Way, what: &[u8]) -> String {
        crate::text::hex(&self.mac(way, what).finalize().into_bytes())
    }

    /// Whether a proof is one; in a time that does not tell where it differs.
    pub fn proves(&self, way: Way, what: &[u8], proof: &str) -> bool {
        let bytes: Option<Vec<u8>> = (proof.is_ascii() && proof.len() == 64)
            .then(|| (0..32).filter_map(|n| u8::from_str_radix(&proof[2 * n..2 * n + 2], 16).ok()).collect());
        bytes.is_some_and(|bytes| self.mac(way, what).verify_slice(&bytes).is_ok())
    }

    fn mac(&self, way: Way, what: &[u8]) -> HmacSha256 {
        let label: &[u8] = match way {
            Way::Request => b"twinway enrolment request\0",
            Way::Answer => b"twinway enrolment answer\0",
        };
        // Of the hash's block size, as HMAC pads any shorter key.
        let mut key = [0; 64];
        key[..32].copy_from_slice(&self.0);
        let mut mac = <HmacSha256 as Mac>::new(&key.into());
        mac.update(label);
        mac.update(what);
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_as_it_is_written_and_typed() {
        for _ in 0..200 {
            let code = EnrolmentCode::random().unwrap();
            let text = code.to_string();
            assert_eq!(text.len(), 29);
            assert_eq!(text.parse(), Ok(code.clone()));
            let typed = text.to_lowercase().replace('-', " ").replace('0', "o").replace('1', "l");
            assert_eq!(typed.parse(), Ok(code.clone()));
            assert!(text.starts_with(&code.id()));
            assert!(!format!("{code:?}").contains(&text[6..11]));
        }
    }

    #[test]
    fn any_one_mistyped_character_is_found() {
        let text = EnrolmentCode::random().unwrap().to_string();
        for (at, right) in text.char_indices().filter(|(_, c)| *c != '-') {
            for wrong in ALPHABET.iter().map(|c| char::from(*c)).filter(|c| *c != right) {
                let mut other = text.clone();
                other.replace_range(at..=at, &wrong.to_string());
                assert_eq!(other.parse::<EnrolmentCode>(), Err(CodeError::Mistyped), "{other}");
            }
        }
        assert_eq!("ABC".parse::<EnrolmentCode>(), Err(CodeError::Length(3)));
        assert_eq!("U".parse::<EnrolmentCode>(), Err(CodeError::Character('U')));
    }

    #[test]
    fn a_proof_is_of_one_key_one_way_and_one_text() {
        let [a, b] = [Key([1; 32]), Key([2; 32])];
        let proof = a.prove(Way::Request, b"csr");
        assert!(a.proves(Way::Request, b"csr", &proof));
        assert!(!b.proves(Way::Request, b"csr", &proof));
        assert!(!a.proves(Way::Answer, b"csr", &proof));
        assert!(!a.proves(Way::Request, b"csR", &proof));
        assert!(!a.proves(Way::Request, b"csr", &proof[1..]));
        assert!(!a.proves(Way::Request, b"csr", &"x".repeat(64)));
        // By `printf 'twinway enrolment request\0csr' | openssl dgst -sha256 -mac HMAC -macopt hexkey:0101...`.
        assert_eq!(proof, "d5ef39c56cb144b71da3f2b32ea12e46ad9f79b5fa108a5afd157704d0b8f10a");
    }
}
