//! What a durable group serves in a run, who asks it for what, and what they are promised.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use durable::{Application, Request};
use wire::StoreId;

use super::Options;
use super::history::{RequestId, Spooled};
use super::plan::Plan;
use crate::property::durable::Promise;
use crate::swarm::Profile;

/// An application of a durable group, as it runs on sites, and what a run has to know of it.
pub trait Service: Application + Clone + fmt::Debug + Sized {
    /// What a reader asks for.
    type Query: Copy + fmt::Debug;
    /// What it sees.
    type Seen: Clone + fmt::Debug + 'static;
    /// Who asks.
    type Clients: Clients<Self>;

    /// Which seeds are its.
    const PROFILE: Profile;
    /// Parts of its checkpoints are cut to pieces of so many bytes, so that a small state is many of them.
    const PIECE_BYTES: usize;

    /// Changes of a seed's plan what this service needs otherwise.
    fn adjust(_plan: &mut Plan) {}

    /// A new one.
    fn new(options: &Options) -> Self;

    /// All parts of a checkpoint were taken.
    ///
    /// # Panics
    ///
    /// It does not take what it has written, which is a violation.
    fn whole(&mut self) {}

    /// What a reader sees.
    fn look(&self, query: Self::Query) -> Self::Seen;

    /// All that readers could see, when everything is over.
    fn all(&self) -> Vec<Self::Seen>;

    /// What its clients are promised, beside what every durable group promises.
    fn promises() -> Vec<Promise<Self::Seen>>;
}

/// What a client does next.
#[derive(Clone, Debug)]
pub enum Act<Q> {
    /// It asks a site to apply something; for the first time, if so.
    Ask { site: usize, request: Request, fresh: bool },
    /// Somebody reads at a site, with the barrier.
    Read { site: usize, query: Q },
    /// Somebody reads what the site has.
    Look { site: usize, query: Q },
}

/// A site as its clients find it.
pub struct Place<'a, S> {
    /// What it serves, as it has it.
    pub service: &'a S,
    /// Its store.
    pub store: StoreId,
    /// Whether somebody listens there.
    pub is_up: bool,
    /// Whether the group can be written there.
    pub is_active: bool,
}

/// What a client makes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It is the answer to what was asked for last at this site.
    Answer(usize),
    /// It does not wait for it any more.
    Late,
    /// It was lost on its way.
    Lost,
}

/// The clients of a service: each asks for something, at whatever site, and repeats it, there or elsewhere, until it is
/// answered.
pub trait Clients<S: Service> {
    /// The clients of a seed, of sites with these stores.
    fn new(seed: u64, plan: &Plan, stores: &[StoreId]) -> Self;

    /// When the next act is due.
    fn wait(&mut self, mean: Duration) -> Duration;

    /// Somebody acts. `winding_up`: nothing new is asked for.
    fn act(&mut self, places: &[Place<'_, S>], winding_up: bool) -> Option<Act<S::Query>>;

    /// Everything is well again: each client asks for one thing more, and somebody reads at every site.
    fn last_words(&mut self, places: &[Place<'_, S>]) -> Vec<Act<S::Query>>;

    /// A request is answered.
    fn hear(&mut self, request: RequestId, answer: &Bytes) -> Heard;

    /// Whether a request waits for its answer.
    fn is_open(&self, request: RequestId) -> bool;

    /// How many requests wait for their answers.
    fn open(&self) -> usize;

    /// Somebody has seen this.
    fn see(&mut self, _seen: &S::Seen) {}

    /// A site starts.
    fn started(&mut self, _site: usize, _place: &Place<'_, S>) {}

    /// A request was not taken by a site, at this time in milliseconds.
    fn turned_away(&mut self, _site: usize, _places: &[Place<'_, S>], _request: RequestId, _now: u64) {}

    /// What sites without a majority have written down, or lost, since this was asked for last.
    fn take_queued(&mut self) -> Vec<(Bytes, Spooled)> {
        Vec::new()
    }

    /// What was reached since this was asked for last.
    fn take_reached(&mut self) -> Vec<&'static str> {
        Vec::new()
    }
}
