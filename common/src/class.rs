//! How much a point's samples matter when there is no room for all: which of them a full buffer drops first, and which a
//! metered link carries first.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::sample::PointId;
use crate::schema::Schema;
use crate::wire::Body;

/// From what matters most to what matters least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// dropped last, and sent like an alarm
    Critical,
    /// as most points are
    #[default]
    Normal,
    /// dropped first, and sent last
    Trend,
}

impl Class {
    /// Whether it is what a point has that says nothing of it.
    pub fn is_normal(&self) -> bool {
        *self == Self::Normal
    }
}

/// The classes of a schema's points. Cheap to clone; of points that are all normal it holds nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Classes(Option<Arc<[Class]>>);

impl Classes {
    /// Those of a schema.
    pub fn of(schema: &Schema) -> Self {
        let points = || schema.devices.iter().flat_map(|d| (d.first_point..).zip(&d.points));
        if points().all(|(_, p)| p.class.is_normal()) {
            return Self::default();
        }
        let slots = points().map(|(n, _)| n as usize + 1).max().unwrap_or(0);
        let mut all = vec![Class::default(); slots];
        for (n, point) in points() {
            all[n as usize] = point.class;
        }
        Self(Some(all.into()))
    }

    /// Those of a schema in its canonical form; all normal if it cannot be read.
    pub fn of_json(json: &[u8]) -> Self {
        serde_json::from_slice(json).map(|schema| Self::of(&schema)).unwrap_or_default()
    }

    /// Whether all points are normal.
    pub fn are_normal(&self) -> bool {
        self.0.is_none()
    }

    /// Of a point.
    pub fn of_point(&self, point: PointId) -> Class {
        self.0.as_ref().and_then(|all| all.get(point.index()).copied()).unwrap_or_default()
    }

    /// Of what a frame holds: that of its most important sample. What is not measured counts as normal here; it goes before
    /// any sample.
    pub fn of_body(&self, body: &Body) -> Class {
        if self.are_normal() {
            return Class::Normal;
        }
        match body {
            Body::Samples(rows) => rows.iter().map(|r| self.of_point(r.point)).min().unwrap_or_default(),
            Body::Waveform(wave) => self.of_point(wave.point),
            _ => Class::Normal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quality::Quality;
    use crate::sample::Sample;
    use crate::schema::{DeviceSchema, PointSchema};
    use crate::value::{Value, ValueType};

    fn schema(classes: &[Class]) -> Schema {
        let point = |(n, class): (usize, &Class)| {
            let mut point = PointSchema::new(format!("p{n}"), ValueType::F64);
            point.class = *class;
            point
        };
        let device = DeviceSchema {
            name: "d".into(),
            twin: "00000000-0000-0000-0000-000000000001".parse().unwrap(),
            asset: "a/d".into(),
            description: String::new(),
            first_point: 2,
            points: classes.iter().enumerate().map(point).collect(),
        };
        Schema { tenant: "default".parse().unwrap(), gateway: "box1".parse().unwrap(), devices: vec![device] }
    }

    fn rows(points: &[u32]) -> Body {
        let one = |p: &u32| Sample {
            point: PointId(*p),
            value: Some(Value::F64(1.0)),
            quality: Quality::GOOD,
            source_us: 1,
            received_us: 1,
        };
        Body::Samples(points.iter().map(one).collect())
    }

    #[test]
    fn a_frame_is_of_the_class_of_its_most_important_sample() {
        let classes = Classes::of(&schema(&[Class::Trend, Class::Normal, Class::Critical]));
        assert_eq!(classes.of_body(&rows(&[2])), Class::Trend);
        assert_eq!(classes.of_body(&rows(&[2, 3])), Class::Normal);
        assert_eq!(classes.of_body(&rows(&[2, 4])), Class::Critical);
        assert_eq!(classes.of_body(&rows(&[99])), Class::Normal, "a number that no point has");
    }

    #[test]
    fn what_all_points_are_costs_nothing_and_is_not_told() {
        let schema = schema(&[Class::Normal; 3]);
        assert!(Classes::of(&schema).are_normal());
        assert!(!String::from_utf8(schema.to_json()).unwrap().contains("class"));
    }
}
