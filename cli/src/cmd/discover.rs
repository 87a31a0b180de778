//! `mqtt discover`: topics on a box's broker that no point takes, and the configuration that makes a point of one.

use std::path::Path;

use common::ValueType;
use common::api::{UnknownTopic, UnknownTopics, UnknownValue};
use serde_json::json;

use super::Context;
use crate::args::Discover;
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::table::{Table, cut, time};

pub(super) async fn discover(ctx: &Context, asked: Discover) -> Result<Exit> {
    let known: UnknownTopics = ctx.client.get(&["mqtt", "unknown"]).await?;
    let (Some(topic), Some(device), Some(point)) = (&asked.adopt, &asked.device, &asked.point) else {
        return list(ctx, &known);
    };
    let Some(found) = known.items.iter().find(|u| u.topic == *topic) else {
        return Err(Error::new(Exit::NotFound, format!("no message came on `{topic}` that no point takes"))
            .remedy("`twinway mqtt discover` lists them"));
    };
    for name in [device, point] {
        common::ids::check_name(name).map_err(|e| Error::usage(e.to_string()))?;
    }
    let value = choose(found, asked.at.as_deref())?;
    let twins = ctx.client.twins(None).await?;
    let exists = twins.iter().any(|t| t.device.as_deref() == Some(device));
    let asset = match (&asked.asset, exists) {
        (Some(asset), false) => Some(asset.as_str()),
        (None, false) => {
            return Err(Error::usage(format!("there is no device `{device}`"))
                .remedy("--asset site/area/.../name gives a new one its place"));
        }
        (_, true) => None,
    };
    let text = snippet(found, value, device, point, asset);
    match &asked.write {
        None if ctx.out.is_json() => ctx.out.json(&json!({ "toml": text }))?,
        None => ctx.out.raw(text.as_bytes())?,
        Some(_) if exists => {
            return Err(Error::usage(format!(
                "device `{device}` stands in another file: add what is printed without --write to it"
            )));
        }
        Some(path) => {
            write(path, &text)?;
            ctx.out.note(&format!("written to {}; it counts when the gateway reads it", path.display()));
            if ctx.out.is_json() {
                ctx.out.json(&json!({ "written": path }))?;
            }
        }
    }
    Ok(Exit::Ok)
}

/// A file that is there is somebody's work.
fn write(path: &Path, text: &str) -> Result<()> {
    let told = |e: std::io::Error| Error::new(Exit::Failed, format!("{}: {e}", path.display()));
    // A new box has no `conf.d` yet.
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).map_err(told)?;
    let mut file = std::fs::File::create_new(path).map_err(told)?;
    std::io::Write::write_all(&mut file, text.as_bytes()).map_err(told)
}

fn list(ctx: &Context, known: &UnknownTopics) -> Result<Exit> {
    ctx.out.show(known, |known| {
        let mut table = Table::new(&["TOPIC", ">MESSAGES", "LAST", "FORMAT", "PLACE", "TYPE", "EXAMPLE"]);
        for topic in &known.items {
            let head =
                [topic.topic.clone(), topic.count.to_string(), time(topic.last_us), topic.format.clone()];
            let none = UnknownValue {
                place: String::new(),
                value_type: ValueType::Bytes,
                example: cut(&topic.excerpt, 40),
            };
            let values = if topic.values.is_empty() { std::slice::from_ref(&none) } else { &topic.values };
            for (n, value) in values.iter().enumerate() {
                let head = head.iter().map(|cell| if n == 0 { cell.clone() } else { String::new() });
                let tail =
                    [value.place.clone(), type_name(value.value_type).to_owned(), value.example.clone()];
                table.row(head.chain(tail));
            }
        }
        let mut text = if table.is_empty() { "every topic has its point\n".to_owned() } else { table.text() };
        if known.beyond > 0 {
            text += &format!("and {} messages of further topics\n", known.beyond);
        }
        text
    })?;
    Ok(Exit::Ok)
}

fn choose<'a>(topic: &'a UnknownTopic, at: Option<&str>) -> Result<&'a UnknownValue> {
    match (at, topic.values.as_slice()) {
        (_, []) => Err(Error::usage(format!("a {} payload: nobody can say what stands in it", topic.format))
            .remedy("a point of it needs `type`, `order` and `offset`; see the MQTT page of the manual")),
        (None, [only]) => Ok(only),
        (None, _) => Err(Error::usage(format!("`{}` holds several values", topic.topic))
            .remedy("--at with one of the places that `twinway mqtt discover` lists")),
        (Some(at), values) => values.iter().find(|v| v.place == at).ok_or_else(|| {
            Error::usage(format!("`{}` has nothing at `{at}`", topic.topic))
                .remedy("`twinway mqtt discover` lists the places")
        }),
    }
}

fn type_name(value_type: ValueType) -> &'static str {
    match value_type {
        ValueType::Bool => "bool",
        ValueType::I64 => "i64",
        ValueType::U64 => "u64",
        ValueType::F64 => "f64",
        ValueType::Text => "text",
        ValueType::Bytes => "bytes",
    }
}

/// A text as TOML writes it: JSON's escapes are TOML's as well.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The configuration of a point, with its device if that is new (`asset`).
fn snippet(
    topic: &UnknownTopic,
    value: &UnknownValue,
    device: &str,
    point: &str,
    asset: Option<&str>,
) -> String {
    let levels: Vec<&str> = topic.topic.split('/').collect();
    let sparkplug = topic.format == "sparkplug";
    let mut text = String::new();
    if let Some(asset) = asset {
        text += &format!("[[device]]\nname = {}\nasset = {}\n", quoted(device), quoted(asset));
        match (sparkplug, levels.as_slice()) {
            (true, [_, group, _, node, rest @ ..]) => {
                text += &format!("[device.sparkplug]\ngroup = {}\nnode = {}\n", quoted(group), quoted(node));
                if let [own] = rest {
                    text += &format!("device = {}\n", quoted(own));
                }
            }
            _ => text += "[device.mqtt]\n",
        }
    } else {
        text += &format!("# below device `{device}`\n");
    }
    text += &format!(
        "[[device.point]]\nname = {}\ntype = {}\n",
        quoted(point),
        quoted(type_name(value.value_type))
    );
    let place = quoted(&value.place);
    let source = match topic.format.as_str() {
        "sparkplug" => return text + &format!("sparkplug = {{ metric = {place} }}\n"),
        "json" => format!(", pointer = {place}"),
        "csv" => {
            let separator = topic.separator.unwrap_or(',');
            let column = if value.place.parse::<u32>().is_ok() { value.place.clone() } else { place };
            format!(", column = {column}, separator = {}", quoted(&separator.to_string()))
        }
        _ => String::new(),
    };
    text + &format!("mqtt = {{ topic = {}{source} }}\n", quoted(&topic.topic))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(topic: &str, format: &str, excerpt: &str, place: &str) -> UnknownTopic {
        UnknownTopic {
            topic: topic.to_owned(),
            count: 1,
            first_us: 1,
            last_us: 1,
            retained: false,
            bytes: 1,
            excerpt: excerpt.to_owned(),
            format: format.to_owned(),
            separator: None,
            values: vec![UnknownValue {
                place: place.to_owned(),
                value_type: ValueType::F64,
                example: "1".to_owned(),
            }],
        }
    }

    fn made(t: &UnknownTopic, asset: Option<&str>) -> String {
        snippet(t, choose(t, None).unwrap(), "d", "p", asset)
    }

    #[test]
    fn a_topic_becomes_the_configuration_of_a_point() {
        let json = made(&topic("a/\"b", "json", "{}", "/v"), Some("plant/x/d"));
        assert_eq!(
            json,
            "[[device]]\nname = \"d\"\nasset = \"plant/x/d\"\n[device.mqtt]\n[[device.point]]\nname = \"p\"\ntype = \"f64\"\nmqtt = { topic = \"a/\\\"b\", pointer = \"/v\" }\n"
        );
        // An excerpt has blanks where a payload has tabs.
        for (separator, told) in [(';', ";"), ('\t', "\\t"), (',', ",")] {
            let of = UnknownTopic { separator: Some(separator), ..topic("t", "csv", "1 2", "2") };
            let wanted = format!("mqtt = {{ topic = \"t\", column = 2, separator = \"{told}\" }}\n");
            let csv = made(&of, None);
            assert!(csv.ends_with(&wanted), "{csv}");
        }
        let plain = made(&topic("t", "plain", "1", ""), None);
        assert!(plain.starts_with("# below device `d`\n[[device.point]]"), "{plain}");
        let sparkplug = made(&topic("spBv1.0/g/DBIRTH/n/press", "sparkplug", "", "Force"), Some("plant/x"));
        let wanted = "[device.sparkplug]\ngroup = \"g\"\nnode = \"n\"\ndevice = \"press\"\n";
        assert!(sparkplug.contains(wanted) && sparkplug.ends_with("sparkplug = { metric = \"Force\" }\n"));
    }

    #[test]
    fn what_is_not_clear_is_asked_for() {
        let mut several = topic("t", "json", "{}", "/a");
        several.values.push(UnknownValue { place: "/b".into(), ..several.values[0].clone() });
        assert!(choose(&several, None).is_err());
        assert_eq!(choose(&several, Some("/b")).unwrap().place, "/b");
        assert!(choose(&several, Some("/c")).is_err());
        several.values.clear();
        assert!(choose(&several, None).is_err());
    }
}
