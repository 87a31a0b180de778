//! A real PostgreSQL server for tests: the distribution's, in a folder of its own under the temporary one, on a Unix
//! socket in it, as an unprivileged user (the server refuses to run as root). It ends with the test's process, however
//! that ends.

use std::fs;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

/// The superuser, who needs no password over the socket.
pub const USER: &str = "twinway";
/// A user who does, and what it is.
pub const PASSWORD_USER: (&str, &str) = ("careful", "secret of the test");
/// How it is waited for: a minute at most.
const TRIES: u32 = 1200;
const PAUSE: Duration = Duration::from_millis(50);

/// A server with its databases.
pub struct Server {
    folder: PathBuf,
    programs: PathBuf,
    user: Option<(u32, u32)>,
    options: Vec<String>,
    running: Mutex<Option<Child>>,
    databases: AtomicU32,
    /// Closed with this process; then the watcher ends the server and removes the folder.
    _watcher: ChildStdin,
}

impl Server {
    /// The server that all tests of this process share.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Server> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(&[]))
    }

    /// A server of its own, with settings such as `shared_buffers=256MB`. It syncs to the disk as any.
    pub fn start(settings: &[&str]) -> Self {
        let programs = programs();
        let folder = tempfile::Builder::new().prefix("twinway-pg-").tempdir().expect("a folder").keep();
        let user = unprivileged();
        if let Some((uid, gid)) = user {
            std::os::unix::fs::chown(&folder, Some(uid), Some(gid)).expect("the folder's owner");
        }
        let mut watcher = as_user(Command::new("sh"), user)
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
        let rules = format!("local all {careful} scram-sha-256\nlocal all all trust\n");
        fs::write(data.join("pg_hba.conf"), rules).expect("pg_hba.conf");
        let own = format!("unix_socket_directories={}", folder.display());
        let all = ["listen_addresses=", &own, "max_connections=200", "shared_buffers=64MB"];
        let options = all.iter().chain(settings).map(|s| format!("-c{s}")).collect();
        let server = Self {
            folder,
            programs,
            user,
            options,
            running: Mutex::new(None),
            databases: AtomicU32::new(0),
            _watcher: watcher.stdin.take().expect("its input"),
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
        let asked =
            Command::new(self.programs.join("pg_isready")).arg("-q").arg("-h").arg(&self.folder).status();
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
        format!("postgresql://{user}@{host}/{database}")
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
            .args([
                "-X",
                "-q",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
                "-U",
                USER,
                "-d",
                database,
                "-c",
                sql,
                "-h",
            ])
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
        let _ = self._watcher.flush();
    }
}

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
