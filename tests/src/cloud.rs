//! A real cloud process in a folder of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::api::{ApiKeyCreated, GatewayCredential};
use reqwest::Method;
use serde::Deserialize;

use crate::process::{Listening, Process, program};
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
    env: Vec<(String, String)>,
    api: Option<Api>,
}

/// Holds more keys of the ingress, for each start.
const INGRESS: &str = "ingress.keys";

#[derive(Debug, Clone, Copy, Deserialize)]
struct Addresses {
    http: SocketAddr,
    ingress: SocketAddr,
}

impl Cloud {
    /// Starts one for the first time in `dir` and signs in as its first admin.
    pub async fn start(dir: &Path) -> Self {
        Self::start_as(dir, "", Vec::new()).await
    }

    /// As `start`, with more sections of its configuration.
    pub async fn start_with(dir: &Path, sections: &str) -> Self {
        Self::start_as(dir, sections, Vec::new()).await
    }

    /// As `start`, with more keys of its ingress, and more in its environment, also after each restart.
    pub async fn start_with_ingress(dir: &Path, keys: &str, env: Vec<(String, String)>) -> Self {
        std::fs::create_dir_all(dir).expect("a folder");
        std::fs::write(dir.join(INGRESS), keys).expect("a file");
        Self::start_as(dir, "", env).await
    }

    /// Other keys of its ingress, from its next start on.
    pub fn set_ingress(&self, keys: &str) {
        std::fs::write(self.dir.join(INGRESS), keys).expect("a file");
    }

    /// With more sections of its configuration, and more in its environment.
    pub async fn start_as(dir: &Path, sections: &str, env: Vec<(String, String)>) -> Self {
        std::fs::create_dir_all(dir.join("conf.d")).expect("a folder");
        std::fs::write(dir.join("conf.d/more.toml"), sections).expect("a configuration");
        let mut cloud = Self::spawn(dir, env).await.unwrap_or_else(|e| panic!("{e}"));
        let password = cloud.first_password();
        cloud.api = Some(Api::login(&format!("http://{}", cloud.http), "admin", &password).await);
        cloud
    }

    async fn spawn(dir: &Path, env: Vec<(String, String)>) -> Result<Self, String> {
        std::fs::create_dir_all(dir).expect("a folder");
        // Where it was before, so that a page and gateways find it again.
        let listening = Listening::new(dir);
        let before: Option<Addresses> = listening.before();
        let port = |f: fn(&Addresses) -> SocketAddr| before.as_ref().map_or(0, |a| f(a).port());
        let ingress = std::fs::read_to_string(dir.join(INGRESS)).unwrap_or_default();
        let config = format!(
            "[cloud]\ndata_dir = {:?}\n[http]\nlisten = \"127.0.0.1:{}\"\n[ingress]\nlisten = \"127.0.0.1:{}\"\n{ingress}\n",
            dir.join("data"),
            port(|a| a.http),
            port(|a| a.ingress)
        );
        std::fs::write(dir.join("cloud.toml"), config).expect("a configuration");
        let mut process = run(dir, &env);
        let found = until("addresses of the cloud", Duration::from_secs(20), || {
            let found = match process.ended() {
                Some(status) => Some(Err(format!("cloud ended with {status}:\n{}", process.log()))),
                None => listening.now::<Addresses>().map(Ok),
            };
            async move { found }
        })
        .await?;
        Ok(Self { process, http: found.http, ingress: found.ingress, dir: dir.to_owned(), env, api: None })
    }

    /// Starts it again, after an end, with the same state and addresses. Tokens stay valid.
    pub async fn restart(self) -> Self {
        let Self { process, dir, env, api, .. } = self;
        drop(process);
        let again = Self::spawn(&dir, env).await.unwrap_or_else(|e| panic!("{e}"));
        Self { api, ..again }
    }

    /// The same as a service manager would: again, while it says that it cannot and ends.
    ///
    /// # Panics
    /// When it is not up in time, or panics.
    pub async fn restart_on_failure(self) -> Self {
        let Self { process, dir, env, api, .. } = self;
        drop(process);
        let again = crate::wait::up(|| Self::spawn(&dir, env.clone())).await;
        Self { api, ..again }
    }

    /// Starts it again, after an end, with the same state and addresses.
    ///
    /// # Errors
    /// What it says if it ends instead.
    pub async fn try_restart(&mut self) -> Result<(), String> {
        self.process.kill();
        let before = self.process.log().len();
        let again = Self::spawn(&self.dir, self.env.clone()).await;
        let again = again.map_err(|_| self.process.log().split_off(before))?;
        self.process = again.process;
        Ok(())
    }

    /// Begins to start it again, after an end, and does not wait for it.
    pub fn begin(&self) -> Process {
        run(&self.dir, &self.env)
    }

    /// Begins to do what an administrator asks the program for, with this cloud's configuration. What it prints goes to
    /// `admin.log`.
    pub fn administer(&self, args: &[&str]) -> Process {
        let config = self.dir.join("cloud.toml");
        let mut args = args.to_vec();
        if args.first() != Some(&"migrate-store") && args.first() != Some(&"verify") {
            args.extend(["--config", config.to_str().expect("a UTF-8 path")]);
        }
        Process::start(&program("twinway-cloud"), &args, self.dir.join("admin.log"))
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// From now on it is asked under a key that no clock ends.
    pub async fn use_key(&mut self) {
        let body = serde_json::json!({ "name": "harness", "grants": [{ "path": "", "role": "admin" }] });
        let answer = self.api().request(Method::POST, "/api/v1/keys").json(&body).send().await;
        let answer = answer.expect("an answer");
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap_or_default());
        let made: ApiKeyCreated = answer.json().await.expect("a key");
        self.api = Some(self.api().clone().with_token(made.key));
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

    /// The first value of a metric.
    pub async fn metric(&self, name: &str) -> f64 {
        self.find_metric(name).await.unwrap_or_else(|| panic!("no {name} in the metrics"))
    }

    /// The same of what is not told before it has occurred.
    pub async fn find_metric(&self, name: &str) -> Option<f64> {
        let text = reqwest::get(format!("http://{}/metrics", self.http)).await.expect("metrics");
        let text = text.text().await.expect("text");
        let of = |line: &str| line.strip_prefix(name)?.trim().parse().ok();
        text.lines().find_map(of)
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

fn run(dir: &Path, env: &[(String, String)]) -> Process {
    let config = dir.join("cloud.toml");
    let args = ["run", "--config", config.to_str().expect("a UTF-8 path")];
    Process::start_with(&program("twinway-cloud"), &args, dir.join("log"), env)
}
