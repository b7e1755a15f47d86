//! Room for letters in memory: so many at once, however many connections there are.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// A connection with more than this of a letter in memory needs a place.
pub(super) const SMALL: usize = 32 << 10;
/// How long a place is one's own, if others wait.
const PATIENCE: Duration = Duration::from_secs(60);

/// Places for letters. While all are taken others wait, and read nothing of their clients; who has had one for long, because
/// its client is slow, is pushed out by who waits.
pub(super) struct Room {
    places: Arc<Semaphore>,
    patience: Duration,
    holders: Mutex<Holders>,
}

#[derive(Default)]
struct Holders {
    next: u64,
    all: BTreeMap<u64, (Instant, oneshot::Sender<()>)>,
}

/// A place; given back when it is dropped.
pub(super) struct Held {
    room: Arc<Room>,
    number: u64,
    out: oneshot::Receiver<()>,
    _place: OwnedSemaphorePermit,
}

impl Room {
    pub(super) fn new(letters: usize) -> Arc<Room> {
        Room::with_patience(letters, PATIENCE)
    }

    fn with_patience(letters: usize, patience: Duration) -> Arc<Room> {
        Arc::new(Room { places: Arc::new(Semaphore::new(letters)), patience, holders: Mutex::default() })
    }

    /// Waits for a place.
    pub(super) async fn enter(self: Arc<Room>) -> Held {
        let mut acquiring = std::pin::pin!(Arc::clone(&self.places).acquire_owned());
        let place = loop {
            let due = self.oldest().map(|since| since + self.patience);
            let pause = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    // All who have one have been told.
                    None => tokio::time::sleep(self.patience).await,
                }
            };
            tokio::select! {
                place = &mut acquiring => break place.expect("nobody closes it"),
                () = pause => self.push_out(),
            }
        };
        self.taken(place)
    }

    #[allow(clippy::disallowed_methods, reason = "patience is in real time")]
    fn taken(self: Arc<Room>, place: OwnedSemaphorePermit) -> Held {
        let (tell, out) = oneshot::channel();
        let mut holders = self.holders();
        let number = holders.next;
        holders.next += 1;
        holders.all.insert(number, (Instant::now(), tell));
        drop(holders);
        Held { room: self, number, out, _place: place }
    }

    fn oldest(&self) -> Option<Instant> {
        self.holders().all.first_key_value().map(|(_, (since, _))| *since)
    }

    /// Tells the oldest to go, if its time is over: somebody else may have told it meanwhile.
    fn push_out(&self) {
        let mut holders = self.holders();
        if let Some(first) = holders.all.first_entry()
            && first.get().0.elapsed() >= self.patience
        {
            let _ = first.remove().1.send(());
        }
    }

    fn holders(&self) -> MutexGuard<'_, Holders> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Returns when the place is to be given back. Cancel-safe.
    pub(super) async fn pushed_out(&mut self) {
        let _ = (&mut self.out).await;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.room.holders().all.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
    }

    #[test]
    fn a_place_that_is_given_back_is_the_next_ones() {
        runtime().block_on(async {
            let room = Room::new(2);
            let (first, _second) = (Arc::clone(&room).enter().await, Arc::clone(&room).enter().await);
            let third = tokio::spawn(Arc::clone(&room).enter());
            tokio::task::yield_now().await;
            assert!(!third.is_finished());
            drop(first);
            let _third = third.await.expect("it gets one");
            assert_eq!(room.holders().all.len(), 2);
        });
    }

    #[test]
    fn who_has_had_a_place_for_long_is_pushed_out_by_who_waits_and_not_before() {
        runtime().block_on(async {
            let room = Room::with_patience(1, Duration::from_millis(1));
            let mut first = Arc::clone(&room).enter().await;
            assert!(first.out.try_recv().is_err(), "nobody waits");
            let second = tokio::spawn(Arc::clone(&room).enter());
            first.pushed_out().await;
            drop(first);
            let _second = second.await.expect("it gets one");
        });
    }
}
