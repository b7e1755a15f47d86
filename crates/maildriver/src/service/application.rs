//! The state machine as a site hosts it.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use durable::{Applying, Locator, NotRestored, Parts};
use mail::{Checkpoint, Entry, EntryTime, Limits, Position, Restore, State};
use site::{Kept, Service, Standing};

use super::{Shared, lock};

/// The domain of a checkpoint's chunks, by number.
const CHUNKS: u16 = 1;

/// The mail's state, and who is told of what changes in it.
pub struct Application {
    shared: Arc<Shared>,
    state: Arc<Mutex<State>>,
    /// A checkpoint that is being read.
    reading: Option<Restore>,
}

impl Application {
    /// A new state.
    pub fn new(shared: Arc<Shared>) -> Application {
        let state = Arc::new(Mutex::new(State::new(Limits::default())));
        Application { shared, state, reading: None }
    }
}

impl durable::Application for Application {
    fn apply(&mut self, request: Applying) -> Bytes {
        let (position, time) = (Position(request.position), EntryTime(request.clock));
        let mut state = lock(&self.state);
        let outcome = state.apply_bytes(position, time, &request.payload);
        let changes: Vec<_> = std::iter::from_fn(|| state.poll_change()).collect();
        drop(state);
        changes.into_iter().for_each(|change| self.shared.tell(change));
        minicbor::to_vec(&outcome).expect("a Vec takes every byte").into()
    }

    fn snapshot(&self) -> Parts {
        let chunks = Checkpoint::of(&lock(&self.state));
        let at = |number: u64| Locator { domain: CHUNKS, key: number.to_be_bytes().to_vec() };
        Box::new((0..).zip(chunks).map(move |(number, chunk)| (at(number), chunk)))
    }

    fn restore(&mut self, at: &Locator, part: Bytes) -> Result<(), NotRestored> {
        let wrong = NotRestored { domain: at.domain };
        let reading = self.reading.get_or_insert_default();
        if at.domain != CHUNKS || at.key != reading.chunks().to_be_bytes() {
            return Err(wrong);
        }
        reading.read(&part).map_err(|error| {
            tracing::error!(%error, chunk = reading.chunks(), "a checkpoint of mail cannot be read");
            wrong
        })
    }

    fn digest(&self) -> u64 {
        lock(&self.state).digest().0 as u64
    }
}

impl Service for Application {
    fn renewed(&self) -> Box<dyn Service> {
        Box::new(Application::new(Arc::clone(&self.shared)))
    }

    fn whole(&mut self) -> Result<(), String> {
        if let Some(reading) = self.reading.take() {
            let state = reading.finish().map_err(|error| error.to_string())?;
            *lock(&self.state) = state;
        }
        Ok(())
    }

    fn enter(&mut self) {
        lock(&self.state).watch(true);
        self.shared.enter(&self.state);
    }

    fn stands(&mut self, standing: Standing) {
        self.shared.stands(standing);
    }

    fn kept(&self) -> Kept {
        let state = lock(&self.state).clone();
        Box::new(move || {
            state.live_letters(Position(0), Position(u64::MAX)).map(|letter| letter.position.0).collect()
        })
    }

    fn keeps(&self, position: u64) -> bool {
        lock(&self.state).is_live(Position(position))
    }

    fn is_payload(&self, position: u64, payload: &Bytes) -> bool {
        let state = lock(&self.state);
        let Some(letter) = state.letter(Position(position)) else { return false };
        Entry::letter_in(payload).is_ok_and(|bytes| bytes.len() == letter.bytes as usize)
    }
}
