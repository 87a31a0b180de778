//! Tests of the schedule.

use super::*;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Runs one line for `span`: each entry takes `cost(unit)`; gives how often each entry was done and how often missed.
fn run(
    schedule: &mut Schedule<usize>,
    start: Instant,
    span: Duration,
    entries: usize,
    cost: impl Fn(usize) -> Duration,
    greedy: impl Fn(usize) -> bool + Copy,
) -> (Vec<u64>, Vec<u64>) {
    let (mut now, mut done, mut missed) = (start, vec![0; entries], vec![0; entries]);
    while now < start + span {
        match schedule.pick(now, true, greedy) {
            Some(id) => {
                let (unit, at) = (schedule.unit(id).unwrap(), *schedule.work(id).unwrap());
                now += cost(unit);
                done[at] += 1;
                missed[at] += schedule.done(id, now);
            }
            None => now = schedule.next(now).unwrap(),
        }
    }
    (done, missed)
}

#[test]
fn times_do_not_drift_and_entries_are_spread_over_the_period() {
    let start = Instant::now();
    let mut schedule = Schedule::new();
    for n in 0..100u64 {
        schedule.add(0, ms(1000), start, n, start, n);
    }
    let mut now = start;
    let mut times: Vec<Vec<Instant>> = vec![Vec::new(); 100];
    while now < start + ms(10_000) {
        match schedule.pick(now, false, |_| false) {
            Some(id) => {
                let at = *schedule.work(id).unwrap() as usize;
                times[at].push(now);
                now += ms(1);
                assert_eq!(schedule.done(id, now), 0);
            }
            None => now = schedule.next(now).unwrap(),
        }
    }
    let mut phases = Vec::new();
    for of in &times {
        assert!(of.len() >= 10, "{}", of.len());
        // From the second on (the first is the read after connecting) within what others take.
        for pair in of[1..].windows(2) {
            let period = pair[1] - pair[0];
            assert!(period >= ms(990) && period <= ms(1010), "{period:?}");
        }
        phases.push((of[1] - start).as_millis() % 1000);
    }
    phases.sort_unstable();
    let widest = phases.windows(2).map(|p| p[1] - p[0]).max().unwrap();
    assert!(widest < 100, "a tenth of the period stands empty: {phases:?}");
}

#[test]
fn a_fast_entry_waits_for_one_request_at_most() {
    let start = Instant::now();
    let mut schedule = Schedule::new();
    for n in 0..200u64 {
        schedule.add(0, ms(1000), start, n, start, false);
    }
    schedule.add(1, ms(10), start, 7, start, true);
    let (mut now, mut fast): (Instant, Vec<Instant>) = (start, Vec::new());
    while now < start + ms(5000) {
        match schedule.pick(now, false, |_| false) {
            Some(id) => {
                if *schedule.work(id).unwrap() {
                    fast.push(now);
                }
                now += ms(2);
                assert_eq!(schedule.done(id, now), 0);
            }
            None => now = schedule.next(now).unwrap(),
        }
    }
    for pair in fast[2..].windows(2) {
        let period = pair[1] - pair[0];
        assert!(period >= ms(8) && period <= ms(12), "{period:?}");
    }
}

#[test]
fn what_was_missed_is_counted_and_not_made_up_for() {
    let start = Instant::now();
    let mut schedule = Schedule::new();
    let id = schedule.add(0, ms(100), start, 0, start, ());
    assert_eq!(schedule.pick(start, false, |_| false), Some(id));
    assert_eq!(schedule.done(id, start), 0);
    let due = schedule.next(start).unwrap();
    assert_eq!(schedule.pick(due, false, |_| false), Some(id));
    let late = due + ms(450);
    assert_eq!(schedule.done(id, late), 3);
    assert_eq!(schedule.next(late), Some(due + ms(400)), "late once");
    assert_eq!(schedule.pick(late, false, |_| false), Some(id));
    assert_eq!(schedule.done(id, late), 0);
    assert_eq!(schedule.pick(late, false, |_| false), None);
    assert_eq!(schedule.next(late), Some(due + ms(500)), "on its grid again");
}

#[test]
fn a_greedy_unit_gets_what_the_others_leave() {
    let start = Instant::now();
    let mut schedule = Schedule::new();
    // 29 units take 10 ms each a second; the 30th has five blocks of 500 ms, more than there is time for.
    for n in 0..29 {
        schedule.add(n, ms(1000), start, n as u64, start, n);
    }
    for n in 0..5u64 {
        schedule.add(29, ms(1000), start, 100 + n, start, 29);
    }
    let cost = |unit| if unit == 29 { ms(500) } else { ms(10) };
    let (done, missed) = run(&mut schedule, start, ms(60_000), 30, cost, |unit| unit == 29);
    for n in 0..29 {
        assert!(done[n] >= 57 && missed[n] == 0, "unit {n}: {} done, {} missed", done[n], missed[n]);
    }
    assert!(done[29] > 60, "the greedy one is not starved: {}", done[29]);
}

#[test]
fn entries_of_a_removed_unit_are_gone() {
    let start = Instant::now();
    let mut schedule = Schedule::new();
    let old = schedule.add(0, ms(10), start, 0, start, 'a');
    schedule.add(1, ms(10), start, 0, start, 'b');
    schedule.remove_unit(0);
    let new = schedule.add(2, ms(10), start, 0, start, 'c');
    assert!(schedule.work(old).is_none() && schedule.unit(old).is_none());
    let mut seen = Vec::new();
    while let Some(id) = schedule.pick(start, false, |_| false) {
        seen.push(*schedule.work(id).unwrap());
        schedule.done(id, start + ms(1));
    }
    seen.sort_unstable();
    assert_eq!(seen, ['b', 'c']);
    assert_eq!(schedule.unit(new), Some(2));
}

#[test]
fn all_entries_of_wanted_units_can_be_made_due() {
    let start = Instant::now();
    let mut schedule = Schedule::new();
    for unit in 0..3 {
        schedule.add(unit, ms(1000), start, unit as u64, start + ms(500), unit);
    }
    schedule.all_due(start, |unit| unit != 1);
    let mut seen = Vec::new();
    while let Some(id) = schedule.pick(start, false, |_| false) {
        seen.push(*schedule.work(id).unwrap());
        schedule.done(id, start);
    }
    seen.sort_unstable();
    assert_eq!(seen, [0, 2]);
}
