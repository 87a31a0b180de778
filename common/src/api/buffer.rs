//! The box's buffer in detail: what `twinway buffer` shows and asks for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::BufferHealth;

/// Frames of one class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BufferClass {
    /// On disk.
    pub frames: u64,
    /// Of these, those that the cloud has not acknowledged.
    pub unacked_frames: u64,
}

/// Who reads the buffer, and how far behind its head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BufferReader {
    /// `cloud`, or the name of a publisher.
    pub name: String,
    /// Frames that it has still to take.
    pub lag_frames: u64,
    /// Bytes of the segments that they are in, whole segments counted.
    pub lag_bytes: u64,
    /// Most bytes that are kept for it once the cloud has them; none for the cloud, which has no bound but the quota.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_bytes: Option<u64>,
}

/// What was lost since the gateway's start, for one cause.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BufferLoss {
    /// Frames told as missing, or that were refused before they had a number.
    pub frames: u64,
    /// Their samples, where they could be counted.
    pub samples: u64,
}

/// Files that could not be used and were moved aside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BufferQuarantine {
    /// How many are kept.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many came since the gateway's start.
    pub since_start: u64,
}

/// `GET /api/v1/buffer`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BufferStatus {
    /// As in the gateway's health.
    pub health: BufferHealth,
    /// Files of the log.
    pub segments: u64,
    /// When the oldest frame was cut, UTC us; none if there is none.
    pub oldest_us: Option<i64>,
    /// When the newest was.
    pub newest_us: Option<i64>,
    /// Frames with samples.
    pub samples: BufferClass,
    /// Those of them of critical points; without any where the gateway does not tell.
    #[serde(default)]
    pub critical: BufferClass,
    /// And of trends.
    #[serde(default)]
    pub trends: BufferClass,
    /// Events, alarms, audit, steps of commands, gaps.
    pub records: BufferClass,
    /// Bytes of segments that hold only records, and most that they may have.
    pub records_bytes: (u64, u64),
    /// Who reads it, the cloud first.
    pub readers: Vec<BufferReader>,
    /// What was moved aside.
    pub quarantine: BufferQuarantine,
    /// What was lost since the start, by cause.
    pub lost: BTreeMap<String, BufferLoss>,
    /// Whether samples are refused because the quota is reached and the oldest are to stay.
    pub refusing: bool,
}

/// Where the log is damaged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BufferDamage {
    /// The file's name.
    pub file: String,
    /// First and last sequence that should be there and is not sound; none if the file could not be read.
    pub seqs: Option<(u64, u64)>,
    /// What is wrong.
    pub detail: String,
}

/// `GET /api/v1/buffer/verify`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BufferVerify {
    /// Files read.
    pub segments: u64,
    /// Sound frames in them.
    pub frames: u64,
    /// Bytes read.
    pub bytes: u64,
    /// What is not sound.
    pub damage: Vec<BufferDamage>,
}

/// `POST /api/v1/buffer/drop`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BufferDropRequest {
    /// Samples of frames cut from here on go, UTC us.
    pub from_us: i64,
    /// Up to here.
    pub to_us: i64,
    /// Why, for the audit: 1 to 1000 bytes.
    pub reason: String,
}

/// What a drop did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BufferDropped {
    /// Frames that the cloud lacked: told as a gap.
    pub frames: u64,
    /// Their samples.
    pub samples: u64,
    /// Frames that the cloud has.
    pub acked_frames: u64,
}
