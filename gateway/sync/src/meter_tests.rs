//! Days, months and hours of a plan, in a time that is made up.

use super::*;

/// 2026-11-28 00:00 UTC.
const T0: i64 = 1_795_824_000_000_000;
const HOUR: i64 = 3_600_000_000;

fn plan(day: u64, month: u64, quiet: &[&str]) -> Plan {
    let quiet = quiet.iter().map(|q| q.parse().unwrap()).collect();
    Plan { day_bytes: Some(day), month_bytes: Some(month), quiet, utc: true, trend_percent: None }
}

#[test]
fn parts_of_the_day_are_read_or_refused() {
    let night: Quiet = "22:00-06:30".parse().unwrap();
    assert!(night.holds(22 * 60) && night.holds(0) && night.holds(389) && !night.holds(390));
    let noon: Quiet = " 12:00 - 13:05 ".parse().unwrap();
    assert!(noon.holds(720) && noon.holds(784) && !noon.holds(785) && !noon.holds(719));
    for bad in ["", "22:00", "22:00-22:00", "24:00-01:00", "1:5-2:00", "a-b", "22-06"] {
        assert!(bad.parse::<Quiet>().is_err(), "{bad}");
    }
}

#[test]
fn a_budget_that_is_used_up_holds_until_the_next_day_and_month() {
    let mut meter = Meter::new(plan(1000, 2500, &[]), None);
    assert!(!meter.look(T0 + HOUR, true));
    meter.add(999);
    assert!(!meter.look(T0 + 2 * HOUR, true));
    assert_eq!(meter.status().day_left, Some(1));
    meter.add(1);
    assert!(meter.look(T0 + 3 * HOUR, true));
    let status = meter.status();
    assert_eq!((status.held, status.held_until_us), (Some(LinkHold::Day), Some(T0 + 24 * HOUR)));
    assert_eq!(status.held_since_us, Some(T0 + 3 * HOUR));
    // What is urgent still goes, and counts.
    meter.add(500);
    assert!(!meter.look(T0 + 23 * HOUR, true));
    assert_eq!(meter.status().day_left, Some(0));
    // A clock that nobody believes does not end the day.
    assert!(!meter.look(T0 + 25 * HOUR, false));
    assert!(meter.look(T0 + 25 * HOUR, true));
    assert_eq!((meter.hold(), meter.status().day_bytes, meter.status().month_bytes), (None, 0, 1500));
    meter.add(1000);
    meter.look(T0 + 26 * HOUR, true);
    assert_eq!(meter.hold(), Some(LinkHold::Month));
    // The first of December.
    assert_eq!(meter.status().held_until_us, Some(T0 + 72 * HOUR));
    assert!(meter.look(T0 + 72 * HOUR, true));
    assert_eq!(meter.status().month_left, Some(2500));
    // Set back into November: nothing is given anew.
    meter.add(2500);
    meter.look(T0 + 71 * HOUR, true);
    assert_eq!(meter.hold(), Some(LinkHold::Month));
    // And none when it is set right.
    meter.look(T0 + 73 * HOUR, true);
    assert_eq!(meter.hold(), Some(LinkHold::Month));
}

#[test]
fn quiet_hours_hold_and_say_until_when() {
    let mut meter = Meter::new(plan(1000, 1000, &["22:00-06:00", "12:00-13:00"]), None);
    meter.look(T0 + 5 * HOUR, true);
    assert_eq!((meter.hold(), meter.status().held_until_us), (Some(LinkHold::Quiet), Some(T0 + 6 * HOUR)));
    assert!(meter.look(T0 + 6 * HOUR, true));
    assert_eq!(meter.hold(), None);
    meter.look(T0 + 12 * HOUR, true);
    assert_eq!(meter.status().held_until_us, Some(T0 + 13 * HOUR));
    meter.look(T0 + 23 * HOUR, true);
    assert_eq!(meter.status().held_until_us, Some(T0 + 30 * HOUR));
    // Nobody knows what time it is.
    meter.look(T0 + 23 * HOUR, false);
    assert_eq!(meter.hold(), None);
}

#[test]
fn the_count_outlives_the_program_and_a_crash_gives_nothing_away() {
    let budget = plan(100_000_000, 1_000_000_000, &[]);
    let mut meter = Meter::new(budget.clone(), None);
    meter.look(T0, true);
    meter.add(5000);
    let note = meter.note(T0, false).expect("the first bytes are noted");
    meter.add(900_000);
    assert_eq!(meter.note(T0 + 1, false), None, "it is noted ahead");
    // Killed here.
    let mut after = Meter::new(budget.clone(), Some(&note));
    after.look(T0 + HOUR, true);
    assert!((905_000..=1_100_000).contains(&after.status().day_bytes), "{:?}", after.status());
    // Ended in order: to the byte.
    let note = meter.note(T0 + 2, true).unwrap();
    let mut after = Meter::new(budget, Some(&note));
    after.look(T0 + HOUR, true);
    assert_eq!((after.status().day_bytes, after.status().month_bytes), (905_000, 905_000));
    assert_eq!(Meter::new(Plan::default(), Some(b"{")).status().day_bytes, 0, "a note that cannot be read");
}

#[test]
fn the_end_of_a_hold_is_told_also_by_the_next_program() {
    let mut meter = Meter::new(plan(1000, 1_000_000, &[]), None);
    assert!(!meter.look(T0, true));
    meter.add(1000);
    assert!(meter.look(T0, true));
    let note = meter.note(T0, false).expect("a hold is noted at once");
    let mut same = Meter::new(plan(1000, 1_000_000, &[]), Some(&note));
    assert!(!same.look(T0 + HOUR, true), "it was told");
    assert_eq!(same.status().held_since_us, Some(T0));
    let mut more = Meter::new(plan(100_000_000, 1_000_000_000, &[]), Some(&note));
    assert!(more.look(T0 + HOUR, true));
    assert_eq!(more.hold(), None);
}

#[test]
fn without_a_budget_the_note_is_written_once_a_minute() {
    let mut meter = Meter::new(Plan { utc: true, ..Plan::default() }, None);
    meter.look(T0, true);
    meter.add(1);
    assert!(meter.note(T0, false).is_some());
    meter.add(1);
    assert!(meter.note(T0 + 59_000_000, false).is_none());
    assert!(meter.note(T0 + 60_000_000, false).is_some());
    assert!(meter.note(T0 + 240_000_000, false).is_none(), "nothing new");
}

#[test]
fn trends_go_while_less_than_their_part_of_a_budget_is_used() {
    let mut meter = Meter::new(Plan { trend_percent: Some(80), ..plan(1000, 5000, &[]) }, None);
    meter.look(T0 + HOUR, true);
    meter.add(799);
    assert!(!meter.status().trends_held);
    meter.add(1);
    assert!(meter.status().trends_held && meter.status().held.is_none());
    meter.look(T0 + 25 * HOUR, true);
    assert!(!meter.status().trends_held, "another day");
    // The month's as well.
    for day in 1..=4 {
        meter.add(800);
        meter.look(T0 + (day * 24 + 25) * HOUR, false);
    }
    assert!(meter.status().trends_held, "{:?}", meter.status());
}
