//! The other end of a conversation: reads requests from any stream and answers them, as a simulator and as a
//! counterpart of tests. What is behind the answers is the `Device`'s matter.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::frame::{Decoder, Framing, Reads};
use crate::pdu::{Answer, DecodeError, Exception, Request};

/// What answers.
pub trait Device: Send + Sync {
    /// Does as asked. Data of a read goes to `data`: registers big-endian, bits packed, the lowest first.
    ///
    /// # Errors
    /// The refusal to send; none: no such unit here, which on a serial line is silence.
    fn answer(&self, unit: u8, request: &Request<'_>, data: &mut Vec<u8>) -> Result<(), Option<Exception>>;
}

/// A line that was silent for so long begins anew: what was half a frame is none.
const SILENCE: Duration = Duration::from_millis(50);

/// Answers until the stream ends or, where frames have a length, until something comes that is none.
///
/// # Errors
/// Those of the stream.
pub async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    framing: Framing,
    device: &dyn Device,
) -> io::Result<()> {
    let mut decoder = Decoder::new(framing, Reads::Requests);
    let (mut data, mut out) = (Vec::new(), Vec::new());
    loop {
        let count = if decoder.is_empty() || framing == Framing::Mbap {
            stream.read(decoder.room()).await?
        } else {
            match tokio::time::timeout(SILENCE, stream.read(decoder.room())).await {
                Ok(read) => read?,
                Err(_) => {
                    decoder.reset();
                    continue;
                }
            }
        };
        if count == 0 {
            return Ok(());
        }
        decoder.advance(count);
        loop {
            match decoder.next() {
                Ok(None) => break,
                Ok(Some(head)) => {
                    out.clear();
                    data.clear();
                    let pdu = decoder.pdu(head);
                    reply(framing, head.transaction, head.unit, pdu, device, &mut data, &mut out);
                    stream.write_all(&out).await?;
                }
                Err(_) if framing == Framing::Mbap => return Ok(()),
                Err(_) => {
                    decoder.reset();
                    break;
                }
            }
        }
        stream.flush().await?;
    }
}

/// Appends the answer's frame to `out`, or nothing where silence is the answer.
fn reply(
    framing: Framing,
    transaction: u16,
    unit: u8,
    pdu: &[u8],
    device: &dyn Device,
    data: &mut Vec<u8>,
    out: &mut Vec<u8>,
) {
    let function = pdu.first().copied().unwrap_or_default() & 0x7f;
    let done = match Request::decode(pdu) {
        Ok(request) => device.answer(unit, &request, data).map(|()| done(&request, data)),
        Err(DecodeError::Function { .. }) => Err(Some(Exception::ILLEGAL_FUNCTION)),
        Err(_) => Err(Some(Exception::ILLEGAL_VALUE)),
    };
    let answer = match done {
        Ok(answer) => answer,
        Err(Some(exception)) => Answer::Refused { function, exception },
        Err(None) if framing.has_transactions() => {
            Answer::Refused { function, exception: Exception::GATEWAY_TARGET }
        }
        Err(None) => return,
    };
    // On a serial line unit 0 is everyone, and nobody answers.
    if unit == 0 && !framing.has_transactions() {
        return;
    }
    // An answer that cannot be encoded is the device's failure, and said so.
    let refused = Answer::Refused { function, exception: Exception::DEVICE_FAILURE };
    if framing.encode(out, transaction, unit, |out| answer.encode(out)).is_err() {
        let _ = framing.encode(out, transaction, unit, |out| refused.encode(out));
    }
}

fn done<'a>(request: &Request<'_>, data: &'a [u8]) -> Answer<'a> {
    match *request {
        Request::Read { table, .. } => Answer::Read { table, data },
        Request::WriteCoil { address, value } => Answer::WriteCoil { address, value },
        Request::WriteRegister { address, value } => Answer::WriteRegister { address, value },
        Request::WriteCoils { address, count, .. } => Answer::WriteCoils { address, count },
        Request::WriteRegisters { address, .. } => Answer::WriteRegisters { address, count: request.count() },
        Request::MaskWrite { address, and, or } => Answer::MaskWrite { address, and, or },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::Table;
    use crate::client::{CallError, Client, Options};

    /// Unit 1: eight registers. Nothing else.
    struct Eight(Mutex<[u16; 8]>);

    impl Device for Eight {
        fn answer(
            &self,
            unit: u8,
            request: &Request<'_>,
            data: &mut Vec<u8>,
        ) -> Result<(), Option<Exception>> {
            if unit != 1 {
                return Err(None);
            }
            let mut registers = self.0.lock().unwrap();
            let from = usize::from(request.address());
            let range = from..from + usize::from(request.count());
            let own = registers.get_mut(range).ok_or(Exception::ILLEGAL_ADDRESS)?;
            match request {
                Request::Read { table: Table::Holding, .. } => {
                    data.extend(own.iter().flat_map(|w| w.to_be_bytes()));
                }
                Request::WriteRegister { value, .. } => own[0] = *value,
                _ => return Err(Some(Exception::ILLEGAL_FUNCTION)),
            }
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_framing_is_served_and_refusals_are_told() {
        for framing in [Framing::Mbap, Framing::Rtu, Framing::Ascii] {
            let (ours, theirs) = tokio::io::duplex(4096);
            let server = tokio::spawn(async move {
                serve(theirs, framing, &Eight(Mutex::new([7; 8]))).await.unwrap();
            });
            let limit = Duration::from_millis(500);
            let mut client = Client::new(ours, Options::new(framing));
            let write = Request::WriteRegister { address: 3, value: 9 };
            client.call(1, &write, limit).await.unwrap();
            let read = Request::Read { table: Table::Holding, address: 2, count: 2 };
            let Answer::Read { data, .. } = client.call(1, &read, limit).await.unwrap() else { panic!() };
            assert_eq!(data, [0, 7, 0, 9], "{framing:?}");
            let beyond = Request::Read { table: Table::Holding, address: 7, count: 2 };
            let refused = client.call(1, &beyond, limit).await.unwrap_err();
            assert_eq!(refused, CallError::Refused(Exception::ILLEGAL_ADDRESS));
            let absent = client.call(2, &read, limit).await.unwrap_err();
            match framing {
                Framing::Mbap => assert_eq!(absent, CallError::Refused(Exception::GATEWAY_TARGET)),
                _ => assert!(matches!(absent, CallError::Timeout { .. }), "{absent}"),
            }
            drop(client);
            server.await.unwrap();
        }
    }
}
