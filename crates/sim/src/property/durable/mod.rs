//! What a durable group promises: each a function of what was observed, with histories that keep it and break it.

mod acknowledged;
pub(crate) mod map;
mod once;
mod order;
mod quorum;
mod read;

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Violation;
use crate::durable::{Observation, What};

type RequestId = (durable::ClientId, u64);
/// How, and at which observation, a promise is broken.
pub(crate) type Broken = (usize, String);

/// A promise: its name and its check, which says how and at which observation it is broken.
pub struct Promise<S> {
    pub(crate) name: &'static str,
    pub(crate) check: fn(&[Observation<S>]) -> Result<(), Broken>,
}

/// What every durable group promises, whatever it serves.
fn promises<S>() -> [Promise<S>; 5] {
    [
        Promise { name: "One Durable Order", check: order::check },
        Promise { name: "Applied Once", check: once::check },
        Promise { name: "Applied At W", check: quorum::check },
        Promise { name: "Acknowledged Is Kept", check: acknowledged::check },
        Promise { name: "Read Sees What Was Acknowledged", check: read::check },
    ]
}

/// Every promise that was broken, the service's own included.
pub fn check<S>(seen: &[Observation<S>], of_service: &[Promise<S>]) -> Vec<Violation> {
    let broken = |promise: &Promise<S>| {
        let (at, how) = (promise.check)(seen).err()?;
        Some(Violation { property: promise.name, at: seen.get(at).map(|seen| seen.at), how })
    };
    promises().iter().chain(of_service).filter_map(broken).collect()
}

/// Where requests were applied, by the first who did.
#[derive(Default)]
struct Places(BTreeMap<RequestId, (u64, Bytes)>);

impl Places {
    fn note<S>(&mut self, what: &What<S>) {
        if let What::Applied { number, request, answer, .. } = what {
            self.0.entry(*request).or_insert_with(|| (number.position, answer.clone()));
        }
    }

    fn of(&self, request: RequestId) -> Option<&(u64, Bytes)> {
        self.0.get(&request)
    }
}

#[cfg(test)]
mod script {
    //! Short histories for the tests of the promises.

    use bytes::Bytes;
    use durable::{ClientId, Number};
    use wire::{Incarnation, SiteId, SiteIncarnation, StoreId, Time, ViewId};

    use crate::durable::{Observation, Reading};

    pub type What = crate::durable::What<Reading>;

    pub fn life(site: u32) -> SiteIncarnation {
        SiteIncarnation { site: SiteId(site), incarnation: Incarnation(1) }
    }

    pub fn number(epoch: u64, position: u64) -> Number {
        Number { view: ViewId { epoch, ..ViewId::default() }, position }
    }

    pub fn request(sequence: u64) -> (ClientId, u64) {
        (ClientId([1; 16]), sequence)
    }

    pub fn answer(n: u8) -> Bytes {
        // The digest; nothing of the map's.
        Bytes::copy_from_slice(&[n; 8])
    }

    pub fn read_done(number: u64, position: u64) -> What {
        What::ReadDone { number, position, seen: Reading { key: 0, word: None } }
    }

    pub fn applied(site: u32, position: u64, sequence: u64) -> What {
        What::Applied {
            life: life(site),
            number: number(1, position),
            request: request(sequence),
            answer: answer(position as u8),
        }
    }

    pub fn held(store: u64, position: u64) -> What {
        What::Held(StoreId(store), number(1, position))
    }

    pub fn history(what: impl IntoIterator<Item = What>) -> Vec<Observation<Reading>> {
        what.into_iter().map(|what| Observation { at: Time::ZERO, what }).collect()
    }
}
