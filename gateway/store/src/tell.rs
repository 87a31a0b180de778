//! What the buffer tells of itself in the log: events, and gaps for what was lost.

use common::Class;
use common::command::{LogEntry, Severity};
use common::text::counted;
use common::wire::{Body, Gap, GapCause};

use crate::inner::{Inner, lock};

impl Inner {
    /// Tells of something that the buffer itself did or met.
    pub(crate) fn event(&self, action: &str, severity: Severity, detail: String) {
        let entry = LogEntry {
            at_us: self.clock.now_us(),
            actor: "system".to_owned(),
            action: action.to_owned(),
            target: "buffer".to_owned(),
            twin: None,
            severity,
            code: None,
            detail,
        };
        if let Err(error) = self.append_own(Body::Event(entry)) {
            tracing::warn!(action, %error, "event of the buffer is lost");
        }
    }

    /// Tells of files that the start did not read: what is in them is not lost.
    pub(crate) fn tell_unread(&self) {
        let unread = lock(&self.shared).unread.clone();
        let Some(first) = unread.first() else { return };
        let detail = format!(
            "{}, the first {}: {}; left where it is, the next start reads what it can",
            counted(unread.len() as u64, "segment"),
            first.path.display(),
            first.why
        );
        self.event("buffer.unreadable", Severity::Alarm, detail);
    }

    /// Tells what was lost. Called with no lock held.
    pub(crate) fn tell_losses(&self) {
        {
            // Critical samples are not refused for the quota.
            let is_classed = !lock(&self.appender).classes.are_normal();
            let over_class = is_classed.then_some(Class::Normal);
            let mut shared = lock(&self.shared);
            let (loss, over) = (std::mem::take(&mut shared.loss), std::mem::take(&mut shared.over));
            let lost = [(loss, GapCause::DiskFull, None), (over, GapCause::Quota, over_class)];
            for (loss, cause, class) in lost {
                if loss.frames > 0 {
                    let (times_us, samples) = (loss.times, loss.samples);
                    shared.gap(Gap { times_us, samples, class, ..Gap::new(cause) });
                    shared.dropped.entry(name_of(cause)).or_default().frames += loss.frames;
                }
            }
        }
        // One by one, so that each is known as untold until its frame has a number.
        let next = || lock(&self.shared).next_to_tell();
        while let Some((gap, event)) = next() {
            let detail = format!(
                "cause {}, samples {}, incarnation {}, sequences {}",
                name_of(gap.cause),
                gap.samples,
                gap.incarnation.map_or_else(|| "none".to_owned(), |i| i.to_string()),
                gap.seqs.map_or_else(|| "none".to_owned(), |(a, b)| format!("{a} to {b}")),
            );
            tracing::error!(detail, "frames are missing");
            if self.append_own(Body::Gap(gap)).is_ok() && event {
                self.event("buffer.gap", Severity::Alarm, detail);
            }
        }
    }
}

/// A cause's name in counts and messages.
pub(crate) fn name_of(cause: GapCause) -> &'static str {
    match cause {
        GapCause::Quota => "quota",
        GapCause::DiskFull => "disk_full",
        GapCause::Overrun => "overrun",
        GapCause::Damaged => "damaged",
        GapCause::Age => "age",
        GapCause::Operator => "operator",
        GapCause::CloudLost => "cloud_lost",
        GapCause::Other => "other",
    }
}
