//! Straight to a device, without a gateway: only where no gateway on this machine has the connection for itself, because
//! two masters on one line take each other's answers, and a write here goes round limits, interlocks and audit.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use common::api::{ModbusEndpoint, Page};
use gateway_modbus::client::{CallError, Client, Options, Recovery};
use gateway_modbus::frame::Framing;
use gateway_modbus::pdu::{Answer, Request};
use gateway_modbus::{Address, Table};
use reqwest::Method;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};

use crate::args::{FramingArg, ParityArg, Talk};
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::target::{self, BOX_SOCKET, Hints, Target};

/// Modbus TCP's port.
const PORT: u16 = 502;
/// Where a gateway's API listens if nobody changed it.
const BOX_API: &str = "127.0.0.1:8480";
/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(3);
/// How long a serial line is listened to before anything is sent on it: masters ask more often than that.
const LISTEN: Duration = Duration::from_secs(2);
/// Silence after which a serial line is free again.
const SILENCE: Duration = Duration::from_millis(60);

/// Where a device is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cmd) enum At {
    Host(String, u16),
    Port(String),
}

impl At {
    pub(in crate::cmd) fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        if text.starts_with('/') {
            return Ok(Self::Port(text.to_owned()));
        }
        let bad =
            || Error::usage(format!("`{text}` is no host, host:port or serial port such as /dev/ttyUSB0"));
        let (host, port) = match text.rsplit_once(':') {
            // An IPv6 address without brackets has no port.
            Some((host, _)) if host.contains(':') && !host.ends_with(']') => (text, PORT),
            Some((host, port)) => (host, port.parse().map_err(|_| bad())?),
            None => (text, PORT),
        };
        if host.is_empty() || port == 0 || host.contains(['/', ' ']) {
            return Err(bad());
        }
        Ok(Self::Host(host.trim_matches(['[', ']']).to_owned(), port))
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Host(host, port) => write!(f, "{host}:{port}"),
            Self::Port(path) => f.write_str(path),
        }
    }
}

/// A register as people write it: a number of a manual, or table and address.
pub(in crate::cmd) fn register(text: &str) -> Result<Address> {
    let Some((table, at)) = text.split_once(':') else {
        return text.parse().map_err(|e: gateway_modbus::AddressError| Error::usage(e.to_string()));
    };
    let table = Table::ALL.into_iter().find(|t| t.to_string() == table.trim());
    let table = table.ok_or_else(|| {
        Error::usage(format!("`{text}`: expected holding, input, coil or discrete before the colon"))
    })?;
    let at = at.trim().parse();
    let at = at.map_err(|_| Error::usage(format!("`{text}`: expected an address from 0 after the colon")))?;
    Ok(Address { table, at })
}

/// Refuses an endpoint that a gateway on this machine has, or may have.
pub(in crate::cmd) async fn free(hints: Hints, at: &At) -> Result<()> {
    let named = hints.named()?;
    let local = match &named {
        Some(Target::Socket(path)) => path.exists().then(|| named.clone()).flatten(),
        Some(Target::Url(url)) => target::is_loopback(url).then(|| named.clone()).flatten(),
        None => Path::new(BOX_SOCKET).exists().then(|| Target::Socket(BOX_SOCKET.into())),
    };
    let Some(target) = local else {
        if named.is_none() && connects(BOX_API).await {
            return Err(Error::new(
                Exit::NotAuthorised,
                format!("a gateway answers at {BOX_API} and may have {at} for itself"),
            )
            .remedy("name its socket with --socket (`socket` in [api]), so that it can be asked"));
        }
        return Ok(());
    };
    let token = super::super::own_token(&target)?;
    let client = crate::client::Client::new(target, token.as_deref(), None)?;
    let asked = client.fetch::<Page<ModbusEndpoint>>(client.request(Method::GET, &["modbus", "endpoints"])?);
    let page = match asked.await {
        Ok(page) => page,
        // Its socket is left over: nobody is there.
        Err(e) if e.exit() == Exit::NotReachable => return Ok(()),
        Err(e) => {
            return Err(Error::new(e.exit(), format!("the gateway here cannot be asked what it has: {e}"))
                .remedy("stop the gateway, or use the verb without --direct"));
        }
    };
    for endpoint in &page.items {
        for place in &endpoint.at {
            if same(at, place).await {
                let text = format!(
                    "the gateway here has {at} for itself (line {}, devices {})",
                    endpoint.line,
                    endpoint.devices.join(", ")
                );
                return Err(Error::new(Exit::Rejected, text)
                    .remedy("read and write its points without --direct, or stop the gateway first"));
            }
        }
    }
    Ok(())
}

/// Refuses a serial line on which something is heard before anything was asked: a master that polls there would take our answers,
/// and its devices our questions for its own; or it is no Modbus line at all. Hosts are let pass.
pub(in crate::cmd) async fn quiet(at: &At, talk: &Talk) -> Result<()> {
    let At::Port(path) = at else { return Ok(()) };
    let failed = |e: std::io::Error| Error::new(Exit::NotReachable, format!("{at}: {e}"));
    let port = serial(path, Framing::Rtu, talk).map_err(failed)?;
    let mut room = [0; 256];
    let heard = match tokio::time::timeout(LISTEN, port.read(&mut room)).await {
        Ok(read) => read.map_err(failed)?,
        Err(_) => 0,
    };
    match heard {
        0 => Ok(()),
        _ => Err(Error::new(
            Exit::Failed,
            format!("{at} is not quiet: another master polls there, or it is no Modbus line; nothing was sent"),
        )
        .remedy("stop the other master, or look at the line's wiring if it only hums; --talk-over asks all the same")),
    }
}

async fn connects(address: &str) -> bool {
    matches!(tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await, Ok(Ok(_)))
}

/// Whether two ways of writing mean one place: names are looked up, and links of serial ports followed.
async fn same(at: &At, place: &str) -> bool {
    let Ok(other) = At::parse(place) else { return false };
    match (at, &other) {
        _ if *at == other => true,
        (At::Port(a), At::Port(b)) => {
            let real = |p: &str| std::fs::canonicalize(p).ok();
            real(a).is_some() && real(a) == real(b)
        }
        (At::Host(a, p), At::Host(b, q)) if p == q => {
            let (a, b) = (addresses(a, *p).await, addresses(b, *q).await);
            a.iter().any(|x| b.contains(x))
        }
        _ => false,
    }
}

async fn addresses(host: &str, port: u16) -> Vec<SocketAddr> {
    let looked_up = tokio::time::timeout(CONNECT, lookup_host((host, port))).await;
    looked_up.ok().and_then(std::result::Result::ok).map(Iterator::collect).unwrap_or_default()
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A conversation with what is at an endpoint. It is opened anew whenever it ended.
pub(in crate::cmd) struct Line {
    at: At,
    talk: Talk,
    client: Option<Client<Box<dyn Stream>>>,
}

impl Line {
    /// Opens it.
    pub(in crate::cmd) async fn open(at: At, talk: &Talk) -> Result<Self> {
        let mut line = Self { at, talk: talk.clone(), client: None };
        line.ready().await?;
        Ok(line)
    }

    fn framing(&self) -> Framing {
        match (self.talk.framing, &self.at) {
            (Some(FramingArg::Tcp), _) | (None, At::Host(..)) => Framing::Mbap,
            (Some(FramingArg::Ascii), _) => Framing::Ascii,
            _ => Framing::Rtu,
        }
    }

    async fn ready(&mut self) -> Result<()> {
        if self.client.as_ref().is_some_and(Client::is_open) {
            return Ok(());
        }
        let next = self.client.take().map_or(1, |c| c.next_transaction());
        let unreachable = |why: String| Error::new(Exit::NotReachable, format!("{}: {why}", self.at));
        let (stream, recovery): (Box<dyn Stream>, _) = match &self.at {
            At::Host(host, port) => {
                let connect = TcpStream::connect((host.as_str(), *port));
                let stream = match tokio::time::timeout(CONNECT, connect).await {
                    Ok(connected) => connected.map_err(|e| unreachable(e.to_string()))?,
                    Err(_) => {
                        return Err(unreachable(format!("no connection within {} s", CONNECT.as_secs())));
                    }
                };
                let _ = stream.set_nodelay(true);
                let keep = self.framing() == Framing::Mbap;
                (Box::new(stream), if keep { Recovery::Keep } else { Recovery::Reopen })
            }
            At::Port(path) => {
                let port =
                    serial(path, self.framing(), &self.talk).map_err(|e| unreachable(e.to_string()))?;
                (Box::new(port), Recovery::Silence(SILENCE))
            }
        };
        let options = Options { recovery, first_transaction: next, ..Options::new(self.framing()) };
        self.client = Some(Client::new(stream, options));
        Ok(())
    }

    /// One request; its data is read into `data`. The refusal of a device is an inner error.
    pub(in crate::cmd) async fn call(
        &mut self,
        unit: u8,
        request: &Request<'_>,
        data: &mut Vec<u8>,
    ) -> Result<std::result::Result<(), CallError>> {
        self.ready().await?;
        let timeout = self.talk.timeout;
        let Some(client) = &mut self.client else { return Ok(Err(CallError::Closed)) };
        data.clear();
        Ok(client.call(unit, request, timeout).await.map(|answer| {
            if let Answer::Read { data: read, .. } = answer {
                data.extend_from_slice(read);
            }
        }))
    }

    /// The same, where a refusal is an error.
    pub(in crate::cmd) async fn must(&mut self, unit: u8, request: &Request<'_>) -> Result<Vec<u8>> {
        let mut data = Vec::new();
        let done = self.call(unit, request, &mut data).await?;
        done.map(|()| data).map_err(|e| self.error(unit, request, &e))
    }

    /// What went wrong with a request, with its exit status: that of a write without an answer is not known.
    pub(in crate::cmd) fn error(&self, unit: u8, request: &Request<'_>, error: &CallError) -> Error {
        let exit = match error {
            CallError::Refused(_) => Exit::Failed,
            _ if request.is_write() && !matches!(error, CallError::Closed | CallError::Request(_)) => {
                Exit::Unknown
            }
            _ => Exit::NotReachable,
        };
        Error::new(exit, format!("{} unit {unit}: {error}", self.at))
    }
}

fn serial(path: &str, framing: Framing, talk: &Talk) -> std::io::Result<serial2_tokio::SerialPort> {
    use serial2_tokio::{CharSize, FlowControl, Parity, SerialPort, Settings, StopBits};
    let port = SerialPort::open(path, |mut settings: Settings| {
        settings.set_raw();
        settings.set_baud_rate(talk.baud)?;
        settings.set_char_size(if framing == Framing::Ascii { CharSize::Bits7 } else { CharSize::Bits8 });
        let none = talk.parity == ParityArg::None;
        // Without parity the standard has a second stop bit in its place.
        settings.set_stop_bits(if none { StopBits::Two } else { StopBits::One });
        settings.set_parity(match talk.parity {
            ParityArg::None => Parity::None,
            ParityArg::Even => Parity::Even,
            ParityArg::Odd => Parity::Odd,
        });
        settings.set_flow_control(FlowControl::None);
        Ok(settings)
    })?;
    port.discard_buffers()?;
    Ok(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_hosts_or_serial_ports() {
        let host = |h: &str, p| At::Host(h.to_owned(), p);
        for (text, at) in [
            ("plc", host("plc", 502)),
            ("10.0.0.1:1502", host("10.0.0.1", 1502)),
            ("[::1]:5020", host("::1", 5020)),
            ("fe80::1", host("fe80::1", 502)),
            ("/dev/ttyUSB0", At::Port("/dev/ttyUSB0".to_owned())),
        ] {
            assert_eq!(At::parse(text).unwrap(), at, "{text}");
        }
        for text in ["", ":502", "plc:x", "plc:0", "a b"] {
            assert!(At::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn registers_are_numbers_of_manuals_or_tables_and_addresses() {
        assert_eq!(register("40011").unwrap(), Address { table: Table::Holding, at: 10 });
        assert_eq!(register("input:7").unwrap(), Address { table: Table::Input, at: 7 });
        assert!(register("7").is_err() && register("coils:7").is_err() && register("coil:x").is_err());
    }

    #[tokio::test]
    async fn one_place_is_known_under_its_names() {
        let at = At::parse("localhost:1502").unwrap();
        assert!(same(&at, "127.0.0.1:1502").await);
        assert!(!same(&at, "127.0.0.1:1503").await);
        let dir = tempfile::tempdir().unwrap();
        let (port, link) = (dir.path().join("tty"), dir.path().join("by-id"));
        std::fs::write(&port, "").unwrap();
        std::os::unix::fs::symlink(&port, &link).unwrap();
        let at = At::parse(link.to_str().unwrap()).unwrap();
        assert!(same(&at, port.to_str().unwrap()).await);
    }
}
