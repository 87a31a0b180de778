//! A client of the HTTP API, of the cloud or of a box.

use std::time::Duration;

use common::api::{CommandRequest, CommandView, HistoryResponse, Page, SessionResponse, TwinView};
use common::command::LogEntry;
use common::{CommandId, Value};
use reqwest::{Client, ClientBuilder, Method, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;

use crate::until;

/// A client with a token.
#[derive(Debug, Clone)]
pub struct Api {
    client: Client,
    base: String,
    token: Option<String>,
}

impl Api {
    /// A client of `base`, such as `http://127.0.0.1:8080`, not signed in.
    pub fn new(base: impl Into<String>) -> Self {
        let client = builder().build().expect("a client");
        Self { client, base: base.into(), token: None }
    }

    /// A client of a box's Unix socket.
    pub fn of_socket(socket: &std::path::Path) -> Self {
        let client = builder().unix_socket(socket).build().expect("a client");
        Self { client, base: "http://localhost".into(), token: None }
    }

    /// The same with a token.
    #[must_use]
    pub fn with_token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// The same with a connection for each request: none is used again that the server, stopped and continued,
    /// closes at that moment for having been idle.
    #[must_use]
    pub fn unpooled(&self) -> Self {
        let client = builder().pool_max_idle_per_host(0).build().expect("a client");
        Self { client, ..self.clone() }
    }

    /// Where it goes.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Its token.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Signs in.
    pub async fn login(base: &str, user: &str, password: &str) -> Self {
        let api = Self::new(base);
        let body = serde_json::json!({ "user": user, "password": password });
        let answer =
            api.request(Method::POST, "/api/v1/session").json(&body).send().await.expect("an answer");
        let session: SessionResponse = read(answer).await;
        api.with_token(session.token)
    }

    /// A request that is not sent yet.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// GET, which must succeed.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> T {
        read(self.request(Method::GET, path).send().await.expect("an answer")).await
    }

    /// GET; none if it does not succeed for now.
    pub async fn try_get<T: DeserializeOwned>(&self, path: &str) -> Option<T> {
        let answer = self.request(Method::GET, path).send().await.ok()?;
        if !answer.status().is_success() {
            return None;
        }
        answer.json().await.ok()
    }

    /// All twins.
    pub async fn twins(&self) -> Vec<TwinView> {
        self.get::<Page<TwinView>>("/api/v1/twins?limit=1000").await.items
    }

    /// A twin by the end of its place; none if it is not there.
    pub async fn twin(&self, name: &str) -> Option<TwinView> {
        self.try_get(&format!("/api/v1/twins/{}", name.replace('/', "%2F"))).await
    }

    /// A point's last value.
    pub async fn value(&self, twin: &str, point: &str) -> Option<Value> {
        let twin = self.twin(twin).await?;
        twin.points.into_iter().find(|p| *p.schema.name == *point)?.value
    }

    /// Entries of an action among the newest 1,000 of the audit and event list.
    pub async fn entries(&self, action: &str) -> Vec<LogEntry> {
        let page: Page<LogEntry> = self.get("/api/v1/audit?limit=1000").await;
        page.items.into_iter().filter(|e| e.action == action).collect()
    }

    /// Waits until there is one.
    pub async fn told(&self, what: &str, action: &str) -> LogEntry {
        until(what, Duration::from_secs(60), || async { self.entries(action).await.pop() }).await
    }

    /// A point's history.
    pub async fn history(&self, twin: &str, point: &str, query: &str) -> HistoryResponse {
        self.get(&format!("/api/v1/twins/{}/points/{point}/history?{query}", twin.replace('/', "%2F"))).await
    }

    /// Sends a command and returns the answer.
    pub async fn send(&self, twin: &str, request: &CommandRequest, key: &str) -> Response {
        self.post_command(twin, request, key).send().await.expect("an answer")
    }

    /// A command that is not sent yet.
    pub fn post_command(&self, twin: &str, request: &CommandRequest, key: &str) -> RequestBuilder {
        self.request(Method::POST, &format!("/api/v1/twins/{}/commands", twin.replace('/', "%2F")))
            .header("Idempotency-Key", key)
            .json(request)
    }

    /// Sends a command, which must be accepted, and follows it to its end.
    pub async fn command(&self, twin: &str, point: &str, value: impl Into<Value>) -> CommandView {
        let request = CommandRequest {
            point: point.into(),
            value: value.into(),
            ttl_ms: 10_000,
            reason: "test".into(),
        };
        let answer = self.send(twin, &request, &uuid::Uuid::new_v4().to_string()).await;
        assert_eq!(answer.status(), StatusCode::ACCEPTED, "{}", answer.text().await.unwrap_or_default());
        let command: CommandView = answer.json().await.expect("a command");
        self.finished(command.id).await
    }

    /// Follows a command to its end.
    pub async fn finished(&self, id: CommandId) -> CommandView {
        for _ in 0..10 {
            let command: CommandView = self.get(&format!("/api/v1/commands/{id}?wait_ms=5000")).await;
            if command.state.is_final() {
                return command;
            }
        }
        panic!("command {id} does not end");
    }
}

/// One TLS provider for all clients; that it is there already is fine.
fn builder() -> ClientBuilder {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
}

async fn read<T: DeserializeOwned>(answer: Response) -> T {
    let (status, url) = (answer.status(), answer.url().clone());
    let text = answer.text().await.expect("a body");
    assert!(status.is_success(), "{url}: {status}: {text}");
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{url}: {e}: {text}"))
}
