//! The plant: ten devices that are read ten times a second, each with one request. A sample's time is that of its request,
//! which comes when it is due, or up to a jitter later.

use std::sync::Arc;

use common::{
    DeviceSchema, PointId, PointSchema, Quality, Sample, Schema, TenantId, TwinId, Value, ValueType,
};
use gateway_core::{Device, PointDefinition, RawRange, Registry};

/// When it begins, UTC us.
pub const START_US: i64 = 1_795_046_400_000_000;
pub const CYCLES_PER_S: usize = 10;
pub const DEVICES: usize = 10;
const PERIOD_US: i64 = 1_000_000 / CYCLES_PER_S as i64;
/// Deviation of the noise, in steps of the converter.
const SIGMA: f64 = 4.0;
/// How far a level drifts from one sample to the next, in steps; it is not counted in the entropy.
const DRIFT: f64 = 0.1;
/// A state changes once in so many samples, to one of three others.
const CHANGE: f64 = 0.01;

/// Of a row of 20 points, so many are of converters, so many after them counters, the others states.
const CONVERTERS: usize = 14;
const COUNTERS: usize = 3;

/// One device, `line`, with points of these types: what a buffer is filled for.
pub fn registry(kinds: &[ValueType]) -> Arc<Registry> {
    let (tenant, gateway) = (TenantId::default(), "box1".parse().expect("a name"));
    let point = |(n, kind): (u32, &ValueType)| {
        let mut schema = PointSchema::new(format!("p{n}"), *kind);
        schema.stale_ms = 60_000;
        let raw = RawRange { value_type: *kind, min: f64::MIN, max: f64::MAX };
        PointDefinition::new(schema, raw).at(PointId(n), 0)
    };
    let points: Vec<_> = (0..).zip(kinds).map(point).collect();
    let told = DeviceSchema {
        name: "line".to_owned(),
        twin: TwinId::derived(&tenant, &gateway, "line"),
        asset: "plant/hall/line".to_owned(),
        description: String::new(),
        first_point: 0,
        points: vec![],
    };
    let schema = Schema { tenant, gateway, devices: vec![told] };
    let device = Device { name: "line".to_owned(), protocol: "mqtt", points: 0..kinds.len() as u32 };
    Arc::new(Registry::new(schema, vec![device], points).expect("a registry"))
}

enum Kind {
    Converter { level: f64, factor: f64, offset: f64 },
    Counter { count: u64, rate: u64 },
    State(i64),
}

pub struct Plant {
    points: Vec<Kind>,
    random: Random,
    /// Times are one of so many microseconds.
    jitter_us: u64,
    cycle: i64,
}

impl Plant {
    /// So many points, a multiple of 200, on ten devices. `jitter_us` is at least 1: none.
    pub fn new(points: usize, jitter_us: u64, seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let each = points / DEVICES;
        let kind = |n: usize| match n % 20 {
            at if at < CONVERTERS => {
                // Decimal steps, steps of a range over a converter's, and a range that does not begin at 0.
                let (factor, offset) = [(0.01, 0.0), (100.0 / 27_648.0, 0.0), (0.0125, -40.0)][n / each % 3];
                Kind::Converter { level: 8_000.0 + random.unit() * 40_000.0, factor, offset }
            }
            at if at < CONVERTERS + COUNTERS => {
                Kind::Counter { count: random.next() % 1_000_000, rate: random.next() % 20 }
            }
            _ => Kind::State((random.next() % 4) as i64),
        };
        let points = (0..points).map(kind).collect();
        Self { points, random, jitter_us, cycle: 0 }
    }

    /// One cycle: the samples of each poll.
    pub fn cycle(&mut self) -> Vec<Vec<Sample>> {
        let each = self.points.len() / DEVICES;
        let begin = START_US + self.cycle * PERIOD_US;
        self.cycle += 1;
        (0..DEVICES).map(|device| self.poll(device, each, begin)).collect()
    }

    fn poll(&mut self, device: usize, each: usize, begin: i64) -> Vec<Sample> {
        let phase = PERIOD_US / DEVICES as i64 * device as i64;
        let t = begin + phase + (self.random.next() % self.jitter_us) as i64;
        let random = &mut self.random;
        let points = self.points.iter_mut().enumerate().skip(device * each).take(each);
        let sample = |(n, kind): (usize, &mut Kind)| Sample {
            point: PointId(n as u32),
            value: Some(kind.next(random)),
            quality: Quality::GOOD,
            source_us: t,
            received_us: t,
        };
        points.map(sample).collect()
    }

    /// Bits of entropy a sample, on average: of white noise in steps, of the counters' coin, of the states' changes, and
    /// of the jitter that a poll's samples share.
    pub fn entropy_bits(&self) -> f64 {
        let noise = (SIGMA * (2.0 * std::f64::consts::PI * std::f64::consts::E).sqrt()).log2();
        let state = -(1.0 - CHANGE) * (1.0 - CHANGE).log2() - CHANGE * (CHANGE / 3.0).log2();
        let rest = 20 - CONVERTERS - COUNTERS;
        let values = (CONVERTERS as f64 * noise + COUNTERS as f64 + rest as f64 * state) / 20.0;
        values + (self.jitter_us as f64).log2() / (self.points.len() / DEVICES) as f64
    }
}

impl Kind {
    fn next(&mut self, random: &mut Random) -> Value {
        match self {
            Self::Converter { level, factor, offset } => {
                *level += random.normal() * DRIFT;
                let raw = (*level + random.normal() * SIGMA).round().clamp(0.0, 65_535.0);
                // As the gateway's pipeline scales.
                Value::F64(raw.mul_add(*factor, *offset))
            }
            Self::Counter { count, rate } => {
                *count += *rate + random.next() % 2;
                Value::U64(*count)
            }
            Self::State(state) => {
                if random.unit() < CHANGE {
                    *state = (*state + 1 + (random.next() % 3) as i64) % 4;
                }
                Value::I64(*state)
            }
        }
    }
}

/// xorshift64* (Vigna 2016): the same numbers for a seed, always.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 3) as f64 / (1u64 << 53) as f64
    }

    /// Box and Muller 1958.
    fn normal(&mut self) -> f64 {
        let (u, v) = (self.unit().max(f64::MIN_POSITIVE), self.unit());
        (-2.0 * u.ln()).sqrt() * (2.0 * std::f64::consts::PI * v).cos()
    }
}
