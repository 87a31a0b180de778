//! The demo's accounts: the cloud's admin, signed in with the password that this start printed, and an operator at the
//! box.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use common::api::{GatewayCredential, Role, SessionRequest, SessionResponse};
use common::text::hex;
use serde::de::DeserializeOwned;

/// Account, password and session.
#[derive(Clone)]
pub struct Admin {
    /// Account.
    pub user: String,
    /// One-time password: the next start of the demo sets another.
    pub password: String,
    base: String,
    token: String,
    client: reqwest::Client,
}

/// Signs in with the first password, or with a new one if the cloud has been started before.
///
/// # Errors
/// When the cloud does not let the admin in.
pub async fn admin(cloud: &twinway_cloud::Handle, http: SocketAddr) -> anyhow::Result<Admin> {
    let password = match cloud.first_run_password() {
        Some(password) => password.to_owned(),
        None => cloud.reset_admin_password().await.context("a new password for the admin")?,
    };
    let (base, client) = (format!("http://{http}"), reqwest::Client::new());
    let request = SessionRequest { user: "admin".into(), password: password.clone() };
    let answer = client.post(format!("{base}/api/v1/session")).json(&request).send().await?;
    ensure!(answer.status().is_success(), "sign in: {}", answer.text().await?);
    let session: SessionResponse = answer.json().await?;
    Ok(Admin { user: request.user, password, base, token: session.token, client })
}

impl Admin {
    /// Makes a new credential for a gateway.
    ///
    /// # Errors
    /// When the cloud refuses.
    pub async fn gateway_secret(&self, id: &str) -> anyhow::Result<String> {
        let body = serde_json::json!({ "id": id });
        let request =
            self.client.post(format!("{}/api/v1/gateways", self.base)).bearer_auth(&self.token).json(&body);
        let answer = request.send().await?;
        ensure!(answer.status().is_success(), "credential for {id}: {}", answer.text().await?);
        Ok(answer.json::<GatewayCredential>().await?.secret)
    }

    /// Reads from the cloud.
    ///
    /// # Errors
    /// When the cloud does not answer with what was asked for.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let answer = self.client.get(format!("{}{path}", self.base)).bearer_auth(&self.token).send().await?;
        ensure!(answer.status().is_success(), "{path}: {}", answer.text().await?);
        Ok(answer.json().await?)
    }
}

/// An operator at the box: the gateway's API and its OPC UA server take it.
#[derive(Debug, Clone)]
pub struct Token {
    /// Name.
    pub user: &'static str,
    /// The token, which is the password for OPC UA. The next start of the demo makes another.
    pub token: String,
}

impl Token {
    /// One that nobody knows.
    ///
    /// # Errors
    /// When the system has no random bytes.
    pub fn new() -> anyhow::Result<Self> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).context("random bytes for a token")?;
        Ok(Self { user: "demo", token: hex(&bytes) })
    }

    /// As it stands in the gateway's `tokens_file`.
    pub fn line(&self) -> String {
        twinway_gateway::config::Token::new(self.user, Role::Operator, &self.token).line() + "\n"
    }
}
