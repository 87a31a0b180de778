//! Keys of lines and devices, each with its default beside it. What a point needs is in `config`.

mod device;
mod line;
mod serial;

pub use device::{BitWrite, DeviceConfig};
pub(super) use line::packet;
pub use line::{DtuFraming, LineConfig, Transport};
pub use serial::{Parity, Rs485};

/// A key, and what is wrong and expected.
pub(super) type Wrong = (&'static str, String);

/// What is wrong, collected.
#[derive(Default)]
struct Faults(Vec<Wrong>);

impl Faults {
    fn add(&mut self, checked: Result<(), Wrong>) {
        self.0.extend(checked.err());
    }

    fn when(&mut self, wrong: bool, key: &'static str, message: &str) {
        if wrong {
            self.0.push((key, message.to_owned()));
        }
    }
}

fn time(key: &'static str, ms: u64, least: u64, most: u64) -> Result<(), Wrong> {
    if (least..=most).contains(&ms) {
        Ok(())
    } else {
        Err((key, format!("{ms} is not a time: expected {least} to {most}")))
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
