//! A server that we did not write as a process of its own, and the adapter beside it.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use common::{Access, Clock, Drain, PointId, ValueType};
use gateway_adapters::opcua::{Adapter, DeviceConfig, Kit, PointConfig};
use gateway_core::{Adapter as _, DeviceWriter, RawRange};
use gateway_opcua::pki::{Application, Pki};

use crate::common::{Ends, context, registry};

/// How long a server may take to start: its own types are some thousands.
const START: Duration = Duration::from_secs(60);

/// A running server.
pub(crate) struct Server {
    child: Child,
    input: ChildStdin,
    output: mpsc::Receiver<String>,
    pub(crate) port: u16,
}

impl Server {
    pub(crate) fn start(options: &[&str]) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join("../../target/asyncua/bin/python");
        assert!(python.exists(), "{} is missing: run tests/setup.sh", python.display());
        let mut child = Command::new(python)
            .arg(root.join("tests/opcua/server.py"))
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (input, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (tell, output) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        let mut server = Self { child, input, output, port: 0 };
        let ready = server.line("ready ");
        server.port = ready.trim_start_matches("ready ").parse().unwrap();
        server
    }

    fn line(&self, begin: &str) -> String {
        loop {
            let line = self.output.recv_timeout(START).expect("the server says something");
            assert!(!line.starts_with("failed"), "{line}");
            if line.starts_with(begin) {
                return line;
            }
        }
    }

    /// Has the server do something, and waits until it has.
    pub(crate) fn say(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
        self.line(&format!("done {line}"));
    }

    /// Has it do something that it does not come back from at once.
    pub(crate) fn begin(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
    }

    /// A value as python writes it.
    pub(crate) fn get(&mut self, name: &str) -> String {
        writeln!(self.input, "get {name}").unwrap();
        let line = self.line("value ");
        self.line("done ");
        line.trim_start_matches("value ").to_owned()
    }

    pub(crate) fn url(&self) -> String {
        format!("opc.tcp://127.0.0.1:{}/plant", self.port)
    }

    /// As if the power went.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An adapter that runs.
pub(crate) struct Rig {
    pub(crate) ends: Ends,
    pub(crate) adapter: Arc<Adapter>,
    pub(crate) pki: Pki,
    drain: Drain,
    running: tokio::task::JoinHandle<()>,
    _folder: tempfile::TempDir,
}

/// A point: its type, and what stands in `opcua = { ... }`; writable if it begins with `w `.
pub(crate) type Given<'g> = (ValueType, &'g str);

impl Rig {
    pub(crate) fn new(device: &str, points: &[Given<'_>]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pki = Pki::open(folder.path().join("pki")).unwrap();
        Self::with(device, points, pki, folder)
    }

    pub(crate) fn with(device: &str, points: &[Given<'_>], pki: Pki, folder: tempfile::TempDir) -> Self {
        let access = |keys: &str| match keys.split_once(' ') {
            Some(("w", _)) => Access::ReadWrite,
            Some(("call", _)) => Access::Write,
            _ => Access::Read,
        };
        let bare = |keys: &str| match access(keys) {
            Access::Read => keys.to_owned(),
            _ => keys.split_once(' ').unwrap().1.to_owned(),
        };
        let listed: Vec<_> = points
            .iter()
            .map(|(t, keys)| (*t, RawRange { value_type: *t, min: f64::MIN, max: f64::MAX }, access(keys)))
            .collect();
        let (context, ends) = context(registry(&listed));
        let application =
            Application { name: "twinway test".into(), uri: "urn:twinway:test:client".into(), hosts: vec![] };
        let kit = Kit::new(pki.root(), application, Clock::system());
        let config: DeviceConfig = toml::from_str(device).unwrap();
        let point = |(i, (_, keys)): (usize, &Given<'_>)| {
            let config: PointConfig = toml::from_str(&bare(keys).replace(", ", "\n")).unwrap();
            (PointId(i as u32), config, access(keys))
        };
        let made = points.iter().enumerate().map(point).collect();
        let adapter = Arc::new(Adapter::new(0, config, made, context, kit).unwrap());
        let drain = Drain::default();
        let (runs, stop) = (adapter.clone(), drain.clone());
        let running = tokio::spawn(async move { runs.run(stop).await.unwrap() });
        Self { ends, adapter, pki, drain, running, _folder: folder }
    }

    pub(crate) fn writer(&self) -> Arc<dyn DeviceWriter> {
        self.adapter.writer().unwrap()
    }

    /// Stops the adapter; it must come to its end in time.
    pub(crate) async fn stop(self) {
        self.drain.start();
        tokio::time::timeout(Duration::from_secs(5), self.running).await.expect("the adapter ends").unwrap();
    }
}

/// A folder that lives as long as the test.
pub(crate) fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    (folder, path)
}

/// A cable between both, which can be cut and mended.
pub(crate) struct Cable {
    pub(crate) port: u16,
    whole: tokio::sync::watch::Sender<bool>,
}

impl Cable {
    pub(crate) async fn new(to: u16) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (whole, state) = tokio::sync::watch::channel(true);
        tokio::spawn(async move {
            loop {
                let Ok((mut near, _)) = listener.accept().await else { return };
                let mut state = state.clone();
                tokio::spawn(async move {
                    if !*state.borrow() {
                        return;
                    }
                    let Ok(mut far) = tokio::net::TcpStream::connect(("127.0.0.1", to)).await else { return };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = state.wait_for(|whole| !whole) => {}
                    }
                });
            }
        });
        Self { port, whole }
    }

    pub(crate) fn cut(&self) {
        self.whole.send_replace(false);
    }

    pub(crate) fn mend(&self) {
        self.whole.send_replace(true);
    }
}
