//! Who counts, and from which log a view goes on: a function of the statements delivered so far, in order (D6).

use wire::SiteId;

use crate::bugs::{Bug, Bugs};
use crate::configuration::Configuration;
use crate::message::{Life, Statement};

/// A statement and the site it came from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Stated {
    pub site: SiteId,
    pub statement: Statement,
}

/// A later life of the stated store that somebody has seen, if the store does not count for that (D16).
pub(crate) fn surpassed(statement: &Statement, all: &[Stated], bugs: Bugs) -> Option<Life> {
    let witnesses = all.iter().filter(|other| other.statement.store != statement.store);
    let mut seen = witnesses.flat_map(|other| &other.statement.seen);
    let objects = |seen: &&(wire::StoreId, crate::message::Seen)| {
        let (store, seen) = seen;
        if *store != statement.store {
            return false;
        }
        let (theirs, own) = (seen.life, statement.life);
        let copy = theirs.incarnation > own.incarnation
            || (theirs.incarnation == own.incarnation && theirs.nonce != own.nonce);
        let held = statement.floor.map_or(0, |floor| floor.position).max(statement.last.position);
        // What it acknowledged after it had stated says nothing about what it stated.
        let forgot = seen.acked.view < statement.view
            && (seen.acked.view > statement.adopted
                || (seen.acked.view == statement.adopted && seen.acked.position > held));
        (copy && !bugs.has(Bug::SurpassedVotes))
            || (forgot && !bugs.has(Bug::SurpassedVotes) && !bugs.has(Bug::TailCutVotes))
    };
    seen.find(objects).map(|(_, seen)| seen.life)
}

/// The statements of the stores of a configuration that count.
pub(crate) fn voters<'a>(
    configuration: &'a Configuration,
    all: &'a [Stated],
    bugs: Bugs,
) -> impl Iterator<Item = &'a Stated> {
    all.iter().filter(move |stated| {
        let counts = configuration.counts(stated.statement.store, stated.site)
            || (bugs.has(Bug::EmptiedStoreVotes)
                && configuration.stores.values().any(|site| *site == stated.site));
        counts && surpassed(&stated.statement, all, bugs).is_none()
    })
}

/// How many stores make a view active, and an entry committed.
pub(crate) fn quorums(configuration: &Configuration, sites: &[SiteId], bugs: Bugs) -> (usize, usize) {
    if bugs.has(Bug::QuorumOfLiving) {
        let living = configuration.stores.values().filter(|site| sites.contains(site)).count();
        return (living / 2 + 1, living / 2 + 1);
    }
    (configuration.elects(), configuration.writes())
}

/// The place of the statement whose log is the base, if there are enough.
pub(crate) fn decide(all: &[Stated], sites: &[SiteId], bugs: Bugs) -> Option<usize> {
    let key = |stated: &Stated| match bugs.has(Bug::LongestLogWins) {
        true => (stated.statement.last.position, stated.statement.last),
        false => (0, stated.statement.last),
    };
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by_key(|place| (std::cmp::Reverse(key(&all[*place])), *place));
    order.into_iter().find(|place| {
        let candidate = &all[*place];
        let (_, configuration) = &candidate.statement.configuration;
        if configuration.stores.is_empty() {
            return false;
        }
        let (elects, _) = quorums(configuration, sites, bugs);
        let stated: Vec<&Stated> = voters(configuration, all, bugs).collect();
        if !stated.iter().any(|voter| voter.site == candidate.site) {
            return false;
        }
        let everybody = stated.len() == configuration.stores.len();
        let sure = stated.iter().filter(|voter| {
            let reached = match voter.statement.floor {
                None => true,
                Some(floor) => floor <= voter.statement.last || floor <= candidate.statement.last,
            };
            key(voter) <= key(candidate) && (reached || everybody) // [D15]
        });
        sure.count() >= elects
    })
}
