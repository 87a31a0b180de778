//! A machine under faults: its disk and its wall clock, by orders to the shim beneath the program.

use tokio::time::{Instant, sleep, sleep_until};

use super::draw::{Fault, Refused, Step};
use super::shim::{Control, EIO, Number};

/// Takes a disk or a clock through its lane; says what was done.
pub(super) async fn suffer(of: &str, control: &Control, steps: &[Step], start: Instant) -> Vec<String> {
    let mut done = Vec::new();
    for (at, fault) in steps {
        sleep_until(start + *at).await;
        match *fault {
            Fault::Full(time, room) => {
                control.set(Number::Room, i64::try_from(room).expect("a small number"));
                sleep(time).await;
                control.set(Number::Room, -1);
            }
            Fault::Refuse(what, times) => {
                let (number, errno) = match what {
                    Refused::Writes => (Number::WriteTimes, Number::WriteErrno),
                    Refused::Syncs => (Number::SyncTimes, Number::SyncErrno),
                    Refused::Names => (Number::NameTimes, Number::NameErrno),
                };
                control.set(errno, EIO);
                control.set(number, i64::try_from(times).expect("a small number"));
            }
            Fault::Short(times) => {
                control.set(Number::ShortTimes, i64::try_from(times).expect("a small number"));
            }
            Fault::SlowDisk(time, delay) => {
                control.set(Number::SyncDelayUs, i64::try_from(delay.as_micros()).expect("a short time"));
                sleep(time).await;
                control.set(Number::SyncDelayUs, 0);
            }
            Fault::Clock(time, us) => {
                control.set(Number::ClockUs, us);
                sleep(time).await;
                control.set(Number::ClockUs, 0);
            }
            Fault::Epoch(time) => {
                control.set(Number::ClockUs, -common::Clock::system().now_us());
                sleep(time).await;
                control.set(Number::ClockUs, 0);
            }
            other => panic!("no fault of a machine: {other:?}"),
        }
        done.push(format!("{of} {}", fault.name()));
    }
    done
}
