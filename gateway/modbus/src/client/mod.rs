//! One conversation with whoever is at the other end: one request at a time, and an answer is taken only if it can be
//! no other's. What remains of an earlier request is told by its transaction (Modbus TCP), or by closing the
//! connection or waiting for silence before the next request goes out. It opens nothing and knows no settings:
//! after `is_open` says no, the caller makes a new one.

mod error;
mod sent;

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

pub use error::{CallError, Wrong};
use sent::{Found, Sent};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, timeout, timeout_at};

use crate::frame::{Decoder, Framing, Head, Reads};
use crate::pdu::{Answer, Request};

/// What is done when it is in doubt whose the next answer will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// The connection ends, after a timeout as well.
    Reopen,
    /// Modbus TCP: after a timeout the connection stays, and its late answer is known by its transaction. Whatever
    /// is malformed or belongs to nobody ends it.
    Keep,
    /// A serial line: it is read until it was silent for so long.
    Silence(Duration),
}

/// How to talk.
#[derive(Debug, Clone)]
pub struct Options {
    /// How frames look.
    pub framing: Framing,
    /// What is done in doubt.
    pub recovery: Recovery,
    /// Least silence between what was heard or sent last and the next request.
    pub gap: Duration,
    /// Whether an answer may name another unit than was asked, for devices that always say 0 or 255. Only with
    /// transactions.
    pub any_unit: bool,
    /// Whether the line gives back what was sent, as some two-wire converters do.
    pub echo: bool,
    /// Transaction of the first request.
    pub first_transaction: u16,
}

impl Options {
    /// The usual ones of a framing: `Reopen`, no gap.
    pub fn new(framing: Framing) -> Self {
        Self {
            framing,
            recovery: Recovery::Reopen,
            gap: Duration::ZERO,
            any_unit: false,
            echo: false,
            first_transaction: 1,
        }
    }
}

/// What was heard that was not the answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Answers to a request that had been given up, discarded.
    pub late: u64,
    /// Second answers to a request, discarded.
    pub duplicate: u64,
    /// Frames and bytes that belong to no request of ours.
    pub foreign: u64,
    /// What was no frame, or no answer, or did not fit the request.
    pub malformed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The next request may go.
    Ready,
    /// A request is being written.
    Sending,
    /// A request is under way; whoever finds this state was not there for its end.
    Asked,
    /// Something may still come.
    Noisy,
    /// Over.
    Closed,
}

/// A conversation.
#[derive(Debug)]
pub struct Client<S> {
    stream: S,
    options: Options,
    decoder: Decoder,
    out: Vec<u8>,
    state: State,
    sent: Sent,
    quiet_since: Instant,
    counts: Counts,
}

/// A line that babbles for longer is broken.
const LONGEST_DRAIN: Duration = Duration::from_secs(2);

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    /// A conversation over a fresh stream.
    pub fn new(stream: S, options: Options) -> Self {
        Self {
            stream,
            decoder: Decoder::new(options.framing, Reads::Answers),
            out: Vec::with_capacity(600),
            // What stands in a serial port's buffer from before is nobody's.
            state: if matches!(options.recovery, Recovery::Silence(_)) { State::Noisy } else { State::Ready },
            sent: Sent::new(options.first_transaction),
            quiet_since: Instant::now(),
            counts: Counts::default(),
            options,
        }
    }

    /// Whether another request can be made.
    pub fn is_open(&self) -> bool {
        self.state != State::Closed
    }

    /// Ends it: nothing is sent any more.
    pub fn close(&mut self) {
        self.state = State::Closed;
    }

    /// What was heard so far that was not the answer.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Transaction of the next request; a new connection goes on from here.
    pub fn next_transaction(&self) -> u16 {
        self.sent.next()
    }

    /// How long ago the request was made that a late answer, the last one heard, belonged to, and its unit.
    pub fn lateness(&self) -> Option<(u8, Duration)> {
        self.sent.lateness()
    }

    /// Sends a request and waits for its answer, for `limit` once it is sent. A call that is dropped on its way is
    /// treated as one that timed out.
    ///
    /// # Errors
    /// See `CallError`; its `is_sent` says whether the device may have heard of it.
    pub async fn call(
        &mut self,
        unit: u8,
        request: &Request<'_>,
        limit: Duration,
    ) -> Result<Answer<'_>, CallError> {
        self.prepare().await?;
        self.out.clear();
        let transaction = self.sent.next();
        self.options
            .framing
            .encode(&mut self.out, transaction, unit, |out| request.encode(out))
            .map_err(CallError::Request)?;
        self.sent.push(unit, Instant::now());
        self.state = State::Sending;
        let mut wrong = None;
        let ended = timeout_at(Instant::now() + limit, self.exchange(unit, request, &mut wrong)).await;
        self.quiet_since = Instant::now();
        match ended {
            Ok(Ok(head)) => {
                self.state = State::Ready;
                match Answer::decode(self.decoder.pdu(head)) {
                    Ok(Answer::Refused { exception, .. }) => Err(CallError::Refused(exception)),
                    Ok(answer) => Ok(answer),
                    Err(e) => Err(CallError::Wrong(Wrong::Answer(e))),
                }
            }
            Ok(Err(e)) => {
                self.doubt(matches!(e, CallError::Wrong(_)));
                Err(e)
            }
            Err(_) => {
                self.timed_out();
                Err(wrong.map_or(CallError::Timeout { limit }, CallError::Wrong))
            }
        }
    }

    /// Sees to it that nothing is under way: what came unasked is judged before the request goes, not after.
    async fn prepare(&mut self) -> Result<(), CallError> {
        if matches!(self.state, State::Sending | State::Asked) {
            self.timed_out();
        }
        if self.state == State::Closed {
            return Err(CallError::Closed);
        }
        if self.state == State::Ready && self.is_disturbed().await? {
            match self.options.recovery {
                Recovery::Silence(_) => self.state = State::Noisy,
                // With transactions each frame is judged when the next answer is looked for.
                _ if self.options.framing.has_transactions() => {}
                _ => {
                    self.counts.foreign += 1;
                    self.state = State::Closed;
                    return Err(CallError::Closed);
                }
            }
        }
        if let (State::Noisy, Recovery::Silence(silence)) = (self.state, self.options.recovery) {
            self.drain(silence).await?;
        }
        if !self.options.gap.is_zero() {
            tokio::time::sleep_until(self.quiet_since + self.options.gap).await;
        }
        Ok(())
    }

    /// Looks for bytes that came since the last answer. The runtime knows whether there are any: it asks the
    /// system only then.
    async fn is_disturbed(&mut self) -> Result<bool, CallError> {
        let mut came = !self.decoder.is_empty();
        loop {
            let (stream, room) = (&mut self.stream, self.decoder.room());
            if room.is_empty() {
                return Ok(true); // a flood: what is there will be judged
            }
            let mut buf = ReadBuf::new(room);
            let read = poll_fn(|cx| match Pin::new(&mut *stream).poll_read(cx, &mut buf) {
                Poll::Pending => Poll::Ready(None),
                Poll::Ready(result) => Poll::Ready(Some(result)),
            });
            match read.await {
                None => return Ok(came),
                Some(Ok(())) if !buf.filled().is_empty() => {
                    let count = buf.filled().len();
                    self.decoder.advance(count);
                    came = true;
                }
                Some(_) => {
                    self.state = State::Closed;
                    return Err(CallError::Closed);
                }
            }
        }
    }

    /// Reads until the line was silent.
    async fn drain(&mut self, silence: Duration) -> Result<(), CallError> {
        let begun = Instant::now();
        loop {
            self.decoder.reset();
            match timeout(silence, self.stream.read(self.decoder.room())).await {
                Err(_) => {
                    self.state = State::Ready;
                    return Ok(());
                }
                Ok(Ok(0)) | Ok(Err(_)) => {
                    self.state = State::Closed;
                    return Err(CallError::Closed);
                }
                Ok(Ok(_)) if begun.elapsed() > LONGEST_DRAIN => return Err(CallError::Noise),
                Ok(Ok(_)) => {}
            }
        }
    }

    async fn exchange(
        &mut self,
        unit: u8,
        request: &Request<'_>,
        wrong: &mut Option<Wrong>,
    ) -> Result<Head, CallError> {
        self.stream.write_all(&self.out).await.map_err(broken)?;
        self.stream.flush().await.map_err(broken)?;
        self.state = State::Asked;
        if self.options.echo {
            self.skip_echo().await?;
        }
        loop {
            while let Some(head) = self.decoder.next().map_err(|e| CallError::Wrong(Wrong::Frame(e)))? {
                if let Some(taken) = self.judge(unit, request, head, wrong)? {
                    return Ok(taken);
                }
            }
            match self.stream.read(self.decoder.room()).await {
                Ok(0) => return Err(CallError::Broken { detail: "closed by the device".to_owned() }),
                Ok(count) => self.decoder.advance(count),
                Err(e) => return Err(broken(e)),
            }
        }
    }

    /// The frame, if it is the answer; none if it is to be passed over.
    fn judge(
        &mut self,
        unit: u8,
        request: &Request<'_>,
        head: Head,
        wrong: &mut Option<Wrong>,
    ) -> Result<Option<Head>, CallError> {
        let transactions = self.options.framing.has_transactions();
        if transactions {
            match self.sent.find(head.transaction, Instant::now()) {
                Found::Current => {}
                Found::Unanswered => {
                    self.counts.late += 1;
                    return Ok(None);
                }
                Found::Answered => {
                    self.counts.duplicate += 1;
                    return Ok(None);
                }
                Found::Foreign => {
                    self.counts.foreign += 1;
                    return Err(CallError::Wrong(Wrong::Transaction { got: head.transaction }));
                }
            }
        }
        let misfit = if head.unit != unit && !(transactions && self.options.any_unit) {
            Wrong::Unit { asked: unit, got: head.unit }
        } else {
            match Answer::decode(self.decoder.pdu(head)) {
                Err(e) => Wrong::Answer(e),
                Ok(answer) => match answer.fits(request) {
                    Ok(()) => {
                        self.sent.answered();
                        return Ok(Some(head));
                    }
                    Err(misfit) => Wrong::Misfit(misfit),
                },
            }
        };
        if !matches!(self.options.recovery, Recovery::Silence(_)) {
            return Err(CallError::Wrong(misfit));
        }
        // On a serial line, an answer that cannot be ours is an earlier one's; ours may still come (Modbus over
        // serial line V1.02, 2.4.1).
        self.counts.late += 1;
        *wrong = Some(misfit);
        Ok(None)
    }

    async fn skip_echo(&mut self) -> Result<(), CallError> {
        let mut at = 0;
        while at < self.out.len() {
            let room = self.decoder.room();
            let most = room.len().min(self.out.len() - at);
            let read = self.stream.read(room.get_mut(..most).unwrap_or_default()).await.map_err(broken)?;
            if read == 0 {
                return Err(CallError::Broken { detail: "closed by the device".to_owned() });
            }
            if self.out.get(at..at + read) != self.decoder.room().get(..read) {
                return Err(CallError::Wrong(Wrong::Echo));
            }
            at += read;
        }
        Ok(())
    }

    fn timed_out(&mut self) {
        // Half a frame in either direction would be taken for the next one's beginning.
        let whole = self.decoder.is_empty() && self.state == State::Asked;
        self.state = match self.options.recovery {
            Recovery::Keep if whole => State::Ready,
            Recovery::Silence(_) => State::Noisy,
            _ => State::Closed,
        };
    }

    fn doubt(&mut self, malformed: bool) {
        self.counts.malformed += u64::from(malformed);
        self.state = match self.options.recovery {
            Recovery::Silence(_) if malformed => State::Noisy,
            _ => State::Closed,
        };
    }
}

fn broken(error: std::io::Error) -> CallError {
    CallError::Broken { detail: error.to_string() }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
