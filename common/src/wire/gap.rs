//! What is missing, for people.

use super::frame::{Gap, GapCause};
use crate::class::Class;
use crate::clock::format_us;
use crate::command::{LogEntry, Severity};
use crate::ids::GatewayId;
use crate::interval::IntervalSet;
use crate::names::action;
use crate::text::counted;

impl Gap {
    /// One of which nothing is known but why.
    pub fn new(cause: GapCause) -> Self {
        Self { incarnation: None, seqs: None, times_us: None, samples: 0, cause, class: None, lost: None }
    }

    /// The frames that are lost, where it names any.
    pub fn lost_seqs(&self) -> Option<IntervalSet> {
        self.lost.clone().or_else(|| Some(vec![self.seqs?].into()))
    }

    /// The entry that tells of it; `at_us`: when it was told, UTC us.
    pub fn entry(&self, gateway: &GatewayId, at_us: i64) -> LogEntry {
        let cause = match self.cause {
            GapCause::Quota => "quota: the oldest were dropped",
            GapCause::DiskFull => "disk full",
            GapCause::Overrun => "overrun: a reader of the bus was too slow",
            GapCause::Damaged => "damaged log",
            GapCause::Age => "age: older than they were to be kept",
            GapCause::Operator => "a person had them dropped",
            GapCause::CloudLost => {
                "the cloud had acknowledged them and lacks them: its store is older, or another, and the box has them no longer"
            }
            GapCause::Other => "a cause that this version does not know",
        };
        let mut parts = vec![format!("data lost, {cause}")];
        parts.extend(match self.class {
            None | Some(Class::Critical) => None,
            Some(Class::Normal) => Some("of points that are not critical".to_owned()),
            Some(Class::Trend) => Some("of trends".to_owned()),
        });
        if let Some((first, last)) = self.seqs {
            let of = self.incarnation.map(|i| format!(" of incarnation {i}")).unwrap_or_default();
            parts.push(format!("frames {first} to {last}{of}"));
        }
        if self.samples > 0 {
            parts.push(counted(self.samples, "sample"));
        }
        if let Some((from, to)) = self.times_us {
            parts.push(format!("from {} to {}", format_us(from), format_us(to)));
        }
        LogEntry {
            at_us,
            actor: "system".into(),
            action: action::DATA_GAP.into(),
            target: gateway.to_string(),
            twin: None,
            severity: Severity::Alarm,
            code: None,
            detail: parts.join(", "),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_a_loss_is_told() {
        let gap = |samples, seqs| Gap { seqs, samples, ..Gap::new(GapCause::DiskFull) };
        let told = |gap: Gap| gap.entry(&"box1".parse().unwrap(), 5).detail;
        assert_eq!(told(gap(1, None)), "data lost, disk full, 1 sample");
        assert_eq!(told(gap(12, Some((3, 4)))), "data lost, disk full, frames 3 to 4, 12 samples");
    }
}
