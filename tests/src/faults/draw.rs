//! What a seed means: which faults, when, for how long. The same seed gives the same plan for ever; what the
//! processes are doing at that moment is theirs, so a seed repeats the plan and not each byte.

use std::time::Duration;

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

/// A way of the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Way {
    /// from gateway to cloud
    Up,
    /// from cloud to gateway
    Down,
}

/// What is done to the gateway's buffer while it is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// Half a write stands behind the log's end: costs nothing that was durable.
    Torn,
    /// The state beside the log is spoilt: it can be made anew, and costs nothing.
    State,
    /// A bit of the log is flipped: costs the frames it hits, and is told.
    Log,
}

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// kill -9, away for so long
    Kill(Duration),
    /// kill -9, and again so long after the next start began
    KillTwice(Duration),
    /// kill -9, away for so long, and the buffer damaged meanwhile by a seed of its own
    Damage(Damage, Duration, u64),
    /// SIGTERM, away for so long
    End(Duration),
    /// SIGSTOP for so long
    Stop(Duration),
    /// stopped for 60 ms of every 80 ms, for so long
    Slow(Duration),
    /// connections refused for so long
    Cut(Duration),
    /// connections reset once
    Reset,
    /// nothing passes and nothing ends, for so long
    Blackhole(Duration),
    /// One end is gone; the other, the one that sends this way, is not told. Ends with the link's healing.
    HalfOpen(Way, Duration),
    /// each piece comes later by the second, for as long as the first says
    Delay(Duration, Duration),
    /// so many bytes a second each way, for so long
    Thin(u64, Duration),
    /// the next large packet is sent half, then the connection is reset
    Tear(Way),
    /// the next so many messages come twice, as from a broker in between
    Repeat(Way, u64),
}

impl Fault {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill(_) => "kill -9",
            Self::KillTwice(_) => "kill -9 in start",
            Self::Damage(Damage::Torn, ..) => "kill -9, torn log",
            Self::Damage(Damage::State, ..) => "kill -9, spoilt state",
            Self::Damage(Damage::Log, ..) => "kill -9, flipped bit in the log",
            Self::End(_) => "SIGTERM",
            Self::Stop(_) => "SIGSTOP",
            Self::Slow(_) => "slow",
            Self::Cut(_) => "cut",
            Self::Reset => "reset",
            Self::Blackhole(_) => "blackhole",
            Self::HalfOpen(..) => "half-open",
            Self::Delay(..) => "latency",
            Self::Thin(..) => "bandwidth",
            Self::Tear(_) => "torn packet",
            Self::Repeat(..) => "repeated message",
        }
    }

    /// How long it lasts.
    fn takes(self) -> Duration {
        match self {
            Self::Kill(d)
            | Self::KillTwice(d)
            | Self::Damage(_, d, _)
            | Self::End(d)
            | Self::Stop(d)
            | Self::Slow(d)
            | Self::Cut(d)
            | Self::Blackhole(d)
            | Self::HalfOpen(_, d)
            | Self::Delay(d, _)
            | Self::Thin(_, d) => d,
            Self::Reset | Self::Tear(_) | Self::Repeat(..) => Duration::ZERO,
        }
    }
}

/// A fault and when it begins, after the start of all.
pub type Step = (Duration, Fault);

/// What happens in a run. The three go on beside each other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// What happens to the gateway's process.
    pub gateway: Vec<Step>,
    /// What happens to the cloud's process.
    pub cloud: Vec<Step>,
    /// What happens to the link between them.
    pub link: Vec<Step>,
    /// When commands are sent, and to which of the plant's registers.
    pub commands: Vec<(Duration, usize)>,
}

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
        plan
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
        assert!(plans.iter().all(|p| p.gateway.len() + p.cloud.len() + p.link.len() > 0));
        let mut names: Vec<_> =
            plans.iter().flat_map(|p| [&p.gateway, &p.cloud, &p.link]).flatten().collect();
        names.sort_by_key(|(_, f)| f.name());
        names.dedup_by_key(|(_, f)| f.name());
        assert_eq!(names.len(), 16, "every kind of fault is drawn");
        // As published with the algorithm: the plan of a seed is for ever.
        assert_eq!(Random::new(1_234_567).number(), 6_457_827_717_110_365_317);
    }
}
