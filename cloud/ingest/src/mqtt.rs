//! MQTT packets over a stream, with limits. The codec is rumqttc's.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use common::wire::MAX_MESSAGE_BYTES;
use rumqttc::mqttbytes::Error as CodecError;
use rumqttc::mqttbytes::v4::Packet;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// A message and room for topic and header.
pub(crate) const MAX_PACKET_BYTES: usize = MAX_MESSAGE_BYTES + 44 * 1024;
/// Before sign-in nothing larger than a CONNECT is expected.
pub(crate) const MAX_CONNECT_BYTES: usize = 4 * 1024;
/// Written in one go at most.
const MAX_WRITE_BYTES: usize = 64 * 1024;

/// Why reading ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("the client closed the connection")]
    Eof,
    #[error("cannot read")]
    Io(#[from] io::Error),
    #[error("not MQTT as expected")]
    Codec(#[from] CodecError),
}

/// Reads packets. `fill` and `parse` are apart so that the caller can wait for other things in between and
/// nothing is lost when it stops waiting.
pub(crate) struct Reader<R> {
    io: R,
    buffer: BytesMut,
    pub(crate) max_packet: usize,
    /// When bytes came last.
    pub(crate) last_bytes: Instant,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(crate) fn new(io: R) -> Self {
        Self { io, buffer: BytesMut::new(), max_packet: MAX_CONNECT_BYTES, last_bytes: Instant::now() }
    }

    /// The next packet, if all of it is here.
    pub(crate) fn parse(&mut self) -> Result<Option<Packet>, ReadError> {
        match Packet::read(&mut self.buffer, self.max_packet) {
            Ok(packet) => Ok(Some(packet)),
            Err(CodecError::InsufficientBytes(_)) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Waits for bytes.
    pub(crate) async fn fill(&mut self) -> Result<(), ReadError> {
        self.buffer.reserve(16 * 1024);
        if self.io.read_buf(&mut self.buffer).await? == 0 {
            return Err(ReadError::Eof);
        }
        self.last_bytes = Instant::now();
        Ok(())
    }

    /// Whether part of a packet is here.
    pub(crate) fn is_amid_packet(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Waits for a packet.
    pub(crate) async fn next(&mut self) -> Result<Packet, ReadError> {
        loop {
            if let Some(packet) = self.parse()? {
                return Ok(packet);
            }
            self.fill().await?;
        }
    }
}

/// Writes one packet.
pub(crate) async fn write_one<W: AsyncWrite + Unpin>(io: &mut W, packet: &Packet) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    packet.write(&mut buffer, MAX_PACKET_BYTES).map_err(io::Error::other)?;
    io.write_all(&buffer).await?;
    io.flush().await
}

/// Writes packets until every sender is gone, then closes the stream.
pub(crate) async fn write_all<W: AsyncWrite + Unpin>(
    mut io: W,
    mut packets: mpsc::Receiver<Packet>,
    timeout: Duration,
) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    while let Some(packet) = packets.recv().await {
        packet.write(&mut buffer, MAX_PACKET_BYTES).map_err(io::Error::other)?;
        while buffer.len() < MAX_WRITE_BYTES
            && let Ok(packet) = packets.try_recv()
        {
            packet.write(&mut buffer, MAX_PACKET_BYTES).map_err(io::Error::other)?;
        }
        let written = async {
            io.write_all(&buffer).await?;
            io.flush().await
        };
        tokio::time::timeout(timeout, written)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        buffer.clear();
    }
    tokio::time::timeout(timeout, io.shutdown())
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}
