//! Who may publish and subscribe to what. Rules are patterns of topics; without a rule that names it, a client has
//! what its listener gives: everything, or nothing.

use gateway_core::messages::{check_filter, matches};

/// Rights of the users and clients that it names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rule {
    /// Names of users; empty: whoever, also without a user.
    pub users: Vec<String>,
    /// Client ids; empty: any. A `*` at the end stands for anything.
    pub clients: Vec<String>,
    /// Topics that may be published to: filters, in which `%c` is the client id and `%u` the user's name.
    pub publish: Vec<String>,
    /// Topics that may be subscribed to, likewise.
    pub subscribe: Vec<String>,
}

impl Rule {
    /// What is wrong with it, as key and message.
    ///
    /// # Errors
    /// The key and what was expected.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        for (key, patterns) in [("publish", &self.publish), ("subscribe", &self.subscribe)] {
            for pattern in patterns {
                let tried = pattern.replace("%c", "c").replace("%u", "u");
                check_filter(&tried).map_err(|e| (key, format!("`{pattern}`: {e}")))?;
                if tried.starts_with("$share/") {
                    let expected =
                        "give the filter without `$share/<group>/`: it holds for shared ones as well";
                    return Err((key, format!("`{pattern}`: {expected}")));
                }
            }
        }
        if self.publish.is_empty() && self.subscribe.is_empty() {
            return Err(("publish", "missing: a rule gives `publish` or `subscribe`".to_owned()));
        }
        Ok(())
    }

    fn names(&self, client: &str, user: Option<&str>) -> bool {
        let of_user = self.users.is_empty() || user.is_some_and(|u| self.users.iter().any(|n| n == u));
        let fits = |pattern: &String| match pattern.strip_suffix('*') {
            Some(start) => client.starts_with(start),
            None => pattern == client,
        };
        of_user && (self.clients.is_empty() || self.clients.iter().any(fits))
    }
}

/// The rights of one connection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Access {
    everything: bool,
    publish: Vec<String>,
    subscribe: Vec<String>,
}

impl Access {
    /// What the rules give a client; `open`: what it has if none of them names it.
    pub(crate) fn new(rules: &[Rule], client: &str, user: Option<&str>, open: bool) -> Self {
        let mut access = Self::default();
        let mut named = false;
        for rule in rules.iter().filter(|r| r.names(client, user)) {
            named = true;
            let own = |pattern: &String| substitute(pattern, client, user);
            access.publish.extend(rule.publish.iter().filter_map(own));
            access.subscribe.extend(rule.subscribe.iter().filter_map(own));
        }
        access.everything = !named && open;
        access
    }

    /// Everything that is not the broker's own.
    #[cfg(test)]
    pub(crate) fn everything() -> Self {
        Self { everything: true, ..Self::default() }
    }

    /// Topics that begin with `$` are the broker's own.
    pub(crate) fn may_publish(&self, topic: &str) -> bool {
        !topic.starts_with('$') && (self.everything || self.publish.iter().any(|p| matches(topic, p)))
    }

    /// Whether every topic that the filter matches may be read.
    pub(crate) fn may_subscribe(&self, filter: &str) -> bool {
        !filter.starts_with('$') && (self.everything || self.subscribe.iter().any(|p| covers(p, filter)))
    }
}

/// Names with characters that mean something in a filter fit nowhere: they could reach beyond their own topics.
fn substitute(pattern: &str, client: &str, user: Option<&str>) -> Option<String> {
    let mut own = pattern.to_owned();
    for (variable, name) in [("%c", Some(client)), ("%u", user)] {
        if own.contains(variable) {
            let name = name.filter(|n| !n.is_empty() && !n.contains(['+', '#', '/', '%', '$', '\0']))?;
            own = own.replace(variable, name);
        }
    }
    Some(own)
}

/// Whether `pattern` matches every topic that `filter` matches.
fn covers(pattern: &str, filter: &str) -> bool {
    if pattern.starts_with('$') != filter.starts_with('$') {
        return false;
    }
    let mut levels = filter.split('/');
    for wanted in pattern.split('/') {
        match (wanted, levels.next()) {
            ("#", _) => return true,
            (_, Some("#") | None) => return false,
            ("+", Some(_)) => {}
            (wanted, Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(users: &[&str], clients: &[&str], publish: &[&str], subscribe: &[&str]) -> Rule {
        let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        Rule { users: own(users), clients: own(clients), publish: own(publish), subscribe: own(subscribe) }
    }

    #[test]
    fn a_filter_is_allowed_if_a_pattern_covers_all_of_it() {
        for (pattern, filter, expected) in [
            ("#", "#", true),
            ("#", "a/+/b", true),
            ("a/#", "a", true),
            ("a/#", "a/+", true),
            ("a/#", "#", false),
            ("a/#", "+/b", false),
            ("a/+", "a/+", true),
            ("a/+", "a/b", true),
            ("a/+", "a/#", false),
            ("a/+", "a/b/c", false),
            ("a/+/c", "a/b/+", false),
            ("a/b", "a/b", true),
            ("a/b", "a/+", false),
            ("a/b", "a", false),
        ] {
            assert_eq!(covers(pattern, filter), expected, "{pattern} {filter}");
        }
    }

    #[test]
    fn rules_name_users_and_clients_and_unite() {
        let rules =
            [rule(&["ann"], &[], &["a/%u/#"], &[]), rule(&[], &["press-*"], &["press/%c"], &["cmd/%c/+"])];
        let ann = Access::new(&rules, "press-1", Some("ann"), false);
        assert!(ann.may_publish("a/ann/x") && ann.may_publish("press/press-1"));
        assert!(!ann.may_publish("a/bob/x") && !ann.may_publish("press/press-2"));
        assert!(ann.may_subscribe("cmd/press-1/go") && !ann.may_subscribe("cmd/#"));
        // A rule that names a client takes the listener's everything away.
        let named = Access::new(&rules, "press-1", None, true);
        assert!(!named.may_publish("other"));
        let other = Access::new(&rules, "x", None, true);
        assert!(other.may_publish("other") && other.may_subscribe("#"));
        assert!(!Access::new(&rules, "x", None, false).may_publish("other"));
        assert!(!other.may_publish("$SYS/x") && !other.may_subscribe("$SYS/#"));
    }

    #[test]
    fn a_client_id_cannot_widen_its_rights() {
        let rules = [rule(&[], &[], &["s/%c/#"], &["s/%c"])];
        for id in ["+", "#", "a/../b", "a/+", "", "%u", "$x"] {
            let access = Access::new(&rules, id, Some("#"), false);
            assert!(access.publish.is_empty() && access.subscribe.is_empty(), "{id}");
        }
    }

    #[test]
    fn mistakes_are_told_with_their_key() {
        assert_eq!(rule(&[], &[], &[], &[]).check().unwrap_err().0, "publish");
        assert_eq!(rule(&[], &[], &["a"], &["a/#/b"]).check().unwrap_err().0, "subscribe");
        assert_eq!(rule(&[], &[], &["%c/#"], &["+/%u"]).check(), Ok(()));
    }
}
