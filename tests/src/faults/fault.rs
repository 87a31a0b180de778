//! The faults that there are, and what they are called.

use std::time::Duration;

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

/// What is done to the cloud's database while it is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoilt {
    /// The file is cut short.
    FileTorn,
    /// Bits of the file are flipped.
    FileFlipped,
    /// The write-ahead log is cut short.
    LogTorn,
    /// Bits of the write-ahead log are flipped.
    LogFlipped,
}

/// What an administrator does with the cloud's database, and is cut by a kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// `twinway-cloud backup`
    Backup,
    /// `twinway-cloud restore`
    Restore,
    /// `twinway-cloud migrate-store`
    Migrate,
    /// A part of a point's history is deleted; it is the cloud that is killed.
    Delete,
    /// A program newer than the database brings it to its form; it is the cloud that is killed.
    Upgrade,
    /// What is beyond its time is removed; it is the cloud that is killed.
    Retention,
}

/// What a disk refuses with an error of its own (`EIO`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// bytes
    Writes,
    /// to make them durable
    Syncs,
    /// to make, move, remove or cut files
    Names,
}

/// A second box that has the name and the credentials of the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Other {
    /// With a state of its own.
    Stranger,
    /// With a copy of the first one's disk.
    Copy,
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
    /// power is lost, for so long: what was not synced is on the disk or not, by a seed of its own
    Power(Duration, u64),
    /// its folder is copied while it is down, and so long after the next start the copy is put back
    Restore(Duration),
    /// the disk is full for so long, but for so many bytes
    Full(Duration, u64),
    /// the disk refuses the next so many calls
    Refuse(Refused, u64),
    /// the next so many writes take a part only
    Short(u64),
    /// each sync takes the second at least, for as long as the first says
    SlowDisk(Duration, Duration),
    /// the wall clock is wrong by so many us, for so long, and then right again
    Clock(Duration, i64),
    /// the wall clock stands at 1970, for so long, and then jumps to what it is
    Epoch(Duration),
    /// A backup is made; so long after the cloud is killed, and its database spoilt by a seed of its own
    Spoil(Spoilt, Duration, u64),
    /// kill -9 so long after the task began, and once more from the beginning
    CutTask(Task, Duration),
    /// The gateway's broker goes and comes back after so long, while the gateway goes on.
    Broker(Duration),
    /// A second box comes up beside the first; so long after people were told, it is let in, or else taken away.
    Second(Other, bool, Duration),
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
            Self::Power(..) => "loss of power",
            Self::Restore(_) => "restored backup",
            Self::Full(..) => "full disk",
            Self::Refuse(Refused::Writes, _) => "write errors",
            Self::Refuse(Refused::Syncs, _) => "sync errors",
            Self::Refuse(Refused::Names, _) => "errors on names",
            Self::Short(_) => "short writes",
            Self::SlowDisk(..) => "slow disk",
            Self::Clock(_, us) if us > 0 => "clock forward and back",
            Self::Clock(..) => "clock back and forward",
            Self::Epoch(_) => "clock at 1970",
            Self::Spoil(Spoilt::FileTorn, ..) => "kill -9, torn database",
            Self::Spoil(Spoilt::FileFlipped, ..) => "kill -9, flipped bits in the database",
            Self::Spoil(Spoilt::LogTorn, ..) => "kill -9, torn write-ahead log",
            Self::Spoil(Spoilt::LogFlipped, ..) => "kill -9, flipped bits in the write-ahead log",
            Self::CutTask(Task::Backup, _) => "kill -9 in backup",
            Self::CutTask(Task::Restore, _) => "kill -9 in restore",
            Self::CutTask(Task::Migrate, _) => "kill -9 in migrate-store",
            Self::CutTask(Task::Delete, _) => "kill -9 in a deletion",
            Self::CutTask(Task::Upgrade, _) => "kill -9 in an upgrade of the database",
            Self::CutTask(Task::Retention, _) => "kill -9 in retention",
            Self::Broker(_) => "restart of the broker",
            Self::Second(Other::Stranger, true, _) => "second box, let in",
            Self::Second(Other::Stranger, false, _) => "second box, taken away",
            Self::Second(Other::Copy, true, _) => "copy of the box, let in",
            Self::Second(Other::Copy, false, _) => "copy of the box, taken away",
        }
    }

    /// How long it lasts.
    pub(super) fn takes(self) -> Duration {
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
            | Self::Thin(_, d)
            | Self::Power(d, _)
            | Self::Restore(d)
            | Self::Full(d, _)
            | Self::SlowDisk(d, _)
            | Self::Clock(d, _)
            | Self::Epoch(d)
            | Self::Spoil(_, d, _)
            | Self::CutTask(_, d)
            | Self::Broker(d)
            | Self::Second(_, _, d) => d,
            Self::Reset | Self::Tear(_) | Self::Repeat(..) | Self::Refuse(..) | Self::Short(_) => {
                Duration::ZERO
            }
        }
    }
}
