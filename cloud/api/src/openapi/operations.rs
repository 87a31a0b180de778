//! What the description says of each route beyond its row in the table.

use common::names::Code;
use serde_json::{Value as Json, json};
use utoipa::openapi::path::Parameter;

use super::examples as ex;
use super::parameters::{flag, header, max_points, one_of, paging, query, wait_ms};
use super::schemas::DESIRED_PATCH;
use crate::metrics::CONTENT_TYPE;
use crate::table::Op;

pub(super) const INTRODUCTION: &str = "Twins, their history, commands and accounts. The box serves the same shapes for what it \
    holds.\n\nTimes are UTC in integer microseconds since 1970. Errors are problem documents (RFC 9457) with a stable \
    `code`. Lists are pages: give `next_cursor` of one as `cursor` of the next. Roles (viewer, operator, engineer, \
    admin) are granted on subtrees of the assets; what you may not see is answered 404, what you may see but not do \
    403. The Host header must be a configured name or loopback.";

pub(super) const TAGS: &[(&str, &str)] = &[
    ("session", "signing in and out"),
    ("twins", "twins, their tree, desired values and history"),
    ("commands", "asking a device to do something"),
    ("alarms", "what is wrong, and who knows"),
    ("gateways", "boxes in the field"),
    ("updates", "versions of the boxes' program"),
    ("audit", "who did what, and what happened"),
    ("accounts", "people and programs"),
    ("live", "values and events as they happen"),
    ("service", "the service itself"),
];

pub(super) const JSON: &[&str] = &["application/json"];
const PATCH: &[&str] = &["application/merge-patch+json", "application/json"];
const ETAG: (&str, &str) = ("etag", "version of the desired values in quotes, for If-Match");

/// A body.
pub(super) struct Body {
    pub(super) media: &'static [&'static str],
    pub(super) schema: &'static str,
    pub(super) example: Json,
}

/// What a success carries.
pub(super) enum Answer {
    None,
    Json { schema: &'static str, example: Option<Json> },
    Text { media: &'static str, example: &'static str },
    Object,
}

/// A route in words.
pub(super) struct Doc {
    pub(super) tag: &'static str,
    pub(super) summary: &'static str,
    pub(super) about: &'static str,
    pub(super) parameters: Vec<Parameter>,
    pub(super) body: Option<Body>,
    pub(super) status: u16,
    pub(super) answer_about: &'static str,
    pub(super) answer: Answer,
    pub(super) headers: &'static [(&'static str, &'static str)],
    pub(super) errors: &'static [Code],
}

pub(super) fn doc(tag: &'static str, summary: &'static str, about: &'static str) -> Doc {
    Doc {
        tag,
        summary,
        about,
        parameters: Vec::new(),
        body: None,
        status: 200,
        answer_about: "done",
        answer: Answer::None,
        headers: &[],
        errors: &[],
    }
}

impl Doc {
    pub(super) fn with(mut self, parameters: impl IntoIterator<Item = Parameter>) -> Self {
        self.parameters.extend(parameters);
        self
    }

    pub(super) fn takes(
        mut self,
        media: &'static [&'static str],
        schema: &'static str,
        example: Json,
    ) -> Self {
        self.body = Some(Body { media, schema, example });
        self
    }

    pub(super) fn gives(
        mut self,
        status: u16,
        about: &'static str,
        schema: &'static str,
        example: Json,
    ) -> Self {
        (self.status, self.answer_about) = (status, about);
        self.answer = Answer::Json { schema, example: Some(example) };
        self
    }

    pub(super) fn text(mut self, about: &'static str, media: &'static str, example: &'static str) -> Self {
        self.answer_about = about;
        self.answer = Answer::Text { media, example };
        self
    }

    pub(super) fn empty(mut self, status: u16, about: &'static str) -> Self {
        (self.status, self.answer_about) = (status, about);
        self
    }

    pub(super) fn heads(mut self, headers: &'static [(&'static str, &'static str)]) -> Self {
        self.headers = headers;
        self
    }

    pub(super) fn fails(mut self, errors: &'static [Code]) -> Self {
        self.errors = errors;
        self
    }
}

/// A route in words. A new route does not compile without them.
pub(super) fn describe(op: Op) -> Doc {
    match op {
        Op::SignIn | Op::WhoAmI | Op::SignOut => session(op),
        Op::ListUsers | Op::CreateUser | Op::DeleteUser | Op::SetPassword => users(op),
        Op::ListKeys | Op::CreateKey | Op::DeleteKey => keys(op),
        Op::OpenApi | Op::Health | Op::Ready | Op::Metrics => service(op),
        Op::PatchDesired | Op::SendCommand | Op::ListCommands | Op::GetCommand => orders(op),
        Op::ListAlarms | Op::AcknowledgeAlarm | Op::ShelveAlarm | Op::UnshelveAlarm => alarms(op),
        Op::ListTwins => doc("twins", "Twins with their points and values", "By asset path.")
            .with(paging())
            .with([query("filter", "only twins whose asset path contains this, in any case", "line1")])
            .gives(200, "a page of twins", "TwinViewPage", ex::page(&ex::twin())),
        Op::GetTwin => doc("twins", "A twin with its points and values", "")
            .gives(200, "the twin", "TwinView", ex::twin())
            .heads(&[ETAG]),
        Op::History => doc("twins", "A point's history", "Raw samples where they fit, roll-ups where they do not; and where samples are missing or bad, with the cause: as \
             gateways told it, as holes in their streams show it, or as the samples' quality says. With `times`, how the time of the \
             range and of each roll-up divides by quality, and of states by value.")
            .with([
                query("from", "start: RFC 3339, microseconds since 1970, `now`, or a time ago; default `-1h`", "-15m"),
                query("to", "end (excluded), in the same forms; default `now`", "now"),
                max_points(),
                flag("times", "with how the time divides by quality and state, and the first and last sample of each roll-up"),
            ])
            .gives(200, "the history", "HistoryResponse", ex::history())
            .fails(&[Code::UnknownPoint, Code::TooLarge]),
        Op::PastPoints | Op::DeleteHistory | Op::AlignHistory | Op::ExportHistory => super::sets::describe(op),
        Op::Waveforms | Op::Waveform => super::waveforms::describe(op),
        Op::ListAssets => doc("twins", "The asset tree", "The whole tree as far as the caller sees it, by path.")
            .gives(200, "the nodes", "AssetNodePage", ex::page(&ex::asset())),
        Op::ListGateways => doc(
            "gateways",
            "Gateways and how they fare",
            "A gateway is seen by who sees a twin of it; its health, which names all its devices, by who sees all of them.",
        )
        .with(paging())
        .gives(200, "a page of gateways", "GatewayViewPage", ex::page(&ex::gateway())),
        Op::EnrolGateway => doc(
            "gateways",
            "A gateway's secret",
            "Shown this once. What the gateway signed in with before, a secret or certificates, is worth nothing then. The MQTT user name is `<tenant>/<gateway>`.",
        )
        .takes(JSON, "GatewayRequest", json!({"id": "gw1"}))
        .gives(201, "the credential", "GatewayCredential", json!({"gateway": "gw1", "secret": "bX8J...43 characters"})),
        Op::AcceptBox => doc(
            "gateways",
            "Let a box in that is held back",
            "A gateway's name is one box's at a time: another one is held back. This puts it in place of the first, which is held from then on.",
        )
        .takes(JSON, "AcceptRequest", json!({"reason": "the box was replaced"}))
        .gives(200, "the box", "HeldBox", ex::held())
        .fails(&[Code::NotFound, Code::Conflict]),
        Op::ListSetAside => doc(
            "gateways",
            "Frames of a gateway that could not be taken",
            "Newest first; at most 1,000 are kept of a gateway, and 16 MiB: how many had to go is told. They are not in the history, which \
             shows a gap with the cause `set_aside` in their place.",
        )
        .with(paging())
        .gives(200, "a page of frames", "SetAsideList", ex::set_aside_list())
        .fails(&[Code::NotFound]),
        Op::GetSetAside => doc(
            "gateways",
            "A frame that could not be taken",
            "As it was received: for whoever looks for the fault. It may hold values of any point of the gateway.",
        )
        .text("the frame", "application/octet-stream", "...")
        .fails(&[Code::NotFound]),
        Op::CreateEnrolmentCode | Op::Enrol | Op::ListCertificates | Op::RevokeGateway => super::enrol::describe(op),
        Op::GetConfiguration | Op::PutConfiguration | Op::ListConfigurations | Op::GetConfigurationDocument => {
            super::configuration::describe(op)
        }
        Op::AddRelease | Op::ListReleases | Op::RemoveRelease | Op::SetGroup | Op::ListUpdates | Op::GetUpdate
        | Op::GetRollout | Op::StartRollout | Op::HaltRollout | Op::ResumeRollout => super::updates::describe(op),
        Op::ListAudit => doc(
            "audit",
            "Audit and events, newest first",
            "An admin of all sees every entry, others see entries about the twins that they see.",
        )
        .with(paging())
        .with([
            query("twin", "only entries about this twin (id or name)", "line1/oven"),
            one_of("min_severity", "only entries of this severity or above", &["info", "warning", "alarm"]),
        ])
        .gives(200, "a page of entries", "LogEntryPage", ex::page(&ex::log_entry()))
        .fails(&[Code::NotFound]),
        Op::Live => doc(
            "live",
            "The live channel (WebSocket)",
            "The first message of the client is `{\"op\":\"subscribe\",\"max_hz\":10}` (`ClientMessage`). The server sends text \
             (`ServerMessage`) and binary frames: little-endian; 32 bytes of header (`TW`, version 1, flags 0, area u16, \
             reserved u16, epoch u32, tick u32, base time in us i64, rows n u32, reserved u32), then values f64 x n, source time \
             minus base in ms i32 x n, row numbers u32 x n, quality u8 x n, padded with 0 to a multiple of 8. Row numbers refer \
             to the `schema` message of the same area and epoch. A client that does not read for 30 s is dropped; the channel \
             closes (1008) when the session ends, at the latest within a minute.",
        )
        .empty(101, "the channel is open"),
    }
}

fn session(op: Op) -> Doc {
    match op {
        Op::WhoAmI => doc("session", "Who am I", "Account or key, and its grants.")
            .gives(200, "the caller", "WhoAmI", json!({"user": "anna", "grants": ex::grants()})),
        Op::SignOut => doc("session", "Sign out", "Ends the session and clears the cookie. A key has no session.")
            .empty(204, "signed out")
            .heads(&[("set-cookie", "clears the cookie")])
            .fails(&[Code::Conflict]),
        _ => doc(
            "session",
            "Sign in",
            "Gives a bearer token, and the same as a cookie for the page. The answer and its time are the same for an unknown \
             account and a wrong password. At most 5 failures a minute by account and address.",
        )
        .takes(JSON, "SessionRequest", json!({"user": "anna", "password": "correct horse battery"}))
        .gives(200, "signed in", "SessionResponse", json!({
            "token": "pZ1x...43 characters", "expires_us": 1_795_043_200_000_000_i64, "user": "anna", "grants": ex::grants()
        }))
        .heads(&[("set-cookie", "`twinway_session`, HttpOnly, SameSite=Strict")])
        .fails(&[Code::Unauthenticated, Code::RateLimited, Code::Unavailable, Code::Internal]),
    }
}

fn orders(op: Op) -> Doc {
    match op {
        Op::PatchDesired => doc(
            "twins",
            "Change desired values",
            "A desired value is written by the gateway only if it is unexpired and allowed, the switch at the box stands on remote, \
             and nobody changed the point since; else it shows `diverged` and waits for a person.",
        )
        .with([header("If-Match", "ETag of the twin that the change rests on; compared strongly",
            r#"^(\*|(W/)?"[^"]*"(, *(W/)?"[^"]*")*)$"#, "\"3\"")])
        .takes(PATCH, DESIRED_PATCH, ex::desired())
        .gives(200, "the twin with its new version", "TwinView", ex::twin())
        .heads(&[ETAG])
        .fails(&[
            Code::PreconditionRequired, Code::PreconditionFailed, Code::UnknownPoint, Code::NotWritable, Code::TypeMismatch,
            Code::OutOfLimits, Code::Conflict,
        ]),
        Op::SendCommand => doc(
            "commands",
            "Send a command",
            "Stored, then handed to the gateway's live session; never queued for later. The same key with the same request gives \
             the same command, whenever it is asked again. What the gateway then says is in the command's state.",
        )
        .with([header("Idempotency-Key", "1 to 200 visible ASCII characters, new for each command",
            "^[!-~]{1,200}$", "5f0c4a1e-set-115")])
        .takes(JSON, "CommandRequest", ex::command_request())
        .gives(202, "the command", "CommandView", ex::command())
        .heads(&[("location", "path of the command")])
        .fails(&[
            Code::PreconditionRequired, Code::IdempotencyConflict, Code::GatewayOffline, Code::UnknownPoint, Code::NotWritable,
            Code::TypeMismatch, Code::OutOfLimits,
        ]),
        Op::ListCommands => doc("commands", "Commands, newest first", "Also those given at gateways.")
            .with(paging())
            .gives(200, "a page of commands", "CommandViewPage", ex::page(&ex::command())),
        _ => doc("commands", "A command", "With `wait_ms` the answer waits until the command is final.")
            .with([wait_ms()])
            .gives(200, "the command", "CommandView", ex::command())
            .fails(&[Code::RateLimited]),
    }
}

fn alarms(op: Op) -> Doc {
    const ASKED: &str = "Put on record and handed to the gateway's live session, which judges the alarm; the change comes over \
        the live channel. Asking again changes nothing more.";
    const ERRORS: &[Code] = &[Code::GatewayOffline, Code::NotSupported, Code::QueueFull, Code::Conflict];
    let asked = |summary, schema, example| {
        doc("alarms", summary, ASKED)
            .takes(JSON, schema, example)
            .gives(202, "the alarm as it was", "AlarmView", ex::alarm())
            .fails(ERRORS)
    };
    match op {
        Op::AcknowledgeAlarm => {
            let example = json!({"raised_us": 1_795_000_000_000_000_i64, "comment": "on my way"});
            asked("Acknowledge an occurrence of an alarm", "AcknowledgeRequest", example)
        }
        Op::ShelveAlarm => {
            let example = json!({"duration_ms": 3_600_000, "comment": "sensor is being changed"});
            asked("Shelve an alarm for a time", "ShelveRequest", example)
        }
        Op::UnshelveAlarm => {
            asked("Take an alarm from the shelf", "UnshelveRequest", json!({"comment": "sensor is changed"}))
        }
        _ => doc(
            "alarms",
            "Alarms, the last changed first",
            "Those that are active, unacknowledged, shelved or out of service; with `all` also those that are normal again.",
        )
        .with(paging())
        .with([one_of("all", "also those that are normal", &["true", "false"])])
        .gives(200, "a page of alarms", "AlarmViewPage", ex::page(&ex::alarm())),
    }
}

fn users(op: Op) -> Doc {
    match op {
        Op::ListUsers => doc("accounts", "Accounts", "By name.").with(paging()).gives(
            200,
            "a page of accounts",
            "UserViewPage",
            ex::page(&ex::user()),
        ),
        Op::CreateUser => doc(
            "accounts",
            "Make an account",
            "A grant is on all (empty path), a site or an area. Nobody grants more than they hold.",
        )
        .takes(
            JSON,
            "UserRequest",
            json!({"name": "anna", "password": "correct horse battery", "grants": ex::grants()}),
        )
        .gives(201, "the account", "UserView", ex::user())
        .fails(&[Code::Conflict, Code::RateLimited]),
        Op::DeleteUser => {
            doc("accounts", "Remove an account", "Its sessions end. The last admin of all cannot be removed.")
                .empty(204, "removed")
                .fails(&[Code::NotFound, Code::Conflict])
        }
        _ => doc("accounts", "Change a password", "All sessions of the account end.")
            .takes(JSON, "PasswordRequest", json!({"password": "battery horse correct"}))
            .empty(204, "changed")
            .fails(&[Code::NotFound, Code::RateLimited]),
    }
}

fn keys(op: Op) -> Doc {
    match op {
        Op::ListKeys => {
            doc("accounts", "API keys", "Those that reach only where the caller is an engineer, by name.")
                .with(paging())
                .gives(200, "a page of keys", "ApiKeyViewPage", ex::page(&ex::key()))
        }
        Op::CreateKey => {
            let mut created = ex::key();
            created["key"] = json!("twk_...43 characters");
            doc("accounts", "Make an API key", "Shown this once; stored hashed. Give it as a bearer token.")
                .takes(JSON, "ApiKeyRequest", json!({
                    "name": "historian", "grants": [{"path": "plant", "role": "viewer"}], "expires_us": 1_826_000_000_000_000_i64
                }))
                .gives(201, "the key", "ApiKeyCreated", created)
                .fails(&[Code::Conflict])
        }
        _ => doc("accounts", "Remove an API key", "").empty(204, "removed").fails(&[Code::NotFound]),
    }
}

fn service(op: Op) -> Doc {
    match op {
        Op::OpenApi => {
            let mut doc = doc("service", "This description", "");
            doc.answer_about = "OpenAPI 3.1";
            doc.answer = Answer::Object;
            doc
        }
        Op::Health => doc("service", "Whether the service is alive", "").text("alive", "text/plain", "ok\n"),
        Op::Ready => doc("service", "Whether the service is ready", "")
            .text("ready", "text/plain", "ready\n")
            .fails(&[Code::Unavailable]),
        _ => doc("service", "Metrics", "OpenMetrics text.")
            .text("the metrics", CONTENT_TYPE, "# EOF\n")
            .fails(&[Code::Internal]),
    }
}
