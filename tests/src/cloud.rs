//! A real cloud process in a folder of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::api::GatewayCredential;
use reqwest::Method;
use serde::Deserialize;

use crate::process::{Process, program};
use crate::{Api, until};

/// A running cloud.
#[derive(Debug)]
pub struct Cloud {
    /// The process.
    pub process: Process,
    /// Page and API.
    pub http: SocketAddr,
    /// Where gateways connect to.
    pub ingress: SocketAddr,
    dir: PathBuf,
    api: Option<Api>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Addresses {
    http: SocketAddr,
    ingress: SocketAddr,
}

impl Cloud {
    /// Starts one for the first time in `dir` and signs in as its first admin.
    pub async fn start(dir: &Path) -> Self {
        Self::start_with(dir, "").await
    }

    /// As `start`, with more sections of its configuration.
    pub async fn start_with(dir: &Path, sections: &str) -> Self {
        std::fs::create_dir_all(dir.join("conf.d")).expect("a folder");
        std::fs::write(dir.join("conf.d/more.toml"), sections).expect("a configuration");
        let mut cloud = Self::spawn(dir).await;
        let password = cloud.first_password();
        cloud.api = Some(Api::login(&format!("http://{}", cloud.http), "admin", &password).await);
        cloud
    }

    async fn spawn(dir: &Path) -> Self {
        std::fs::create_dir_all(dir).expect("a folder");
        // Where it was before, so that a page and gateways find it again.
        let before = addresses(dir);
        let port = |f: fn(&Addresses) -> SocketAddr| before.as_ref().map_or(0, |a| f(a).port());
        let config = format!(
            "[cloud]\ndata_dir = {:?}\n[http]\nlisten = \"127.0.0.1:{}\"\n[ingress]\nlisten = \"127.0.0.1:{}\"\n",
            dir.join("data"),
            port(|a| a.http),
            port(|a| a.ingress)
        );
        let file = dir.join("cloud.toml");
        std::fs::write(&file, config).expect("a configuration");
        let _ = std::fs::remove_file(dir.join("data/addresses.json"));
        let file = file.to_str().expect("a UTF-8 path");
        let mut process =
            Process::start(&program("twinway-cloud"), &["run", "--config", file], dir.join("log"));
        let found = until("addresses of the cloud", Duration::from_secs(20), || {
            if let Some(status) = process.ended() {
                panic!("cloud ended with {status}:\n{}", process.log());
            }
            let found = addresses(dir);
            async move { found }
        })
        .await;
        Self { process, http: found.http, ingress: found.ingress, dir: dir.to_owned(), api: None }
    }

    /// Starts it again, after an end, with the same state and addresses. Tokens stay valid.
    pub async fn restart(self) -> Self {
        let Self { process, dir, api, .. } = self;
        drop(process);
        Self { api, ..Self::spawn(&dir).await }
    }

    /// The password that the first start printed.
    pub fn first_password(&self) -> String {
        let log = self.process.log();
        let line = log.lines().find_map(|l| l.split_once("admin password: ")).expect("a password in the log");
        line.1.trim().to_owned()
    }

    /// Its API as the first admin.
    pub fn api(&self) -> &Api {
        self.api.as_ref().expect("signed in at the first start")
    }

    /// A credential for a gateway.
    pub async fn gateway_secret(&self, id: &str) -> String {
        let request =
            self.api().request(Method::POST, "/api/v1/gateways").json(&serde_json::json!({ "id": id }));
        let answer = request.send().await.expect("an answer");
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap_or_default());
        answer.json::<GatewayCredential>().await.expect("a credential").secret
    }
}

fn addresses(dir: &Path) -> Option<Addresses> {
    serde_json::from_str(&std::fs::read_to_string(dir.join("data/addresses.json")).ok()?).ok()
}
