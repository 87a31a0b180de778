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

/// The largest part of the entries of a period that is due in one millisecond, and whether all their times, over some
/// periods, are whole steps.
fn at_once(period_ms: u64) -> (f64, bool) {
    let mut due: std::collections::BTreeMap<u64, u32> = std::collections::BTreeMap::new();
    let phases = (0..1000).map(|n| u64::try_from(phase(n, ms(period_ms)).as_millis()).unwrap());
    let mut is_stepped = true;
    for at in phases {
        assert!(at < period_ms);
        *due.entry(at).or_default() += 1;
        is_stepped &= (0..40).all(|n| (at + n * period_ms).is_multiple_of(STEP_MS));
    }
    (f64::from(*due.values().max().unwrap()) / 1000.0, is_stepped)
}

#[test]
fn entries_of_any_period_are_spread_and_step_together_where_their_period_does() {
    for (period, most, stepped) in
        [(10, 0.11, false), (50, 0.03, false), (60, 0.03, false), (74, 0.03, false), (110, 0.02, false)]
            .into_iter()
            .chain([(100, 0.26, true), (250, 0.11, true), (1000, 0.03, true)])
    {
        let (part, is_stepped) = at_once(period);
        assert!(part <= most, "{period} ms: {part} of the entries at once");
        assert_eq!(is_stepped, stepped, "{period} ms");
    }
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
