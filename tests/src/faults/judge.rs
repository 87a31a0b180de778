//! The judgement: from what was seen outside of both processes, what was promised and not kept. Pure: the same
//! evidence gives the same violations, so that each can be forged in a test and must be found.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use common::CommandState;
use common::api::{CommandView, GapReason, HistoryGap};
use common::command::LogEntry;
use common::names::{Code, action};
use common::wire::{Gap, GapCause};

use super::processes::End;
use super::second::{NUMBERS, Seen};
use super::sensor::Acked;
use super::site::{BACK_US, RATE};
use super::tasks::Deleted;
use super::wire::Wire;
use crate::oracle::{Oracle, Stored};

/// What kind of promise was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// durable at the gateway, not in the history
    Lost,
    /// acknowledged by the gateway's broker, neither in the history nor told as dropped
    Unaccounted,
    /// deleted on request, and in the history
    Undeleted,
    /// acknowledged by the cloud, not in the history
    AckedLost,
    /// more than once in the history
    Doubled,
    /// in the history in another order, or the twin went backwards
    Reordered,
    /// in the history with a value that is not its own
    Changed,
    /// the cloud lacks what it acknowledged
    AckForgotten,
    /// acknowledged and never sent
    AckForged,
    /// two frames had one name
    NumberReused,
    /// not a message of the wire
    Malformed,
    /// the twin's state is not the last good sample
    TwinWrong,
    /// a command was written more than once
    CommandTwice,
    /// what a command's end says is not what was written, or it has no end, or the two sides differ
    CommandEnd,
    /// `unknown`, where reading back would have told
    UnknownNeedless,
    /// something was done and the audit does not say so
    AuditGap,
    /// damage of the disk that nobody was told of
    Untold,
    /// a part of a program panicked, and was started again
    Panicked,
    /// not up or not well again in time once nothing is broken any more
    Unsettled,
}

/// A promise that was not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub kind: Kind,
    /// Where it was seen.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.detail)
    }
}

/// A command that the harness sent, under one idempotency key, as often as it took to get an answer.
#[derive(Debug, Clone)]
pub struct Sent {
    /// What the requester gave as its reason: names it in the audit.
    pub reason: String,
    /// Register at the plant.
    pub register: usize,
    /// The word that only this command writes.
    pub word: u16,
    /// The cloud took it: it may not forget it.
    pub acknowledged: bool,
    /// What the cloud says of it at the end; none if it does not know it.
    pub cloud: Option<CommandView>,
    /// What the gateway says of it at the end; none if it does not know it.
    pub gateway: Option<CommandView>,
    /// A clock jumped: times say nothing of what was before what.
    pub untimed: bool,
}

/// All that was seen.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// Source time of number 0, UTC us.
    pub base_us: i64,
    /// How many points the sensor has.
    pub points: u64,
    /// What the gateway said was durable.
    pub oracle: Oracle,
    /// What the cloud's history holds.
    pub stored: Stored,
    /// What passed between them.
    pub wire: Wire,
    /// By point, the number of the last sample that the sensor sent.
    pub last: BTreeMap<u64, u64>,
    /// By point, number and value of the twin's state in the cloud.
    pub twin: BTreeMap<u64, (u64, Option<f64>)>,
    /// Where the twin was seen to go backwards.
    pub backwards: Vec<String>,
    /// Commands.
    pub commands: Vec<Sent>,
    /// Each word written at the plant, with its register, in order.
    pub written: Vec<(usize, u16)>,
    /// The cloud's audit and event list.
    pub audit: Vec<LogEntry>,
    /// By point, what the cloud says that it lacks, if its database was spoilt.
    pub gaps: BTreeMap<u64, Vec<HistoryGap>>,
    /// What was deleted on request.
    pub deleted: Vec<Deleted>,
    /// What was beyond its time: it may be there or not.
    pub expired: Vec<Deleted>,
    /// By number, what the gateway's broker acknowledged to the sensor.
    pub acked: BTreeMap<u64, Acked>,
    /// Where the gateway was cut off.
    pub ends: Vec<End>,
    /// What the gateway's last process dropped, by `<queue>:<cause>`.
    pub dropped: BTreeMap<String, u64>,
    /// Damage done to the gateway's files that cannot come from a loss of power: it may cost samples, and is told.
    pub corrupted: bool,
    /// One of the stores is one from before: what it had of commands since then nobody can tell.
    pub restored: bool,
    /// What a second box under the gateway's name came to, if there was one.
    pub second: Option<Seen>,
    /// What both programs logged of panics that they got over.
    pub panics: Vec<String>,
    /// What was seen and done beneath both programs, by name.
    pub shims: BTreeMap<String, u64>,
}

pub use crate::load::number as value;

/// Everything that was promised and not kept.
pub fn judge(evidence: &Evidence) -> Vec<Violation> {
    let mut found = evidence.wire.violations.clone();
    found.extend(evidence.panics.iter().map(|line| violation(Kind::Panicked, line.clone())));
    found.extend(samples(evidence));
    found.extend(twin(evidence));
    for command in &evidence.commands {
        found.extend(of_command(evidence, command));
    }
    found.extend(strangers(evidence));
    found.extend(twofold(evidence));
    found
}

fn violation(kind: Kind, detail: impl Into<String>) -> Violation {
    Violation { kind, detail: detail.into() }
}

fn samples(evidence: &Evidence) -> Vec<Violation> {
    let mut found = Vec::new();
    let verdict = evidence.oracle.judge(&evidence.stored, value);
    // Of what is gone for a reason, nothing is lost.
    let with_reasons = with_reasons(evidence);
    let lost = evidence.oracle.judge(&with_reasons, value).lost;
    let told = evidence.audit.iter().any(|e| e.action == action::DATA_GAP);
    let may_lose = evidence.corrupted && told;
    // A full disk may cost what the declared policy gives away, as many samples as it tells.
    let dropped = told_dropped(evidence);
    if evidence.corrupted && lost > 0 && !told {
        found.push(violation(Kind::Untold, format!("{} samples were damaged: {verdict:?}", verdict.lost)));
    }
    let counts = [
        (Kind::Lost, if may_lose || lost <= dropped { 0 } else { lost }),
        (Kind::Doubled, verdict.doubled),
        (Kind::Changed, verdict.changed),
        (Kind::Reordered, verdict.reordered),
    ];
    for (kind, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
        found.push(violation(kind, format!("{count} samples: {verdict:?}")));
    }
    let there: BTreeSet<u64> = with_reasons.values().flatten().map(|(number, _)| *number).collect();
    let missing = unaccounted(evidence, &there);
    if !may_lose && missing.len() as u64 > dropped + counted(evidence) {
        let (first, count) = (missing.first(), missing.len());
        let detail = format!("{count} samples from {first:?}: {dropped} told, {:?}", evidence.dropped);
        found.push(violation(Kind::Unaccounted, detail));
    }
    found.extend(evidence.backwards.iter().map(|text| violation(Kind::Reordered, text)));
    // A cloud that went back must not do so in silence.
    let is_told = evidence
        .audit
        .iter()
        .any(|e| [action::CLOUD_RESTORED, action::DATA_DAMAGED].contains(&e.action.as_str()));
    if let Some(lacked) = evidence.wire.lacked.first().filter(|_| !is_told) {
        found.push(violation(Kind::Untold, format!("the cloud had acknowledged {lacked} and lacked it")));
    }
    let undeleted = |number: &u64| evidence.deleted.iter().any(|deleted| deleted.has(*number));
    let again = evidence.stored.values().flatten().filter(|(number, _)| undeleted(number)).count();
    if again > 0 {
        found.push(violation(Kind::Undeleted, format!("{again} samples of {:?}", evidence.deleted)));
    }
    for ((incarnation, seq), times) in &evidence.wire.samples {
        if !evidence.wire.acknowledged.get(incarnation).is_some_and(|set| set.contains(*seq)) {
            continue;
        }
        let numbers = times.iter().filter_map(|us| number(evidence, *us));
        let absent = numbers.filter(|n| !there.contains(n)).count();
        if absent > 0 {
            let detail = format!("{absent} samples of frame {seq} of {incarnation}");
            found.push(violation(Kind::AckedLost, detail));
        }
    }
    found
}

/// Numbers that the gateway's broker acknowledged and the history has not, without those that a cut of the gateway may have cost.
///
/// An acknowledgement of the broker says that the gateway has the sample in hand. From then on it is lost only by a kill or
/// a loss of power in the time that it takes to the disk, and by a kill only behind all that reached the disk: whatever else is
/// given up, is counted. What came later may be in the history all the same: frames go up before they are on the disk, and a
/// cloud that could not write some may have written the next.
fn unaccounted(evidence: &Evidence, there: &BTreeSet<u64>) -> Vec<u64> {
    // By connection, the last that was on the disk.
    let mut kept = BTreeMap::new();
    let was_on_disk = |number: u64| there.contains(&number) && evidence.oracle.is_durable(number);
    for (number, acked) in evidence.acked.iter().filter(|(number, _)| was_on_disk(**number)) {
        let last = kept.entry(acked.since).or_insert(*number);
        *last = (*last).max(*number);
    }
    let is_excused = |number: u64, acked: &Acked| {
        let was_followed = kept.get(&acked.since).is_some_and(|last| *last > number);
        evidence.ends.iter().any(|end| end.may_cost(acked) && !(end.in_order && was_followed))
    };
    let missing = evidence.acked.iter().filter(|(number, _)| !there.contains(number));
    missing.filter(|(number, acked)| !is_excused(**number, acked)).map(|(number, _)| *number).collect()
}

/// What is stored, and what of it is not there for a reason that is told: deleted on request, or damaged.
fn with_reasons(evidence: &Evidence) -> Stored {
    let last = evidence.last.values().copied().max().unwrap_or_default();
    let is_told = |point: u64, number: u64| {
        evidence.deleted.iter().chain(&evidence.expired).any(|deleted| deleted.has(number))
            || evidence.gaps.get(&point).into_iter().flatten().any(|gap| covers(evidence, gap, number))
    };
    filled(evidence.stored.clone(), last, is_told)
}

/// What is stored, with each number up to the last that is not there and `is_told`, by point.
pub(super) fn filled(mut stored: Stored, last: u64, is_told: impl Fn(u64, u64) -> bool) -> Stored {
    let points = stored.len() as u64;
    for (point, samples) in &mut stored {
        let there: BTreeSet<u64> = samples.iter().map(|(number, _)| *number).collect();
        let of_point = (1..=last).filter(|n| n % points == *point && !there.contains(n));
        samples.extend(of_point.filter(|n| is_told(*point, *n)).map(|n| (n, Some(value(n)))));
        samples.sort_by_key(|(number, _)| *number);
    }
    stored
}

/// Whether a gap says of a sample that the cloud lost it: by its time, or by about when its frame was cut.
fn covers(evidence: &Evidence, gap: &HistoryGap, number: u64) -> bool {
    const ABOUT_US: i64 = 2_000_000;
    let us = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let source = evidence.base_us + us(number);
    let made = evidence.base_us + BACK_US + us(number * 1_000_000 / RATE);
    match gap.cause {
        GapReason::CloudDamaged | GapReason::SetAside => {
            (gap.from_us..gap.to_us).contains(&source)
                || (gap.from_us - ABOUT_US..gap.to_us + ABOUT_US).contains(&made)
        }
        GapReason::CloudLost => (gap.from_us..gap.to_us).contains(&source),
        _ => false,
    }
}

/// What the gateway's last process counts as dropped on a sample's way to the buffer.
fn counted(evidence: &Evidence) -> u64 {
    const WAY: [&str; 4] = ["broker:inbox_full", "raw:full", "store:slow", "store:too_large"];
    evidence.dropped.iter().filter(|(name, _)| WAY.contains(&name.as_str())).map(|(_, n)| n).sum()
}

/// Samples that gateways told as dropped because their disk was full, as far as people are told of it in the same words.
fn told_dropped(evidence: &Evidence) -> u64 {
    let gateway = "box1".parse().expect("a name");
    let is_told = |gap: &&Gap| {
        let detail = gap.entry(&gateway, 0).detail;
        evidence.audit.iter().any(|e| e.action == action::DATA_GAP && e.detail == detail)
    };
    let full = evidence.wire.gaps.values().filter(|gap| gap.cause == GapCause::DiskFull);
    full.filter(is_told).map(|gap| gap.samples).sum()
}

/// The number of a sensor's sample; none if it is another device's.
fn number(evidence: &Evidence, source_us: i64) -> Option<u64> {
    let number = u64::try_from(source_us - evidence.base_us).ok()?;
    let last = evidence.last.values().copied().max()?;
    let of_second = evidence.second.as_ref().map_or(0, |second| second.last);
    ((1..=last).contains(&number) || (NUMBERS + 1..=of_second).contains(&number)).then_some(number)
}

/// Two boxes under one name: people are told, and what was durable in the second one is in the history if it was let in.
fn twofold(evidence: &Evidence) -> Vec<Violation> {
    let Some(second) = &evidence.second else { return Vec::new() };
    let mut found = Vec::new();
    let is_told = |action: &str| evidence.audit.iter().any(|e| e.action == action);
    if !is_told(action::GATEWAY_DUPLICATE) {
        found.push(violation(Kind::Untold, "two boxes spoke under one name"));
    }
    let Some(oracle) = &second.oracle else { return found };
    if !is_told(action::GATEWAY_ACCEPTED) {
        found.push(violation(Kind::AuditGap, "the second box was let in"));
    }
    let verdict = oracle.judge(&evidence.stored, value);
    if verdict.lost > 0 {
        found.push(violation(Kind::Lost, format!("{} samples of the second box: {verdict:?}", verdict.lost)));
    }
    found
}

fn twin(evidence: &Evidence) -> Vec<Violation> {
    let mut found = Vec::new();
    for (point, last) in &evidence.last {
        let stored = evidence.stored.get(point).into_iter().flatten().map(|(number, _)| *number);
        let stored = stored.filter(|number| *number <= NUMBERS).max();
        let twin = evidence.twin.get(point).copied();
        if twin != Some((*last, Some(value(*last)))) || stored != Some(*last) {
            let detail =
                format!("p{point} is {twin:?} in the twin, {stored:?} in the history; {last} was the last");
            found.push(violation(Kind::TwinWrong, detail));
        }
    }
    found
}

/// Whether a write was tried, as far as the state tells.
fn tried(state: CommandState) -> bool {
    !matches!(state, CommandState::Rejected | CommandState::Expired)
}

fn of_command(evidence: &Evidence, sent: &Sent) -> Vec<Violation> {
    let mut found = Vec::new();
    // What the log lost of a command nobody can tell; that it is written once still holds.
    let known = !evidence.corrupted && !evidence.restored;
    let at = |(register, word): &&(usize, u16)| (*register, *word) == (sent.register, sent.word);
    let writes = evidence.written.iter().filter(at).count();
    let state = sent.cloud.as_ref().map(|c| c.state);
    let at_box = sent.gateway.as_ref().map(|g| g.state);
    let told = || {
        let end = |view: &Option<CommandView>| {
            view.as_ref().map(|v| format!("{:?} {:?} {:?}", v.state, v.code, v.detail))
        };
        let (cloud, at_box) = (end(&sent.cloud), end(&sent.gateway));
        format!("{}: {cloud:?}, at the box {at_box:?}, {writes} writes", sent.reason)
    };
    if writes > 1 {
        found.push(violation(Kind::CommandTwice, told()));
    }
    let fits = match state {
        None => writes == 0 && !sent.acknowledged,
        Some(CommandState::Rejected | CommandState::Expired) => writes == 0,
        Some(CommandState::Succeeded) => writes >= 1,
        Some(CommandState::Failed | CommandState::Unknown) => true,
        Some(CommandState::Accepted | CommandState::Sent | CommandState::Executing) => false,
    };
    if !fits && known {
        found.push(violation(Kind::CommandEnd, told()));
    }
    let Some(view) = sent.cloud.as_ref().filter(|_| known) else { return found };
    if at_box.is_some_and(|at_box| at_box != view.state) {
        found.push(violation(Kind::CommandEnd, told()));
    }
    if view.state == CommandState::Unknown && !was_hidden(&evidence.commands, sent) {
        found.push(violation(Kind::UnknownNeedless, told()));
    }
    if view.state.is_final() && !is_audited(evidence, sent, view) {
        found.push(violation(Kind::AuditGap, told()));
    }
    found
}

/// Whether another command may have written the same register later: then reading back tells nothing.
pub(super) fn was_hidden(commands: &[Sent], sent: &Sent) -> bool {
    let began = |s: &Sent| s.cloud.as_ref().map(|c| c.created_us);
    commands.iter().any(|other| {
        other.register == sent.register
            && other.word != sent.word
            && (sent.untimed || began(other) > began(sent))
            && other.cloud.as_ref().is_some_and(|c| tried(c.state))
    })
}

/// Whether the audit tells of its acceptance and of its end.
fn is_audited(evidence: &Evidence, sent: &Sent, view: &CommandView) -> bool {
    let end = match view.state {
        CommandState::Succeeded => action::COMMAND_SUCCEEDED,
        CommandState::Rejected => action::COMMAND_REJECTED,
        CommandState::Expired => action::COMMAND_EXPIRED,
        CommandState::Failed => action::COMMAND_FAILED,
        CommandState::Unknown => action::COMMAND_UNKNOWN,
        CommandState::Accepted | CommandState::Sent | CommandState::Executing => return true,
    };
    // What ends without a worker names the point alone; it is after the command was made.
    let names = |e: &&LogEntry| {
        let anonymous = matches!(e.code, Some(Code::Interrupted | Code::GatewayOffline))
            || view.state == CommandState::Expired;
        e.detail.contains(&sent.reason)
            || (anonymous
                && e.target.ends_with(&format!("/{}", view.point))
                && (sent.untimed || e.at_us >= view.created_us))
    };
    let has = |name: &str| evidence.audit.iter().filter(names).any(|e| e.action == name);
    let accepted = evidence
        .audit
        .iter()
        .any(|e| e.action == action::COMMAND_ACCEPTED && e.detail.contains(&sent.reason));
    accepted && has(end)
}

/// What was written and no command asked for.
fn strangers(evidence: &Evidence) -> Vec<Violation> {
    let asked: BTreeSet<(usize, u16)> = evidence.commands.iter().map(|c| (c.register, c.word)).collect();
    let strange = evidence.written.iter().filter(|w| !asked.contains(w));
    strange.map(|(r, w)| violation(Kind::CommandEnd, format!("nobody asked to write {w} to {r}"))).collect()
}
