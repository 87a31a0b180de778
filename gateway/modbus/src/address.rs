//! How people write where a register is. Two ways, and no guess between them: the protocol's own address, from 0, with
//! its table; and the number of manuals, from 1, whose first digit is the table (`40001`, `400001`, `4x00001`).

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};

use crate::Table;

/// A place in a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// Which table.
    pub table: Table,
    /// From 0, as it stands in a request.
    pub at: u16,
}

/// What is wrong with the number of a register.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It is written in no known way.
    #[error(
        "`{text}` is not the number of a register: expected such as 40001, 400001 or \"4x00001\", or `table` and `address`"
    )]
    Unknown {
        /// What stands there.
        text: String,
    },
    /// It could be a coil, or a register counted from 1.
    #[error(
        "{number} could be a coil or a register of any table: write \"{number:05}\" for the coil, {} for the holding \
         register, or `table` and `address = {}`", 40_000 + number, number.saturating_sub(1)
    )]
    Ambiguous {
        /// The number.
        number: u32,
    },
    /// Numbers begin with 1.
    #[error("`{text}` does not exist: registers are numbered from 1, and {first} is `address = 0`")]
    Zero {
        /// What stands there.
        text: String,
        /// The first of its table.
        first: &'static str,
    },
    /// No such table.
    #[error(
        "`{text}`: there is no table {digit}; they are 0 (coil), 1 (discrete), 3 (input) and 4 (holding)"
    )]
    Table {
        /// What stands there.
        text: String,
        /// Its first digit.
        digit: char,
    },
    /// More than a device can have.
    #[error("`{text}` is beyond the last, 65536 of a table")]
    Beyond {
        /// What stands there.
        text: String,
    },
}

fn table(digit: char) -> Option<Table> {
    match digit {
        '0' => Some(Table::Coil),
        '1' => Some(Table::Discrete),
        '3' => Some(Table::Input),
        '4' => Some(Table::Holding),
        _ => None,
    }
}

fn first(table: Table) -> &'static str {
    match table {
        Table::Coil => "00001",
        Table::Discrete => "10001",
        Table::Input => "30001",
        Table::Holding => "40001",
    }
}

impl Address {
    /// From a number as it stands in a file without quotes, where zeros at the front cannot be written.
    ///
    /// # Errors
    /// When it is none, or could be another's.
    pub fn from_number(number: i64) -> Result<Self, AddressError> {
        match u32::try_from(number) {
            Ok(n @ 1..=9_999) => Err(AddressError::Ambiguous { number: n }),
            Ok(0) => Err(AddressError::Zero { text: "0".to_owned(), first: first(Table::Coil) }),
            Ok(n) => n.to_string().parse(),
            Err(_) => Err(AddressError::Unknown { text: number.to_string() }),
        }
    }

    /// Its number in manuals: five digits, or six where five do not reach.
    pub fn number(self) -> String {
        let digit = first(self.table).get(..1).unwrap_or_default();
        let number = u32::from(self.at) + 1;
        if number <= 9_999 { format!("{digit}{number:04}") } else { format!("{digit}{number:05}") }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let unknown = || AddressError::Unknown { text: text.to_owned() };
        let clean = text.trim();
        let mut letters = clean.chars();
        let digit = letters.next().ok_or_else(unknown)?;
        let rest = letters.as_str();
        // `4x00001`: digits after the x, five or six of them, so that no hexadecimal number is taken for one.
        let digits = match rest.strip_prefix(['x', 'X']) {
            Some(digits) if (5..=6).contains(&digits.len()) => digits,
            Some(_) => return Err(unknown()),
            None if (4..=5).contains(&rest.len()) => rest,
            None => return Err(unknown()),
        };
        if !digit.is_ascii_digit() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(unknown());
        }
        let table = table(digit).ok_or_else(|| AddressError::Table { text: text.to_owned(), digit })?;
        let number: u32 = digits.parse().map_err(|_| unknown())?;
        let at = number
            .checked_sub(1)
            .ok_or_else(|| AddressError::Zero { text: text.to_owned(), first: first(table) })?;
        let at = u16::try_from(at).map_err(|_| AddressError::Beyond { text: text.to_owned() })?;
        Ok(Self { table, at })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({})", self.table, self.at, self.number())
    }
}

struct AddressVisitor;

impl Visitor<'_> for AddressVisitor {
    type Value = Address;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the number of a register, such as 40001, 400001 or \"4x00001\"")
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Address, E> {
        Address::from_number(number).map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Address, E> {
        self.visit_i64(i64::try_from(number).unwrap_or(i64::MAX))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Address, E> {
        text.parse().map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(AddressVisitor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_ways_of_manuals_mean_what_they_say() {
        for (text, table, at) in [
            ("40001", Table::Holding, 0),
            ("49999", Table::Holding, 9_998),
            ("400001", Table::Holding, 0),
            ("465536", Table::Holding, 65_535),
            ("4x00001", Table::Holding, 0),
            ("4X065536", Table::Holding, 65_535),
            ("30001", Table::Input, 0),
            ("3x00107", Table::Input, 106),
            ("10001", Table::Discrete, 0),
            ("100001", Table::Discrete, 0),
            ("00001", Table::Coil, 0),
            ("000017", Table::Coil, 16),
            ("0x00001", Table::Coil, 0),
        ] {
            assert_eq!(text.parse(), Ok(Address { table, at }), "{text}");
        }
        assert_eq!(Address::from_number(40_108), Ok(Address { table: Table::Holding, at: 107 }));
    }

    #[test]
    fn what_could_mean_two_things_or_nothing_is_refused_with_a_remedy() {
        for (text, told) in [
            ("50001", "no table 5"),
            ("40000", "40001 is `address = 0`"),
            ("465537", "beyond the last"),
            ("4x1", "expected such as 40001"),
            ("0x9C41", "expected such as 40001"),
            ("4000a", "expected such as 40001"),
            ("", "expected such as 40001"),
            ("4\u{e4}001", "expected such as 40001"),
            ("4000001", "expected such as 40001"),
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(told), "{text}: {error}");
        }
        let error = Address::from_number(17).unwrap_err().to_string();
        for told in ["\"00017\"", "40017", "address = 16"] {
            assert!(error.contains(told), "{error}");
        }
        assert!(Address::from_number(-1).is_err() && Address::from_number(0).is_err());
    }

    proptest! {
        #![proptest_config(crate::cases(256))]

        #[test]
        fn every_place_has_a_number_that_leads_back(at in any::<u16>(), table in 0usize..4) {
            let address = Address { table: Table::ALL[table], at };
            prop_assert_eq!(address.number().parse(), Ok(address));
        }

        #[test]
        fn no_text_or_number_makes_it_panic(text in ".{0,9}", number in any::<i64>()) {
            let _ = text.parse::<Address>();
            let _ = Address::from_number(number);
        }
    }
}
