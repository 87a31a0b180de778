//! The API's description (OpenAPI 3.1), made from the table of routes, the types of `common::api` and
//! what `operations` says of each route. `docs/openapi.json` is this text; a test compares them.

mod configuration;
mod enrol;
mod examples;
mod operations;
mod parameters;
mod schemas;
mod sets;
mod updates;
mod waveforms;

use std::sync::LazyLock;

use axum::http::Method;
use common::api::{Problem, Role};
use common::names::Code;
use serde_json::json;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{HttpMethod, Operation, OperationBuilder, PathItem, Paths};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, Ref, RefOr,
    Required, ResponseBuilder, SecurityRequirement, Tag,
};
use utoipa::{PartialSchema as _, ToSchema as _};

use crate::table::{Op, ROUTES, Route, Rule};
use operations::{Answer, Doc, describe};

static TEXT: LazyLock<String> = LazyLock::new(|| {
    // A tree of ours with string keys: this cannot fail.
    let mut text = serde_json::to_string_pretty(&document()).unwrap_or_default();
    text.push('\n');
    text
});

/// The description as text.
pub fn text() -> &'static str {
    &TEXT
}

/// The description.
pub fn document() -> OpenApi {
    let mut paths = Paths::new();
    for route in ROUTES {
        paths.add_path_operation(route.path, vec![method(&route.method)], operation(route));
    }
    // A path says once what its parameters are.
    for (path, item) in &mut paths.paths {
        describe_path(path, item);
    }
    let info = InfoBuilder::new()
        .title("Twinway cloud")
        .version("1")
        .description(Some(operations::INTRODUCTION))
        .license(Some(LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build()));
    let components = ComponentsBuilder::new()
        .schemas_from_iter(schemas::all())
        .security_scheme(
            "bearer",
            SecurityScheme::Http({
                let mut http = Http::new(HttpAuthScheme::Bearer);
                http.description = Some("token of `POST /api/v1/session`, or an API key (`twk_...`)".into());
                http
            }),
        )
        .security_scheme(
            "cookie",
            SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::with_description(
                crate::auth::token::COOKIE,
                "the page's session; a write with it needs an Origin (or Sec-Fetch-Site) of this host",
            ))),
        );
    OpenApiBuilder::new()
        .info(info)
        .servers(Some([utoipa::openapi::Server::new("/")]))
        .tags(Some(operations::TAGS.iter().map(|(name, about)| {
            let mut tag = Tag::new(*name);
            tag.description = Some((*about).to_owned());
            tag
        })))
        .paths(paths)
        .components(Some(components.build()))
        .build()
}

fn method(method: &Method) -> HttpMethod {
    match *method {
        Method::POST => HttpMethod::Post,
        Method::PUT => HttpMethod::Put,
        Method::PATCH => HttpMethod::Patch,
        Method::DELETE => HttpMethod::Delete,
        _ => HttpMethod::Get,
    }
}

fn describe_path(path: &str, item: &mut PathItem) {
    let parameters = parameters::of_path(path);
    if !parameters.is_empty() {
        item.parameters = Some(parameters);
    }
}

fn operation(route: &Route) -> Operation {
    let doc = describe(route.op);
    let mut op = OperationBuilder::new()
        .operation_id(Some(operation_id(route.op)))
        .tag(doc.tag)
        .summary(Some(doc.summary))
        .description(Some(format!("{}{}", doc.about, least(route))));
    for parameter in doc.parameters.iter().cloned() {
        op = op.parameter(parameter);
    }
    if let Some(body) = &doc.body {
        let mut request = RequestBodyBuilder::new().required(Some(Required::True));
        for media in body.media {
            let content = ContentBuilder::new().schema(Some(schemas::reference(body.schema)));
            request = request.content(*media, content.example(Some(body.example.clone())).build());
        }
        op = op.request_body(Some(request.build()));
    }
    op = op.response(doc.status.to_string(), success(&doc));
    for (status, codes) in errors(route, &doc) {
        op = op.response(status.to_string(), refusal(status, &codes));
    }
    if route.rule != Rule::Open {
        let none: [&str; 0] = [];
        op = op
            .security(SecurityRequirement::new("bearer", none))
            .security(SecurityRequirement::new("cookie", none));
    }
    op.build()
}

fn operation_id(op: Op) -> String {
    let name = format!("{op:?}");
    let mut chars = name.chars();
    chars.next().map(|c| c.to_lowercase().collect::<String>() + chars.as_str()).unwrap_or_default()
}

fn least(route: &Route) -> String {
    let role = match route.least {
        Role::Viewer => "viewer",
        Role::Operator => "operator",
        Role::Engineer => "engineer",
        Role::Admin => "admin",
    };
    match route.rule {
        Rule::Open => "\n\nNeeds no session.".to_owned(),
        Rule::Anywhere => format!(
            "\n\nNeeds the role {role} somewhere; what is listed or touched is held against the grants."
        ),
        Rule::Whole => format!("\n\nNeeds the role {role} on the whole installation."),
        Rule::Twin | Rule::Command | Rule::Alarm => {
            format!("\n\nNeeds the role {role} at the twin; without any role there the answer is 404.")
        }
        Rule::OwnOrWhole => format!("\n\nOne's own, or with the role {role} on the whole installation."),
    }
}

fn text_header(about: &str, kind: Type) -> utoipa::openapi::header::Header {
    HeaderBuilder::new().schema(ObjectBuilder::new().schema_type(kind)).description(Some(about)).build()
}

fn success(doc: &Doc) -> RefOr<utoipa::openapi::Response> {
    let mut response = ResponseBuilder::new()
        .description(doc.answer_about)
        .header("x-request-id", text_header("the request's id, as in the log", Type::String));
    for (name, about) in doc.headers {
        response = response.header(*name, text_header(about, Type::String));
    }
    match &doc.answer {
        Answer::None => {}
        Answer::Json { schema, example } => {
            let content = ContentBuilder::new().schema(Some(schemas::reference(schema)));
            response = response.content("application/json", content.example(example.clone()).build());
        }
        Answer::Text { media, example } => {
            let content = ContentBuilder::new().schema(Some(String::schema()));
            response = response.content(*media, content.example(Some(json!(example))).build());
        }
        Answer::Object => {
            let content =
                ContentBuilder::new().schema(Some(ObjectBuilder::new().schema_type(Type::Object).build()));
            response = response.content("application/json", content.build());
        }
    }
    response.build().into()
}

/// Every refusal of a route by status: those of its own and those that its kind brings with it.
fn errors(route: &Route, doc: &Doc) -> std::collections::BTreeMap<u16, Vec<Code>> {
    let mut codes = doc.errors.to_vec();
    let is_probe = matches!(route.op, Op::Health | Op::Ready);
    if !is_probe {
        // Host header; malformed request.
        codes.extend([Code::WrongOrigin, Code::InvalidRequest]);
    }
    if route.rule != Rule::Open {
        codes.extend([Code::Unauthenticated, Code::Forbidden, Code::Unavailable, Code::Internal]);
    }
    if matches!(route.rule, Rule::Twin | Rule::Command) {
        codes.push(Code::NotFound);
    }
    if doc.body.is_some() {
        codes.push(Code::TooLarge);
    }
    let mut by_status = std::collections::BTreeMap::<u16, Vec<Code>>::new();
    for code in codes {
        let of_status = by_status.entry(Problem::new(code, "").status).or_default();
        if !of_status.contains(&code) {
            of_status.push(code);
        }
    }
    if doc.body.is_some() {
        by_status.insert(408, vec![Code::InvalidRequest]);
        by_status.insert(415, vec![Code::InvalidRequest]);
    }
    if route.op == Op::Live {
        by_status.insert(426, vec![Code::InvalidRequest]);
    }
    by_status
}

fn refusal(status: u16, codes: &[Code]) -> RefOr<utoipa::openapi::Response> {
    let names: Vec<_> = codes.iter().map(|c| format!("`{c}`")).collect();
    let mut example = codes.first().map(|code| Problem::new(*code, "what went wrong here, and what to do"));
    if let Some(problem) = &mut example {
        problem.status = status;
    }
    let example = example.and_then(|p| serde_json::to_value(p).ok());
    let content =
        ContentBuilder::new().schema(Some(Ref::from_schema_name(Problem::name()))).example(example).build();
    let mut response = ResponseBuilder::new()
        .description(names.join(", "))
        .content("application/problem+json", content)
        .header("x-request-id", text_header("the request's id, as in the log", Type::String));
    if matches!(status, 429 | 503) {
        response = response.header("retry-after", text_header("seconds to wait, where known", Type::Integer));
    }
    if status == 401 {
        response = response.header("www-authenticate", text_header("`Bearer`", Type::String));
    }
    response.build().into()
}
