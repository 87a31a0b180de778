//! Parameters in paths, queries and headers.

use serde_json::{Value as Json, json};
use utoipa::openapi::Required;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};

use crate::commands::routes::LONGEST_WAIT_MS;
use crate::history::MOST_POINTS;
use crate::request::{DEFAULT_LIMIT, MOST_ROWS};

fn parameter(name: &str, place: ParameterIn, about: &str, schema: ObjectBuilder, example: Json) -> Parameter {
    let required = if place == ParameterIn::Path { Required::True } else { Required::False };
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(required)
        .description(Some(about))
        .schema(Some(schema))
        .example(Some(example))
        .build()
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

#[allow(clippy::cast_precision_loss)] // small limits of ours
fn number(least: usize, most: usize) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
        .minimum(Some(least as f64))
        .maximum(Some(most as f64))
}

/// Parameters of a path.
pub(super) fn of_path(path: &str) -> Vec<Parameter> {
    let mut out = Vec::new();
    if path.contains("/twins/{id}") {
        let about = "id of the twin, its whole asset path, or a trailing part of it that only one twin has; \
            `/` is written `%2F`";
        out.push(parameter("id", ParameterIn::Path, about, text(), json!("line1/oven")));
    }
    if path.contains("/commands/{id}") {
        let uuid = text().format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid)));
        let example = json!("0192d5a0-7d3e-7c11-8f43-6a1c3a0f9b01");
        out.push(parameter("id", ParameterIn::Path, "id of the command", uuid, example));
    }
    if path.contains("/alarms/{id}") {
        let uuid = text().format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid)));
        let example = json!("5d0a6c1e-6a0b-5b0e-9d0c-2f4b8f6d7a10");
        out.push(parameter("id", ParameterIn::Path, "id of the alarm", uuid, example));
    }
    if path.contains("/gateways/{id}") {
        out.push(parameter("id", ParameterIn::Path, "name of the gateway", text(), json!("gw1")));
    }
    if path.contains("{point}") {
        out.push(parameter(
            "point",
            ParameterIn::Path,
            "name of the point",
            text(),
            json!("zone1_temperature"),
        ));
    }
    if path.contains("{t0}") {
        let about = "time of the block's first value, as the list has it";
        out.push(parameter("t0", ParameterIn::Path, about, text(), json!("1795000000000000")));
    }
    if path.contains("{frame}") {
        let about = "`id` of the frame, as the list has it";
        out.push(parameter("frame", ParameterIn::Path, about, text(), json!("7")));
    }
    if path.contains("{version}") {
        let (about, example) = match path.contains("/releases/") {
            true => ("version of the program", "1.4.0"),
            false => ("version of the document", "3"),
        };
        out.push(parameter("version", ParameterIn::Path, about, text(), json!(example)));
    }
    if path.contains("{name}") {
        out.push(parameter("name", ParameterIn::Path, "name of the account or key", text(), json!("anna")));
    }
    out
}

/// `cursor` and `limit`.
pub(super) fn paging() -> Vec<Parameter> {
    let limit = number(1, MOST_ROWS).default(Some(json!(DEFAULT_LIMIT)));
    let cursor = ParameterBuilder::new()
        .name("cursor")
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(Some("`next_cursor` of the page before"))
        .schema(Some(text()));
    vec![cursor.build(), parameter("limit", ParameterIn::Query, "rows of the page", limit, json!(100))]
}

/// An optional text in the query.
pub(super) fn query(name: &str, about: &str, example: &str) -> Parameter {
    parameter(name, ParameterIn::Query, about, text(), json!(example))
}

/// One of some words in the query.
pub(super) fn one_of(name: &str, about: &str, words: &[&str]) -> Parameter {
    let schema = text().enum_values(Some(words.iter().copied()));
    parameter(name, ParameterIn::Query, about, schema, json!(words.first()))
}

/// Something that may be asked for.
pub(super) fn flag(name: &str, about: &str) -> Parameter {
    let schema = ObjectBuilder::new().schema_type(Type::Boolean).default(Some(json!(false)));
    parameter(name, ParameterIn::Query, about, schema, json!(true))
}

/// `max_points`.
pub(super) fn max_points() -> Parameter {
    parameter(
        "max_points",
        ParameterIn::Query,
        "most rows of the answer",
        number(1, MOST_POINTS),
        json!(1000),
    )
}

/// `wait_ms`.
pub(super) fn wait_ms() -> Parameter {
    let most = usize::try_from(LONGEST_WAIT_MS).unwrap_or(usize::MAX);
    let about = "answer when the command is final, or after this time with what it is then";
    parameter("wait_ms", ParameterIn::Query, about, number(0, most), json!(10_000))
}

/// A header that must be there.
pub(super) fn header(name: &str, about: &str, pattern: &str, example: &str) -> Parameter {
    let schema = text().pattern(Some(pattern));
    let mut header = parameter(name, ParameterIn::Header, about, schema, json!(example));
    header.required = Required::True;
    header
}
