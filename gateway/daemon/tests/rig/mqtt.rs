//! Brokers and clients of MQTT that are not ours.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::until;

const LIMIT: Duration = Duration::from_secs(20);

/// A broker that we did not write.
pub(crate) struct Mosquitto {
    pub(crate) addr: SocketAddr,
    _child: Child,
    _dir: tempfile::TempDir,
}

impl Mosquitto {
    pub(crate) async fn start() -> Self {
        let addr = free();
        Self::start_with(&format!("listener {} 127.0.0.1\nallow_anonymous true\n", addr.port()), addr).await
    }

    /// At an address that was free a moment ago.
    pub(crate) async fn start_at(addr: SocketAddr) -> Self {
        Self::start_with(&format!("listener {} 127.0.0.1\nallow_anonymous true\n", addr.port()), addr).await
    }

    /// With a second listener that speaks TLS with the certificate in `dir`, and knows `user` alone with its password.
    pub(crate) async fn start_tls(dir: &Path, user: &str, password: &str) -> (Self, SocketAddr) {
        let (addr, secure) = (free(), free());
        let passwords = dir.join("passwords");
        run("mosquitto_passwd", dir, &["-b", "-c", "passwords", user, password]).await;
        let at = |name: &str| dir.join(name).display().to_string();
        let text = format!(
            "user root\nper_listener_settings true\nlistener {} 127.0.0.1\nallow_anonymous true\n\
             listener {} 127.0.0.1\nallow_anonymous false\npassword_file {}\ncertfile {}\nkeyfile {}\n",
            addr.port(),
            secure.port(),
            passwords.display(),
            at("server.pem"),
            at("server.key"),
        );
        let broker = Self::start_with(&text, addr).await;
        (broker, secure)
    }

    async fn start_with(conf: &str, addr: SocketAddr) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("mosquitto.conf");
        std::fs::write(&file, conf).unwrap();
        let child = Command::new("mosquitto")
            .arg("-c")
            .arg(&file)
            .env("PATH", path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("mosquitto; see tests/setup.sh");
        until("mosquitto listens", || async { tokio::net::TcpStream::connect(addr).await.ok() }).await;
        Self { addr, _child: child, _dir: dir }
    }
}

fn path() -> String {
    std::env::var("PATH").unwrap() + ":/usr/sbin"
}

/// An address for a program that cannot be asked for any free port: one that was free a moment ago.
pub(crate) fn free() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

async fn run(program: &str, dir: &Path, args: &[&str]) {
    let done = Command::new(program).args(args).current_dir(dir).env("PATH", path()).output().await;
    let done = done.unwrap_or_else(|e| panic!("{program}; see tests/setup.sh: {e}"));
    assert!(done.status.success(), "{program}: {done:?}");
}

/// An authority of our own in `ca.pem`, a server's certificate by it in `server.pem`, and another authority, which has
/// nothing to do with it, in `other.pem`.
pub(crate) async fn certificates(dir: &Path) {
    const KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    std::fs::write(dir.join("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").unwrap();
    for args in [
        format!("req -x509 {KEY} -days 2 -subj /CN=plant-ca -keyout ca.key -out ca.pem"),
        format!("req -x509 {KEY} -days 2 -subj /CN=other-ca -keyout other.key -out other.pem"),
        format!("req {KEY} -subj /CN=localhost -keyout server.key -out server.csr"),
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.pem"
            .to_owned(),
    ] {
        run("openssl", dir, &args.split(' ').collect::<Vec<_>>()).await;
    }
}

/// A client that hears everything under some filters.
pub(crate) struct Client {
    pub(crate) client: AsyncClient,
    messages: mpsc::Receiver<(String, Vec<u8>)>,
}

impl Client {
    pub(crate) async fn connect(broker: SocketAddr, id: &str, filters: &[&str]) -> Self {
        let mut options = MqttOptions::new(id, broker.ip().to_string(), broker.port());
        options.set_keep_alive(Duration::from_secs(30));
        let (client, mut events) = AsyncClient::new(options, 100);
        for filter in filters {
            client.subscribe(*filter, QoS::AtLeastOnce).await.unwrap();
        }
        let (to, messages) = mpsc::channel(100_000);
        let (ready, is_ready) = tokio::sync::oneshot::channel();
        let wanted = filters.len();
        tokio::spawn(async move {
            let (mut ready, mut taken) = (Some(ready), 0);
            while let Ok(event) = events.poll().await {
                match event {
                    Event::Incoming(Packet::SubAck(_)) => {
                        taken += 1;
                        if taken == wanted {
                            let _ = ready.take().unwrap().send(());
                        }
                    }
                    Event::Incoming(Packet::Publish(p)) => {
                        // Whoever listened may be gone.
                        let _ = to.send((p.topic, p.payload.to_vec())).await;
                    }
                    _ => {}
                }
            }
        });
        timeout(LIMIT, is_ready).await.unwrap().unwrap();
        Self { client, messages }
    }

    pub(crate) async fn next(&mut self) -> (String, Vec<u8>) {
        timeout(LIMIT, self.messages.recv()).await.expect("a message").unwrap()
    }
}
