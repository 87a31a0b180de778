//! Our own edge node: numbers its messages, and says which births, deaths and data they are. What is in them comes
//! from the caller, and so does the clock.

use common::Value;

use crate::payload::{Metric, Payload};
use crate::{BD_SEQ, REBIRTH};

/// Aliases below this are the node's own; a caller's begin here.
pub const NODE_ALIASES: u64 = 16;
const ALIAS_REBIRTH: u64 = 1;

/// What a host asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// New births.
    Rebirth,
    /// A metric that is to be written: name or alias, and the value as it came.
    Write(Metric),
}

/// Numbers of one connection's messages.
#[derive(Debug, Clone)]
pub struct Edge {
    bd_seq: u8,
    /// Number of the next message.
    seq: u8,
}

impl Edge {
    /// A connection with its number, which grows with each connection and is kept over restarts.
    pub fn new(bd_seq: u8) -> Self {
        Self { bd_seq, seq: 0 }
    }

    fn bd_metric(&self, now_ms: u64) -> Metric {
        let value = Value::I64(i64::from(self.bd_seq));
        Metric { timestamp_ms: Some(now_ms), ..Metric::new(BD_SEQ, &value) }
    }

    fn number(&mut self) -> u64 {
        let seq = self.seq;
        self.seq = seq.wrapping_add(1);
        u64::from(seq)
    }

    /// The death of the node, as the connection's will or before a good end. It has no number.
    pub fn death(&self, now_ms: u64) -> Payload {
        Payload { timestamp_ms: Some(now_ms), seq: None, metrics: vec![self.bd_metric(now_ms)] }
    }

    /// The birth of the node, with metrics of its own beside those that the specification wants. Numbers begin
    /// anew.
    pub fn birth(&mut self, now_ms: u64, metrics: Vec<Metric>) -> Payload {
        self.seq = 0;
        let rebirth = Metric {
            alias: Some(ALIAS_REBIRTH),
            timestamp_ms: Some(now_ms),
            ..Metric::new(REBIRTH, &Value::Bool(false))
        };
        let mut all = vec![self.bd_metric(now_ms), rebirth];
        all.extend(metrics);
        Payload { timestamp_ms: Some(now_ms), seq: Some(self.number()), metrics: all }
    }

    /// The next message of the node or of one of its devices: birth of a device, data, or death of a device.
    pub fn message(&mut self, now_ms: u64, metrics: Vec<Metric>) -> Payload {
        Payload { timestamp_ms: Some(now_ms), seq: Some(self.number()), metrics }
    }

    /// What a command asks for. Metrics that mean nothing are left out.
    pub fn commands(payload: Payload) -> Vec<Command> {
        let rebirth = |m: &Metric| {
            m.name.as_deref() == Some(REBIRTH) || (m.name.is_none() && m.alias == Some(ALIAS_REBIRTH))
        };
        payload
            .metrics
            .into_iter()
            .filter_map(|metric| match rebirth(&metric) {
                true => (metric.read(Some(11)) == Ok(Some(Value::Bool(true)))).then_some(Command::Rebirth),
                false => Some(Command::Write(metric)),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::host::{Host, Step};
    use crate::payload::rebirth_request;
    use crate::topic::Kind;

    #[test]
    fn a_host_follows_our_node_round_all_numbers_and_knows_its_death() {
        let (mut edge, mut host) = (Edge::new(255), Host::new());
        let through = |p: Payload| Payload::decode(&p.encode()).unwrap();
        let steps = host.receive(Kind::NBirth, None, &through(edge.birth(5, vec![])));
        assert_eq!(steps[0], Step::Born { device: None });
        let metric = |value: f64| Metric { alias: Some(20), ..Metric::new("t", &Value::F64(value)) };
        host.receive(Kind::DBirth, Some("d"), &through(edge.message(5, vec![metric(0.0)])));
        for n in 0..600 {
            let data = Metric { name: None, ..metric(f64::from(n)) };
            let steps = host.receive(Kind::DData, Some("d"), &through(edge.message(6, vec![data])));
            assert!(
                matches!(&steps[..], [Step::Value { value: Ok(Some(Value::F64(x))), .. }] if *x == f64::from(n))
            );
        }
        // The will of the connection before is none of ours.
        assert_eq!(host.receive(Kind::NDeath, None, &through(Edge::new(254).death(7))), []);
        assert_eq!(host.receive(Kind::NDeath, None, &through(edge.death(7))), [Step::Dead { device: None }]);
    }

    #[test]
    fn a_rebirth_is_asked_for_by_name_or_alias() {
        assert_eq!(Edge::commands(rebirth_request(1)), [Command::Rebirth]);
        let mut by_alias = rebirth_request(1);
        (by_alias.metrics[0].name, by_alias.metrics[0].alias) = (None, Some(ALIAS_REBIRTH));
        assert_eq!(Edge::commands(by_alias), [Command::Rebirth]);
        let no = Metric::new(REBIRTH, &Value::Bool(false));
        let write = Metric::new("x", &Value::I64(1));
        let payload = Payload { metrics: vec![no, write.clone()], ..Payload::default() };
        assert_eq!(Edge::commands(payload), [Command::Write(write)]);
    }

    proptest! {
        #[test]
        fn no_command_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(payload) = Payload::decode(&bytes) {
                let _ = Edge::commands(payload);
            }
        }
    }
}
