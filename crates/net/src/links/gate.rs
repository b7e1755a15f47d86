//! The gate: how many strangers may stand before it, and how fast they may come.
//!
//! Half-open connections are bounded in number; a new one pushes out the oldest, so that a thousand silent ones
//! cannot keep out a peer, whose handshake takes milliseconds. Each address has a bucket of permits; the addresses
//! of known peers have none, because a neighbour at the same address must not be shut out by it.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;

/// Addresses whose rate is remembered. When there are more, those at rest are forgotten, then all.
const ADDRESSES_MAX: usize = 4096;

/// Who may come in, and how many may be without an introduction at once.
pub struct Gate {
    half_open_max: usize,
    per_second: f64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    known: BTreeSet<IpAddr>,
    buckets: HashMap<IpAddr, Bucket>,
    half_open: VecDeque<(u64, oneshot::Sender<()>)>,
    next: u64,
}

struct Bucket {
    permits: f64,
    at: Instant,
}

/// A place among the half-open; given back when dropped.
pub struct Place<'a> {
    gate: &'a Gate,
    number: u64,
}

impl Gate {
    /// Room for so many half-open connections, and for so many new ones a second from each unknown address.
    pub fn new(half_open_max: usize, accepts_per_second: u32) -> Gate {
        Gate {
            half_open_max: half_open_max.max(1),
            per_second: f64::from(accepts_per_second.max(1)),
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_known(&self, known: impl IntoIterator<Item = IpAddr>) {
        self.state().known = known.into_iter().collect();
    }

    /// Whether a connection from this address may be looked at now.
    pub(crate) fn admit(&self, address: IpAddr, now: Instant) -> bool {
        let mut state = self.state();
        if state.known.contains(&address) {
            return true;
        }
        let full = 2.0 * self.per_second;
        if state.buckets.len() >= ADDRESSES_MAX && !state.buckets.contains_key(&address) {
            state.buckets.retain(|_, bucket| self.permits(bucket, now) < full);
            if state.buckets.len() >= ADDRESSES_MAX {
                state.buckets.clear();
            }
        }
        let bucket = state.buckets.entry(address).or_insert(Bucket { permits: full, at: now });
        bucket.permits = self.permits(bucket, now);
        bucket.at = now;
        let admitted = bucket.permits >= 1.0;
        if admitted {
            bucket.permits -= 1.0;
        }
        admitted
    }

    fn permits(&self, bucket: &Bucket, now: Instant) -> f64 {
        let earned = now.saturating_duration_since(bucket.at).as_secs_f64() * self.per_second;
        (bucket.permits + earned).min(2.0 * self.per_second)
    }

    /// Takes a place among the half-open. The receiver hears when it is pushed out.
    pub fn enter(&self) -> (Place<'_>, oneshot::Receiver<()>) {
        let mut state = self.state();
        if state.half_open.len() >= self.half_open_max
            && let Some((_, oldest)) = state.half_open.pop_front()
        {
            let _ = oldest.send(());
        }
        let (sender, receiver) = oneshot::channel();
        let number = state.next;
        state.next += 1;
        state.half_open.push_back((number, sender));
        (Place { gate: self, number }, receiver)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.state();
        if let Ok(index) = state.half_open.binary_search_by_key(&self.number, |(number, _)| *number) {
            state.half_open.remove(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_new_half_open_connection_pushes_out_the_oldest() {
        let gate = Gate::new(2, 1);
        let (first, mut first_out) = gate.enter();
        let (second, mut second_out) = gate.enter();
        let (_third, mut third_out) = gate.enter();
        assert!(first_out.try_recv().is_ok());
        drop(first);
        assert!(second_out.try_recv().is_err());
        drop(second);
        let (_fourth, _) = gate.enter();
        assert!(third_out.try_recv().is_err());
    }

    #[test]
    fn an_address_is_slowed_down_but_not_a_peers_nor_another() {
        let gate = Gate::new(1, 10);
        let (a, b) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let now = Instant::now();
        assert_eq!((0..100).filter(|_| gate.admit(a, now)).count(), 20);
        assert!(gate.admit(b, now));
        assert_eq!((0..100).filter(|_| gate.admit(a, now + Duration::from_secs(1))).count(), 10);
        gate.set_known([a]);
        assert_eq!((0..100).filter(|_| gate.admit(a, now)).count(), 100);
    }

    #[test]
    fn the_memory_of_addresses_is_bounded() {
        let gate = Gate::new(1, 10);
        let now = Instant::now();
        for i in 0..20_000u32 {
            gate.admit(IpAddr::from(i.to_be_bytes()), now);
        }
        assert!(gate.state().buckets.len() <= ADDRESSES_MAX);
    }
}
