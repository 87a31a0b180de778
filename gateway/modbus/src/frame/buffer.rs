//! The bytes that came, and the frames in them.

use super::{FrameError, Framing, Head, Reads, Scan, rtu};

/// Room for two of the longest frames (ASCII, 513 bytes): a late answer and the one that follows it.
const CAPACITY: usize = 1040;

/// Finds frames in bytes as they come. It allocates once.
#[derive(Debug)]
pub struct Decoder {
    framing: Framing,
    reads: Reads,
    bytes: Box<[u8]>,
    from: usize,
    to: usize,
    skipped: u64,
}

impl Decoder {
    /// An empty one.
    pub fn new(framing: Framing, reads: Reads) -> Self {
        Self { framing, reads, bytes: vec![0; CAPACITY].into(), from: 0, to: 0, skipped: 0 }
    }

    /// Where the next bytes go; `advance` says how many came. Never empty as long as `next` is called until it
    /// finds nothing. What was found before is gone.
    pub fn room(&mut self) -> &mut [u8] {
        if self.from == self.to {
            (self.from, self.to) = (0, 0);
        } else if self.from > 0 && self.bytes.len() - self.to < CAPACITY / 2 {
            self.bytes.copy_within(self.from..self.to, 0);
            (self.from, self.to) = (0, self.to - self.from);
        }
        self.bytes.get_mut(self.to..).unwrap_or_default()
    }

    /// `count` bytes were put into `room`.
    pub fn advance(&mut self, count: usize) {
        self.to = self.to.saturating_add(count).min(self.bytes.len());
    }

    /// Takes as many of `bytes` as there is room for, and says how many.
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        let room = self.room();
        let count = bytes.len().min(room.len());
        if let (Some(to), Some(from)) = (room.get_mut(..count), bytes.get(..count)) {
            to.copy_from_slice(from);
        }
        self.advance(count);
        count
    }

    /// The next frame, if all of it came.
    ///
    /// # Errors
    /// When what came is no frame. The bytes stay until `reset`.
    #[allow(clippy::should_implement_trait)] // an iterator cannot be fed between two items
    pub fn next(&mut self) -> Result<Option<Head>, FrameError> {
        loop {
            let Some(bytes) = self.bytes.get_mut(self.from..self.to) else { return Ok(None) };
            match self.framing.scan(bytes, self.reads) {
                Scan::More if self.from == 0 && self.to == self.bytes.len() => {
                    return Err(FrameError::TooLong { got: self.to });
                }
                Scan::More => return Ok(None),
                Scan::Skip(count) => {
                    self.from = (self.from + count.max(1)).min(self.to);
                    self.skipped += count as u64;
                }
                Scan::Frame { head, len } => {
                    let at = self.from;
                    self.from = (at + len).min(self.to);
                    return Ok(Some(Head { from: at + head.from, to: at + head.to, ..head }));
                }
                Scan::Bad(error) => return Err(error),
            }
        }
    }

    /// The line was silent: RTU ends a frame by that, also one whose function nobody knows. What is no frame then
    /// goes.
    ///
    /// # Errors
    /// What came since the last frame is none.
    pub fn silence(&mut self) -> Result<Option<Head>, FrameError> {
        let found = match self.next() {
            Ok(Some(head)) => return Ok(Some(head)),
            Ok(None) if self.is_empty() => return Ok(None),
            Ok(None) => Err(FrameError::TooShort { got: self.to - self.from }),
            Err(e) => Err(e),
        };
        let at = self.from;
        let whole = match (self.framing, self.bytes.get(at..self.to)) {
            (Framing::Rtu, Some(bytes)) => rtu::whole(bytes),
            _ => None,
        };
        self.reset();
        match whole {
            Some(head) => Ok(Some(Head { from: at + head.from, to: at + head.to, ..head })),
            None => found,
        }
    }

    /// What the frame carries.
    pub fn pdu(&self, head: Head) -> &[u8] {
        self.bytes.get(head.from..head.to).unwrap_or_default()
    }

    /// Whether nothing waits to be read.
    pub fn is_empty(&self) -> bool {
        self.from == self.to
    }

    /// Forgets what came, and says how much that was.
    pub fn reset(&mut self) -> usize {
        let lost = self.to - self.from;
        (self.from, self.to) = (0, 0);
        lost
    }

    /// Bytes so far that belonged to no frame.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }
}
