//! Slows down guessing of passwords: attempts are counted by peer and account, by peer, and by account,
//! in windows of a minute. A success gives its attempt back. Bounded: the oldest window makes room.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use common::Clock;

const WINDOW_US: u64 = 60_000_000;
/// Most windows kept.
const MOST: usize = 10_000;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Pair(IpAddr, String),
    Peer(IpAddr),
    User(String),
}

impl Key {
    /// Attempts in a window. The account's own limit is wide, so that nobody locks out another easily.
    fn most(&self) -> u32 {
        match self {
            Self::Pair(..) => 5,
            Self::Peer(_) => 30,
            Self::User(_) => 60,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Window {
    start_us: u64,
    attempts: u32,
}

/// Counts attempts.
pub(crate) struct Limiter {
    clock: Clock,
    windows: Mutex<HashMap<Key, Window>>,
}

fn keys(peer: IpAddr, user: &str) -> [Key; 3] {
    // A customer of an IPv6 provider has a whole /64.
    let peer = match peer {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_none() => {
            let prefix = u128::from(v6) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(prefix))
        }
        other => other.to_canonical(),
    };
    [Key::Pair(peer, user.to_owned()), Key::Peer(peer), Key::User(user.to_owned())]
}

impl Limiter {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, windows: Mutex::default() }
    }

    /// Counts an attempt, or says how long to wait.
    pub(crate) fn attempt(&self, peer: IpAddr, user: &str) -> Result<(), Duration> {
        let now = self.clock.mono_us();
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = keys(peer, user);
        for key in &keys {
            if let Some(w) = windows.get(key)
                && w.start_us + WINDOW_US > now
                && w.attempts >= key.most()
            {
                return Err(Duration::from_micros(w.start_us + WINDOW_US - now));
            }
        }
        if windows.len() + keys.len() > MOST {
            windows.retain(|_, w| w.start_us + WINDOW_US > now);
        }
        for key in keys {
            if windows.len() >= MOST
                && let Some(oldest) = windows.iter().min_by_key(|(_, w)| w.start_us).map(|(k, _)| k.clone())
            {
                windows.remove(&oldest);
            }
            let window = windows.entry(key).or_insert(Window { start_us: now, attempts: 0 });
            if window.start_us + WINDOW_US <= now {
                *window = Window { start_us: now, attempts: 0 };
            }
            window.attempts += 1;
        }
        Ok(())
    }

    /// The attempt was good.
    pub(crate) fn succeeded(&self, peer: IpAddr, user: &str) {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        for key in keys(peer, user) {
            if matches!(key, Key::Pair(..)) {
                windows.remove(&key);
            } else if let Some(window) = windows.get_mut(&key) {
                window.attempts = window.attempts.saturating_sub(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[tokio::test(start_paused = true)]
    async fn guessing_stops_for_the_rest_of_the_minute() {
        let limiter = Limiter::new(Clock::simulated(0));
        for _ in 0..5 {
            assert!(limiter.attempt(ip(1), "a").is_ok());
        }
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(limiter.attempt(ip(1), "a"), Err(Duration::from_secs(40)));
        assert!(limiter.attempt(ip(2), "a").is_ok(), "another peer is not locked out");
        tokio::time::advance(Duration::from_secs(40)).await;
        assert!(limiter.attempt(ip(1), "a").is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn one_peer_cannot_try_many_accounts() {
        let limiter = Limiter::new(Clock::simulated(0));
        let ok = (0..100).filter(|n| limiter.attempt(ip(1), &format!("u{n}")).is_ok()).count();
        assert_eq!(ok, 30);
    }

    #[tokio::test(start_paused = true)]
    async fn success_costs_nothing_and_memory_is_bounded() {
        let limiter = Limiter::new(Clock::simulated(0));
        for _ in 0..200 {
            assert!(limiter.attempt(ip(1), "a").is_ok());
            limiter.succeeded(ip(1), "a");
        }
        for n in 0..20_000u32 {
            let peer = IpAddr::from(n.to_be_bytes());
            let _ = limiter.attempt(peer, "b");
        }
        assert!(limiter.windows.lock().unwrap().len() <= MOST);
    }

    #[test]
    fn all_addresses_of_a_64_are_one_peer() {
        let a: IpAddr = "2001:db8::1".parse().unwrap();
        let b: IpAddr = "2001:db8::ffff".parse().unwrap();
        let mapped: IpAddr = "::ffff:10.0.0.1".parse().unwrap();
        assert_eq!(keys(a, "x"), keys(b, "x"));
        assert_eq!(keys(mapped, "x"), keys(ip(1), "x"));
    }
}
