//! Topics with captures, such as `plant/{area}/{point}/value`, to the filter of one point. Pure.

/// The filter of a pattern: a capture that has a value stands for it, another for any one level.
///
/// # Errors
/// What is wrong with the pattern.
pub(super) fn filter(pattern: &str, value: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut levels = Vec::new();
    for level in pattern.split('/') {
        levels.push(resolve(level, &value)?);
    }
    Ok(levels.join("/"))
}

fn resolve(level: &str, value: &impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = level;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, next) =
            after.split_once('}').ok_or_else(|| format!("`{level}`: a capture ends with `}}`"))?;
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(format!("`{{{name}}}` is no capture: expected letters, digits and `_`"));
        }
        out.push_str(before);
        match value(name) {
            Some(value) if value.is_empty() || value.contains(['+', '#', '\0']) => {
                return Err(format!("`{{{name}}}` is `{value}`, which cannot stand in a topic"));
            }
            Some(value) => out.push_str(&value),
            None if level.len() == name.len() + 2 => out.push('+'),
            None => {
                return Err(format!(
                    "`{{{name}}}` has no value: it can stand for any level, but not for a part of `{level}`"
                ));
            }
        }
        rest = next;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(pattern: &str) -> Result<String, String> {
        filter(pattern, |name| match name {
            "area" => Some("coating".to_owned()),
            "point" => Some("t1".to_owned()),
            "bad" => Some("a+b".to_owned()),
            _ => None,
        })
    }

    #[test]
    fn captures_become_their_values_or_any_level() {
        assert_eq!(of("plant/{area}/{point}/value").unwrap(), "plant/coating/t1/value");
        assert_eq!(of("plant/{anything}/s-{point}").unwrap(), "plant/+/s-t1");
        assert_eq!(of("a/+/#").unwrap(), "a/+/#");
        for bad in ["a/{point", "a/x{other}", "a/{}", "a/{b c}", "a/{bad}"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_pattern_makes_it_panic(text in "[a-z{}/+#é]{0,30}") {
            let _ = of(&text);
        }
    }
}
