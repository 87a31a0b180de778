//! What goes up: reads from the log and hands to the client, as far as flow, pace and plan allow.

use std::collections::VecDeque;
use std::time::Duration;

use common::wire::{Body, Frame, FrameKind};
use common::{Class, Classes, CommandState, IntervalSet, SchemaHash};
use gateway_core::{FrameLog, LogError};
use tokio::time::Instant;

use super::{Early, Read, Session};
use crate::flow::{Lane, Samples, Want};
use crate::outgoing::{Outgoing, each, together};
use crate::pace::READ_BYTES;

/// So many live frames are in the log's memory for sure.
const NEAR: u64 = 8;
/// Frames kept back that make a message worth sending, in bytes of the log.
const WORTH_BYTES: usize = 128 << 10;
/// The end of a command waits for the disk for so long at most; it is asked for at once.
const END_WAITS: Duration = Duration::from_secs(1);
/// Live frames are kept back on a thin link for so long, also when backlog leaves no pause in which they could go.
const LONGEST_KEPT: Duration = Duration::from_millis(500);

impl Session<'_> {
    /// Looks what is to become of samples now.
    pub(super) fn choose(&mut self) {
        let held = self.uplink.look(false);
        self.samples = match held.samples {
            Some(_) => Samples::Held,
            None if self.uplink.options.max_delay.is_some() => Samples::Together,
            None if self.pace.is_thin() && self.agreed.speaks.batch => Samples::Together,
            None => Samples::AtOnce,
        };
        self.flow.set_samples(self.samples, held.trends);
        let (held_frames, together) = (self.flow.kept_frames(), self.samples == Samples::Together);
        let window = self.pace.window() as u64;
        self.uplink.count(|s| {
            s.link.held_frames = held_frames;
            s.link.together = together;
            s.link.backlog_window = window;
        });
    }

    /// Lets go what was kept back, if it is time.
    pub(super) fn release(&mut self) {
        let Some((bytes, since)) = self.flow.kept() else { return };
        let is_due = match (self.samples, self.uplink.options.max_delay) {
            (Samples::Held, _) => false,
            (Samples::AtOnce, _) => true,
            (Samples::Together, Some(delay)) => bytes >= WORTH_BYTES || since.elapsed() >= delay,
            // One message after another: each takes what came in the meantime.
            (Samples::Together, None) => {
                let backlog = Lane::Backlog as usize;
                let is_pause =
                    self.flow.is_idle() && self.ready[backlog].is_empty() && self.reading[backlog].is_none();
                is_pause || since.elapsed() >= LONGEST_KEPT
            }
        };
        if is_due {
            self.flow.release();
        }
    }

    /// Sends and reads as far as windows and client allow. Gives the schema of the next frame if the cloud was not told
    /// of it, or of a live one does not take it for the current one: it must be told first.
    pub(super) fn pump(&mut self) -> Option<SchemaHash> {
        self.send_waiting();
        self.let_go();
        self.flow.set_backlog_bytes(self.pace.window());
        self.pump_lane(Lane::Live);
        if let Some(message) = self.ready[Lane::Live as usize].front().filter(|_| !self.blocked)
            && let Some(schema) = self.unnamed(message)
        {
            return Some(schema);
        }
        self.release();
        // Live before backlog: nothing that is ready or wanted may wait for it.
        if self.ready[Lane::Live as usize].is_empty() && self.reading[Lane::Live as usize].is_none() {
            self.pump_lane(Lane::Backlog);
        }
        // What was kept back may be of a schema that is new since the hello.
        let next = self.ready[Lane::Backlog as usize].front().filter(|_| !self.blocked)?;
        next.schema.filter(|schema| !self.agreed.known.contains(schema))
    }

    fn unnamed(&self, message: &Outgoing) -> Option<SchemaHash> {
        message.schema.filter(|schema| *schema != self.agreed.current)
    }

    fn send_waiting(&mut self) {
        while !self.blocked
            && let Some(message) = self.agreed.waiting.front()
        {
            if !self.link.publish(message.clone()) {
                self.blocked = true;
                return;
            }
            self.agreed.waiting.pop_front();
        }
    }

    fn pump_lane(&mut self, lane: Lane) {
        loop {
            self.send_ready(lane);
            if self.blocked || !self.ready[lane as usize].is_empty() || self.reading[lane as usize].is_some()
            {
                return;
            }
            let want = match lane {
                Lane::Live => self.flow.want_live(),
                Lane::Backlog => self.flow.want_backlog(),
            };
            let Some(want) = want else { return };
            let log = self.uplink.log.clone();
            let speaks = self.agreed.speaks;
            // Nothing of live is known at the cloud before it was sent.
            let known = match lane {
                Lane::Live => IntervalSet::new(),
                Lane::Backlog => self.flow.known(want.incarnation),
            };
            let keeps = want.keeps;
            let is_current = want.incarnation == log.incarnation();
            let is_whole = lane == Lane::Live || keeps.is_some();
            let bytes = if is_whole { READ_BYTES } else { self.pace.read_bytes() };
            let read = move || {
                // Before the reading: what reaches the disk meanwhile is let go with the next turn.
                let durable = if is_current { log.watermark().borrow().durable } else { u64::MAX };
                let mut frames = log.read(want.incarnation, want.from, bytes)?;
                let seqs = frames.iter().map(|(seq, _)| *seq).collect();
                frames.retain(|(seq, _)| *seq <= want.last && !known.contains(*seq));
                let mut early = Vec::new();
                if frames.last().is_some_and(|(seq, _)| *seq > durable) {
                    frames.retain(|frame| {
                        let step = (frame.0 > durable).then(|| step_of(&frame.1)).flatten();
                        let Some(step) = step.filter(|s| *s == CommandState::Executing || s.is_final())
                        else {
                            return true;
                        };
                        let messages = each(want.incarnation, std::slice::from_ref(frame), speaks);
                        early.extend(messages.into_iter().map(|message| (message, step.is_final())));
                        false
                    });
                }
                let mut kept = Vec::new();
                let mut classes = ClassesOf::new(&*log);
                if let Some(wanted) = want.class() {
                    frames.retain(|(_, bytes)| classes.of(bytes).is_none_or(|class| class == wanted));
                }
                if let Some(least) = keeps {
                    frames.retain(|(seq, bytes)| {
                        let class = classes.of(bytes).filter(|class| *class >= least);
                        kept.extend(class.map(|class| ((*seq, class), bytes.len())));
                        class.is_none()
                    });
                }
                let messages = match lane {
                    Lane::Live => each(want.incarnation, &frames, speaks),
                    Lane::Backlog => together(want.incarnation, &frames, speaks),
                };
                Ok(Read { seqs, messages, kept, early })
            };
            if lane == Lane::Live && self.flow.lag() <= NEAR {
                self.take(want, read());
                continue;
            }
            self.reading[lane as usize] = Some(Box::pin(async move {
                let read = tokio::task::spawn_blocking(read).await;
                (want, read.unwrap_or(Err(LogError::Closed)))
            }));
            return;
        }
    }

    pub(super) fn take(&mut self, want: Want, read: Result<Read, LogError>) {
        let Read { seqs, mut messages, kept, early } = read.unwrap_or_else(|error| {
            tracing::warn!(incarnation = %want.incarnation, from = want.from, %error, "frames not read");
            Read::default()
        });
        // Where normal samples wait, what goes all the same is urgent.
        messages.iter_mut().for_each(|m| m.urgent = want.keeps == Some(Class::Normal));
        self.flow.read(want, &seqs);
        for (frame, bytes) in kept {
            self.flow.keep(want, frame, bytes, Instant::now());
        }
        self.ready[want.lane as usize].extend(messages);
        for (message, is_end) in early {
            let last = message.frames.last().copied().filter(|_| is_end);
            if let Some(frame) = last {
                let log = self.uplink.log.clone();
                // Who writes asks for the intent; nobody has asked for this.
                tokio::spawn(async move { log.durable(frame).await });
            }
            let anyway_at = is_end.then(|| Instant::now() + END_WAITS);
            self.early.push_back(Early { message: Outgoing { urgent: true, ..message }, anyway_at });
        }
    }

    /// Intents and ends of commands that have reached the disk go next. Not before: after a loss of power the cloud would wait
    /// for the end of a write that the box knows nothing of, or know another end than the box, which asks the device anew. What
    /// comes after them need not wait, so nothing is slower for it. A disk that takes no end keeps none from the cloud for long.
    fn let_go(&mut self) {
        if self.early.is_empty() {
            return;
        }
        let durable = self.uplink.log.watermark().borrow().durable;
        let now = Instant::now();
        let may_go = |early: &Early| {
            early.message.frames.iter().all(|frame| frame.seq <= durable)
                || early.anyway_at.is_some_and(|at| at <= now)
        };
        let (next, early): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.early).into_iter().partition(may_go);
        self.early = early;
        for Early { message, .. } in next.into_iter().rev() {
            // One of a schema before the current one may not seem to go back to it.
            let lane = if self.unnamed(&message).is_none() { Lane::Live } else { Lane::Backlog };
            self.ready[lane as usize].push_front(message);
        }
    }

    fn send_ready(&mut self, lane: Lane) {
        let mut sent = 0;
        while !self.blocked
            && let Some(message) =
                self.ready[lane as usize].front().filter(|m| m.urgent || self.flow.has_room(lane))
        {
            let is_told = match lane {
                Lane::Live => self.unnamed(message).is_none(),
                Lane::Backlog => message.schema.is_none_or(|schema| self.agreed.known.contains(&schema)),
            };
            if !is_told {
                break;
            }
            if message.frames.iter().any(|f| self.flow.is_needed(*f)) {
                if !self.link.publish(message.bytes.clone()) {
                    self.blocked = true;
                    break;
                }
                let (now, each) = (Instant::now(), message.bytes_each());
                for frame in
                    message.frames.iter().filter(|f| self.flow.is_needed(**f)).copied().collect::<Vec<_>>()
                {
                    self.flow.sent(frame, lane, each, now);
                    sent += 1;
                }
            }
            self.ready[lane as usize].pop_front();
        }
        if sent > 0 {
            self.uplink.count(|s| match lane {
                Lane::Live => s.sent_live += sent,
                Lane::Backlog => s.sent_backlog += sent,
            });
        }
    }
}

/// Tells frames of samples apart by the class of their points.
struct ClassesOf<'a> {
    log: &'a dyn FrameLog,
    /// Of the schema that was asked for last.
    last: Option<(SchemaHash, Classes)>,
}

impl<'a> ClassesOf<'a> {
    fn new(log: &'a dyn FrameLog) -> Self {
        Self { log, last: None }
    }

    /// None: it holds no samples.
    fn of(&mut self, bytes: &[u8]) -> Option<Class> {
        if Frame::peek_kind(bytes) != Ok(FrameKind::Samples) {
            return None;
        }
        let Ok(header) = Frame::peek(bytes) else { return Some(Class::Normal) };
        if self.last.as_ref().is_none_or(|(hash, _)| *hash != header.schema) {
            self.last = Some((header.schema, self.log.classes(header.schema)));
        }
        let classes = self.last.as_ref().map(|(_, classes)| classes).filter(|c| !c.are_normal());
        let class = classes.and_then(|c| Some(c.of_body(&Frame::decode(bytes).ok()?.body)));
        Some(class.unwrap_or_default())
    }
}

/// The step of a command that a frame tells.
fn step_of(bytes: &[u8]) -> Option<CommandState> {
    if Frame::peek_kind(bytes) != Ok(FrameKind::Command) {
        return None;
    }
    match Frame::decode(bytes).ok()?.body {
        Body::Command(update) => Some(update.state),
        _ => None,
    }
}
