//! What passed between gateway and cloud, as the link saw it: which frames with what in them, and what the cloud
//! acknowledged. It knows what each side must never say, and notes where it did.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use common::wire::{Batch, Body, Down, Frame, Gap, Hello, Known, Up};
use common::{Incarnation, IntervalSet};

use super::judge::{Kind, Violation};

/// A frame's name.
pub type Name = (Incarnation, u64);

/// What is known of the wire.
#[derive(Debug, Clone, Default)]
pub struct Wire {
    /// Of each frame a hash of its bytes.
    frames: HashMap<Name, u64>,
    /// Source times of its samples, UTC us.
    pub samples: BTreeMap<Name, Vec<i64>>,
    /// What a gateway said that it lost.
    pub gaps: BTreeMap<Name, Gap>,
    /// All that the cloud has acknowledged.
    pub acknowledged: BTreeMap<Incarnation, IntervalSet>,
    /// The last hello that came by each link, and what had been acknowledged by then: what is meanwhile, by another link, need
    /// not be in the answer.
    hellos: BTreeMap<usize, (Hello, BTreeMap<Incarnation, IntervalSet>)>,
    /// What a gateway remembered as acknowledged when it said hello, and the cloud lacked: people are told.
    pub lacked: Vec<String>,
    /// What should not have been said.
    pub violations: Vec<Violation>,
}

impl Wire {
    fn blame(&mut self, kind: Kind, detail: String) {
        self.violations.push(Violation { kind, detail });
    }

    /// The cloud's store is one from before: nobody knows any more what it acknowledged since. What it said before it was
    /// killed may still be on its way, by a link of then.
    pub fn cloud_restored(&mut self) {
        self.acknowledged.clear();
        self.hellos.clear();
    }

    /// A message of the gateway, on its way to the cloud by a link.
    pub fn up(&mut self, link: usize, payload: &[u8]) {
        match Up::decode(payload) {
            Ok(Up::Hello(hello)) => drop(self.hellos.insert(link, (*hello, self.acknowledged.clone()))),
            Ok(Up::Frame(bytes)) => self.frame(&bytes),
            Ok(Up::Batch(bytes)) => match Batch::decode(&bytes) {
                // Each by the bytes that it has alone, as the gateway may send it so as well.
                Ok(frames) => frames.iter().for_each(|frame| self.frame(&frame.encode())),
                Err(error) => self.blame(Kind::Malformed, format!("the gateway sent a batch: {error}")),
            },
            Ok(_) => {}
            Err(error) => self.blame(Kind::Malformed, format!("the gateway sent {error}")),
        }
    }

    fn frame(&mut self, bytes: &[u8]) {
        let frame = match Frame::decode(bytes) {
            Ok(frame) => frame,
            Err(error) => return self.blame(Kind::Malformed, format!("the gateway sent a frame: {error}")),
        };
        let name = (frame.header.incarnation, frame.header.seq);
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        let hash = hasher.finish();
        if *self.frames.entry(name).or_insert(hash) != hash {
            self.blame(Kind::NumberReused, format!("frame {} of {} was two different ones", name.1, name.0));
        }
        match frame.body {
            Body::Samples(rows) => {
                self.samples.insert(name, rows.iter().map(|s| s.source_us).collect());
            }
            Body::Gap(gap) => drop(self.gaps.insert(name, gap)),
            _ => {}
        }
    }

    /// A message of the cloud.
    pub fn down(&mut self, link: usize, payload: &[u8]) {
        match Down::decode(payload) {
            Ok(Down::HelloAck(ack)) => self.hello_ack(link, &ack.known),
            Ok(Down::Ack(ack)) if self.hellos.contains_key(&link) => self.ack(&ack.acked),
            Ok(_) => {}
            Err(error) => self.blame(Kind::Malformed, format!("the cloud sent {error}")),
        }
    }

    /// A session begins: the cloud must know all that it had acknowledged of what the gateway still has.
    fn hello_ack(&mut self, link: usize, known: &[Known]) {
        let Some((hello, by_then)) = self.hellos.get(&link) else { return };
        let mut forgotten = Vec::new();
        for stream in &hello.streams {
            let Some(acknowledged) = by_then.get(&stream.incarnation) else { continue };
            let of = known.iter().find(|k| k.incarnation == stream.incarnation);
            for (first, last) in acknowledged.iter() {
                if !of.is_some_and(|k| k.seqs.contains_range(first, last)) {
                    forgotten.push(format!("frames {first} to {last} of {}", stream.incarnation));
                }
            }
        }
        for remembered in hello.identity.iter().flat_map(|identity| &identity.acked) {
            let of = known.iter().find(|k| k.incarnation == remembered.incarnation);
            let lacked = of.map_or_else(|| remembered.seqs.clone(), |k| remembered.seqs.minus(&k.seqs));
            if !lacked.is_empty() {
                self.lacked.push(format!("{} frames of {}", lacked.len(), remembered.incarnation));
            }
        }
        for detail in forgotten {
            self.blame(Kind::AckForgotten, format!("the cloud has acknowledged and lacks {detail}"));
        }
        self.ack(known);
    }

    fn ack(&mut self, known: &[Known]) {
        for of in known {
            for (first, last) in of.seqs.iter() {
                let absent = (first..=last).find(|seq| !self.frames.contains_key(&(of.incarnation, *seq)));
                if let Some(seq) = absent {
                    self.blame(Kind::AckForged, format!("frame {seq} of {} was never sent", of.incarnation));
                }
            }
            self.acknowledged.entry(of.incarnation).or_default().extend(&of.seqs);
        }
    }
}

#[cfg(test)]
mod tests {
    use common::SchemaHash;
    use common::wire::{Ack, FrameHeader, HelloAck, Identity, StreamRange};

    use super::*;

    const BOOT: Incarnation = Incarnation(7);

    fn frame(seq: u64, cut_us: i64) -> Vec<u8> {
        let header = FrameHeader {
            schema: SchemaHash([1; 16]),
            incarnation: BOOT,
            seq,
            cut_us,
            cut_mono_us: 1,
            synchronised: true,
        };
        Up::encode_frame(&Frame { header, body: Body::Samples(Vec::new()) }.encode())
    }

    fn known(first: u64, last: u64) -> Vec<Known> {
        vec![Known { incarnation: BOOT, seqs: vec![(first, last)].into() }]
    }

    fn hello() -> Vec<u8> {
        let hello = Hello {
            tenant: "default".parse().expect("a tenant"),
            gateway: "box1".parse().expect("a gateway"),
            version: String::new(),
            incarnation: BOOT,
            streams: vec![StreamRange { incarnation: BOOT, first: 1, last: 9 }],
            schema: SchemaHash([1; 16]),
            schemas: Vec::new(),
            session_us: 0,
            remote: false,
            features: Vec::new(),
            identity: None,
            heartbeat_ms: None,
        };
        Up::Hello(Box::new(hello)).encode()
    }

    fn kinds(wire: &Wire) -> Vec<Kind> {
        wire.violations.iter().map(|v| v.kind).collect()
    }

    fn honest() -> Wire {
        let mut wire = Wire::default();
        wire.up(0, &hello());
        wire.down(0, &Down::HelloAck(HelloAck { session: 1, ..HelloAck::default() }).encode());
        (1..=3).for_each(|seq| wire.up(0, &frame(seq, 5)));
        wire.up(0, &frame(2, 5));
        wire.down(0, &Down::Ack(Ack { acked: known(1, 2) }).encode());
        wire
    }

    #[test]
    fn an_honest_wire_is_not_blamed() {
        let mut wire = honest();
        wire.up(0, &hello());
        let again = HelloAck { session: 2, known: known(1, 3), ..HelloAck::default() };
        wire.down(0, &Down::HelloAck(again).encode());
        assert_eq!(kinds(&wire), []);
    }

    #[test]
    fn a_cloud_that_acknowledged_before_it_stored_is_caught_at_the_next_hello() {
        let mut wire = honest();
        wire.up(0, &hello());
        let again = HelloAck { session: 2, known: known(1, 1), ..HelloAck::default() };
        wire.down(0, &Down::HelloAck(again).encode());
        assert_eq!(kinds(&wire), [Kind::AckForgotten]);
    }

    #[test]
    fn what_a_cloud_said_before_it_was_restored_does_not_bind_it() {
        let mut wire = honest();
        wire.cloud_restored();
        // It was on its way when the cloud was killed.
        wire.down(0, &Down::Ack(Ack { acked: known(3, 3) }).encode());
        wire.up(1, &hello());
        let first = HelloAck { session: 2, known: known(1, 1), ..HelloAck::default() };
        wire.down(1, &Down::HelloAck(first).encode());
        assert_eq!((kinds(&wire), wire.lacked.len()), (vec![], 0), "the gateway remembers nothing");
        let Ok(Up::Hello(mut remembering)) = Up::decode(&hello()) else { panic!("a hello") };
        let none = serde_json::json!({ "box_id": "00000000000000000000000000000001", "attempt": 0 });
        let none: Identity = serde_json::from_value(none).expect("an identity");
        remembering.identity = Some(Box::new(Identity { acked: known(1, 2), ..none }));
        wire.up(3, &Up::Hello(remembering).encode());
        wire.down(
            3,
            &Down::HelloAck(HelloAck { session: 2, known: known(1, 1), ..HelloAck::default() }).encode(),
        );
        assert_eq!(wire.lacked, ["1 frames of 00000000000000000000000000000007"], "it lacks frame 2");
        wire.down(1, &Down::Ack(Ack { acked: known(2, 2) }).encode());
        wire.up(2, &hello());
        let second = HelloAck { session: 3, known: known(1, 1), ..HelloAck::default() };
        wire.down(2, &Down::HelloAck(second).encode());
        assert_eq!(kinds(&wire), [Kind::AckForgotten], "but all that it said since does");
    }

    #[test]
    fn what_the_other_link_was_told_after_a_hello_need_not_be_in_its_answer() {
        let mut wire = honest();
        wire.up(1, &hello());
        wire.down(0, &Down::Ack(Ack { acked: known(3, 3) }).encode());
        let answer = |first, last| {
            Down::HelloAck(HelloAck { session: 2, known: known(first, last), ..HelloAck::default() }).encode()
        };
        wire.down(1, &answer(1, 2));
        assert_eq!(kinds(&wire), []);
        wire.up(1, &hello());
        wire.down(1, &answer(1, 2));
        assert_eq!(kinds(&wire), [Kind::AckForgotten]);
    }

    #[test]
    fn an_acknowledgement_of_what_was_never_sent_is_caught() {
        let mut wire = honest();
        wire.down(0, &Down::Ack(Ack { acked: known(3, 4) }).encode());
        assert_eq!(kinds(&wire), [Kind::AckForged]);
    }

    #[test]
    fn a_number_that_is_used_twice_is_caught() {
        let mut wire = honest();
        wire.up(0, &frame(3, 6));
        assert_eq!(kinds(&wire), [Kind::NumberReused]);
    }

    #[test]
    fn frames_of_a_batch_are_those_that_they_are_alone() {
        let mut wire = honest();
        let mut batch = Batch::default();
        for seq in 2..=5 {
            let Ok(Up::Frame(bytes)) = Up::decode(&frame(seq, 5)) else { panic!("a frame") };
            batch.push(Frame::decode(&bytes).expect("a frame")).expect("room");
        }
        wire.up(0, &Up::Batch(batch.encode().expect("bytes")).encode());
        wire.down(0, &Down::Ack(Ack { acked: known(3, 5) }).encode());
        assert_eq!(kinds(&wire), []);
        wire.up(0, &frame(5, 6));
        assert_eq!(kinds(&wire), [Kind::NumberReused]);
    }

    #[test]
    fn what_is_no_message_is_caught() {
        let mut wire = honest();
        wire.up(0, &[9, 9, 9]);
        wire.down(0, &[1, 99]);
        assert_eq!(kinds(&wire), [Kind::Malformed, Kind::Malformed]);
    }
}
