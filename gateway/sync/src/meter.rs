//! What a link that is paid by the byte has carried, today and this month, and whether samples may go now. The counts
//! stand in a note of the buffer and outlive the program. Pure but for the zone: time is given.

use chrono::{Datelike as _, Local, NaiveDateTime, TimeDelta, TimeZone as _, Timelike as _, Utc};
use serde::{Deserialize, Serialize};

use common::api::{LinkHold, LinkUse};

/// Key of the note.
pub(crate) const NOTE: &str = "uplink.bytes";
/// With a budget the note is ahead of the count by so much, or by a hundredth of the budget if that is more: what was
/// sent after the last note before a crash is counted all the same.
const AHEAD: u64 = 16 << 10;
/// Without a budget it is kept this often.
const KEEP_US: i64 = 60_000_000;

/// A part of every day, in minutes since midnight; the end is not in it. It may go over midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quiet {
    from: u16,
    to: u16,
}

impl Quiet {
    fn holds(self, minute: u16) -> bool {
        if self.from < self.to {
            (self.from..self.to).contains(&minute)
        } else {
            minute >= self.from || minute < self.to
        }
    }
}

impl std::str::FromStr for Quiet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let minute = |text: &str| -> Option<u16> {
            let (h, m) = text.trim().split_once(':')?;
            let (h, m) = (h.parse::<u16>().ok()?, m.parse::<u16>().ok().filter(|_| m.len() == 2)?);
            (h < 24 && m < 60).then_some(h * 60 + m)
        };
        let both = text.split_once('-').and_then(|(from, to)| Some((minute(from)?, minute(to)?)));
        match both.filter(|(from, to)| from != to) {
            Some((from, to)) => Ok(Self { from, to }),
            None => Err(format!("`{text}` is not a part of the day such as `22:00-06:30`")),
        }
    }
}

/// What the link may carry. Days, months and quiet hours are those of a calendar: the box's zone or UTC.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Most bytes a day; none: any.
    pub day_bytes: Option<u64>,
    /// Most bytes a month; none: any.
    pub month_bytes: Option<u64>,
    /// Trends go while less than so much of a budget is used, percent; none: as other samples.
    pub trend_percent: Option<u64>,
    /// When only what is urgent goes.
    pub quiet: Vec<Quiet>,
    /// Whether the calendar is UTC's; else that of the box's zone.
    pub utc: bool,
}

impl Plan {
    fn local(&self, now_us: i64) -> NaiveDateTime {
        let utc = Utc.timestamp_micros(now_us).single().unwrap_or_default();
        if self.utc { utc.naive_utc() } else { utc.with_timezone(&Local).naive_local() }
    }

    /// When a time of this calendar is, UTC us; of two the earlier, and of none the next that is.
    fn utc_us(&self, at: NaiveDateTime) -> i64 {
        if self.utc {
            return at.and_utc().timestamp_micros();
        }
        let found =
            (0..8).find_map(|q| Local.from_local_datetime(&(at + TimeDelta::minutes(15 * q))).earliest());
        found.map_or_else(|| at.and_utc().timestamp_micros(), |at| at.timestamp_micros())
    }
}

/// What may not go now. Records and critical samples go in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    /// Why samples may not; none: they may.
    pub(crate) samples: Option<LinkHold>,
    /// Whether trends may not, whatever others do.
    pub(crate) trends: bool,
}

/// Counts as the note has them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Counts {
    /// Days since 1970, and months: of which the counts are.
    day: i64,
    month: i64,
    day_bytes: u64,
    month_bytes: u64,
    /// What was told, and since when.
    #[serde(default)]
    held: Option<LinkHold>,
    #[serde(default)]
    held_since_us: i64,
}

/// The count, and what it allows.
#[derive(Debug)]
pub(crate) struct Meter {
    plan: Plan,
    counts: Counts,
    /// As the note on disk has them, and when it was written.
    kept: Counts,
    kept_us: Option<i64>,
    until_us: Option<i64>,
}

impl Meter {
    /// With what the note says, if there is one.
    pub(crate) fn new(plan: Plan, note: Option<&[u8]>) -> Self {
        let counts: Counts = note.and_then(|n| serde_json::from_slice(n).ok()).unwrap_or_default();
        Self { plan, counts, kept: counts, kept_us: None, until_us: None }
    }

    /// So many bytes more went over the link, in either direction.
    pub(crate) fn add(&mut self, bytes: u64) {
        self.counts.day_bytes = self.counts.day_bytes.saturating_add(bytes);
        self.counts.month_bytes = self.counts.month_bytes.saturating_add(bytes);
    }

    /// Looks at the clock, if it can be believed; true if the hold changed.
    pub(crate) fn look(&mut self, now_us: i64, synchronised: bool) -> bool {
        let local = self.plan.local(now_us);
        if synchronised {
            let (day, month) = (days(local), months(local));
            // A clock that was set back by a day or a month at most, and is set right later, gives nothing anew.
            let (day, month) = (at_least(self.counts.day, day), at_least(self.counts.month, month));
            if day > self.counts.day {
                self.counts.day_bytes = 0;
            }
            if month > self.counts.month {
                self.counts.month_bytes = 0;
            }
            (self.counts.day, self.counts.month) = (day, month);
        }
        let used = |used: u64, most: Option<u64>| most.is_some_and(|most| used >= most);
        let midnight = |days: i64| local.date().and_time(chrono::NaiveTime::MIN) + TimeDelta::days(days);
        let minute = u16::try_from(local.num_seconds_from_midnight() / 60).unwrap_or(0);
        let quiet = self.plan.quiet.iter().find(|q| q.holds(minute));
        let (hold, until) = if used(self.counts.month_bytes, self.plan.month_bytes) {
            let (y, m) =
                if local.month() == 12 { (local.year() + 1, 1) } else { (local.year(), local.month() + 1) };
            let next = chrono::NaiveDate::from_ymd_opt(y, m, 1).map(|d| d.and_time(chrono::NaiveTime::MIN));
            (Some(LinkHold::Month), next)
        } else if used(self.counts.day_bytes, self.plan.day_bytes) {
            (Some(LinkHold::Day), Some(midnight(1)))
        } else if let Some(quiet) = quiet.filter(|_| synchronised) {
            let days = i64::from(quiet.to <= minute);
            (Some(LinkHold::Quiet), Some(midnight(days) + TimeDelta::minutes(quiet.to.into())))
        } else {
            (None, None)
        };
        self.until_us = until.map(|at| self.plan.utc_us(at));
        if hold == self.counts.held {
            return false;
        }
        (self.counts.held, self.counts.held_since_us) = (hold, now_us);
        true
    }

    /// Whether so much of a budget is used that the rest is for what matters more than trends.
    fn holds_trends(&self) -> bool {
        let Some(percent) = self.plan.trend_percent else { return false };
        let used = |used: u64, most: Option<u64>| {
            most.is_some_and(|most| u128::from(used) * 100 >= u128::from(most) * u128::from(percent))
        };
        used(self.counts.day_bytes, self.plan.day_bytes)
            || used(self.counts.month_bytes, self.plan.month_bytes)
    }

    /// Why samples may not go now; none: they may.
    pub(crate) fn hold(&self) -> Option<LinkHold> {
        self.counts.held
    }

    /// What the note should hold now, if it is to be written.
    pub(crate) fn note(&mut self, now_us: i64, last: bool) -> Option<Vec<u8>> {
        let ahead = [self.plan.day_bytes, self.plan.month_bytes].into_iter().flatten().min();
        let ahead = ahead.map(|budget| AHEAD.max(budget / 100));
        let is_told = self.counts.held == self.kept.held;
        let is_behind = self.counts.month_bytes > self.kept.month_bytes || self.counts.day > self.kept.day;
        let is_due = self.kept_us.is_none_or(|at| now_us.saturating_sub(at) >= KEEP_US || now_us < at);
        if !(last && self.counts != self.kept || !is_told || is_behind && (ahead.is_some() || is_due)) {
            return None;
        }
        let more = ahead.filter(|_| !last).unwrap_or(0);
        self.kept = Counts {
            day_bytes: self.counts.day_bytes.saturating_add(more),
            month_bytes: self.counts.month_bytes.saturating_add(more),
            ..self.counts
        };
        self.kept_us = Some(now_us);
        // A struct of ours: this cannot fail.
        serde_json::to_vec(&self.kept).ok()
    }

    /// For people.
    pub(crate) fn status(&self) -> LinkUse {
        let left = |used: u64, most: Option<u64>| most.map(|most| most.saturating_sub(used));
        LinkUse {
            day_bytes: self.counts.day_bytes,
            month_bytes: self.counts.month_bytes,
            day_left: left(self.counts.day_bytes, self.plan.day_bytes),
            month_left: left(self.counts.month_bytes, self.plan.month_bytes),
            held: self.hold(),
            trends_held: self.holds_trends(),
            held_since_us: self.counts.held.map(|_| self.counts.held_since_us),
            held_until_us: self.until_us,
            ..LinkUse::default()
        }
    }
}

/// One more than it is now is kept.
fn at_least(known: i64, now: i64) -> i64 {
    if known == now + 1 { known } else { now }
}

fn days(at: NaiveDateTime) -> i64 {
    at.and_utc().timestamp().div_euclid(86_400)
}

fn months(at: NaiveDateTime) -> i64 {
    i64::from(at.year()) * 12 + i64::from(at.month0())
}

#[cfg(test)]
#[path = "meter_tests.rs"]
mod tests;
