//! What must hold in the random world.

use std::collections::{BTreeMap, BTreeSet};

use wire::ViewId;

use super::super::super::testing::client;
use super::super::*;
use super::CastId;
use super::site::{Outside, Record};
use super::world::{Sides, World};

impl World {
    fn records(&self) -> impl Iterator<Item = &Record> {
        self.sites.values().map(|site| &site.record).chain(&self.over)
    }

    /// A client is being told that this cast is carried. Then somebody was delivered it who has moved on with it to
    /// a view that lives; or it is at all sites of its view, so that whoever moves on has it.
    pub fn check_told(&self, cast: CastId) {
        let moved = self.records().any(|record| {
            record.moves().any(|(stay, next)| stay.delivered.contains(&cast) && next.is_some_and(|n| n.lives))
        });
        let is_firm = |stable: usize, casts: &[(u32, bytes::Bytes)]| {
            casts[..stable].iter().any(|(_, body)| {
                let (envelope, _) = super::super::super::Envelope::parse(body.clone()).expect("our own");
                envelope.outsider.is_some_and(|origin| (origin.client, origin.sequence) == cast)
            })
        };
        let firm = || self.eras.iter().any(|era| is_firm(era.stable, &era.casts));
        let had = self.records().any(|record| record.delivered().any(|had| had == cast));
        assert!(had && (moved || firm()), "{cast:?} is said to be carried, and may be lost");
    }

    pub fn check(&self) {
        for site in self.sites.values() {
            assert!(site.dedup.is_informed(), "site {} still waits for tables", site.n);
        }
        let mut views: BTreeMap<CastId, BTreeSet<ViewId>> = BTreeMap::new();
        for record in self.records() {
            let mut once = BTreeSet::new();
            assert!(
                record.delivered().all(|cast| once.insert(cast)),
                "a cast is delivered twice to a member"
            );
            if self.sides_may != Sides::AllLive {
                // A client that turns from one living side to another and back is ahead of what it had asked for.
                self.check_order(record);
            }
        }
        for record in self.sites.values().map(|site| &site.record) {
            for stay in &record.stays {
                stay.delivered.iter().for_each(|cast| {
                    views.entry(*cast).or_default().insert(stay.view);
                });
            }
        }
        if self.sides_may != Sides::AllLive {
            let twice = views.iter().find(|(_, views)| views.len() > 1);
            assert!(twice.is_none(), "delivered in two views: {twice:?}");
        }
        self.check_together();
        if self.bugs == wire::Bugs::NONE {
            self.check_tables(&views);
        }
        for outside in &self.clients {
            self.check_fates(outside);
        }
    }

    /// Those who go from one view to the same next one, or stay to the end, were delivered the same in the same order.
    /// A site that slept went another way.
    fn check_together(&self) {
        let mut by_way: BTreeMap<(ViewId, Option<ViewId>), &[CastId]> = BTreeMap::new();
        let stays = self.sites.values().map(|site| (true, &site.record));
        for (lives, record) in stays.chain(self.over.iter().map(|record| (false, record))) {
            for (stay, next) in record.moves().filter(|(_, next)| lives || next.is_some()) {
                let way = (stay.view, next.map(|next| next.view));
                let first = by_way.entry(way).or_insert(&stay.delivered);
                assert_eq!(*first, stay.delivered, "together from {way:?}");
            }
        }
    }

    /// Each client's casts come in its order, unless the group has forgotten the client.
    fn check_order(&self, record: &Record) {
        let mut last: BTreeMap<ClientId, u64> = BTreeMap::new();
        for (client, sequence) in record.delivered().filter(|(client, _)| !self.forgotten.contains(client)) {
            let before = last.insert(client, sequence).unwrap_or(0);
            assert!(before < sequence, "{client:?}: {sequence} after {before}");
        }
    }

    /// Whatever a member was delivered, no contact would cast anew.
    fn check_tables(&self, views: &BTreeMap<CastId, BTreeSet<ViewId>>) {
        for &(client, sequence) in views.keys() {
            let origin = Origin { client, sequence, again: true };
            for site in self.sites.values() {
                let Some(stay) = site.record.stays.last() else { continue };
                let said = site.dedup.may_carry(&origin, stay.view);
                assert!(
                    !matches!(said, Carriage::Fresh | Carriage::Later),
                    "site {} would cast {origin:?} again: {said:?}",
                    site.n
                );
            }
        }
    }

    fn check_fates(&self, outside: &Outside) {
        let id = client(outside.n);
        let had: BTreeSet<u64> = self
            .records()
            .flat_map(|record| record.delivered())
            .filter(|(client, _)| *client == id)
            .map(|(_, sequence)| sequence)
            .collect();
        for (sequence, fate) in &outside.fates {
            match fate {
                Fate::Carried => assert!(had.contains(sequence)),
                Fate::Answered(outcome) => {
                    assert_eq!(outcome.accounted(), outcome.targets);
                    assert!(had.contains(sequence));
                    for (from, body) in &outcome.replies {
                        if let Some(site) = self.sites.get(&from.site().0) {
                            let first = site.record.replied.get(&(id, *sequence));
                            assert_eq!(first, Some(body), "the first answer, whoever asks again");
                        }
                    }
                }
                Fate::NotSent => assert!(!had.contains(sequence)),
                Fate::Unknown => {}
            }
        }
        assert!(outside.told.iter().all(|sequence| had.contains(sequence)));
        if outside.alive {
            assert_eq!(outside.fates.len() as u64, outside.casts, "every cast has its fate");
        }
    }
}
