//! The pace on links of a rate and a round trip, in time that is made up.

use super::*;

/// A link that carries `rate` bytes a second and adds `round`; what is on its way stands in one queue.
struct Link {
    rate: f64,
    round: Duration,
    free_at: Instant,
}

impl Link {
    /// When a message that is sent now is acknowledged.
    fn send(&mut self, bytes: usize, now: Instant) -> Instant {
        self.free_at = self.free_at.max(now) + Duration::from_secs_f64(bytes as f64 / self.rate);
        self.free_at + self.round
    }
}

fn acked(bytes: usize, took: Duration) -> Acked {
    Acked { frames: 1, bytes, took: Some(took), backlog_took: None }
}

/// Sends messages of `size` for `seconds`, as many as the window allows; bytes acknowledged a second, and the longest
/// time of an ack in the second half.
fn drain(pace: &mut Pace, link: &mut Link, size: impl Fn(&Pace) -> usize, seconds: u64) -> (f64, Duration) {
    let began = link.free_at;
    let (mut now, mut flying) = (began, std::collections::VecDeque::new());
    let (mut used, mut done, mut longest) = (0, 0, Duration::ZERO);
    while now < began + Duration::from_secs(seconds) {
        while used < pace.window() {
            let bytes = size(pace);
            flying.push_back((now, link.send(bytes, now), bytes));
            used += bytes;
        }
        let Some((sent, at, bytes)) = flying.pop_front() else { break };
        now = at;
        (used, done) = (used - bytes, done + bytes);
        pace.acked(acked(bytes, at - sent), now);
        if now > began + Duration::from_secs(seconds / 2) {
            longest = longest.max(at - sent);
        }
    }
    (done as f64 / (now - began).as_secs_f64(), longest)
}

#[test]
fn a_good_link_is_filled_and_its_queue_stays_short() {
    let now = Instant::now();
    let round = Duration::from_millis(10);
    let mut pace = Pace::new(1 << 20, round, now);
    let mut link = Link { rate: 20e6, round, free_at: now };
    let (rate, longest) = drain(&mut pace, &mut link, |_| 20_000, 20);
    assert!(rate > 0.9 * 20e6, "{rate}");
    assert!(longest < Duration::from_millis(60), "{longest:?}");
    assert!(!pace.is_thin());
}

#[test]
fn a_thin_link_gets_messages_of_a_size_that_it_carries_in_time() {
    let now = Instant::now();
    let round = Duration::from_millis(100);
    let mut pace = Pace::new(1 << 20, round, now);
    let mut link = Link { rate: 8_000.0, round, free_at: now };
    // What is read becomes a third of it.
    let (rate, longest) = drain(&mut pace, &mut link, |p| p.read_bytes() / 3, 600);
    assert!(pace.is_thin());
    assert!(rate > 0.7 * 8_000.0, "{rate}");
    assert!(longest < Duration::from_secs(2), "{longest:?}");
    assert!(pace.read_bytes() < 16 << 10, "{}", pace.read_bytes());
}

#[test]
fn live_acks_tell_a_thin_link_and_one_that_is_good_again() {
    let mut now = Instant::now();
    let mut pace = Pace::new(1 << 20, Duration::from_millis(20), now);
    let mut ack = |pace: &mut Pace, ms: u64| {
        now += Duration::from_millis(200);
        pace.acked(acked(400, Duration::from_millis(ms)), now);
    };
    ack(&mut pace, 900);
    ack(&mut pace, 900);
    ack(&mut pace, 30);
    assert!(!pace.is_thin(), "one stall is no thin link");
    (0..3).for_each(|_| ack(&mut pace, 500));
    assert!(pace.is_thin());
    (0..40).for_each(|_| ack(&mut pace, 30));
    assert!(pace.is_thin(), "not sooner than ten seconds after");
    (0..20).for_each(|_| ack(&mut pace, 30));
    assert!(!pace.is_thin());
    // It was thin a moment ago: now it is held for longer.
    (0..3).for_each(|_| ack(&mut pace, 500));
    (0..80).for_each(|_| ack(&mut pace, 30));
    assert!(pace.is_thin());
    (0..30).for_each(|_| ack(&mut pace, 30));
    assert!(!pace.is_thin());
}

#[test]
fn the_clouds_credit_binds_at_once_and_is_given_back() {
    let now = Instant::now();
    let mut pace = Pace::new(1 << 20, Duration::from_millis(5), now);
    let before = pace.window();
    assert!(before > 0);
    pace.credit(0);
    assert_eq!(pace.window(), 0);
    pace.credit(1000);
    assert_eq!(pace.window(), 1000);
    pace.credit(u64::MAX);
    assert_eq!(pace.window(), before);
}
