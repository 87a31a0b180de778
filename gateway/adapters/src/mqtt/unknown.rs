//! Topics on the gateway's broker that no point takes: bounded, with what their payloads look like, so that people can
//! make points of them. Guesses are for people; nothing is read by them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use common::api::{UnknownTopic, UnknownValue};
use common::supervise::PartError;
use common::{Clock, Drain, ValueType};
use gateway_core::{Message, Messages};
use serde_json::Value as Json;

use super::csv;
use super::routes::Routes;

/// Most topics that are remembered; later ones are only counted.
const MAX_TOPICS: usize = 500;
/// Bytes of a payload that are remembered.
const MAX_BYTES: usize = 8 << 10;
/// A payload is remembered at most so often.
const EVERY_US: i64 = 1_000_000;
/// Values that are shown of a payload.
const MAX_VALUES: usize = 50;
/// Characters of an example.
const EXAMPLE: usize = 40;
const EXCERPT: usize = 200;
const BATCH: usize = 256;

/// The book. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Unknown(Arc<Mutex<Book>>);

struct Book {
    taken: Routes,
    topics: HashMap<String, Seen>,
    /// Messages of topics for which there was no room.
    beyond: u64,
}

struct Seen {
    count: u64,
    first_us: i64,
    last_us: i64,
    retained: bool,
    kept_us: i64,
    bytes: usize,
    payload: Vec<u8>,
}

impl Unknown {
    /// A book of the topics that match none of `taken`.
    pub fn new<'a>(taken: impl IntoIterator<Item = &'a str>) -> Self {
        let book = Book { taken: Routes::new(taken), topics: HashMap::new(), beyond: 0 };
        Self(Arc::new(Mutex::new(book)))
    }

    /// Points take other topics now.
    pub fn set_taken<'a>(&self, taken: impl IntoIterator<Item = &'a str>) {
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Book { taken: routes, topics, .. } = &mut *book;
        *routes = Routes::new(taken);
        topics.retain(|topic, _| routes.points(topic).next().is_none());
    }

    /// Takes note of every message until drained.
    ///
    /// # Errors
    /// When the broker gives no more messages.
    pub async fn run(&self, source: Arc<dyn Messages>, clock: Clock, drain: Drain) -> Result<(), PartError> {
        let mut messages = source.subscribe(vec!["#".to_owned()]);
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let count = tokio::select! {
                () = drain.started() => return Ok(()),
                count = messages.recv_many(&mut batch, BATCH) => count,
            };
            if count == 0 {
                return Err("the broker gives no more messages".into());
            }
            let now_us = clock.now_us();
            let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            batch.drain(..).for_each(|message| book.note(&message, now_us));
        }
    }

    /// What was seen, by topic, and how many messages had no room.
    pub fn list(&self) -> (Vec<UnknownTopic>, u64) {
        let book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = book.topics.iter().map(|(topic, seen)| seen.view(topic)).collect();
        all.sort_unstable_by(|a, b| a.topic.cmp(&b.topic));
        (all, book.beyond)
    }
}

impl Book {
    fn note(&mut self, message: &Message, now_us: i64) {
        // What the gateway says itself, and what only deletes a retained message.
        let own = message.topic.starts_with("twinway/");
        if own || message.payload.is_empty() || self.taken.points(&message.topic).next().is_some() {
            return;
        }
        if !self.topics.contains_key(&message.topic) && self.topics.len() >= MAX_TOPICS {
            self.beyond += 1;
            return;
        }
        let seen = self.topics.entry(message.topic.clone()).or_insert_with(|| Seen {
            count: 0,
            first_us: now_us,
            last_us: now_us,
            retained: message.retained,
            kept_us: i64::MIN,
            bytes: 0,
            payload: Vec::new(),
        });
        seen.count += 1;
        seen.last_us = now_us;
        if now_us.saturating_sub(seen.kept_us) >= EVERY_US {
            seen.kept_us = now_us;
            seen.bytes = message.payload.len();
            seen.payload.clear();
            seen.payload.extend_from_slice(message.payload.get(..MAX_BYTES).unwrap_or(&message.payload));
        }
    }
}

impl Seen {
    fn view(&self, topic: &str) -> UnknownTopic {
        let Guess { format, separator, values } = guess(topic, &self.payload);
        UnknownTopic {
            topic: topic.to_owned(),
            count: self.count,
            first_us: self.first_us,
            last_us: self.last_us,
            retained: self.retained,
            bytes: self.bytes as u64,
            excerpt: excerpt(&self.payload),
            format: format.to_owned(),
            separator,
            values,
        }
    }
}

/// What a payload looks like.
struct Guess {
    format: &'static str,
    separator: Option<char>,
    values: Vec<UnknownValue>,
}

fn excerpt(payload: &[u8]) -> String {
    match std::str::from_utf8(payload) {
        Ok(text) => text.chars().take(EXCERPT).map(|c| if c.is_control() { ' ' } else { c }).collect(),
        Err(_) => payload.iter().take(EXCERPT / 4).map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" "),
    }
}

fn short(text: &str) -> String {
    text.chars().take(EXAMPLE).collect()
}

/// Format, and the values that a point could take.
fn guess(topic: &str, payload: &[u8]) -> Guess {
    let of = |format, values| Guess { format, separator: None, values };
    if topic.starts_with("spBv1.0/")
        && let Some(values) = metrics(payload)
    {
        return of("sparkplug", values);
    }
    let Ok(text) = std::str::from_utf8(payload) else { return of("binary", Vec::new()) };
    if let Ok(json @ (Json::Object(_) | Json::Array(_))) = serde_json::from_str(text) {
        let mut values = Vec::new();
        leaves(&json, String::new(), &mut values);
        return of("json", values);
    }
    let separator = [';', '\t', ','].into_iter().find(|s| text.contains(*s));
    if let Some(separator) = separator
        && let Some(values) = columns(text, separator)
    {
        return Guess { separator: Some(separator), ..of("csv", values) };
    }
    let trimmed = text.trim();
    let value = UnknownValue { place: String::new(), value_type: type_of(trimmed), example: short(trimmed) };
    of("plain", vec![value])
}

/// Of a payload of Sparkplug B.
#[cfg(feature = "sparkplug")]
fn metrics(payload: &[u8]) -> Option<Vec<UnknownValue>> {
    let one = |m: &gateway_sparkplug::Metric| {
        let value = m.read(None).ok().flatten();
        Some(UnknownValue {
            place: m.name.clone()?,
            value_type: value.as_ref().map_or(ValueType::F64, common::Value::value_type),
            example: value.map(|v| short(&v.to_string())).unwrap_or_default(),
        })
    };
    let payload = gateway_sparkplug::Payload::decode(payload).ok()?;
    Some(payload.metrics.iter().filter_map(one).take(MAX_VALUES).collect())
}

#[cfg(not(feature = "sparkplug"))]
fn metrics(_: &[u8]) -> Option<Vec<UnknownValue>> {
    None
}

fn leaves(json: &Json, pointer: String, out: &mut Vec<UnknownValue>) {
    if out.len() >= MAX_VALUES {
        return;
    }
    let mut push = |value_type, example: String| {
        out.push(UnknownValue { place: pointer.clone(), value_type, example: short(&example) });
    };
    match json {
        Json::Null => {}
        Json::Bool(b) => push(ValueType::Bool, b.to_string()),
        // Whole numbers are most often measured ones that happen to be whole.
        Json::Number(n) => push(ValueType::F64, n.to_string()),
        Json::String(s) => push(ValueType::Text, s.clone()),
        Json::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                leaves(item, format!("{pointer}/{n}"), out);
            }
        }
        Json::Object(members) => {
            for (key, member) in members {
                leaves(member, format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1")), out);
            }
        }
    }
}

/// Columns by number, or by name when the first row has names; none if no cell is a number.
fn columns(text: &str, separator: char) -> Option<Vec<UnknownValue>> {
    let rows = csv::rows(text, separator);
    let (first, rest) = rows.split_first()?;
    let last = rest.last().unwrap_or(first);
    let named = !rest.is_empty() && first.iter().all(|cell| cell.parse::<f64>().is_err() && !cell.is_empty());
    last.iter().any(|cell| cell.parse::<f64>().is_ok()).then_some(())?;
    let one = |(n, cell): (usize, &String)| UnknownValue {
        place: first.get(n).filter(|_| named).cloned().unwrap_or_else(|| (n + 1).to_string()),
        value_type: type_of(cell),
        example: short(cell),
    };
    Some(last.iter().enumerate().map(one).take(MAX_VALUES).collect())
}

fn type_of(text: &str) -> ValueType {
    match text.to_ascii_lowercase().as_str() {
        "true" | "false" | "on" | "off" => ValueType::Bool,
        number if number.parse::<f64>().is_ok() => ValueType::F64,
        _ => ValueType::Text,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn message(topic: &str, payload: &[u8]) -> Message {
        Message { topic: topic.to_owned(), payload: Bytes::copy_from_slice(payload), retained: false }
    }

    fn note(unknown: &Unknown, topic: &str, payload: &[u8], now_us: i64) {
        unknown.0.lock().unwrap().note(&message(topic, payload), now_us);
    }

    #[test]
    fn topics_that_no_point_takes_are_listed_until_one_does() {
        let unknown = Unknown::new(["a/b", "c/+/d"]);
        for (topic, payload) in [
            ("a/b", "1"),
            ("c/x/d", "1"),
            ("twinway/points/x/y", "1"),
            ("gone", ""),
            ("x", "21.5"),
            ("y", "on"),
        ] {
            note(&unknown, topic, payload.as_bytes(), 5);
        }
        note(&unknown, "x", b"22", 6);
        let (all, beyond) = unknown.list();
        let told: Vec<_> = all.iter().map(|u| (u.topic.as_str(), u.count, u.excerpt.as_str())).collect();
        assert_eq!((told, beyond), (vec![("x", 2, "21.5"), ("y", 1, "on")], 0));
        unknown.set_taken(["x"]);
        assert_eq!(unknown.list().0.len(), 1);
    }

    #[test]
    fn the_book_is_bounded() {
        let unknown = Unknown::new([]);
        for n in 0..MAX_TOPICS + 7 {
            note(&unknown, &format!("t/{n}"), &vec![b'x'; MAX_BYTES * 2], 5);
        }
        let (all, beyond) = unknown.list();
        assert_eq!((all.len(), beyond), (MAX_TOPICS, 7));
        assert_eq!(all[0].bytes, MAX_BYTES as u64 * 2);
        assert!(unknown.0.lock().unwrap().topics.values().all(|s| s.payload.len() == MAX_BYTES));
    }

    #[test]
    fn formats_are_guessed_with_the_values_in_them() {
        let told = |topic: &str, payload: &[u8]| {
            let Guess { format, values, .. } = guess(topic, payload);
            let values: Vec<_> = values
                .into_iter()
                .map(|v| format!("{} {:?}", v.place, v.value_type).to_lowercase())
                .collect();
            (format, values)
        };
        let strings = |all: &[&str]| all.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        assert_eq!(told("t", b" 21.5\n"), ("plain", strings(&[" f64"])));
        assert_eq!(told("t", b"hot"), ("plain", strings(&[" text"])));
        let json = told("t", br#"{"a":{"b/c":1,"d":[true,"x"]},"n":null}"#);
        assert_eq!(json, ("json", strings(&["/a/b~1c f64", "/a/d/0 bool", "/a/d/1 text"])));
        assert_eq!(told("t", b"time;temp\n2026;21.5"), ("csv", strings(&["time f64", "temp f64"])));
        assert_eq!(told("t", b"1\t2"), ("csv", strings(&["1 f64", "2 f64"])));
        let separators = [&b"1\t2"[..], b"1,2", b"1;2,5", b"1"].map(|payload| guess("t", payload).separator);
        assert_eq!(separators, [Some('\t'), Some(','), Some(';'), None]);
        assert_eq!(told("t", b"1,on"), ("csv", strings(&["1 f64", "2 bool"])));
        assert_eq!(told("t", b"hello, world"), ("plain", strings(&[" text"])));
        assert_eq!(told("t", &[0xff, 1]), ("binary", vec![]));
        let birth = gateway_sparkplug::rebirth_request(1).encode();
        assert_eq!(
            told("spBv1.0/g/NBIRTH/n", &birth),
            ("sparkplug", strings(&["node control/rebirth bool"]))
        );
    }

    proptest! {
        #[test]
        fn no_payload_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), text in ".{0,40}") {
            for payload in [bytes.as_slice(), text.as_bytes()] {
                let _ = (guess("t", payload), guess("spBv1.0/x", payload), excerpt(payload));
            }
        }
    }
}
