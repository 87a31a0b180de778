//! Both directions of one stream: many packets a read, many packets a write, and neither waits for the other.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use crate::codec::Fault;

const SMALL_READ: usize = 2 * 1024;
const LARGE_READ: usize = 64 * 1024;

/// What moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Moved {
    pub(super) read: bool,
    pub(super) written: bool,
}

/// A stream with what came and what is to go.
pub(super) struct Wire<S> {
    stream: S,
    pub(super) input: BytesMut,
    pub(super) out: BytesMut,
    flush: bool,
    next_read: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, input: BytesMut::new(), out: BytesMut::new(), flush: false, next_read: SMALL_READ }
    }

    /// Waits until something was read (if wanted) or written. Nothing is lost when this is dropped.
    pub(super) async fn step(&mut self, read: bool) -> Result<Moved, Fault> {
        poll_fn(|cx| {
            let mut moved = Moved::default();
            if self.poll_out(cx, &mut moved)?.is_ready() && !read && !moved.written {
                // Nothing to do in either direction: others wake this task.
                return Poll::Pending;
            }
            if read {
                self.poll_in(cx, &mut moved)?;
            }
            if moved == Moved::default() { Poll::Pending } else { Poll::Ready(Ok(moved)) }
        })
        .await
    }

    fn poll_out(&mut self, cx: &mut Context<'_>, moved: &mut Moved) -> Result<Poll<()>, Fault> {
        while !self.out.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, &self.out) {
                Poll::Pending => return Ok(Poll::Pending),
                Poll::Ready(Ok(0)) => return Err(Fault::Closed),
                Poll::Ready(Ok(n)) => {
                    self.out.advance(n);
                    self.flush = true;
                    moved.written = true;
                }
                Poll::Ready(Err(e)) => return Err(lost(&e)),
            }
        }
        if self.flush {
            match Pin::new(&mut self.stream).poll_flush(cx) {
                Poll::Pending => return Ok(Poll::Pending),
                Poll::Ready(Ok(())) => {
                    self.flush = false;
                    // What a burst needed is not kept for ever.
                    if self.out.capacity() > LARGE_READ {
                        self.out = BytesMut::new();
                    }
                }
                Poll::Ready(Err(e)) => return Err(lost(&e)),
            }
        }
        Ok(Poll::Ready(()))
    }

    fn poll_in(&mut self, cx: &mut Context<'_>, moved: &mut Moved) -> Result<(), Fault> {
        if self.input.is_empty() && self.input.capacity() > self.next_read {
            self.input = BytesMut::new();
        }
        self.input.reserve(self.next_read);
        let read = pin!(self.stream.read_buf(&mut self.input)).poll(cx);
        match read {
            Poll::Pending => Ok(()),
            Poll::Ready(Ok(0)) => Err(Fault::Closed),
            Poll::Ready(Ok(n)) => {
                // Full reads ask for larger ones, small ones give the memory back.
                self.next_read = match n {
                    n if n >= self.next_read => (self.next_read * 4).min(LARGE_READ),
                    n if n < SMALL_READ / 2 => SMALL_READ,
                    _ => self.next_read,
                };
                moved.read = true;
                Ok(())
            }
            Poll::Ready(Err(e)) => Err(lost(&e)),
        }
    }

    /// Writes everything that is to go.
    pub(super) async fn drain(&mut self) -> Result<(), Fault> {
        while !self.out.is_empty() || self.flush {
            poll_fn(|cx| {
                let mut moved = Moved::default();
                match self.poll_out(cx, &mut moved) {
                    Err(fault) => Poll::Ready(Err(fault)),
                    Ok(poll) => poll.map(Ok),
                }
            })
            .await?;
        }
        Ok(())
    }
}

fn lost(error: &std::io::Error) -> Fault {
    match error.kind() {
        std::io::ErrorKind::ConnectionReset
        | std::io::ErrorKind::BrokenPipe
        | std::io::ErrorKind::UnexpectedEof => Fault::Closed,
        _ => Fault::Io { detail: error.to_string() },
    }
}
