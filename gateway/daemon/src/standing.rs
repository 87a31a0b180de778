//! What a reload must know of the devices that run. Their sections of the configuration are let go once everything is
//! wired: they take several times the memory of all else that is kept of a point. What stays of a device is a number
//! that tells whether its section is another now, and one that tells whether its driver would notice.

use std::fmt::Write;
use std::hash::{DefaultHasher, Hasher};

use gateway_core::Registry;

use crate::config::Config;
use crate::config::sections::DeviceSection;
use crate::drivers::{Planned, planned};

/// The devices that run, in the order of their configuration, and the parts that serve them.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    pub(crate) devices: Vec<Mark>,
    pub(crate) planned: Vec<Planned>,
}

/// One device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) name: String,
    section: u64,
    driver: u64,
}

impl Standing {
    /// Of a configuration that runs with `registry`.
    pub(crate) fn of(config: &Config, registry: &Registry) -> Self {
        Self { devices: config.devices.iter().map(Mark::of).collect(), planned: planned(config, registry) }
    }

    /// The names of devices by their places in the configuration.
    pub(crate) fn names(&self, places: &[usize]) -> Vec<String> {
        places.iter().filter_map(|p| Some(self.devices.get(*p)?.name.clone())).collect()
    }
}

impl Mark {
    pub(crate) fn of(section: &DeviceSection) -> Self {
        let (whole, driver) = (digest(section), digest(&driver_view(section)));
        Self { name: section.name.clone(), section: whole, driver }
    }

    /// Whether nothing of the device changed.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self == other
    }

    /// Whether a driver would do the same for both: the rest is judged behind it, in the pipeline and in control.
    pub(crate) fn has_same_driver(&self, other: &Self) -> bool {
        self.driver == other.driver
    }
}

/// A number of everything that the section shows. Of this process alone: it is neither kept nor sent.
fn digest(section: &DeviceSection) -> u64 {
    struct Into64(DefaultHasher);
    impl Write for Into64 {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.0.write(text.as_bytes());
            Ok(())
        }
    }
    let mut hash = Into64(DefaultHasher::new());
    // Into memory: this cannot fail.
    let _ = write!(hash, "{section:?}");
    hash.0.finish()
}

/// The section with everything blank that its driver does not look at. A key that is not named here counts.
fn driver_view(section: &DeviceSection) -> DeviceSection {
    let mut view = section.clone();
    view.asset.clear();
    view.description.clear();
    view.identification = crate::config::opcua_server::IdentificationSection::default();
    for point in &mut view.point {
        point.unit.clear();
        point.description.clear();
        // A driver may ask whether a point is scaled at all.
        point.scale = f64::from(u8::from(is_scaled(point.scale, point.offset)));
        point.offset = 0.0;
        (point.deadband, point.deadband_percent, point.max_interval_ms) = (None, None, 0);
        point.compression = None;
        (point.range_min, point.range_max) = (None, None);
        (point.write_min, point.write_max) = (None, None);
        (point.setpoint, point.interlock, point.stale_ms) = (None, None, None);
        point.labels.clear();
        point.alarm.clear();
        point.read_back_tolerance = 0.0;
    }
    view
}

#[allow(clippy::float_cmp)] // exactly these
fn is_scaled(scale: f64, offset: f64) -> bool {
    scale != 1.0 || offset != 0.0
}
