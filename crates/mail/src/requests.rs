//! Requests that were done: a repeat is told what became of the first, and nothing is done again [Mail 9].
// [Ravindran & Chanson 85, 4.3]

use std::ops::Bound;

use minicbor::{Decode, Encode};

use crate::digest::{Part, Sum};
use crate::entry::RequestId;
use crate::ids::{EntryTime, Position};
use crate::limits::{ANSWER_BYTES_MAX, ANSWERS_BYTES_MAX, REQUEST_MEMORY};
use crate::outcome::{Outcome, Receipt};
use crate::tree::Tree;

/// What became of a request, as small as can be.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) enum Answer {
    #[n(0)]
    Done,
    /// Delivered to every one of so many recipients.
    #[n(1)]
    AllDelivered(#[n(0)] u32),
    /// An encoded [`Outcome`].
    #[n(2)]
    Other(#[cbor(n(0), with = "minicbor::bytes")] Box<[u8]>),
}

impl Answer {
    pub(crate) fn of(outcome: &Outcome) -> Answer {
        let brief = match outcome {
            Outcome::Done => return Answer::Done,
            Outcome::Delivered(receipts) if receipts.iter().all(|r| *r == Receipt::Delivered) => {
                return Answer::AllDelivered(receipts.len() as u32);
            }
            Outcome::Delivered(receipts) => &Outcome::Delivered(receipts.iter().map(brief).collect()),
            other => other,
        };
        let bytes = minicbor::to_vec(brief).expect("a Vec takes every byte");
        if bytes.len() > ANSWER_BYTES_MAX { Answer::Done } else { Answer::Other(bytes.into()) }
    }

    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Answer::Done => Outcome::Done,
            Answer::AllDelivered(count) => Outcome::Delivered(vec![Receipt::Delivered; *count as usize]),
            Answer::Other(bytes) => minicbor::decode(bytes).unwrap_or(Outcome::Done),
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        match self {
            Answer::Done | Answer::AllDelivered(_) => 0,
            Answer::Other(bytes) => bytes.len(),
        }
    }
}

/// A receipt without names.
fn brief(receipt: &Receipt) -> Receipt {
    match receipt {
        Receipt::Delivered => Receipt::Delivered,
        Receipt::Partly(_) => Receipt::Partly(Vec::new()),
        Receipt::Refused(refusal) => Receipt::Refused(*refusal),
    }
}

/// One request that was done.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Done {
    #[n(0)]
    pub id: RequestId,
    #[n(1)]
    pub position: Position,
    #[n(2)]
    pub time: EntryTime,
    #[n(3)]
    pub answer: Answer,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Requests {
    /// In the order in which they were done: by their places, counted from the first that ever was.
    done: Tree<u64, Done>,
    places: Tree<RequestId, u64>,
    /// How many were forgotten.
    forgotten: u64,
    answers_bytes: usize,
    sum: Sum,
}

/// Equal if they remember the same; how much they have forgotten is history.
impl PartialEq for Requests {
    fn eq(&self, other: &Requests) -> bool {
        self.done.len() == other.done.len() && self.done.values().eq(other.done.values())
    }
}

impl Eq for Requests {}

impl Requests {
    pub(crate) fn get(&self, id: &RequestId) -> Option<&Done> {
        self.done.get(self.places.get(id)?)
    }

    /// Whether this can be remembered after what is.
    pub(crate) fn follows(&self, done: &Done) -> bool {
        let last = self.end().checked_sub(1).and_then(|last| self.done.get(&last));
        !self.places.contains_key(&done.id)
            && last.is_none_or(|last| last.position < done.position && last.time <= done.time)
    }

    /// Remembers a request, and forgets the oldest beyond the bounds.
    pub(crate) fn remember(&mut self, done: Done, requests_max: u32) {
        assert!(self.follows(&done), "requests are remembered in order, each once");
        self.sum.add(Part::Request, &part(&done));
        self.places.insert(done.id, self.end());
        self.answers_bytes += done.answer.bytes();
        self.done.insert(self.end(), done);
        while self.done.len() > requests_max as usize || self.answers_bytes > ANSWERS_BYTES_MAX {
            self.forget_oldest();
        }
    }

    /// Forgets what is older than [`REQUEST_MEMORY`].
    pub(crate) fn expire(&mut self, now: EntryTime) {
        let kept = now.before(REQUEST_MEMORY);
        while self.done.get(&self.forgotten).is_some_and(|done| done.time < kept) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(done) = self.done.remove(&self.forgotten) {
            self.sum.remove(Part::Request, &part(&done));
            self.places.remove(&done.id);
            self.answers_bytes -= done.answer.bytes();
            self.forgotten += 1;
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.done.len()
    }

    /// The place of the next.
    fn end(&self) -> u64 {
        self.forgotten + self.done.len() as u64
    }

    /// From a place on, in the order in which they were done.
    pub(crate) fn iter_from(&self, place: usize) -> impl Iterator<Item = &Done> {
        self.done.range_from(Bound::Included(&(self.forgotten + place as u64))).map(|(_, done)| done)
    }

    pub(crate) fn sum(&self) -> Sum {
        self.sum
    }

    pub(crate) fn sum_walked(&self) -> Sum {
        let mut sum = Sum::default();
        self.done.values().for_each(|done| sum.add(Part::Request, &part(done)));
        sum
    }
}

fn part(done: &Done) -> Vec<u8> {
    minicbor::to_vec(done).expect("a Vec takes every byte")
}
