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
        // Started often enough, a copy has a higher incarnation than was ever seen; but not the lives that were.
        let oldest = statement.lives.first().map_or(own, |oldest| *oldest);
        let remembers = theirs == own || statement.lives.contains(&theirs);
        let copy = theirs.incarnation >= oldest.incarnation && !remembers;
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

/// Whether a store's log may be the base: it counts in a configuration that is stated. That need not be its own. The
/// entry that takes it out may be on its disk alone, and while it counts for others they cannot go on without it
/// [Ongaro 14, 4.2.2].
fn is_candidate(candidate: &Stated, all: &[Stated], bugs: Bugs) -> bool {
    all.iter().any(|stated| {
        let (_, configuration) = &stated.statement.configuration;
        voters(configuration, all, bugs).any(|voter| voter.site == candidate.site)
    })
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
        if configuration.stores.is_empty() || !is_candidate(candidate, all, bugs) {
            return false;
        }
        let (elects, _) = quorums(configuration, sites, bugs);
        let stated: Vec<&Stated> = voters(configuration, all, bugs).collect();
        let all_of = |of: &Configuration| voters(of, all, bugs).count() == of.stores.len();
        let everybody = stated.len() == configuration.stores.len();
        let sure = stated.iter().filter(|voter| {
            let Statement { floor, last, doubted, configuration: own, .. } = &voter.statement;
            let reached = floor.is_none_or(|floor| floor <= *last || floor <= candidate.statement.last);
            // What it has lost may have counted in a configuration that the candidate has left behind; but not in one before an
            // entry that both have.
            let known = || doubted.iter().chain([own]);
            let both = known().map(|(of, _)| *of).find(|of| *of == candidate.statement.configuration.0);
            let asked = || known().filter(|(of, _)| both.is_none_or(|both| *of >= both));
            let nobody_else = || everybody && asked().all(|(_, of)| all_of(of));
            key(voter) <= key(candidate) && (reached || nobody_else()) // [D15]
        });
        sure.count() >= elects
    })
}

#[cfg(test)]
mod tests {
    use wire::{StoreId, ViewId};

    use super::*;
    use crate::configuration::Configuration;
    use crate::entry::Number;

    fn number(epoch: u64, position: u64) -> Number {
        Number { view: ViewId { epoch, ..ViewId::default() }, position }
    }

    /// A store at the site of its number, whose log ends here, with the newest configuration in it.
    fn stated(store: u32, last: Number, configuration: (Number, &[u32])) -> Stated {
        let (at, stores) = configuration;
        let stores = stores.iter().map(|n| (StoreId(u64::from(*n)), SiteId(*n)));
        let statement = Statement {
            view: number(9, 0).view,
            store: StoreId(store.into()),
            life: Life::default(),
            adopted: last.view,
            last,
            runs: Vec::new(),
            guessed: Vec::new(),
            floor: None,
            configuration: (at, Configuration::majority(stores)),
            seen: Vec::new(),
            lives: Vec::new(),
            forced: false,
            doubted: Vec::new(),
        };
        Stated { site: SiteId(store), statement }
    }

    fn winner(all: &[Stated]) -> Option<SiteId> {
        let sites: Vec<SiteId> = all.iter().map(|stated| stated.site).collect();
        decide(all, &sites, Bugs::NONE).map(|place| all[place].site)
    }

    #[test]
    fn a_copy_is_recognised_however_often_it_was_started() {
        let life = |incarnation, nonce| Life { incarnation: wire::Incarnation(incarnation), nonce };
        let mut witness = stated(1, number(1, 5), (Number::default(), &[1, 2]));
        let seen = |life| crate::message::Seen { life, ..Default::default() };
        let lives = |lives: &[Life]| {
            let mut of = stated(2, number(1, 5), (Number::default(), &[1, 2]));
            of.statement.lives = lives.to_vec();
            of.statement.life = *lives.last().expect("a life");
            of
        };
        witness.statement.seen = vec![(StoreId(2), seen(life(5, 55)))];
        let is_copy = |own: &[Life]| {
            let own = lives(own);
            surpassed(&own.statement, &[witness.clone(), own.clone()], Bugs::NONE).is_some()
        };
        // Itself, in the life that was seen and in a later one.
        assert!(!is_copy(&[life(4, 44), life(5, 55)]));
        assert!(!is_copy(&[life(4, 44), life(5, 55), life(7, 77)]));
        // As it was copied in its fourth life, and started once, and twice; of which it may have forgotten the first.
        assert!(is_copy(&[life(4, 44)]) && is_copy(&[life(4, 44), life(5, 51)]));
        assert!(is_copy(&[life(4, 44), life(5, 51), life(6, 61)]) && is_copy(&[life(4, 44), life(6, 61)]));
        // What was seen is older than what it remembers.
        assert!(!is_copy(&[life(6, 66), life(7, 77)]));
    }

    fn two_stores() -> Configuration {
        stated(1, number(1, 4), (Number::default(), &[1, 2])).statement.configuration.1
    }

    #[test]
    fn what_a_store_has_lost_may_be_where_the_candidate_does_not_look_any_more() {
        let (three, two) = ((Number::default(), &[1, 2, 4][..]), (number(2, 5), &[1, 2][..]));
        // It has acknowledged (3, 5), as 4 has, and its log ends before: the record has rotted. 2 alone has the entry, which
        // nobody committed, that takes 4 out.
        let mut in_doubt = stated(1, number(1, 4), three);
        in_doubt.statement.floor = Some(number(3, 5));
        let ahead = stated(2, number(2, 5), two);
        assert_eq!(winner(&[in_doubt.clone(), ahead.clone()]), None, "4 may have it");
        let has_it = stated(4, number(3, 5), three);
        assert_eq!(winner(&[in_doubt.clone(), ahead.clone(), has_it]), Some(SiteId(4)));
        let had_it_not = stated(4, number(1, 4), three);
        assert_eq!(winner(&[in_doubt.clone(), ahead.clone(), had_it_not]), Some(SiteId(2)));
        // The same if it has lost such an entry, too.
        in_doubt.statement.doubted = vec![(number(3, 5), two_stores())];
        assert_eq!(winner(&[in_doubt.clone(), ahead.clone()]), None, "that is another entry");
        // Both know the entry that has taken 4 out: what it has acknowledged is before that, and 2 has it.
        in_doubt.statement.doubted = vec![(number(2, 5), two_stores())];
        assert_eq!(winner(&[in_doubt, ahead]), Some(SiteId(2)));
    }

    #[test]
    fn a_store_that_alone_knows_that_it_is_out_is_followed() {
        let (both, one) = ((Number::default(), &[1, 2][..]), (number(1, 6), &[1][..]));
        let stays = stated(1, number(1, 5), both);
        let goes = stated(2, number(1, 6), one);
        assert_eq!(winner(&[stays.clone(), goes.clone()]), Some(SiteId(2)));
        assert_eq!(winner(&[goes.clone(), stays.clone()]), Some(SiteId(2)));
        // Neither can go on alone, until the one that stays knows it.
        assert_eq!(winner(&[stays]), None);
        assert_eq!(winner(&[goes]), None);
        let all = [stated(1, number(1, 6), one), stated(2, number(1, 7), one)];
        assert_eq!(winner(&all[..1]), Some(SiteId(1)));
        assert_eq!(winner(&all), Some(SiteId(1)));
    }

    #[test]
    fn what_is_left_by_force_goes_on_from_the_most_advanced_once_all_of_it_is_here() {
        let all = (number(1, 3), &[1, 2, 3, 4, 5][..]);
        let left = |store, position| {
            let mut stated = stated(store, number(2, position), all);
            let stores = [1, 2].map(|n| (StoreId(n), SiteId(n as u32)));
            stated.statement.configuration.1 = Configuration::all_of(stores.into());
            stated.statement.forced = true;
            stated
        };
        assert_eq!(winner(&[left(1, 7)]), None, "the other may know more");
        assert_eq!(winner(&[left(1, 7), left(2, 9)]), Some(SiteId(2)));
        // One that was not told so and knows more is not passed over.
        let unforced = stated(2, number(2, 9), all);
        assert_eq!(winner(&[left(1, 7), unforced]), None);
    }

    #[test]
    fn a_store_that_counts_for_nobody_is_no_base() {
        let three = (Number::default(), &[1, 2, 3][..]);
        let learner = stated(4, number(1, 9), three);
        let all = [learner, stated(1, number(1, 5), three), stated(2, number(1, 7), three)];
        assert_eq!(winner(&all), Some(SiteId(2)));
        assert_eq!(winner(&all[..2]), None);
    }
}
