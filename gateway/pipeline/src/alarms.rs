//! Alarms, judged on samples as they are, before any deadband. Pure: time comes in with every call, and every change
//! comes out. States follow ANSI/ISA-18.2, 5.3: a condition that holds for the on-delay raises, one that is gone for
//! the off-delay clears, and neither forgets that nobody has acknowledged. A shelved alarm is judged as before; its
//! changes say that it is shelved. What is not known (a bad value under a limit) changes nothing.

mod rule;

use std::collections::HashMap;

use common::alarm::{
    AlarmAct, AlarmChange, AlarmId, AlarmState, AlarmView, KeptAlarm, LONGEST_SHELF_MS, Remark,
};
use common::{PointId, Sample};

pub use rule::Rule;
use rule::Watch;

use crate::Now;

/// Longest on- or off-delay.
pub const LONGEST_DELAY_MS: u64 = 24 * 3_600_000;

/// One alarm as configured.
#[derive(Debug, Clone)]
pub struct AlarmDefinition {
    /// Its point.
    pub point: PointId,
    /// When its condition holds.
    pub rule: Rule,
    /// A limit must be left by this much before the condition is gone, in the limit's unit.
    pub hysteresis: f64,
    /// How long the condition must hold before it raises.
    pub on_delay_ms: u64,
    /// How long it must be gone before it clears.
    pub off_delay_ms: u64,
    /// How long a value of the point counts as current.
    pub stale_ms: u64,
    /// Whether it is judged at all.
    pub enabled: bool,
    /// What is told of it: identity, words, priority. State and times are filled in.
    pub told: AlarmView,
}

struct Alarm {
    definition: AlarmDefinition,
    watch: Watch,
    now: AlarmView,
    said: Remark,
    /// What the condition is about to become, and since when, monotonic us.
    pending: Option<(bool, u64)>,
}

/// Why an alarm was not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ActError {
    /// There is none of this identity.
    #[error("there is no such alarm")]
    Unknown,
    /// It is switched off in the configuration.
    #[error("the alarm is out of service")]
    OutOfService,
}

/// All alarms of a gateway.
pub struct Alarms {
    alarms: Vec<Alarm>,
    /// By point: places in `alarms`.
    places: HashMap<PointId, Vec<usize>>,
    by_id: HashMap<AlarmId, usize>,
    /// Before the state of the last run is known, nothing is judged.
    ready: bool,
}

impl Alarms {
    /// All normal and waiting for `restore`.
    pub fn new(definitions: Vec<AlarmDefinition>, now: Now) -> Self {
        let mut places: HashMap<PointId, Vec<usize>> = HashMap::new();
        let mut by_id = HashMap::new();
        let mut alarms = Vec::with_capacity(definitions.len());
        for (at, definition) in definitions.into_iter().enumerate() {
            for point in definition.rule.inputs(definition.point) {
                places.entry(point).or_default().push(at);
            }
            by_id.insert(definition.told.id, at);
            let watch = Watch::new(&definition, now.mono_us);
            let (now, said) = (definition.told.clone(), Remark::default());
            alarms.push(Alarm { watch, now, said, pending: None, definition });
        }
        Self { alarms, places, by_id, ready: false }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.alarms.is_empty()
    }

    /// The points that alarms look at.
    pub fn points(&self) -> impl Iterator<Item = PointId> {
        self.places.keys().copied()
    }

    /// Takes over what alarms were when the program last ran, and begins to judge. What is no longer configured is
    /// told as removed, what was switched off or on as that; an alarm that was active stays so until a sample says
    /// otherwise, so that a restart raises nothing anew.
    pub fn restore(&mut self, kept: Vec<KeptAlarm>, now: Now, out: &mut Vec<AlarmView>) {
        self.ready = true;
        for KeptAlarm { view: old, said } in kept {
            let Some(alarm) = self.by_id.get(&old.id).and_then(|at| self.alarms.get_mut(*at)) else {
                if old.state != AlarmState::Normal || old.shelved_until_us.is_some() {
                    let (state, change) = (AlarmState::Normal, AlarmChange::Removed);
                    let (actor, comment) = ("system".to_owned(), String::new());
                    let at_us = now.utc_us;
                    out.push(AlarmView {
                        state,
                        change,
                        at_us,
                        actor,
                        comment,
                        shelved_until_us: None,
                        shelved_once: false,
                        ..old
                    });
                }
                continue;
            };
            alarm.said = said;
            alarm.now.state = old.state;
            alarm.now.raised_us = old.raised_us;
            (alarm.now.shelved_until_us, alarm.now.shelved_once) = (old.shelved_until_us, old.shelved_once);
            (alarm.now.change, alarm.now.at_us) = (old.change, old.at_us);
            (alarm.now.actor, alarm.now.comment) = (old.actor, old.comment);
            (alarm.now.value, alarm.now.quality) = (old.value, old.quality);
        }
        for alarm in &mut self.alarms {
            let was_off = alarm.now.state == AlarmState::OutOfService;
            if alarm.definition.enabled && was_off {
                alarm.change(AlarmState::Normal, AlarmChange::Enabled, now, out);
            } else if !alarm.definition.enabled && !was_off {
                alarm.unshelve();
                alarm.change(AlarmState::OutOfService, AlarmChange::Disabled, now, out);
            }
            alarm.judge(now, out);
        }
    }

    /// A judged sample of any point.
    pub fn feed(&mut self, sample: &Sample, now: Now, out: &mut Vec<AlarmView>) {
        let Some(places) = self.places.get(&sample.point) else { return };
        for at in places {
            let Some(alarm) = self.alarms.get_mut(*at) else { continue };
            alarm.watch.feed(&alarm.definition, sample, now.mono_us);
            if self.ready {
                alarm.judge(now, out);
            }
        }
    }

    /// What time alone brings: delays that are over, values that grow stale, shelves that end.
    pub fn tick(&mut self, now: Now, out: &mut Vec<AlarmView>) {
        if !self.ready {
            return;
        }
        for alarm in &mut self.alarms {
            if alarm.now.shelved_until_us.is_some_and(|until| now.utc_us >= until) {
                alarm.unshelve();
                alarm.change(alarm.now.state, AlarmChange::Unshelved, now, out);
            }
            alarm.judge(now, out);
        }
    }

    /// Does what somebody wants. Asking again changes nothing more. No comment leaves what was said before.
    ///
    /// # Errors
    /// When there is no such alarm, or it is out of service.
    pub fn act(
        &mut self,
        id: AlarmId,
        act: AlarmAct,
        actor: &str,
        comment: Option<&str>,
        now: Now,
        out: &mut Vec<AlarmView>,
    ) -> Result<AlarmView, ActError> {
        let alarm = self.by_id.get(&id).and_then(|at| self.alarms.get_mut(*at)).ok_or(ActError::Unknown)?;
        if alarm.now.state == AlarmState::OutOfService {
            return Err(ActError::OutOfService);
        }
        let before = out.len();
        match act {
            AlarmAct::Acknowledge { raised_us } => {
                let next = match alarm.now.state {
                    AlarmState::Active => Some(AlarmState::Acknowledged),
                    AlarmState::Returned => Some(AlarmState::Normal),
                    _ => None,
                };
                // Of an occurrence before this one: somebody saw that and not this.
                if let Some(next) = next.filter(|_| alarm.now.raised_us == Some(raised_us)) {
                    alarm.change(next, AlarmChange::Acknowledged, now, out);
                }
            }
            AlarmAct::Comment => alarm.change(alarm.now.state, AlarmChange::Commented, now, out),
            AlarmAct::Shelve { duration_ms } => alarm.shelve(duration_ms, false, now, out),
            AlarmAct::ShelveOnce => alarm.shelve(LONGEST_SHELF_MS, true, now, out),
            AlarmAct::Unshelve => {
                if alarm.unshelve() {
                    alarm.change(alarm.now.state, AlarmChange::Unshelved, now, out);
                }
            }
        }
        if let Some(told) = out.get_mut(before..).and_then(<[_]>::last_mut) {
            actor.clone_into(&mut told.actor);
            if let Some(comment) = comment {
                comment.clone_into(&mut told.comment);
                alarm.said = Remark { text: comment.to_owned(), actor: actor.to_owned() };
            }
            alarm.now = told.clone();
        }
        Ok(alarm.now.clone())
    }

    /// An alarm as it is.
    pub fn get(&self, id: AlarmId) -> Option<&AlarmView> {
        Some(&self.alarms.get(*self.by_id.get(&id)?)?.now)
    }

    /// What was said of an alarm last.
    pub fn said(&self, id: AlarmId) -> Option<&Remark> {
        Some(&self.alarms.get(*self.by_id.get(&id)?)?.said)
    }

    /// All alarms as they are.
    pub fn list(&self) -> impl Iterator<Item = &AlarmView> {
        self.alarms.iter().map(|a| &a.now)
    }

    /// What must outlive a restart: all that are not as new.
    pub fn kept(&self) -> Vec<KeptAlarm> {
        let matters = |a: &&Alarm| a.now.raised_us.is_some() || a.now.change != AlarmChange::Enabled;
        let one = |a: &Alarm| KeptAlarm { view: a.now.clone(), said: a.said.clone() };
        self.alarms.iter().filter(matters).map(one).collect()
    }

    /// When `tick` must be called next at the latest, monotonic us.
    pub fn next_due_us(&self, now: Now) -> Option<u64> {
        let one = |a: &Alarm| {
            let shelf = a.now.shelved_until_us.map(|until| {
                let left = u64::try_from(until.saturating_sub(now.utc_us)).unwrap_or(0);
                now.mono_us.saturating_add(left)
            });
            let delay = a.pending.map(|(to, since)| since.saturating_add(a.definition.delay_us(to)));
            // A value that is stale already was judged as that.
            let stale = a.watch.stale_at_us(&a.definition).filter(|at| *at > now.mono_us);
            shelf.into_iter().chain(delay).chain(stale).min()
        };
        self.alarms.iter().filter(|a| a.definition.enabled).filter_map(one).min()
    }

    /// Whether the state of the last run is taken over.
    pub fn is_ready(&self) -> bool {
        self.ready
    }
}

impl AlarmDefinition {
    fn delay_us(&self, to: bool) -> u64 {
        (if to { self.on_delay_ms } else { self.off_delay_ms }).saturating_mul(1000)
    }
}

impl Alarm {
    fn judge(&mut self, now: Now, out: &mut Vec<AlarmView>) {
        if !self.definition.enabled {
            return;
        }
        let active = self.now.state.is_active();
        let condition = self.watch.condition(&self.definition, active, now.mono_us);
        let Some(condition) = condition.filter(|c| *c != active) else {
            self.pending = None;
            return;
        };
        let since = match self.pending {
            Some((to, since)) if to == condition => since,
            _ => {
                self.pending = Some((condition, now.mono_us));
                now.mono_us
            }
        };
        if now.mono_us.saturating_sub(since) < self.definition.delay_us(condition) {
            return;
        }
        self.pending = None;
        if condition {
            // Two occurrences never have one name, whatever the clock was set to.
            let after = self.now.raised_us.map_or(i64::MIN, |t| t.saturating_add(1));
            self.now.raised_us = Some(now.utc_us.max(after));
            self.change(AlarmState::Active, AlarmChange::Raised, now, out);
        } else {
            let acknowledged = self.now.state == AlarmState::Acknowledged;
            let next = if acknowledged { AlarmState::Normal } else { AlarmState::Returned };
            self.change(next, AlarmChange::Cleared, now, out);
            if self.now.shelved_once {
                self.unshelve();
                self.change(next, AlarmChange::Unshelved, now, out);
            }
        }
    }

    fn shelve(&mut self, duration_ms: u64, once: bool, now: Now, out: &mut Vec<AlarmView>) {
        let us = i64::try_from(duration_ms.saturating_mul(1000)).unwrap_or(i64::MAX);
        self.now.shelved_until_us = Some(now.utc_us.saturating_add(us));
        self.now.shelved_once = once;
        self.change(self.now.state, AlarmChange::Shelved, now, out);
    }

    /// Whether it was shelved.
    fn unshelve(&mut self) -> bool {
        self.now.shelved_once = false;
        self.now.shelved_until_us.take().is_some()
    }

    fn change(&mut self, state: AlarmState, change: AlarmChange, now: Now, out: &mut Vec<AlarmView>) {
        self.now.state = state;
        self.now.change = change;
        self.now.at_us = now.utc_us;
        "system".clone_into(&mut self.now.actor);
        self.now.comment.clear();
        if let Some((value, quality)) = self.watch.last() {
            (self.now.value, self.now.quality) = (value, quality);
        }
        out.push(self.now.clone());
    }
}

#[cfg(test)]
#[path = "alarms_tests.rs"]
mod tests;
