//! Topics from a template, such as `{site}/{area}/{line}/{device}/{point}`. Pure and total.

use common::{DeviceSchema, GatewayId, TenantId};

/// What a name in braces stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Tenant,
    Gateway,
    /// The whole place of the device, several levels.
    Asset,
    /// Last part of the place.
    Leaf,
    /// A part of the place before its last, from 0.
    Part(usize),
    Device,
    Point,
}

const NAMES: [(&str, Name); 10] = [
    ("tenant", Name::Tenant),
    ("gateway", Name::Gateway),
    ("asset", Name::Asset),
    ("name", Name::Leaf),
    ("site", Name::Part(0)),
    ("area", Name::Part(1)),
    ("line", Name::Part(2)),
    ("cell", Name::Part(3)),
    ("device", Name::Device),
    ("point", Name::Point),
];

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Name(Name),
}

/// A topic's template. A level that has only a part of the place that the device lacks is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Vec<Piece>>);

/// What is wrong with a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A name that stands for nothing.
    #[error("`{{{name}}}` stands for nothing: expected {}", NAMES.map(|(n, _)| format!("{{{n}}}")).join(" "))]
    Unknown {
        /// Which.
        name: String,
    },
    /// A brace without the other.
    #[error("a `{{` without its `}}`")]
    Open,
    /// Characters that topics of messages cannot have.
    #[error("`+`, `#` and U+0000 cannot stand in a topic, and `$` not at its begin")]
    Character,
    /// Nothing in it differs from message to message.
    #[error("expected `{missing}` in it: else several would share one topic")]
    Missing {
        /// What.
        missing: &'static str,
    },
}

impl Template {
    /// Reads a template. `per_point`: each point has its own topic, else each device.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str, per_point: bool) -> Result<Self, TemplateError> {
        if text.is_empty() || text.starts_with('$') || text.contains(['+', '#', '\0']) {
            return Err(TemplateError::Character);
        }
        let mut levels = Vec::new();
        for level in text.split('/') {
            levels.push(pieces(level)?);
        }
        let made = Self(levels);
        let has = |wanted: &[Name]| {
            made.0.iter().flatten().any(|p| matches!(p, Piece::Name(n) if wanted.contains(n)))
        };
        if per_point && !has(&[Name::Point]) {
            return Err(TemplateError::Missing { missing: "{point}" });
        }
        if !per_point && has(&[Name::Point]) {
            return Err(TemplateError::Unknown { name: "point".to_owned() });
        }
        if !has(&[Name::Device, Name::Asset]) {
            return Err(TemplateError::Missing { missing: "{device}` or `{asset}" });
        }
        Ok(made)
    }

    /// The topic of a device, or of one of its points.
    pub fn topic(
        &self,
        tenant: &TenantId,
        gateway: &GatewayId,
        device: &DeviceSchema,
        point: &str,
    ) -> String {
        let parts: Vec<&str> = device.asset.split('/').collect();
        let (leaf, place) = parts.split_last().map_or(("", &[][..]), |(leaf, place)| (*leaf, place));
        let mut out: Vec<String> = Vec::with_capacity(self.0.len());
        for level in &self.0 {
            let mut text = String::new();
            let mut absent = false;
            for piece in level {
                match piece {
                    Piece::Text(t) => text.push_str(t),
                    Piece::Name(name) => match name {
                        Name::Tenant => text.push_str(&sound(tenant.as_str(), false)),
                        Name::Gateway => text.push_str(&sound(gateway.as_str(), false)),
                        Name::Asset => text.push_str(&sound(&device.asset, true)),
                        Name::Leaf => text.push_str(&sound(leaf, false)),
                        Name::Part(n) => match place.get(*n) {
                            Some(part) => text.push_str(&sound(part, false)),
                            None => absent = true,
                        },
                        Name::Device => text.push_str(&sound(&device.name, false)),
                        Name::Point => text.push_str(&sound(point, false)),
                    },
                }
            }
            if !(absent && text.is_empty()) {
                out.push(text);
            }
        }
        let topic = out.join("/");
        // A place may begin with what belongs to brokers.
        if topic.starts_with('$') { topic.replacen('$', "_", 1) } else { topic }
    }
}

fn pieces(level: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut out = Vec::new();
    let mut rest = level;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, next) = after.split_once('}').ok_or(TemplateError::Open)?;
        let known = NAMES.iter().find(|(n, _)| *n == name);
        let (_, found) = known.ok_or_else(|| TemplateError::Unknown { name: name.to_owned() })?;
        if !before.is_empty() {
            out.push(Piece::Text(before.to_owned()));
        }
        out.push(Piece::Name(*found));
        rest = next;
    }
    if rest.contains('}') {
        return Err(TemplateError::Open);
    }
    if !rest.is_empty() || out.is_empty() {
        out.push(Piece::Text(rest.to_owned()));
    }
    Ok(out)
}

/// Names without what topics cannot have.
fn sound(name: &str, levels: bool) -> String {
    let bad = |c: char| matches!(c, '+' | '#' | '\0') || (c == '/' && !levels);
    name.chars().map(|c| if bad(c) { '_' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use gateway_core::messages::check_topic;
    use proptest::prelude::*;

    use super::*;

    fn device(asset: &str) -> DeviceSchema {
        DeviceSchema {
            name: "dev".into(),
            twin: common::TwinId::derived(&"t".parse().unwrap(), &"g".parse().unwrap(), "dev"),
            asset: asset.into(),
            description: String::new(),
            first_point: 0,
            points: vec![],
        }
    }

    fn topic(template: &str, asset: &str) -> String {
        let made = Template::parse(template, template.contains("{point}")).unwrap();
        made.topic(&"t".parse().unwrap(), &"g".parse().unwrap(), &device(asset), "p1")
    }

    #[test]
    fn names_become_what_they_stand_for_and_absent_places_are_left_out() {
        let asset = "plant/coating/line1/oven";
        assert_eq!(topic("{site}/{area}/{line}/{device}/{point}", asset), "plant/coating/line1/dev/p1");
        assert_eq!(
            topic("uns/{site}/{area}/{line}/{cell}/{name}/{device}", asset),
            "uns/plant/coating/line1/oven/dev"
        );
        assert_eq!(topic("{site}/{area}/{device}-{point}", "plant/oven"), "plant/dev-p1");
        assert_eq!(topic("{tenant}/{gateway}/{asset}/{point}", asset), "t/g/plant/coating/line1/oven/p1");
        assert_eq!(topic("{site}/{device}", "$a+b/x"), "_a_b/dev");
    }

    #[test]
    fn wrong_templates_are_refused() {
        for (text, per_point) in [
            ("", true),
            ("a/{device}", true),
            ("{device}/{point}", false),
            ("{point}", true),
            ("{site}/x", false),
            ("{device}/{pointt}", true),
            ("{device}/{point", true),
            ("{device}/point}", false),
            ("+/{device}", false),
            ("$SYS/{device}", false),
        ] {
            assert!(Template::parse(text, per_point).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_template_that_is_taken_makes_sound_topics(
            text in "([a-z$/]|\\{(site|area|asset|device|point|name)\\}){1,9}",
            asset in "[^\u{0}]{1,12}(/[a-z+#$]{1,3}){1,4}",
            per_point in any::<bool>(),
        ) {
            if let Ok(made) = Template::parse(&text, per_point) {
                let topic = made.topic(&"t".parse().unwrap(), &"g".parse().unwrap(), &device(&asset), "p");
                prop_assert_eq!(check_topic(&topic), Ok(()));
            }
        }
    }
}
