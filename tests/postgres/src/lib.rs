//! A real PostgreSQL server for tests: the distribution's, in a folder of its own under the temporary one, on a Unix
//! socket in it, as an unprivileged user (the server refuses to run as root). It ends with the test's process, however
//! that ends.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

/// The superuser, who needs no password over the socket.
pub const USER: &str = "twinway";
/// A user who does, and what it is.
pub const PASSWORD_USER: (&str, &str) = ("careful", "secret of the test");
/// How it is waited for: a minute at most.
const TRIES: u32 = 1200;
const DEFAULT_PORT: u16 = 5432;
const PAUSE: Duration = Duration::from_millis(50);

/// A server with its databases.
pub struct Server {
    folder: PathBuf,
    programs: PathBuf,
    user: Option<(u32, u32)>,
    options: Vec<String>,
    /// Of the socket's name, and of TCP where it is spoken.
    port: u16,
    running: Mutex<Option<Child>>,
    databases: AtomicU32,
    /// Its input is closed with this process; then it ends the server and removes the folder.
    watcher: Child,
}

impl Server {
    /// The server that all tests of this process share.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Server> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(&[]))
    }

    /// A server of its own, with settings such as `shared_buffers=256MB`. It syncs to the disk as any.
    pub fn start(settings: &[&str]) -> Self {
        Self::with(settings, DEFAULT_PORT, |_, _| ())
    }

    /// A server that also speaks TCP on loopback, encrypted and nothing else, with a certificate for `localhost` by an authority
    /// whose own is `ca.pem` in its folder.
    pub fn start_tls() -> Self {
        // PostgreSQL cannot be told to find a free port. Somebody else may take this one meanwhile: then it does not start.
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = free.local_addr().expect("its number").port();
        drop(free);
        let (listen, key) = ("listen_addresses=127.0.0.1", "ssl_key_file=../server.key");
        let settings = [listen, "ssl=on", "ssl_cert_file=../server.pem", key];
        Self::with(&settings, port, |folder, user| {
            let made =
                as_user(Command::new("sh"), user).args(["-c", CERTIFICATES, "sh"]).arg(folder).output();
            let made = made.expect("sh");
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        })
    }

    fn with(settings: &[&str], port: u16, prepare: impl FnOnce(&Path, Option<(u32, u32)>)) -> Self {
        let programs = programs();
        let folder = tempfile::Builder::new().prefix("twinway-pg-").tempdir().expect("a folder").keep();
        let user = unprivileged();
        if let Some((uid, gid)) = user {
            std::os::unix::fs::chown(&folder, Some(uid), Some(gid)).expect("the folder's owner");
        }
        let watcher = as_user(Command::new("sh"), user)
            .args(["-c", WATCH, "sh"])
            .args([&programs, &folder])
            .stdin(Stdio::piped())
            .spawn()
            .expect("sh");
        let data = folder.join("data");
        let made = as_user(Command::new(programs.join("initdb")), user)
            .args(["--username", USER, "--auth", "trust", "--encoding", "UTF8", "--no-locale", "--pgdata"])
            .arg(&data)
            .output()
            .expect("initdb runs");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let (careful, password) = PASSWORD_USER;
        let rules = format!(
            "local all {careful} scram-sha-256\nlocal all all trust\nhostssl all all 127.0.0.1/32 trust\n"
        );
        fs::write(data.join("pg_hba.conf"), rules).expect("pg_hba.conf");
        prepare(&folder, user);
        let own = format!("unix_socket_directories={}", folder.display());
        let port_is = format!("port={port}");
        let all = ["listen_addresses=", &own, &port_is, "max_connections=200", "shared_buffers=64MB"];
        let options = all.iter().chain(settings).map(|s| format!("-c{s}")).collect();
        let server = Self {
            folder,
            programs,
            user,
            options,
            port,
            running: Mutex::new(None),
            databases: AtomicU32::new(0),
            watcher,
        };
        server.resume();
        server.sql("postgres", &format!("CREATE ROLE {careful} LOGIN PASSWORD '{password}'"));
        server
    }

    /// Starts it again after `kill`, and waits until it answers.
    pub fn resume(&self) {
        let mut running = self.running.lock().expect("no test failed here");
        let mut tries = 0;
        loop {
            let server = running.get_or_insert_with(|| self.spawn());
            if self.answers() {
                return;
            }
            // What the killed one left in shared memory goes with its last process: until then it does not start.
            if server.try_wait().expect("its state").is_some() {
                *running = None;
            }
            tries += 1;
            assert!(tries < TRIES, "no server: {}", self.log());
            std::thread::park_timeout(PAUSE);
        }
    }

    fn spawn(&self) -> Child {
        let log = fs::File::options().create(true).append(true).open(self.folder.join("log")).expect("log");
        as_user(Command::new(self.programs.join("postgres")), self.user)
            .arg("-D")
            .arg(self.folder.join("data"))
            .args(&self.options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("postgres runs")
    }

    fn answers(&self) -> bool {
        let asked = Command::new(self.programs.join("pg_isready"))
            .args(["-q", "-p", &self.port.to_string(), "-h"])
            .arg(&self.folder)
            .status();
        asked.is_ok_and(|status| status.success())
    }

    /// Kills all of its processes at once, as a loss of power would.
    pub fn kill(&self) {
        let mut running = self.running.lock().expect("no test failed here");
        let Some(mut server) = running.take() else { return };
        let pid = server.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let _ =
            Command::new("kill").arg("-9").arg(pid.to_string()).args(children.split_whitespace()).status();
        let _ = server.kill();
        server.wait().expect("it ended");
    }

    /// A new, empty database's name.
    pub fn create(&self) -> String {
        self.create_with("")
    }

    /// As `create`, with options such as `ENCODING 'LATIN1'`.
    pub fn create_with(&self, options: &str) -> String {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name} TEMPLATE template0 {options}"));
        name
    }

    /// The URL of a database, for `USER`.
    pub fn url(&self, database: &str) -> String {
        self.url_of(USER, database)
    }

    /// The URL of a database, for a user.
    pub fn url_of(&self, user: &str, database: &str) -> String {
        let host = self.folder.display().to_string().replace('/', "%2F");
        format!("postgresql://{user}@{host}:{}/{database}", self.port)
    }

    /// The URL of a database over TCP, by this name of the server.
    pub fn tcp_url(&self, host: &str, database: &str) -> String {
        format!("postgresql://{USER}@{host}:{}/{database}", self.port)
    }

    /// Runs statements in a database; what they answer, one line a row.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let (good, told) = self.try_sql(database, sql);
        assert!(good, "{sql}: {told}");
        told
    }

    /// As `sql`: whether it was done, and what was answered or told.
    pub fn try_sql(&self, database: &str, sql: &str) -> (bool, String) {
        let out = Command::new(self.programs.join("psql"))
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", USER, "-d", database, "-c", sql])
            .args(["-p", &self.port.to_string(), "-h"])
            .arg(&self.folder)
            .output()
            .expect("psql runs");
        let of = if out.status.success() { &out.stdout } else { &out.stderr };
        (out.status.success(), String::from_utf8_lossy(of).trim().to_owned())
    }

    /// What the server wrote.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        drop(self.watcher.stdin.take());
        let _ = self.watcher.wait();
    }
}

/// An authority and a certificate of its for `localhost`.
const CERTIFICATES: &str = r#"
cd "$1"
curve="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
openssl req -x509 $curve -keyout ca.key -out ca.pem -days 2 -subj "/CN=test authority" &&
openssl req $curve -keyout server.key -out server.csr -subj "/CN=localhost" &&
printf 'subjectAltName=DNS:localhost\n' >names &&
openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.pem &&
chmod 600 server.key
"#;

/// Waits for the end of the test's process, then ends the server and removes what it left.
const WATCH: &str = r#"
trap '' INT TERM HUP
cat >/dev/null
[ ! -e "$2/data/postmaster.pid" ] || kill -QUIT "$(head -n 1 "$2/data/postmaster.pid")" 2>/dev/null
for i in 1 2 3 4 5 6 7 8 9 10; do
  rm -rf "$2" 2>/dev/null && [ ! -e "$2" ] && exit 0
  sleep 0.3
done
"#;

/// The folder of the newest server's programs.
fn programs() -> PathBuf {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, folder)| folder.join("initdb").exists())
        .collect();
    found.sort();
    if let Some((_, newest)) = found.pop() {
        return newest;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let has = |folder: &PathBuf| folder.join("initdb").exists() && folder.join("postgres").exists();
    std::env::split_paths(&path).find(has).expect("a PostgreSQL server: run tests/setup.sh")
}

/// Who the server runs as where this is root.
fn unprivileged() -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt as _;
    if fs::metadata("/proc/self").expect("/proc").uid() != 0 {
        return None;
    }
    let accounts = fs::read_to_string("/etc/passwd").expect("/etc/passwd");
    let of = |name: &str| {
        let fields = accounts.lines().map(|l| l.split(':').collect::<Vec<_>>());
        fields
            .filter(|f| f.len() > 3 && f[0] == name)
            .find_map(|f| Some((f[2].parse().ok()?, f[3].parse().ok()?)))
    };
    Some(of("postgres").or_else(|| of("nobody")).expect("an unprivileged user"))
}

fn as_user(mut command: Command, user: Option<(u32, u32)>) -> Command {
    command.current_dir("/").env("LC_ALL", "C");
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    command
}
