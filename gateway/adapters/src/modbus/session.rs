//! One connection to a device. tokio-modbus speaks the protocol; this adds what it lacks: a timeout for each
//! request, checks of what the answer holds, and that a connection is never used again once an answer did
//! not come or did not fit, so that a late answer cannot be taken for another.

use std::io::ErrorKind;
use std::time::Duration;

use common::Quality;
use tokio::net::TcpStream;
use tokio_modbus::client::{Client, Context, tcp};
use tokio_modbus::{ExceptionCode, ProtocolError, Request, Response, Slave};

use gateway_modbus::Table;

use super::config::DeviceConfig;

/// Why a request did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum CallError {
    /// No connection; nothing was sent.
    #[error("not connected")]
    NotConnected,
    /// Sent, and no answer in time. The connection is gone.
    #[error("no answer within {} ms", limit.as_millis())]
    Timeout {
        /// The limit.
        limit: Duration,
    },
    /// The connection broke before the answer. It is gone.
    #[error("connection lost: {detail}")]
    Broken {
        /// What the system said.
        detail: String,
    },
    /// The answer did not fit the request. The connection is gone.
    #[error("wrong answer: {detail}")]
    Protocol {
        /// How.
        detail: String,
    },
    /// The device refused. The connection lives.
    #[error("exception {code:02x}: {text}")]
    Exception {
        /// Its code.
        code: u8,
        /// Its meaning.
        text: String,
    },
}

impl CallError {
    /// The quality of samples that could not be read because of it.
    pub(super) fn quality(&self) -> Quality {
        match self {
            Self::NotConnected | Self::Broken { .. } => Quality::BAD_NOT_CONNECTED,
            Self::Timeout { .. } => Quality::BAD_TIMEOUT,
            Self::Protocol { .. } => Quality::BAD_DECODE,
            Self::Exception { .. } => Quality::BAD_DEVICE,
        }
    }

    /// Whether the device still answers.
    pub(super) fn is_connected(&self) -> bool {
        matches!(self, Self::Exception { .. })
    }

    /// Whether the device says that it has no such address or range: exceptions 02 and 03.
    pub(super) fn is_address(&self) -> bool {
        matches!(self, Self::Exception { code: 2 | 3, .. })
    }
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Data {
    Bits(Vec<bool>),
    Registers(Vec<u16>),
}

/// What to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    Bit(bool),
    Registers(Vec<u16>),
    Mask { and: u16, or: u16 },
}

/// A connection, or none.
pub(super) struct Session {
    context: Option<Context>,
    timeout: Duration,
    single_writes: bool,
}

/// Opens a connection.
///
/// # Errors
/// What the system said.
pub(super) async fn connect(config: DeviceConfig) -> Result<Context, String> {
    let limit = Duration::from_millis(config.connect_timeout_ms);
    let stream = tokio::time::timeout(limit, TcpStream::connect((config.host.as_str(), config.port)))
        .await
        .map_err(|_| format!("no connection within {} ms", limit.as_millis()))?
        .map_err(|e| format!("cannot connect: {e}"))?;
    // Without it each request waits for the acknowledgement of the one before.
    stream.set_nodelay(true).map_err(|e| format!("cannot set nodelay: {e}"))?;
    Ok(tcp::attach_slave(stream, Slave(config.unit)))
}

impl Session {
    pub(super) fn new(config: &DeviceConfig) -> Self {
        let timeout = Duration::from_millis(config.timeout_ms);
        Self { context: None, timeout, single_writes: config.single_writes }
    }

    pub(super) fn open(&mut self, context: Context) {
        self.context = Some(context);
    }

    pub(super) fn is_open(&self) -> bool {
        self.context.is_some()
    }

    /// Reads `count` bits or registers.
    pub(super) async fn read(&mut self, table: Table, address: u16, count: u16) -> Result<Data, CallError> {
        let request = match table {
            Table::Coil => Request::ReadCoils(address, count),
            Table::Discrete => Request::ReadDiscreteInputs(address, count),
            Table::Input => Request::ReadInputRegisters(address, count),
            Table::Holding => Request::ReadHoldingRegisters(address, count),
        };
        match self.call(request).await? {
            Response::ReadCoils(mut bits) | Response::ReadDiscreteInputs(mut bits)
                if bits.len() >= count.into() =>
            {
                // The last byte is filled up with bits that were not asked for.
                bits.truncate(count.into());
                Ok(Data::Bits(bits))
            }
            Response::ReadInputRegisters(registers) | Response::ReadHoldingRegisters(registers)
                if registers.len() == usize::from(count) =>
            {
                Ok(Data::Registers(registers))
            }
            other => Err(self.misfit(&other)),
        }
    }

    /// Writes, and checks the device's echo.
    pub(super) async fn write(&mut self, address: u16, change: &Change) -> Result<(), CallError> {
        let request = match change {
            Change::Bit(bit) if self.single_writes => Request::WriteSingleCoil(address, *bit),
            Change::Bit(bit) => Request::WriteMultipleCoils(address, vec![*bit].into()),
            Change::Mask { and, or } => Request::MaskWriteRegister(address, *and, *or),
            Change::Registers(r) => match r.as_slice() {
                [one] if self.single_writes => Request::WriteSingleRegister(address, *one),
                many => Request::WriteMultipleRegisters(address, many.to_vec().into()),
            },
        };
        let response = self.call(request).await?;
        let fits = match (&response, change) {
            (Response::WriteSingleCoil(a, echo), Change::Bit(bit)) => (a, echo) == (&address, bit),
            (Response::WriteMultipleCoils(a, n), Change::Bit(_)) => (*a, *n) == (address, 1),
            (Response::WriteSingleRegister(a, echo), Change::Registers(r)) => *a == address && *r == [*echo],
            (Response::WriteMultipleRegisters(a, n), Change::Registers(r)) => {
                *a == address && usize::from(*n) == r.len()
            }
            (Response::MaskWriteRegister(a, x, y), Change::Mask { and, or }) => {
                (a, x, y) == (&address, and, or)
            }
            _ => false,
        };
        if fits { Ok(()) } else { Err(self.misfit(&response)) }
    }

    fn misfit(&mut self, response: &Response) -> CallError {
        self.context = None;
        CallError::Protocol { detail: format!("{response:?} does not fit the request") }
    }

    /// One request. The connection is taken out for its time and put back only after an answer that fits:
    /// any other way out, also a dropped future, closes it.
    async fn call(&mut self, request: Request<'_>) -> Result<Response, CallError> {
        let Some(mut context) = self.context.take() else { return Err(CallError::NotConnected) };
        match tokio::time::timeout(self.timeout, context.call(request)).await {
            Err(_) => Err(CallError::Timeout { limit: self.timeout }),
            Ok(Err(e)) => Err(from_protocol(&e)),
            Ok(Ok(answer)) => {
                self.context = Some(context);
                answer.map_err(|e| CallError::Exception { code: e.into(), text: exception_text(e) })
            }
        }
    }
}

fn from_protocol(error: &tokio_modbus::Error) -> CallError {
    match error {
        tokio_modbus::Error::Protocol(ProtocolError::HeaderMismatch { message, .. }) => {
            CallError::Protocol { detail: message.clone() }
        }
        tokio_modbus::Error::Protocol(other) => CallError::Protocol { detail: other.to_string() },
        tokio_modbus::Error::Transport(e) => match e.kind() {
            ErrorKind::InvalidData => CallError::Protocol { detail: e.to_string() },
            ErrorKind::ConnectionReset
            | ErrorKind::BrokenPipe
            | ErrorKind::ConnectionAborted
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::TimedOut => CallError::Broken { detail: e.to_string() },
            // The library reports an orderly close as whatever error the thread met last.
            _ => CallError::Broken { detail: "closed by the device".to_owned() },
        },
    }
}

fn exception_text(code: ExceptionCode) -> String {
    code.to_string().to_lowercase()
}
