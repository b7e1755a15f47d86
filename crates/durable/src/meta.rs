//! The meta record: the little that must survive beside the log.

use bytes::Bytes;
use minicbor::{Decode, Encode};
use wire::{StoreId, ViewId};

use crate::configuration::Configuration;
use crate::entry::Number;
use crate::message::{LIVES_MAX, Life, Seen};
use crate::storage::CheckpointHead;

/// What a store remembers beside its log. Replaced atomically.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Meta {
    /// It acknowledges nothing in views below (D5).
    #[n(0)]
    pub promised: ViewId,
    /// The last view whose base it follows (D8).
    #[n(1)]
    pub adopted: ViewId,
    /// It may have held entries up to this number (D14).
    #[n(2)]
    pub floor: Option<Number>,
    /// Configurations by their entries, ascending. One whose entry is not in the log, or has another number there, is
    /// left from before a crash and does not count.
    #[n(3)]
    pub configurations: Vec<(Number, Configuration)>,
    /// What it has seen of stores (D16).
    #[n(4)]
    pub seen: Vec<(StoreId, Seen)>,
    /// The newest lives of its own in which it has promised a view, ascending (D16).
    #[n(5)]
    #[cbor(default)]
    pub lives: Vec<Life>,
    /// What stands in the place of the configuration of this entry, for as long as that is the newest: an operator has said
    /// which stores are left (D22).
    #[n(6)]
    pub forced: Option<(Number, Configuration)>,
}

impl Meta {
    pub(crate) fn encode(&self) -> Bytes {
        wire::codec::encode(self)
    }

    /// Reads a record; none if it is not one.
    pub(crate) fn decode(record: &[u8]) -> Option<Meta> {
        wire::codec::decode(record).ok()
    }

    /// It promises a view in this life.
    pub(crate) fn live(&mut self, life: Life) {
        if self.lives.last() != Some(&life) {
            self.lives.push(life);
            let old = self.lives.len().saturating_sub(LIVES_MAX);
            self.lives.drain(..old);
        }
    }

    /// What a checkpoint says was in force at its position stands for all configurations up to there: which of them were in
    /// the log cannot be told any more once that begins behind them.
    pub(crate) fn covered(&mut self, head: &CheckpointHead) {
        self.configurations.retain(|(number, _)| number.position > head.number.position);
        self.configurations.insert(0, head.configuration.clone());
    }

    pub(crate) fn seen_mut(&mut self, store: StoreId) -> &mut Seen {
        let place = match self.seen.iter().position(|(other, _)| *other == store) {
            Some(place) => place,
            None => {
                self.seen.push((store, Seen::default()));
                self.seen.len() - 1
            }
        };
        &mut self.seen[place].1
    }

    pub(crate) fn seen(&self, store: StoreId) -> Option<&Seen> {
        self.seen.iter().find(|(other, _)| *other == store).map(|(_, seen)| seen)
    }
}

/// What a store's meta record says, for tools that look into a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// It acknowledges nothing in views below (D5).
    pub promised: ViewId,
    /// The last view whose base it follows (D8).
    pub adopted: ViewId,
    /// What it knows of others: the store, its highest life, and what it acknowledged last (D16).
    pub seen: Vec<(StoreId, Life, Number)>,
}

impl Remembered {
    /// Reads a meta record; none if it is not one.
    pub fn of(record: &[u8]) -> Option<Remembered> {
        let Meta { promised, adopted, seen, .. } = Meta::decode(record)?;
        let seen = seen.into_iter().map(|(store, seen)| (store, seen.life, seen.acked)).collect();
        Some(Remembered { promised, adopted, seen })
    }
}
