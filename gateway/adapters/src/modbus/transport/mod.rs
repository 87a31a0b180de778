//! How a line comes to its stream: it connects, opens a port, or waits until a modem dials in. Nothing is sent here.

pub(super) mod dtu;
#[cfg(feature = "serial")]
mod serial;
mod tcp;

#[cfg(feature = "serial")]
pub use serial::open as open_serial;

use std::convert::Infallible;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use super::settings::{LineConfig, Transport};
use dtu::Desk;

/// What requests go over.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A stream of any kind.
pub(super) type BoxStream = Box<dyn Stream>;

/// A stream, and whether it is the backup's.
pub(super) struct Opened {
    pub(super) stream: BoxStream,
    pub(super) backup: bool,
}

/// Opens a line's stream.
pub(super) struct Opener {
    config: LineConfig,
    desk: Option<Desk>,
    /// Instead of the system, in tests with a clock of their own.
    #[cfg(test)]
    pub(super) instead: Option<Dial>,
}

/// Gives the stream of the first host or of the backup, if it is there.
#[cfg(test)]
pub(super) type Dial = Box<dyn Fn(bool) -> Option<tokio::io::DuplexStream> + Send + Sync>;

impl Opener {
    /// For a line; `desk` is where its modem asks for it.
    pub(super) fn new(config: LineConfig, desk: Option<Desk>) -> Self {
        Self {
            config,
            desk,
            #[cfg(test)]
            instead: None,
        }
    }

    /// Whether there is a second place to connect to.
    pub(super) fn has_backup(&self) -> bool {
        self.config.backup_host.is_some()
    }

    /// Listens for modems, if this line's modem dials in. Of all lines with the same address one does it at a time.
    pub(super) async fn listen(&self) -> Infallible {
        match &self.desk {
            Some(desk) => desk.listen().await,
            None => std::future::pending().await,
        }
    }

    /// Opens it, at the backup if `backup` says so. For a modem this lasts until it dials in.
    ///
    /// # Errors
    /// What the system said.
    pub(super) async fn open(&self, backup: bool) -> Result<Opened, String> {
        #[cfg(test)]
        if let Some(dial) = &self.instead {
            let stream = dial(backup).ok_or("nobody there")?;
            return Ok(Opened { stream: Box::new(stream), backup });
        }
        let config = &self.config;
        let limit = Duration::from_millis(config.connect_timeout_ms);
        let stream: BoxStream = match config.transport {
            Transport::Tcp | Transport::RtuOverTcp | Transport::AsciiOverTcp => {
                let port = if backup { config.backup_port.unwrap_or(config.port) } else { config.port };
                let host = if backup { config.backup_host.as_deref() } else { config.host.as_deref() };
                Box::new(tcp::connect(host.unwrap_or_default(), port, limit).await?)
            }
            #[cfg(feature = "serial")]
            Transport::Rtu | Transport::Ascii => Box::new(serial::open(config)?),
            #[cfg(not(feature = "serial"))]
            Transport::Rtu | Transport::Ascii => {
                return Err("serial ports are not built in: build with the feature `serial`".to_owned());
            }
            Transport::Dtu => match &self.desk {
                Some(desk) => Box::new(desk.caller().await),
                None => return Err("nobody listens for this line's modem".to_owned()),
            },
        };
        if config.connect_pause_ms > 0 {
            tokio::time::sleep(Duration::from_millis(config.connect_pause_ms)).await;
        }
        Ok(Opened { stream, backup })
    }

    /// Waits for a stream that is better than the one in use: the first host's while on the backup, or the one
    /// of a modem that dialled in again. Never ends if there is none.
    pub(super) async fn better(&self, backup: bool) -> Opened {
        loop {
            if self.config.transport == Transport::Dtu {
                if let Ok(opened) = self.open(false).await {
                    return opened;
                }
            } else if backup {
                tokio::time::sleep(Duration::from_millis(self.config.failback_ms)).await;
                if let Ok(opened) = self.open(false).await {
                    return opened;
                }
                continue;
            }
            std::future::pending::<()>().await;
        }
    }
}
