//! Cuts an expression's text into tokens, each with its column. Total: any text gives tokens or an error.

use super::ParseError;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Number(f64),
    /// `device/point`, `point`, a word of the language or a function.
    Word {
        device: Option<String>,
        name: String,
        quoted: bool,
    },
    Symbol(&'static str),
    End,
}

impl Token {
    pub(super) fn is_word(&self, word: &str) -> bool {
        matches!(self, Token::Word { device: None, name, quoted: false } if name == word)
    }

    pub(super) fn show(&self) -> String {
        match self {
            Token::Number(x) => format!("`{x}`"),
            Token::Word { device: Some(d), name, .. } => format!("`{d}/{name}`"),
            Token::Word { device: None, name, .. } => format!("`{name}`"),
            Token::Symbol(s) => format!("`{s}`"),
            Token::End => "the end".to_owned(),
        }
    }
}

/// Longer ones first.
const SYMBOLS: &[&str] =
    &["<=", ">=", "==", "!=", "&&", "||", "<", ">", "!", "+", "-", "*", "/", "(", ")", ","];

/// Tokens with their columns, the last one `End`.
pub(super) fn lex(text: &str) -> Result<Vec<(Token, usize)>, ParseError> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        let column = at + 1;
        if c.is_whitespace() {
            at += 1;
        } else if c.is_ascii_digit() || (c == '.' && chars.get(at + 1).is_some_and(char::is_ascii_digit)) {
            let (number, end) = number(&chars, at)?;
            tokens.push((Token::Number(number), column));
            at = end;
        } else if c == '`' {
            let (token, end) = quoted(&chars, at)?;
            tokens.push((token, column));
            at = end;
        } else if is_word_start(c) {
            let (token, end) = word(&chars, at);
            tokens.push((token, column));
            at = end;
        } else {
            let symbol =
                SYMBOLS.iter().find(|s| s.chars().enumerate().all(|(i, x)| chars.get(at + i) == Some(&x)));
            let Some(symbol) = symbol else {
                return Err(ParseError::new(column, format!("`{c}` has no meaning here")));
            };
            tokens.push((Token::Symbol(symbol), column));
            at += symbol.len();
        }
    }
    tokens.push((Token::End, chars.len() + 1));
    Ok(tokens)
}

fn is_word_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '.'
}

fn take(chars: &[char], from: usize, keep: impl Fn(char) -> bool) -> (String, usize) {
    let text: String = chars[from..].iter().copied().take_while(|c| keep(*c)).collect();
    let end = from + text.len(); // all ASCII
    (text, end)
}

fn number(chars: &[char], from: usize) -> Result<(f64, usize), ParseError> {
    let (mut text, mut end) = take(chars, from, |c| c.is_ascii_digit() || c == '.');
    if matches!(chars.get(end), Some('e' | 'E')) {
        let sign = usize::from(matches!(chars.get(end + 1), Some('+' | '-')));
        if chars.get(end + 1 + sign).is_some_and(char::is_ascii_digit) {
            text.extend(&chars[end..=end + sign]);
            let (digits, after) = take(chars, end + 1 + sign, |c| c.is_ascii_digit());
            text.push_str(&digits);
            end = after;
        }
    }
    match text.parse::<f64>() {
        Ok(x) if x.is_finite() => Ok((x, end)),
        _ => Err(ParseError::new(from + 1, format!("`{text}` is not a number"))),
    }
}

/// `name` or `device/name`, the slash without blanks around it: with blanks it divides.
fn word(chars: &[char], from: usize) -> (Token, usize) {
    let (first, end) = take(chars, from, is_word);
    if chars.get(end) == Some(&'/') && chars.get(end + 1).copied().is_some_and(is_word_start) {
        let (name, end) = take(chars, end + 1, is_word);
        return (Token::Word { device: Some(first), name, quoted: false }, end);
    }
    (Token::Word { device: None, name: first, quoted: false }, end)
}

fn quoted(chars: &[char], from: usize) -> Result<(Token, usize), ParseError> {
    let inner = &chars[from + 1..];
    let Some(len) = inner.iter().position(|c| *c == '`') else {
        return Err(ParseError::new(from + 1, "a second ` after the name is missing"));
    };
    let text: String = inner[..len].iter().collect();
    let (device, name) = match text.split_once('/') {
        Some((device, name)) => (Some(device.to_owned()), name.to_owned()),
        None => (None, text),
    };
    if name.is_empty() || device.as_deref() == Some("") {
        return Err(ParseError::new(from + 1, "expected a name between the two `"));
    }
    Ok((Token::Word { device, name, quoted: true }, from + len + 2))
}
