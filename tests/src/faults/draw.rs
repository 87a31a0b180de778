//! What a seed means: which faults, when, for how long. The same seed gives the same plan as long as `Plan::of` is not changed; what the
//! processes are doing at that moment is theirs, so a seed repeats the plan and not each byte.

use std::time::Duration;

pub use super::fault::*;

/// A small generator (`SplitMix64`, Steele et al. 2014): what it draws must not change with a library's version.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of `from..=to`.
    pub fn within(&mut self, from: u64, to: u64) -> u64 {
        from + self.number() % (to - from + 1)
    }

    /// A time of `from..=to` ms.
    pub fn ms(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.within(from, to))
    }
}

/// How large files and chunks of a run are: so small that within its seconds segments are closed and begun, and chunks are
/// merged and sealed, with their roll-ups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// `[buffer] segment_kb` of the gateway.
    pub segment_kb: u64,
    /// `[history] chunk_samples` of the cloud.
    pub chunk_samples: u64,
    /// `[history] compact_ms` of the cloud.
    pub compact_ms: u64,
}

impl Sizes {
    /// Those of a seed. Drawn apart, so that a seed has the plan that it had before there were sizes.
    pub fn of(seed: u64) -> Self {
        let mut r = Random::new(!seed);
        let (segment_kb, chunk_samples) = (r.within(16, 24), r.within(64, 300));
        Self { segment_kb, chunk_samples, compact_ms: r.within(20, 400) }
    }

    /// Sections of the gateway's configuration.
    pub fn of_gateway(self) -> String {
        format!("[buffer]\nsegment_kb = {}\n", self.segment_kb)
    }

    /// Sections of the cloud's configuration.
    pub fn of_cloud(self) -> String {
        format!("[history]\nchunk_samples = {}\ncompact_ms = {}\n", self.chunk_samples, self.compact_ms)
    }
}

/// A fault and when it begins, after the start of all.
pub type Step = (Duration, Fault);

/// What happens in a run. The lanes go on beside each other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// What happens to the gateway's process.
    pub gateway: Vec<Step>,
    /// What happens to the cloud's process.
    pub cloud: Vec<Step>,
    /// What happens to the link between them.
    pub link: Vec<Step>,
    /// What happens to the gateway's disk.
    pub gateway_disk: Vec<Step>,
    /// What happens to the cloud's disk.
    pub cloud_disk: Vec<Step>,
    /// What happens to the gateway's wall clock.
    pub gateway_clock: Vec<Step>,
    /// What happens to the cloud's wall clock.
    pub cloud_clock: Vec<Step>,
    /// The second box, if there is one.
    pub second: Vec<Step>,
    /// When commands are sent, and to which of the plant's registers.
    pub commands: Vec<(Duration, usize)>,
}

/// Tells apart what is drawn of a seed in `more`.
const MORE: u64 = 0x6d6f_7265;
/// How long faults begin.
const FAULTS: Duration = Duration::from_millis(3500);
/// Longer than both sides wait for a word (5 s).
const LONGER_THAN_SILENCE: Duration = Duration::from_millis(5300);
/// Registers that commands write.
pub const REGISTERS: usize = 3;

impl Plan {
    /// The plan of a seed.
    pub fn of(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let r = &mut random;
        let mut plan = Self::default();
        // One in eight outlasts every timer; the rest is short, so that much happens in little time.
        if r.within(0, 7) == 0 {
            let at = r.ms(200, 700);
            let fault = match r.within(0, 2) {
                0 => Fault::Blackhole(LONGER_THAN_SILENCE),
                1 => Fault::HalfOpen(Way::Up, LONGER_THAN_SILENCE),
                _ => Fault::HalfOpen(Way::Down, LONGER_THAN_SILENCE),
            };
            plan.link.push((at, fault));
        }
        // At least one of the three lanes, often one alone: then it is plain what broke.
        let lanes = r.within(1, 7);
        if lanes & 1 != 0 {
            plan.gateway = lane(r, Self::gateway_fault);
        }
        if lanes & 2 != 0 {
            plan.cloud = lane(r, Self::cloud_fault);
        }
        if lanes & 4 != 0 && plan.link.is_empty() {
            plan.link = lane(r, Self::link_fault);
        }
        let mut at = r.ms(0, 600);
        while at < FAULTS {
            plan.commands.push((at, usize::try_from(r.within(0, REGISTERS as u64 - 1)).unwrap_or(0)));
            at += r.ms(50, 700);
        }
        // Half of the times that the gateway is killed, its files suffer too.
        for (_, fault) in &mut plan.gateway {
            if let Fault::Kill(away) = *fault {
                *fault = match r.within(0, 9) {
                    0 | 1 => Fault::Damage(Damage::Torn, away, r.number()),
                    2 | 3 => Fault::Damage(Damage::State, away, r.number()),
                    4 => Fault::Damage(Damage::Log, away, r.number()),
                    _ => Fault::Kill(away),
                };
            }
        }
        plan.machines(r);
        if r.within(0, 11) == 0 {
            plan.twofold(r);
        }
        plan.more(&mut Random::new(seed ^ MORE));
        plan
    }

    /// What came later, drawn apart: most seeds have the plan that they had before.
    fn more(&mut self, r: &mut Random) {
        if !self.second.is_empty() {
            return;
        }
        let has_machine = [&self.gateway_disk, &self.cloud_disk, &self.gateway_clock, &self.cloud_clock]
            .iter()
            .any(|l| !l.is_empty());
        // What a cloud that was restored lacks is sent again: the box must not lose it as well.
        let keeps = |(_, fault): &Step| !matches!(fault, Fault::Restore(_) | Fault::Damage(Damage::Log, ..));
        match r.within(0, 9) {
            // The cloud's files suffer: beside it the other side and the link may, but no disk, clock or backup.
            0..=2 if !has_machine => {
                let spoilt = match r.within(0, 3) {
                    0 => Spoilt::FileTorn,
                    1 => Spoilt::FileFlipped,
                    2 => Spoilt::LogTorn,
                    _ => Spoilt::LogFlipped,
                };
                self.gateway.retain(keeps);
                self.cloud = vec![(r.ms(300, 1500), Fault::Spoil(spoilt, r.ms(0, 1200), r.number()))];
            }
            3..=5 if !has_machine => {
                self.gateway.retain(keeps);
                self.cloud = lane(r, Self::task_fault);
            }
            6 if !has_machine => {
                self.gateway = lane(r, |r| match r.within(0, 3) {
                    0 => Self::gateway_fault(r),
                    _ => Fault::Broker(r.ms(0, 500)),
                });
            }
            _ => {}
        }
    }

    fn task_fault(r: &mut Random) -> Fault {
        let (task, most_ms) = match r.within(0, 5) {
            0 => (Task::Backup, 250),
            1 => (Task::Restore, 250),
            2 => (Task::Migrate, 250),
            3 => (Task::Delete, 30),
            4 => (Task::Upgrade, 150),
            _ => (Task::Retention, 900),
        };
        Fault::CutTask(task, r.ms(0, most_ms))
    }

    /// A second box: beside it processes and the link suffer, disks and clocks do not, and no store is one from before.
    fn twofold(&mut self, r: &mut Random) {
        let of_process = |(_, fault): &Step| {
            matches!(
                fault,
                Fault::Kill(_) | Fault::KillTwice(_) | Fault::End(_) | Fault::Stop(_) | Fault::Slow(_)
            )
        };
        self.gateway.retain(of_process);
        self.cloud.retain(of_process);
        (self.gateway_disk, self.cloud_disk) = (Vec::new(), Vec::new());
        (self.gateway_clock, self.cloud_clock) = (Vec::new(), Vec::new());
        let other = if r.within(0, 1) == 0 { Other::Stranger } else { Other::Copy };
        let let_in = r.within(0, 1) == 0;
        self.second.push((r.ms(50, 1500), Fault::Second(other, let_in, r.ms(0, 600))));
    }

    /// All that happens, lane by lane.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        let processes = [&self.gateway, &self.cloud, &self.link];
        let machines = [&self.gateway_disk, &self.cloud_disk, &self.gateway_clock, &self.cloud_clock];
        processes.into_iter().chain(machines).chain([&self.second]).flatten()
    }

    /// Disks, clocks and power.
    fn machines(&mut self, r: &mut Random) {
        // A third of the seeds is about processes and the link alone.
        if r.within(0, 2) == 0 {
            return;
        }
        // Half of the others about one disk or clock alone: then it is plain what broke.
        if r.within(0, 1) == 0 {
            (self.gateway, self.cloud, self.link) = (Vec::new(), Vec::new(), Vec::new());
        }
        match r.within(0, 9) {
            0 => self.gateway_disk = lane(r, Self::disk_fault),
            1 => self.cloud_disk = lane(r, Self::disk_fault),
            2 => self.gateway_clock = lane(r, Self::clock_fault),
            3 => self.cloud_clock = lane(r, Self::clock_fault),
            4 => self.gateway = lane(r, Self::power_fault),
            5 => self.cloud = lane(r, Self::power_fault),
            6 => self.gateway = vec![(r.ms(50, 1500), Fault::Restore(r.ms(300, 2000)))],
            7 => self.cloud = vec![(r.ms(50, 1500), Fault::Restore(r.ms(300, 2000)))],
            8 => {
                self.gateway = lane(r, Self::power_fault);
                self.gateway_disk = lane(r, Self::disk_fault);
            }
            _ => {
                self.cloud = lane(r, Self::power_fault);
                self.cloud_disk = lane(r, Self::disk_fault);
            }
        }
    }

    fn power_fault(r: &mut Random) -> Fault {
        Fault::Power(r.ms(0, 400), r.number().max(1))
    }

    fn disk_fault(r: &mut Random) -> Fault {
        match r.within(0, 7) {
            0..=2 => Fault::Full(r.ms(100, 1500), r.within(0, 3) * r.within(0, 20_000)),
            3 => Fault::Refuse(Refused::Writes, r.within(1, 6)),
            4 => Fault::Refuse(Refused::Syncs, r.within(1, 4)),
            5 => Fault::Refuse(Refused::Names, r.within(1, 4)),
            6 => Fault::Short(r.within(1, 30)),
            _ => Fault::SlowDisk(r.ms(300, 1500), r.ms(5, 150)),
        }
    }

    fn clock_fault(r: &mut Random) -> Fault {
        const S: i64 = 1_000_000;
        let by = |r: &mut Random, most: i64| i64::try_from(r.within(1, most.unsigned_abs())).unwrap_or(1);
        match r.within(0, 5) {
            0 | 1 => Fault::Epoch(r.ms(200, 1500)),
            2 => Fault::Clock(r.ms(200, 1500), by(r, 10 * S)),
            3 => Fault::Clock(r.ms(200, 1500), by(r, 400 * 86_400 * S)),
            // A sensor's own time is believed for an hour from now on.
            4 => Fault::Clock(r.ms(200, 1500), -by(r, 10 * S)),
            _ => Fault::Clock(r.ms(200, 1500), -by(r, 3500 * S)),
        }
    }

    fn gateway_fault(r: &mut Random) -> Fault {
        match r.within(0, 5) {
            0..=2 => Fault::Kill(r.ms(0, 400)),
            3 => Fault::KillTwice(r.ms(1, 300)),
            4 => Fault::Stop(r.ms(50, 1200)),
            _ => Fault::End(r.ms(0, 300)),
        }
    }

    fn cloud_fault(r: &mut Random) -> Fault {
        match r.within(0, 5) {
            0..=2 => Fault::Kill(r.ms(0, 600)),
            3 => Fault::Stop(r.ms(50, 1500)),
            4 => Fault::Slow(r.ms(300, 1500)),
            _ => Fault::End(r.ms(0, 300)),
        }
    }

    fn link_fault(r: &mut Random) -> Fault {
        let way = |r: &mut Random| if r.within(0, 1) == 0 { Way::Up } else { Way::Down };
        match r.within(0, 7) {
            0 => Fault::Cut(r.ms(50, 1000)),
            1 => Fault::Reset,
            2 => Fault::Blackhole(r.ms(50, 1500)),
            3 => Fault::HalfOpen(way(r), r.ms(100, 1000)),
            4 => Fault::Delay(r.ms(300, 1500), r.ms(5, 150)),
            5 => Fault::Thin(r.within(2_000, 60_000), r.ms(300, 1500)),
            6 => Fault::Tear(way(r)),
            _ => Fault::Repeat(way(r), r.within(1, 4)),
        }
    }
}

fn lane(r: &mut Random, draw: fn(&mut Random) -> Fault) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut at = r.ms(50, 1500);
    while at < FAULTS {
        let fault = draw(r);
        steps.push((at, fault));
        at += fault.takes() + r.ms(150, 1500);
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_the_same_plan_and_seeds_are_different_ones() {
        assert_eq!(Plan::of(7), Plan::of(7));
        let plans: Vec<Plan> = (0..200).map(Plan::of).collect();
        assert!(plans.iter().all(|p| p.steps().count() > 0));
        let mut names: Vec<_> = plans.iter().flat_map(Plan::steps).map(|(_, f)| f.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 42, "every kind of fault is drawn: {names:?}");
        // As published with the algorithm: a seed keeps its numbers.
        assert_eq!(Random::new(1_234_567).number(), 6_457_827_717_110_365_317);
    }
}
