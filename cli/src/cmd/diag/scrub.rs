//! Secrets out of any text: those that are known because a file holds them, and what has the form of one. Pure.

use std::collections::BTreeSet;

use common::enrol::EnrolmentCode;

use super::redact::{STRUCK, is_secret_name, without_login as login};

/// Shorter ones are no secret, and would stand everywhere.
const SHORTEST: usize = 4;
/// From so many characters on they are struck out also within other words.
const LONG: usize = 8;

/// What is known to be secret.
#[derive(Debug, Default)]
pub(super) struct Secrets(BTreeSet<String>);

impl Secrets {
    /// Takes the content of a file that holds secrets: its lines, and what stands in them after a name.
    pub(super) fn learn(&mut self, text: &str) {
        for line in text.lines().flat_map(|l| l.split("\\n")) {
            let line = line.trim().trim_matches(['"', ',', '\'']);
            if line.is_empty() || line.starts_with('#') || line.contains("-----") {
                continue;
            }
            self.add(line);
            // name:role:hash and name:$argon2id$...; a name is no secret.
            let hash = line.contains('$');
            // What follows the name may have edges of its own.
            line.split_once(':').into_iter().for_each(|(_, rest)| self.add(rest));
            let edge = |c: char| [':', ' ', '\t', '"'].contains(&c) || (!hash && ['=', ','].contains(&c));
            line.split(edge).skip(1).for_each(|part| self.add(part));
        }
    }

    /// One secret.
    pub(super) fn add(&mut self, secret: &str) {
        let secret = secret.trim();
        let is_word = ["viewer", "operator", "engineer", "admin", "true", "false", "null"].contains(&secret);
        if secret.len() >= SHORTEST && !is_word {
            // As logs and JSON write it.
            let quoted = serde_json::Value::from(secret).to_string();
            self.0.insert(quoted.trim_start_matches('"').strip_suffix('"').unwrap_or(&quoted).to_owned());
            self.0.insert(secret.to_owned());
        }
    }

    /// The text without them, and how many places were struck out.
    pub(super) fn out_of(&self, text: &str) -> (String, usize) {
        let mut count = 0;
        let mut clean = without_keys(text, &mut count);
        // A long one may hold a short one.
        let mut known: Vec<&String> = self.0.iter().collect();
        known.sort_by_key(|s| std::cmp::Reverse(s.len()));
        for secret in known {
            clean = without(&clean, secret, &mut count);
        }
        let lines: Vec<String> = clean.split('\n').map(|line| without_forms(line, &mut count)).collect();
        (lines.join("\n"), count)
    }

    /// Whether any of them stands in a text.
    pub(super) fn are_in(&self, text: &str) -> bool {
        let text = text.replace(STRUCK, "\0");
        self.0.iter().any(|s| places(&text, s).next().is_some())
    }
}

/// Where a secret stands in a text: a short one only as a word.
fn places<'a>(text: &'a str, secret: &'a str) -> impl Iterator<Item = usize> + 'a {
    let is_edge = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
    text.match_indices(secret).map(|(at, _)| at).filter(move |at| {
        let (before, after) = (text.get(..*at).unwrap_or(""), text.get(at + secret.len()..).unwrap_or(""));
        secret.len() >= LONG || (is_edge(before.chars().next_back()) && is_edge(after.chars().next()))
    })
}

fn without(text: &str, secret: &str, count: &mut usize) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut from = 0;
    for at in places(text, secret) {
        *count += 1;
        clean.push_str(text.get(from..at).unwrap_or(""));
        clean.push_str(STRUCK);
        from = at + secret.len();
    }
    clean.push_str(text.get(from..).unwrap_or(""));
    clean
}

/// Private keys in PEM, also where line ends are written as \n.
fn without_keys(text: &str, count: &mut usize) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("PRIVATE KEY-----") {
        let (before, from) = rest.split_at(at);
        let begin = before.rfind("-----BEGIN").unwrap_or(at);
        clean.push_str(rest.get(..begin).unwrap_or(""));
        clean.push_str(STRUCK);
        *count += 1;
        let after = from.get("PRIVATE KEY-----".len()..).unwrap_or("");
        // One that was cut off ends with the text.
        rest = match after.find("PRIVATE KEY-----") {
            Some(end) => after.get(end + "PRIVATE KEY-----".len()..).unwrap_or(""),
            None => "",
        };
    }
    clean + rest
}

/// What has the form of a secret in a line: values after secret names, bearers, what follows an option such as `--token`, logins in
/// addresses, enrolment codes.
fn without_forms(line: &str, count: &mut usize) -> String {
    let line = without_values(line, count);
    let mut clean = String::with_capacity(line.len());
    let mut is_next = false;
    let edges = [' ', '\t', ',', ';', '"', '\'', '(', ')', '[', ']', '{', '}', '\\'];
    for piece in line.split_inclusive(edges) {
        let word = piece.trim_end_matches(edges);
        let shown = match () {
            () if word.is_empty() => None,
            () if is_next && !word.starts_with(['/', '-']) => Some(STRUCK.to_owned()),
            () if is_code(word) => Some(STRUCK.to_owned()),
            () => login(word).map(|(shown, _)| shown),
        };
        *count += usize::from(shown.is_some());
        let is_option = word.starts_with("--") && !word.contains('=') && is_secret_name(word);
        is_next = word.eq_ignore_ascii_case("bearer") || is_option || (is_next && word.is_empty());
        clean.push_str(shown.as_deref().unwrap_or(word));
        clean.push_str(piece.get(word.len()..).unwrap_or(""));
    }
    clean
}

fn is_code(word: &str) -> bool {
    word.len() == 29 && word.split('-').all(|group| group.len() == 5) && word.parse::<EnrolmentCode>().is_ok()
}

/// Values after names of secrets: `token=x`, `"password" : "two words"`, also where quotes are escaped.
fn without_values(line: &str, count: &mut usize) -> String {
    let mut clean = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find(['=', ':']) {
        let (before, from) = rest.split_at(at + 1);
        clean.push_str(before);
        rest = from;
        let name = before.trim_end_matches(['=', ':', ' ', '"', '\'', '\\']);
        let part = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        let begin = name.rfind(|c: char| !part(c)).map_or(0, |n| n + 1);
        if !is_secret_name(name.get(begin..).unwrap_or("")) {
            continue;
        }
        let value = rest.trim_start();
        let quote = ["\\\"", "\"", "'"].into_iter().find(|q| value.starts_with(q)).unwrap_or("");
        let inner = value.get(quote.len()..).unwrap_or("");
        let end = match quote {
            "" => inner.find([' ', '\t', ',', ';', '&', '}', ')', ']']),
            quote => inner.find(quote),
        };
        let end = end.unwrap_or(inner.len());
        let inner = inner.get(..end).unwrap_or("");
        // These say nothing, and where a file is may be known.
        let is_plain = inner.parse::<f64>().is_ok() && inner.len() < LONG;
        let is_word =
            ["true", "false", "null", "none", "bearer"].contains(&inner.to_ascii_lowercase().as_str());
        if inner.is_empty()
            || is_plain
            || is_word
            || inner.starts_with('/')
            || inner.contains(STRUCK)
            || STRUCK.starts_with(inner)
        {
            continue;
        }
        *count += 1;
        let skipped = rest.len() - value.len() + quote.len();
        clean.push_str(rest.get(..skipped).unwrap_or(""));
        clean.push_str(STRUCK);
        rest = rest.get(skipped + end..).unwrap_or("");
    }
    clean + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(text: &str) -> String {
        Secrets::default().out_of(text).0
    }

    #[test]
    fn what_files_hold_is_struck_out_wherever_it_stands() {
        let mut secrets = Secrets::default();
        secrets
            .learn("hunter2\n# a remark\npress:$argon2id$v=19$m=19456$c2FsdA$aGFzaA\nanna:viewer:2bb80d53\n");
        let text = "login hunter2 failed; xhunter2x stays short; press:$argon2id$v=19$m=19456$c2FsdA$aGFzaA; anna viewer 2bb80d53; a remark";
        let (clean, count) = secrets.out_of(text);
        assert!(
            !clean.contains("login hunter2") && !clean.contains("argon2id") && !clean.contains("2bb80d53"),
            "{clean}"
        );
        assert!(
            clean.contains("anna viewer") && clean.contains("a remark") && clean.contains("xhunter2x"),
            "{clean}"
        );
        assert!(count >= 3 && secrets.are_in(text) && !secrets.are_in(&clean), "{clean}");
    }

    #[test]
    fn a_secret_is_found_as_a_log_writes_it() {
        let mut secrets = Secrets::default();
        secrets.learn("pa\"ss\\word\npress:ab=cd=ef:gh\n");
        let text = format!("{:?} and ab=cd=ef:gh", "pa\"ss\\word");
        let (clean, _) = secrets.out_of(&text);
        assert!(!clean.contains("ss") && !clean.contains("cd"), "{clean}");
    }

    #[test]
    fn private_keys_are_struck_out_also_in_json_and_cut_off() {
        let pem = "-----BEGIN PRIVATE KEY-----\nPLANTED\nPLANTED\n-----END PRIVATE KEY-----\nafter";
        for text in [pem.to_owned(), pem.replace('\n', "\\n"), pem.replace("PRIVATE", "EC PRIVATE")] {
            let clean = cleaned(&format!("before {text}"));
            assert!(
                !clean.contains("PLANTED") && clean.contains("before") && clean.contains("after"),
                "{clean}"
            );
        }
        assert!(!cleaned("-----BEGIN RSA PRIVATE KEY-----\nPLANTED").contains("PLANTED"));
        let public = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----";
        assert_eq!(cleaned(public), public);
    }

    #[test]
    fn what_has_the_form_of_a_secret_is_struck_out() {
        for text in [
            "password=PLANTED",
            "password: PLANTED",
            "password = \"PLANTED\"",
            "{\"token\":\"PLANTED\",\"a\":1}",
            "\"uplink_password\" : \"PLANTED\"",
            "Authorization: Bearer PLANTED",
            "cannot reach mqtts://u:PLANTED@host:8883/x",
            "--password=PLANTED --x",
            "{\"password\": \"two PLANTED\"}",
            "\"{\\\"token\\\":\\\"PLANTED\\\"}\"",
            "api_key=PLANTED&x=1",
            "1234 /usr/bin/poller --verbose --token PLANTED --host h",
            "argv[]=/usr/bin/poller --db-password \"PLANTED\" ;",
        ] {
            let clean = cleaned(text);
            assert!(!clean.contains("PLANTED"), "{text}: {clean}");
        }
        let code = common::enrol::EnrolmentCode::random().unwrap().to_string();
        assert!(!cleaned(&format!("enrol {code} --cloud x")).contains(&code));
    }

    #[test]
    fn what_is_none_stays() {
        for text in [
            "{\"unacked_frames\":7,\"devices\":[{\"name\":\"oven\",\"key\":3}]}",
            "password_file = \"/etc/twinway/uplink.password\"",
            "the password is wrong",
            "twinway_gateway_points{device=\"oven\",point=\"t\"} 12.5",
            "2026-11-28T20:00:00Z INFO gateway started gateway=box1 api=127.0.0.1:8480",
            "tokens: 5",
            "twinway --token-file /etc/twinway/token --verbose",
        ] {
            assert_eq!(cleaned(text), text);
        }
    }
}
