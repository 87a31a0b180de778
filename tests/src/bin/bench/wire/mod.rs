//! What a sample takes on the wire and at rest: 1,000 points at 10 Hz, 70 % of them 16-bit converters with white noise
//! of 4 steps on drifting levels, 15 % counters, 15 % states. In this process, without a gateway: the bytes are those
//! that the store encodes and the uplink sends, with what MQTT adds; TLS and TCP are not counted.

mod peers;
pub mod plant;
mod rest;

use std::time::Instant;

use common::wire::{Batch, Body, Frame, FrameHeader, Up};
use common::{Incarnation, Sample, SchemaHash};
use gateway_sync::{READ_BYTES, backlog_messages};

use crate::figure::{Beside, print, print_beside};
use plant::{CYCLES_PER_S, DEVICES, Plant};

const POINTS: usize = 1000;
/// Of a bus that is polled: what a request's answer takes differs by as much.
const JITTER_US: u64 = 1000;
/// Seconds of the plant that are encoded.
const SECONDS: usize = 20;
/// What the gateway cuts a frame at.
const FRAME_SAMPLES: usize = 4000;
const RUNS: usize = 5;

/// All of it.
pub async fn wire() {
    let mut plant = Plant::new(POINTS, JITTER_US, 1);
    let cycles: Vec<Vec<Vec<Sample>>> = (0..SECONDS * CYCLES_PER_S).map(|_| plant.cycle()).collect();
    let samples = (SECONDS * CYCLES_PER_S * POINTS) as f64;
    let bound = plant.entropy_bits() / 8.0;
    eprintln!("entropy bound: {bound:.3} B a sample (noise, counts, states and jitter of the polls)");
    let floor = Beside::floor("entropy of the samples", bound);

    let seconds: Vec<Vec<Sample>> = cycles.chunks(CYCLES_PER_S).map(|c| c.concat().concat()).collect();
    let polls: Vec<&[Sample]> = cycles.iter().flatten().map(|poll| &poll[..]).collect();
    let large = frames(seconds.iter().flat_map(|s| s.chunks(FRAME_SAMPLES)));
    let small = frames(polls.iter().copied());

    let json = each(&seconds, peers::json_zstd) / samples;
    let sparkplug = each(&seconds, peers::sparkplug_zstd) / samples;
    print("wire_json_zstd_b", json, "B/sample", "report", None);
    let live = sent(&large, |f| Up::encode_frame(&f.encode())) / samples;
    print_beside(
        "wire_live_b",
        live,
        "B/sample",
        "<= 4",
        &[floor, Beside::peer("Sparkplug B + zstd, 1 s in a message", sparkplug)],
    );
    let first = sent(&large, |f| Up::encode_frame(&f.encode_first())) / samples;
    print("wire_live_first_version_b", first, "B/sample", "report", None);

    let live_10ms = sent(&small, |f| Up::encode_frame(&f.encode())) / samples;
    let first_10ms = sent(&small, |f| Up::encode_frame(&f.encode_first())) / samples;
    let beside = Beside::peer("frames of the first version", first_10ms);
    print_beside("wire_live_10ms_b", live_10ms, "B/sample", "report", &[floor, beside]);
    let sparkplug_10ms = each(&polls, peers::sparkplug_zstd) / samples;
    print("wire_sparkplug_zstd_10ms_b", sparkplug_10ms, "B/sample", "report", None);

    let messages = backlog(&small);
    let backlog = messages.iter().map(|m| published(m)).sum::<usize>() as f64 / samples;
    let beside = Beside::peer("the same frames alone", live_10ms);
    print_beside("wire_backlog_b", backlog, "B/sample", "<= 2", &[floor, beside]);
    speed(&large, &small, &messages, samples);
    rest::rest("rest_b", "<= 2", 1).await;
    rest::rest("rest_jitter_b", "report", JITTER_US).await;
}

/// Frames of these samples, as the store makes them.
fn frames<'a>(parts: impl Iterator<Item = &'a [Sample]>) -> Vec<Frame> {
    let frame = |(seq, rows): (u64, &[Sample])| {
        // A frame is cut at most 10 ms after its first sample.
        let cut = rows.last().map_or(0, |s| s.received_us) + 9_000 + (seq as i64 * 7_919) % 900;
        let header = FrameHeader {
            schema: SchemaHash([7; 16]),
            incarnation: Incarnation(0x0123_4567_89ab_cdef),
            seq,
            cut_us: cut,
            cut_mono_us: (cut - plant::START_US) as u64,
            synchronised: true,
        };
        Frame { header, body: Body::Samples(rows.to_vec()) }
    };
    (1..).zip(parts).map(frame).collect()
}

/// Messages as the uplink makes them of its backlog.
fn backlog(frames: &[Frame]) -> Vec<Vec<u8>> {
    let (mut out, mut read, mut bytes) = (Vec::new(), Vec::new(), 0);
    let send = |read: &mut Vec<_>| backlog_messages(frames[0].header.incarnation, &std::mem::take(read));
    for frame in frames {
        let encoded = frame.encode();
        if bytes + encoded.len() > READ_BYTES {
            out.extend(send(&mut read));
            bytes = 0;
        }
        bytes += encoded.len();
        read.push((frame.header.seq, encoded));
    }
    out.extend(send(&mut read));
    out
}

fn sent(frames: &[Frame], message: impl Fn(&Frame) -> Vec<u8>) -> f64 {
    frames.iter().map(|f| published(&message(f))).sum::<usize>() as f64
}

fn each<T: AsRef<[Sample]>>(parts: &[T], message: impl Fn(&[Sample]) -> Vec<u8>) -> f64 {
    parts.iter().map(|p| published(&message(p.as_ref()))).sum::<usize>() as f64
}

/// Bytes of an MQTT 3.1.1 PUBLISH of quality 1: kind, length, topic with its length, packet's number, message.
fn published(message: &[u8]) -> usize {
    let rest = 2 + "twinway/v1/default/box1/up".len() + 2 + message.len();
    let length = if rest < 128 {
        1
    } else if rest < 16_384 {
        2
    } else {
        3
    };
    1 + length + rest
}

/// Nanoseconds a sample, the best of some runs: what else runs here only adds.
fn best(samples: f64, mut work: impl FnMut()) -> f64 {
    let took = (0..RUNS).map(|_| {
        let began = Instant::now();
        work();
        began.elapsed().as_nanos() as f64 / samples
    });
    took.fold(f64::INFINITY, f64::min)
}

fn speed(large: &[Frame], small: &[Frame], messages: &[Vec<u8>], samples: f64) {
    for (name, frames) in [("1s", large), ("10ms", small)] {
        let encode = best(samples, || frames.iter().for_each(|f| drop(std::hint::black_box(f.encode()))));
        let goal = if name == "10ms" { "<= 100" } else { "report" };
        print(&format!("wire_encode_{name}_ns"), encode, "ns/sample", goal, None);
        let bytes: Vec<Vec<u8>> = frames.iter().map(Frame::encode).collect();
        let decode =
            best(samples, || bytes.iter().for_each(|b| drop(std::hint::black_box(Frame::decode(b)))));
        print(&format!("wire_decode_{name}_ns"), decode, "ns/sample", "report", None);
    }
    let batch = |message: &Vec<u8>| match Up::decode(message) {
        Ok(Up::Batch(batch)) => batch,
        other => panic!("no batch: {other:?}"),
    };
    let batches: Vec<Vec<u8>> = messages.iter().map(batch).collect();
    let decode = best(samples, || batches.iter().for_each(|b| drop(std::hint::black_box(Batch::decode(b)))));
    print("wire_decode_batch_ns", decode, "ns/sample", "report", None);
    eprintln!("polls a second: {}", DEVICES * CYCLES_PER_S);
}
