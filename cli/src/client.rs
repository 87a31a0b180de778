//! The HTTP client: requests to a target, problem documents, pages. What a request means is with the verbs.

use std::path::Path;
use std::time::Duration;

use common::api::{GatewayView, Page, Problem, TwinView};
use common::names::Code;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::target::{self, Target};

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Longest wait for an answer that does not wait for the plant.
const ANSWER: Duration = Duration::from_secs(30);
/// Most items of one page.
const PAGE: u32 = 1000;

/// A client of one server.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    target: Target,
}

impl Client {
    /// A client that shows `token`, if there is one.
    pub fn new(target: Target, token: Option<&str>, ca: Option<&Path>) -> Result<Self> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("twinway/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            // A token goes to the server that was named and to no other.
            .redirect(reqwest::redirect::Policy::none());
        let base = match &target {
            Target::Url(url) => {
                if target::is_loopback(url) {
                    builder = builder.no_proxy();
                }
                url.clone()
            }
            Target::Socket(path) => {
                builder = builder.no_proxy().unix_socket(path.clone());
                // Only its host is seen, by the box's check of the Host header.
                Url::parse("http://localhost/").map_err(|e| Error::new(Exit::Failed, e.to_string()))?
            }
        };
        builder = if base.scheme() == "http" {
            // No TLS, no need for the system's certificates: a box may have none.
            builder.tls_certs_only([])
        } else if let Some(ca) = ca {
            builder.tls_certs_merge(certificates(ca)?)
        } else {
            builder
        };
        if let Some(token) = token {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                .map_err(|_| Error::usage("the token holds characters that no token has"))?;
            value.set_sensitive(true);
            builder = builder.default_headers([(AUTHORIZATION, value)].into_iter().collect());
        }
        let http = builder.build().map_err(|e| Error::new(Exit::Failed, chain(&e)))?;
        Ok(Self { http, base, target })
    }

    /// The server.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// A route below `/api/v1`; each part is encoded, so that `line1/oven` stays one part.
    pub fn route(&self, parts: &[&str]) -> Result<Url> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| Error::usage(format!("`{}` cannot hold a path", self.base)))?
            .pop_if_empty()
            .extend(["api", "v1"])
            .extend(parts);
        Ok(url)
    }

    /// A request that waits a usual time for its answer.
    pub fn request(&self, method: Method, parts: &[&str]) -> Result<RequestBuilder> {
        Ok(self.http.request(method, self.route(parts)?).timeout(ANSWER))
    }

    /// A request beside `/api/v1`, such as for `metrics`.
    pub fn outside_api(&self, path: &str) -> RequestBuilder {
        let mut url = self.base.clone();
        url.set_path(path);
        self.http.get(url).timeout(ANSWER)
    }

    /// A request to upgrade the connection. Only the answer's head has a limit in time.
    pub async fn upgrade(&self, parts: &[&str], headers: reqwest::header::HeaderMap) -> Result<Response> {
        let request = self.http.get(self.route(parts)?).headers(headers).send();
        match tokio::time::timeout(ANSWER, request).await {
            Ok(sent) => sent.map_err(|e| self.unreachable(&e)),
            Err(_) => Err(Error::new(Exit::NotReachable, format!("{} did not answer in time", self.target))),
        }
    }

    /// Sends, and gives the answer if it is a success.
    pub async fn send(&self, request: RequestBuilder) -> Result<Response> {
        let response = request.send().await.map_err(|e| self.unreachable(&e))?;
        self.success(response).await
    }

    /// The answer if it is a success, else its problem.
    pub async fn success(&self, response: Response) -> Result<Response> {
        if response.status().is_success() { Ok(response) } else { Err(self.refusal(response).await) }
    }

    /// Sends and reads the answer.
    pub async fn fetch<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T> {
        let response = self.send(request).await?;
        self.read(response).await
    }

    /// Reads an answer's body.
    pub async fn read<T: DeserializeOwned>(&self, response: Response) -> Result<T> {
        let body = response.bytes().await.map_err(|e| self.unreachable(&e))?;
        serde_json::from_slice(&body).map_err(|e| {
            Error::new(
                Exit::Failed,
                format!("the answer of {} is not what its API promises: {e}", self.target),
            )
            .remedy("is it a Twinway server, and of a version that fits this program?")
        })
    }

    /// Reads something.
    pub async fn get<T: DeserializeOwned>(&self, parts: &[&str]) -> Result<T> {
        self.fetch(self.request(Method::GET, parts)?).await
    }

    /// Reads at most `most` items of a list, page by page.
    pub async fn list<T: DeserializeOwned>(
        &self,
        parts: &[&str],
        query: &[(&str, String)],
        most: u32,
    ) -> Result<Vec<T>> {
        let mut items: Vec<T> = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let left = most.saturating_sub(u32::try_from(items.len()).unwrap_or(u32::MAX));
            let mut request = self.request(Method::GET, parts)?.query(query);
            request = request.query(&[("limit", left.min(PAGE))]);
            if let Some(cursor) = &cursor {
                request = request.query(&[("cursor", cursor)]);
            }
            let page: Page<T> = self.fetch(request).await?;
            let empty = page.items.is_empty();
            items.extend(page.items);
            items.truncate(most as usize);
            let done = items.len() >= most as usize || empty || page.next_cursor == cursor;
            cursor = page.next_cursor;
            if done || cursor.is_none() {
                return Ok(items);
            }
        }
    }

    /// A twin by id or name.
    pub async fn twin(&self, name: &str) -> Result<TwinView> {
        if name.is_empty() || name.chars().all(|c| c == '.') {
            return Err(Error::usage(format!("`{name}` is not the name of a twin")));
        }
        self.get(&["twins", name]).await
    }

    /// Every twin that one may see.
    pub async fn twins(&self, filter: Option<&str>) -> Result<Vec<TwinView>> {
        let query: Vec<_> = filter.map(|f| ("filter", f.to_owned())).into_iter().collect();
        self.list(&["twins"], &query, u32::MAX).await
    }

    /// Every gateway that one may see.
    pub async fn gateways(&self) -> Result<Vec<GatewayView>> {
        self.list(&["gateways"], &[], u32::MAX).await
    }

    async fn refusal(&self, response: Response) -> Error {
        let status = response.status();
        let body = response.bytes().await.unwrap_or_default();
        if let Ok(problem) = serde_json::from_slice::<Problem>(&body) {
            return Error::Problem { problem, command: false };
        }
        let exit = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Exit::NotAuthorised,
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Exit::NotFound,
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
                Exit::NotReachable
            }
            _ => Exit::Failed,
        };
        let error = Error::new(exit, format!("{} answers {status}", self.target));
        match exit {
            Exit::NotAuthorised => match crate::error::remedy_of(Code::Unauthenticated) {
                Some(remedy) => error.remedy(remedy),
                None => error,
            },
            Exit::NotFound => error.remedy("this server does not offer it; is the address right?"),
            _ if status.is_redirection() => {
                error.remedy("use the address that it leads to; redirects are not followed")
            }
            _ => error,
        }
    }

    /// What a failed exchange means.
    pub fn unreachable(&self, e: &reqwest::Error) -> Error {
        if e.is_timeout() && !e.is_connect() {
            return Error::new(Exit::NotReachable, format!("{} did not answer in time", self.target));
        }
        let why = chain(e);
        let error = Error::new(Exit::NotReachable, format!("{} is not reachable: {why}", self.target));
        if why.contains("peer certificate") {
            return error.remedy("--ca names the certificate authority of a server of your own; the address must be one that the certificate names");
        }
        match &self.target {
            Target::Socket(_) => {
                error.remedy("is twinway-gateway running, and may you use its socket? (`systemctl status twinway-gateway`)")
            }
            Target::Url(_) => error.remedy("check the address and the network; --url and TWINWAY_URL name another"),
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<reqwest::Certificate>> {
    let failed = |e: String| Error::usage(format!("{}: {e}", path.display()));
    let pem = std::fs::read(path).map_err(|e| failed(e.to_string()))?;
    let found = reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| failed(chain(&e)))?;
    if found.is_empty() { Err(failed("holds no certificate in PEM form".to_owned())) } else { Ok(found) }
}

/// The last cause: reqwest's own text repeats the address and hides what happened.
pub fn chain(e: &dyn std::error::Error) -> String {
    let mut last = e;
    while let Some(next) = last.source() {
        last = next;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_slashes_stays_one_part_of_the_route() {
        crate::install_crypto();
        for (base, expected) in [
            ("http://h:1", "http://h:1/api/v1/twins/line1%2Foven"),
            ("http://h/below/", "http://h/below/api/v1/twins/line1%2Foven"),
        ] {
            let client = Client::new(Target::Url(Url::parse(base).unwrap()), Some("t"), None).unwrap();
            assert_eq!(client.route(&["twins", "line1/oven"]).unwrap().as_str(), expected);
        }
    }

    #[test]
    fn a_token_that_could_split_the_header_is_refused() {
        crate::install_crypto();
        let target = Target::Url(Url::parse("http://h").unwrap());
        assert!(Client::new(target, Some("a\r\nb"), None).is_err());
    }
}
