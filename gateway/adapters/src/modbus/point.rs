//! `modbus = { ... }` of a point: where it is and how its value lies there. Each default stands beside its key.

use std::time::Duration;

use gateway_core::RawRange;
use gateway_modbus::plan::Item;
use gateway_modbus::value::{Chars, Encoding, Format, Order, RawType, Trim};
use gateway_modbus::{Address, Table};
use serde::Deserialize;

/// Key, and what is wrong and expected.
type Wrong = (&'static str, String);

/// A point's place and format.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Keys")]
pub struct PointConfig {
    /// Which table.
    pub table: Table,
    /// First address that the point needs, from 0.
    pub address: u16,
    /// How the value lies there. Means nothing for coils and discrete inputs.
    pub format: Format,
    /// How often it is read, ms.
    pub period_ms: u64,
    /// How many such points follow each other; none: it is one point, and no array.
    pub array: Option<u16>,
    /// Registers or bits from one element of an array to the next; none: they follow each other without a gap.
    pub stride: Option<u16>,
}

/// The keys as they are written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    /// `holding`, `input`, `coil` or `discrete`. With `address`.
    table: Option<Table>,
    /// Protocol address from 0: what manuals number 40001 is `holding` 0.
    address: Option<u16>,
    /// The number of manuals instead of `table` and `address`: `40001`, `400001`, `"4x00001"`; coils in quotes.
    register: Option<Address>,
    /// `bool u16 i16 u32 i32 u64 i64 f32 f64 bcd16 bcd32 string`. Default `bool` for bits and `u16` for registers.
    #[serde(rename = "type")]
    raw_type: Option<RawType>,
    /// `abcd cdab badc dcba`, and for 64 bits the eight-letter ones. Default `abcd`.
    #[serde(default)]
    order: Order,
    /// Bit of the register, 0 the lowest; then `type` is `bool`.
    bit: Option<u8>,
    /// Bytes of a string, which needs it.
    length: Option<u16>,
    /// What is cut off a string's end: `zeros`, `spaces`, `both` or `none`. Default `zeros`.
    #[serde(default)]
    trim: Trim,
    /// `utf8` or `latin1`. Default `utf8`.
    #[serde(default)]
    encoding: Encoding,
    /// Which bytes of its registers a string uses: `both`, `low` or `high`. Default `both`.
    #[serde(default)]
    chars: Chars,
    /// Where the exponent of 10 (i16) stands whose mantissa the value is; written like the point's own place, as an
    /// address or as a register's number.
    exponent: Option<Place>,
    /// The whole number with which the device says that it has no value. Default: none.
    invalid: Option<i64>,
    /// How often it is read, ms. Default 1000.
    #[serde(default = "default_period_ms")]
    period_ms: u64,
    /// Number of elements of an array: points `<name>_0`, `<name>_1` and so on.
    array: Option<u16>,
    /// Registers or bits from one element to the next. Default: as many as one takes.
    stride: Option<u16>,
}

/// An address or a register's number: which of the two, the point's own place says.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Place {
    Number(i64),
    Text(String),
}

fn default_period_ms() -> u64 {
    1000
}

/// Most elements of an array: more is a mistake.
const MAX_ELEMENTS: u16 = 10_000;

impl TryFrom<Keys> for PointConfig {
    type Error = String;

    fn try_from(keys: Keys) -> Result<Self, String> {
        let place = match (keys.register, keys.table, keys.address) {
            (None, Some(table), Some(at)) => Address { table, at },
            (Some(place), None, None) => place,
            (Some(place), Some(table), None) if place.table == table => place,
            (Some(place), Some(table), None) => {
                return Err(format!("`register` is of table `{}`, and `table` says `{table}`", place.table));
            }
            (Some(_), _, Some(_)) => {
                return Err(
                    "`register` and `address` say the same in two ways: leave one of them out".to_owned()
                );
            }
            (None, None, Some(_)) => {
                return Err("missing field `table`: expected holding, input, coil or discrete".to_owned());
            }
            (None, _, None) => {
                return Err(
                    "missing field `address` (from 0, with `table`) or `register` (as in manuals, such as 40001)"
                        .to_owned(),
                );
            }
        };
        let exponent = keys.exponent.map(|e| e.of(place, keys.register.is_some())).transpose()?;
        let by_table = if place.table.is_bits() || keys.bit.is_some() { RawType::Bool } else { RawType::U16 };
        let format = Format {
            raw_type: keys.raw_type.unwrap_or(by_table),
            order: keys.order,
            bit: keys.bit,
            length: keys.length,
            trim: keys.trim,
            encoding: keys.encoding,
            chars: keys.chars,
            exponent: exponent.map(|at| i32::from(at) - i32::from(place.at)),
            invalid: keys.invalid,
        };
        Ok(Self {
            table: place.table,
            // The exponent may stand before the mantissa; what is read begins with the first of them.
            address: place.at.saturating_sub(format.lead()),
            format,
            period_ms: keys.period_ms,
            array: keys.array,
            stride: keys.stride,
        })
    }
}

impl Place {
    fn of(self, own: Address, numbered: bool) -> Result<u16, String> {
        let place = match (self, numbered) {
            (Self::Number(n), false) => {
                return u16::try_from(n)
                    .map_err(|_| format!("`exponent` = {n} is not an address: expected 0 to 65535"));
            }
            (Self::Number(n), true) => Address::from_number(n),
            (Self::Text(text), _) => text.parse(),
        };
        let place = place.map_err(|e| format!("`exponent`: {e}"))?;
        if place.table == own.table {
            Ok(place.at)
        } else {
            Err(format!("`exponent` is of table `{}`, the value of `{}`", place.table, own.table))
        }
    }
}

impl PointConfig {
    /// A point of a type and place, everything else at its default.
    pub fn new(table: Table, address: u16, raw_type: RawType) -> Self {
        let format = raw_type.into();
        let period_ms = default_period_ms();
        Self { table, address, format, period_ms, array: None, stride: None }
    }

    /// What the registers hold.
    pub fn raw_type(&self) -> RawType {
        self.format.raw_type
    }

    /// How many registers or bits it takes, those between its parts included.
    pub fn count(&self) -> u16 {
        if self.table.is_bits() { 1 } else { self.format.registers() }
    }

    /// What is read for it.
    pub fn item(&self) -> Item {
        let (table, address, count) = (self.table, self.address, self.count());
        Item { table, address, count, period: Duration::from_millis(self.period_ms) }
    }

    /// What the registers can hold.
    pub fn raw_range(&self) -> RawRange {
        let range = self.format.range();
        RawRange { value_type: range.value_type, min: range.min, max: range.max }
    }

    /// Whether the device lets the point be written.
    pub fn is_writable(&self) -> bool {
        self.table.is_writable() && self.format.is_writable()
    }

    /// The points that it stands for, each with what its name ends with: one with nothing, or the elements of an
    /// array with `_0`, `_1` and so on.
    pub fn elements(&self) -> Vec<(String, Self)> {
        let Some(elements) = self.array else { return vec![(String::new(), self.clone())] };
        let one = |n: u16| {
            let address = self.address.saturating_add(n.saturating_mul(self.stride()));
            (format!("_{n}"), Self { address, array: None, stride: None, ..self.clone() })
        };
        (0..elements).map(one).collect()
    }

    fn stride(&self) -> u16 {
        self.stride.unwrap_or_else(|| self.count())
    }

    /// What is most likely not meant: an address that looks like the number of a manual.
    pub fn suspicion(&self) -> Option<String> {
        let meant = Address::from_number(self.address.into()).ok()?;
        (meant.table == self.table).then(|| {
            format!(
                "address = {} is counted from 0; if it is the number of a manual, write register = {}",
                self.address, self.address
            )
        })
    }

    /// Looks for what only the keys together show.
    ///
    /// # Errors
    /// Key, and what is wrong and expected.
    pub fn check(&self) -> Result<(), Wrong> {
        if self.table.is_bits() {
            self.check_bits()?;
        }
        self.format.check()?;
        match (self.array, self.stride) {
            (Some(n), _) if n == 0 || n > MAX_ELEMENTS => {
                return Err((
                    "array",
                    format!("{n} is not a number of elements: expected 1 to {MAX_ELEMENTS}"),
                ));
            }
            (None, Some(_)) => return Err(("stride", "only an array has a stride".to_owned())),
            (Some(_), Some(stride)) if stride < self.count() => {
                return Err(("stride", format!("one element takes {} and is not to lap over", self.count())));
            }
            _ => {}
        }
        let last = u32::from(self.array.unwrap_or(1).max(1) - 1) * u32::from(self.stride());
        if u32::from(self.address) + last + u32::from(self.count()) > 65_536 {
            let many = last + u32::from(self.count());
            return Err(("address", format!("{many} from {} on go beyond 65535", self.address)));
        }
        if !(10..=86_400_000).contains(&self.period_ms) {
            return Err((
                "period_ms",
                format!("{} is not a period: expected 10 to 86400000", self.period_ms),
            ));
        }
        Ok(())
    }

    /// Coils and discrete inputs are one bit each, and have nothing else.
    fn check_bits(&self) -> Result<(), Wrong> {
        let f = &self.format;
        if f.raw_type != RawType::Bool {
            return Err(("type", format!("table `{}` holds bits: leave it out, or use `bool`", self.table)));
        }
        for (key, given) in [
            ("bit", f.bit.is_some()),
            ("order", f.order != Order::default()),
            ("exponent", f.exponent.is_some()),
        ] {
            if given {
                return Err((key, format!("table `{}` holds bits: leave it out", self.table)));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(text: &str) -> PointConfig {
        toml::from_str(text).unwrap()
    }

    fn refused(text: &str) -> String {
        toml::from_str::<PointConfig>(text).unwrap_err().message().to_owned()
    }

    #[test]
    fn defaults_are_as_documented() {
        let p = point("table = \"coil\"\naddress = 1");
        assert_eq!((p.raw_type(), p.format.order, p.period_ms), (RawType::Bool, Order::ABCD, 1000));
        assert_eq!((p.count(), p.elements().len()), (1, 1));
        assert_eq!(point("table = \"input\"\naddress = 1").raw_type(), RawType::U16);
        assert_eq!(point("table = \"input\"\naddress = 1\nbit = 3").raw_type(), RawType::Bool);
    }

    #[test]
    fn a_place_is_an_address_from_0_or_the_number_of_a_manual_and_never_both() {
        let p = point("register = 40011\ntype = \"f32\"");
        assert_eq!((p.table, p.address), (Table::Holding, 10));
        assert_eq!(point("register = \"3x00107\"").address, 106);
        assert_eq!(point("register = \"00017\"").table, Table::Coil);
        for (text, told) in [
            ("register = 40001\naddress = 0", "leave one of them out"),
            ("register = 40001\ntable = \"input\"", "`table` says `input`"),
            ("register = 17", "could be a coil"),
            ("address = 17", "missing field `table`"),
            ("table = \"holding\"", "such as 40001"),
            ("table = \"holding\"\nadress = 1", "unknown field"),
            ("register = 40001\nexponent = 30002", "of table `input`"),
            ("table = \"holding\"\naddress = 1\nexponent = 65536", "expected 0 to 65535"),
        ] {
            let error = refused(text);
            assert!(error.contains(told), "{text}: {error}");
        }
        assert!(point("table = \"holding\"\naddress = 40001").suspicion().is_some());
        assert_eq!(point("table = \"input\"\naddress = 40001").suspicion(), None);
    }

    #[test]
    fn a_pair_begins_with_whichever_part_comes_first() {
        let p = point("register = 40072\ntype = \"i16\"\nexponent = 40076");
        assert_eq!((p.address, p.count(), p.is_writable()), (71, 5, false));
        let p = point("table = \"holding\"\naddress = 10\ntype = \"u32\"\nexponent = 9");
        assert_eq!((p.address, p.count(), p.format.lead(), p.is_writable()), (9, 3, 1, true));
        assert_eq!(p.check(), Ok(()));
    }

    #[test]
    fn an_array_is_points_at_their_stride() {
        let p = point("table = \"holding\"\naddress = 10\ntype = \"f32\"\narray = 3");
        let places: Vec<_> = p.elements().into_iter().map(|(name, e)| (name, e.address)).collect();
        assert_eq!(places, [("_0".into(), 10), ("_1".into(), 12), ("_2".into(), 14)]);
        let p = point("table = \"holding\"\naddress = 10\ntype = \"f32\"\narray = 2\nstride = 20");
        assert_eq!(p.elements()[1].1.address, 30);
        assert_eq!(p.elements()[1].1.check(), Ok(()));
    }

    #[test]
    fn keys_that_do_not_fit_each_other_are_refused_by_name() {
        let h = "table = \"holding\"\naddress = 1\n";
        for (text, key) in [
            ("table = \"coil\"\naddress = 1\ntype = \"u16\"".to_owned(), "type"),
            ("table = \"coil\"\naddress = 1\nbit = 1".to_owned(), "bit"),
            ("table = \"coil\"\naddress = 1\norder = \"badc\"".to_owned(), "order"),
            (format!("{h}type = \"string\""), "length"),
            (format!("{h}type = \"string\"\nlength = 300"), "length"),
            (format!("{h}type = \"string\"\nlength = 3\norder = \"cdab\""), "order"),
            (format!("{h}length = 2"), "length"),
            (format!("{h}type = \"u32\"\norder = \"efghabcd\""), "order"),
            (format!("{h}array = 0"), "array"),
            (format!("{h}stride = 2"), "stride"),
            (format!("{h}type = \"f32\"\narray = 2\nstride = 1"), "stride"),
            ("table = \"holding\"\naddress = 65535\ntype = \"u32\"".to_owned(), "address"),
            ("table = \"holding\"\naddress = 65000\narray = 600".to_owned(), "address"),
            (format!("{h}period_ms = 1"), "period_ms"),
            (format!("{h}exponent = 500"), "exponent"),
        ] {
            assert_eq!(point(&text).check().unwrap_err().0, key, "{text}");
        }
        assert_eq!(point("table = \"holding\"\naddress = 65534\ntype = \"u32\"").check(), Ok(()));
    }

    #[test]
    fn the_sample_fits_the_keys() {
        let file: toml::Table = toml::from_str(include_str!("sample.toml")).unwrap();
        for device in file["device"].as_array().unwrap() {
            for point in device["point"].as_array().unwrap() {
                let p: PointConfig = point["modbus"].clone().try_into().unwrap();
                assert_eq!(p.check(), Ok(()));
            }
        }
    }
}
