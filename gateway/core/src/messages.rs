//! Messages by topic, as the gateway's own broker carries them, and the one matcher of topics and filters.
//! No MQTT packets here: `gateway-broker` implements `Messages`, `gateway-adapters` reads from it.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: Bytes,
    /// Whether it is an old message, kept and given to a new subscriber.
    pub retained: bool,
}

/// Where messages can be read.
pub trait Messages: Send + Sync {
    /// Every message from now on whose topic matches one of `filters`, each once, retained ones first.
    /// The queue is bounded: what does not fit is dropped and counted. It ends when the broker is gone;
    /// a restart of the broker does not end it.
    fn subscribe(&self, filters: Vec<String>) -> mpsc::Receiver<Message>;
}

/// Where messages can be put: the other way of `Messages`.
pub trait Publish: Send + Sync {
    /// Gives a message to every subscriber. It never waits. False if it was not taken: the topic is none, or
    /// too many messages wait (counted).
    fn publish(&self, topic: &str, payload: Bytes, retain: bool) -> bool;

    /// Gives a message at most once to subscribers that are connected now, and to nobody later than `within`: for
    /// what would do harm if it came late. It never waits. False if no such subscriber is there: then it is gone.
    fn publish_now(&self, topic: &str, payload: Bytes, within: Duration) -> bool;
}

/// What is wrong with a topic or filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// No text, or more than 65,535 bytes.
    #[error("a topic has 1 to 65535 bytes, this one has {len}")]
    Length {
        /// Its length.
        len: usize,
    },
    /// A character that no topic may have.
    #[error("a topic must not contain U+0000")]
    Nul,
    /// A wildcard in the topic of a message.
    #[error("`+` and `#` are for filters only")]
    Wildcard,
    /// A wildcard that is not a whole level, or `#` that is not the last.
    #[error("`+` stands for a whole level and `#` for the last levels: `a/+/c`, `a/#`")]
    Misplaced,
}

fn check_text(text: &str) -> Result<(), TopicError> {
    if text.is_empty() || text.len() > usize::from(u16::MAX) {
        return Err(TopicError::Length { len: text.len() });
    }
    if text.contains('\0') {
        return Err(TopicError::Nul);
    }
    Ok(())
}

/// Whether `topic` may be the topic of a message (MQTT 3.1.1, 4.7).
///
/// # Errors
/// What is wrong.
pub fn check_topic(topic: &str) -> Result<(), TopicError> {
    check_text(topic)?;
    if has_wildcard(topic) { Err(TopicError::Wildcard) } else { Ok(()) }
}

/// Whether `filter` may be subscribed to (MQTT 3.1.1, 4.7).
///
/// # Errors
/// What is wrong.
pub fn check_filter(filter: &str) -> Result<(), TopicError> {
    check_text(filter)?;
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let last = levels.peek().is_none();
        if level.contains('#') && (level != "#" || !last) || level.contains('+') && level != "+" {
            return Err(TopicError::Misplaced);
        }
    }
    Ok(())
}

/// Whether the text has a wildcard.
pub fn has_wildcard(filter: &str) -> bool {
    filter.contains(['+', '#'])
}

/// Whether a message with `topic` goes to a subscriber of `filter`. Topics that begin with `$` match only
/// filters that do.
pub fn matches(topic: &str, filter: &str) -> bool {
    if topic.starts_with('$') != filter.starts_with('$') {
        return false;
    }
    let mut topic = topic.split('/');
    for level in filter.split('/') {
        match (level, topic.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (level, Some(name)) if level == name => {}
            _ => return false,
        }
    }
    topic.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_as_the_standard_says() {
        for (topic, filter, expected) in [
            ("a/b", "a/b", true),
            ("a/b", "a/c", false),
            ("a/b", "a/+", true),
            ("a", "a/+", false),
            ("a/", "a/+", true),
            ("a/b/c", "a/+", false),
            ("a", "a/#", true),
            ("a/b/c", "a/#", true),
            ("/finance", "+/+", true),
            ("/finance", "+", false),
            ("$SYS/x", "#", false),
            ("$SYS/x", "+/x", false),
            ("$SYS/x", "$SYS/#", true),
            ("a/b", "#", true),
            ("ab", "a", false),
        ] {
            assert_eq!(matches(topic, filter), expected, "{topic} {filter}");
        }
    }

    #[test]
    fn bad_topics_and_filters_are_refused() {
        for bad in ["", "a+", "a/#/b", "#a", "a\0b", "a/b#", "++"] {
            assert!(check_filter(bad).is_err(), "{bad}");
        }
        for good in ["a", "/", "a//b", "+", "#", "a/+/b/#", "$SYS/#"] {
            assert_eq!(check_filter(good), Ok(()), "{good}");
        }
        assert_eq!(check_topic("a/+"), Err(TopicError::Wildcard));
        assert_eq!(check_topic("a/b"), Ok(()));
        assert!(check_topic(&"x".repeat(65_536)).is_err());
    }
}
