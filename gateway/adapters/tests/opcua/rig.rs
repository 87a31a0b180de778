//! A server that we did not write as a process of its own, and the adapter beside it.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use common::{Access, Clock, Drain, PointId, ValueType};
use gateway_adapters::opcua::{Adapter, DeviceConfig, Kit, PointConfig};
use gateway_core::{Adapter as _, DeviceWriter, RawRange};
use gateway_opcua::pki::{Application, Certificate, Folder, Pki};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::common::{Ends, context, registry};

/// How long a server may take to start: its own types are some thousands.
const START: Duration = Duration::from_secs(60);

/// A running server.
pub(crate) struct Server {
    child: Child,
    input: ChildStdin,
    output: mpsc::Receiver<String>,
    path: &'static str,
    pub(crate) port: u16,
}

impl Server {
    /// asyncua's.
    pub(crate) fn start(options: &[&str]) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join("../../target/asyncua/bin/python");
        assert!(python.exists(), "{} is missing: run tests/setup.sh", python.display());
        let mut command = Command::new(python);
        command.arg(root.join("tests/opcua/server.py"));
        Self::spawn(command, options, "/plant")
    }

    /// node-opcua's, whose certificates are in a folder.
    pub(crate) fn node(folder: &Path, options: &[&str]) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let modules = root.join("../../target/node-opcua/node_modules");
        assert!(modules.exists(), "{} is missing: run tests/setup.sh", modules.display());
        let mut command = Command::new("node");
        command.env("NODE_PATH", modules).arg(root.join("tests/opcua/server.cjs"));
        command.arg(format!("folder={}", folder.display()));
        Self::spawn(command, options, "")
    }

    fn spawn(mut command: Command, options: &[&str], path: &'static str) -> Self {
        let mut child = command
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
        let mut server = Self { child, input, output, path, port: 0 };
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

    /// Has it do something that it does not come back from at once, and waits until it has begun.
    pub(crate) fn begin(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
        self.line(&format!("begun {line}"));
    }

    /// A value as python writes it.
    pub(crate) fn get(&mut self, name: &str) -> String {
        writeln!(self.input, "get {name}").unwrap();
        let line = self.line("value ");
        self.line("done ");
        line.trim_start_matches("value ").to_owned()
    }

    /// A number that it tells.
    pub(crate) fn get_number(&mut self, what: &str) -> u64 {
        writeln!(self.input, "{what}").unwrap();
        let line = self.line("value ");
        self.line("done ");
        line.trim_start_matches("value ").parse().unwrap()
    }

    pub(crate) fn url(&self) -> String {
        format!("opc.tcp://127.0.0.1:{}{}", self.port, self.path)
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
    kit: Kit,
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
        let adapter = Arc::new(Adapter::new(0, config, made, context, kit.clone()).unwrap());
        let drain = Drain::default();
        let (runs, stop) = (adapter.clone(), drain.clone());
        let running = tokio::spawn(async move { runs.run(stop).await.unwrap() });
        Self { ends, adapter, pki, kit, drain, running, _folder: folder }
    }

    /// One that trusts the certificate in a file.
    pub(crate) fn trusting(file: &Path, device: &str, points: &[Given<'_>]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pki = Pki::open(folder.path().join("pki")).unwrap();
        let certificate = Certificate::from_file_bytes(&std::fs::read(file).unwrap()).unwrap();
        pki.put(Folder::Trusted, &certificate).unwrap();
        Self::with(device, points, pki, folder)
    }

    pub(crate) fn kit(&self) -> Kit {
        self.kit.clone()
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

/// A point that asyncua's server has.
pub(crate) const TEMP: (ValueType, &str) =
    (ValueType::F64, "node = \"nsu=http://twinway.test/plant;s=Temp\"");

/// asyncua with every policy, its certificates in `folder`.
pub(crate) fn secure(folder: &Path, more: &[&str]) -> Server {
    let place = format!("folder={}", folder.display());
    let mut options = vec!["security=all", place.as_str()];
    options.extend(more);
    Server::start(&options)
}

/// A folder that lives as long as the test.
pub(crate) fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    (folder, path)
}

/// How a cable is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Whole,
    /// Connections end.
    Cut,
    /// Connections stay, and nothing arrives: as behind a firewall that has forgotten them.
    Void,
}

/// A cable between both, which can be cut and mended.
pub(crate) struct Cable {
    pub(crate) port: u16,
    state: watch::Sender<State>,
}

impl Cable {
    pub(crate) async fn new(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (state, seen) = watch::channel(State::Whole);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(connection(near, to, seen.clone()));
            }
        });
        Self { port, state }
    }

    pub(crate) fn cut(&self) {
        self.state.send_replace(State::Cut);
    }

    /// From now on bytes vanish, of the connections that are there for good.
    pub(crate) fn swallow(&self) {
        self.state.send_replace(State::Void);
    }

    pub(crate) fn mend(&self) {
        self.state.send_replace(State::Whole);
    }
}

async fn connection(near: TcpStream, to: u16, mut state: watch::Receiver<State>) {
    if *state.borrow() == State::Cut {
        return;
    }
    let Ok(far) = TcpStream::connect(("127.0.0.1", to)).await else { return };
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    let lost = AtomicBool::new(false);
    tokio::select! {
        () = pass(near_in, far_out, &lost, state.clone()) => {}
        () = pass(far_in, near_out, &lost, state.clone()) => {}
        _ = state.wait_for(|s| *s == State::Cut) => {}
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    lost: &AtomicBool,
    state: watch::Receiver<State>,
) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(got @ 1..) = from.read(&mut buffer).await {
        lost.fetch_or(*state.borrow() == State::Void, Ordering::SeqCst);
        if !lost.load(Ordering::SeqCst) && to.write_all(&buffer[..got]).await.is_err() {
            return;
        }
    }
}
