//! Packed decimal digits, four bits each.

/// The number; none if a digit is above 9.
pub(super) fn decode(raw: u32) -> Option<u32> {
    let mut number = 0;
    for place in (0..8).rev() {
        let digit = raw >> (4 * place) & 0xf;
        if digit > 9 {
            return None;
        }
        number = number * 10 + digit;
    }
    Some(number)
}

/// The digits of a number of at most eight.
pub(super) fn encode(number: u32) -> u32 {
    (0..8).fold((0, number), |(raw, left), place| (raw | (left % 10) << (4 * place), left / 10)).0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_read_as_they_look_in_hexadecimal() {
        assert_eq!(decode(0x1234_5678), Some(12_345_678));
        assert_eq!(decode(0x0000_9999), Some(9_999));
        assert_eq!(encode(12_345_678), 0x1234_5678);
        for place in 0..8 {
            assert_eq!(decode(0xa << (4 * place)), None, "10 is no digit");
        }
    }
}
