//! Sums in a template's text: numbers, `+ - * / %` and brackets. Not the expressions of interlocks and points,
//! which are computed at run time.

/// The number that a text spells; none if it is not a sum of numbers, or has no finite value.
pub fn compute(text: &str) -> Option<f64> {
    let mut sum = Sum { rest: text.trim(), depth: 0 };
    let value = sum.terms()?;
    (sum.rest.is_empty() && value.is_finite()).then_some(value)
}

/// Brackets within brackets.
const MOST_DEPTH: usize = 32;

struct Sum<'t> {
    rest: &'t str,
    depth: usize,
}

impl Sum<'_> {
    fn take(&mut self, signs: &[char]) -> Option<char> {
        let sign = self.rest.chars().next().filter(|c| signs.contains(c))?;
        self.rest = self.rest.get(1..)?.trim_start();
        Some(sign)
    }

    fn terms(&mut self) -> Option<f64> {
        let mut value = self.factors()?;
        while let Some(sign) = self.take(&['+', '-']) {
            let next = self.factors()?;
            value = if sign == '+' { value + next } else { value - next };
        }
        Some(value)
    }

    fn factors(&mut self) -> Option<f64> {
        let mut value = self.signed()?;
        while let Some(sign) = self.take(&['*', '/', '%']) {
            let next = self.signed()?;
            value = match sign {
                '*' => value * next,
                '/' => value / next,
                _ => value % next,
            };
        }
        Some(value)
    }

    fn signed(&mut self) -> Option<f64> {
        let mut negative = false;
        while let Some(sign) = self.take(&['-', '+']) {
            negative ^= sign == '-';
        }
        let value = self.number()?;
        Some(if negative { -value } else { value })
    }

    fn number(&mut self) -> Option<f64> {
        if self.take(&['(']).is_some() {
            self.depth += 1;
            if self.depth > MOST_DEPTH {
                return None;
            }
            let value = self.terms()?;
            self.depth -= 1;
            return self.take(&[')']).map(|_| value);
        }
        let word = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '_';
        let end = self.rest.find(|c| !word(c)).unwrap_or(self.rest.len());
        let (number, rest) = self.rest.split_at_checked(end)?;
        let digits = number.replace('_', "");
        if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            return None;
        }
        let value = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
            Some(hex) => f64::from(u32::from_str_radix(hex, 16).ok()?),
            None => digits.parse().ok()?,
        };
        self.rest = rest.trim_start();
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sums_follow_the_usual_order() {
        for (text, value) in [
            ("100+4", Some(104.0)),
            (" 100 + 4 * 2 ", Some(108.0)),
            ("(100 + 4) * 2", Some(208.0)),
            ("10 - 2 - 3", Some(5.0)),
            ("-3 + 5", Some(2.0)),
            ("2--3", Some(5.0)),
            ("7 / 2", Some(3.5)),
            ("7 % 4", Some(3.0)),
            ("0x10 + 1", Some(17.0)),
            ("40_001", Some(40_001.0)),
            ("1.5", Some(1.5)),
            ("1/0", None),
            ("", None),
            ("a", None),
            ("3-a", None),
            ("3 4", None),
            ("(3", None),
            ("3)", None),
            ("nan", None),
            ("inf", None),
            ("1e400", None),
        ] {
            assert_eq!(compute(text), value, "{text}");
        }
        assert_eq!(compute(&"(".repeat(100_000)), None);
    }

    proptest! {
        #[test]
        fn any_text_is_judged(text in "\\PC{0,40}") {
            let _ = compute(&text);
        }
    }
}
