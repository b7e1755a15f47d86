//! Sites compare their states: who has applied as much has the same digest, or one of them is wrong.
//!
//! ```text
//!  entries applied ─▶ a mark (position, digest) at each multiple of EVERY
//!  each minute, and when somebody asks ─▶ a cast to all members: "digests?" ─▶ replies: their marks, and where they stand now
//!                 a position that both have: agrees, or differs ─▶ log, metrics, `status`
//! ```
//!
//! A state is the same function of the same entries at every site, so a difference is a fault: of memory, of a disk that lies, or
//! of the program. Nothing is stopped by it, because two sites that differ can't tell which of them is wrong; it is said, at both.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use durable::Application;
use multicast::Order;
use multicast::call::Replies;
use stack::{CastOptions, Casted, Node, ReplyTo};
use wire::{GroupName, MemberId, SiteId, Time};

use super::ask::Told;
use super::fetch::Asked;
use super::{HostError, Hosting, Stage};

/// What members are asked begins with this.
pub(super) const QUESTION: &[u8; 16] = b"digests, please\n";
/// Digests are remembered at multiples of this position: so that sites that are never at rest have some of the same positions.
const EVERY: u64 = 16_384;
/// How many are remembered.
const MARKS_MAX: usize = 8;
/// How often the others are asked.
const AGAIN: Duration = Duration::from_secs(60);
/// How long after a group's view, at first.
const SOON: Duration = Duration::from_secs(5);
/// How long they may take.
const WITHIN: Duration = Duration::from_secs(10);
/// Who may wait for a comparison at once.
const WANTED_MAX: usize = 64;

/// How a site's state was, compared with this site's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compared {
    /// Where both had been.
    pub position: u64,
    /// Whether they were the same there.
    pub same: bool,
}

/// What a site knows of its state of a group, and of others'.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// Up to where the state is applied; none, while that is not known.
    applied: Option<u64>,
    marks: VecDeque<Mark>,
    due: Option<Time>,
    asking: bool,
    others: BTreeMap<SiteId, Compared>,
    /// Who waits for the next comparison.
    wanted: Vec<Told<BTreeMap<SiteId, Compared>>>,
}

/// A position, and the state's digest there.
type Mark = (u64, u64);

impl Comparison {
    /// The state is another one, and stands here.
    pub(super) fn restart(&mut self, applied: u64) {
        self.applied = Some(applied);
        self.marks.clear();
        self.others.clear();
    }

    /// An entry was applied.
    pub(super) fn applied(&mut self, position: u64, digest: impl FnOnce() -> u64) {
        self.applied = Some(position);
        if position.is_multiple_of(EVERY) {
            self.mark(position, digest());
        }
    }

    fn mark(&mut self, position: u64, digest: u64) {
        if self.marks.iter().any(|mark| mark.0 == position) {
            return;
        }
        if self.marks.len() == MARKS_MAX {
            self.marks.pop_front();
        }
        self.marks.push_back((position, digest));
    }

    /// What others may compare with: the marks, and where the state stands now.
    fn told(&self, digest: impl FnOnce() -> u64) -> Vec<Mark> {
        let now = self.applied.map(|applied| (applied, digest()));
        self.marks.iter().copied().chain(now).collect()
    }

    /// Another site's marks. What came of it, if it is something else than before.
    fn compare(&mut self, site: SiteId, theirs: &[Mark], now: Option<Mark>) -> Option<Compared> {
        let own = || self.marks.iter().chain(now.as_ref());
        let common = theirs.iter().filter_map(|(at, digest)| {
            let own = own().find(|own| own.0 == *at)?;
            Some(Compared { position: *at, same: own.1 == *digest })
        });
        // The first difference is nearest to what went wrong; without one, the last position says most.
        let found: Vec<Compared> = common.collect();
        let worst = found.iter().filter(|found| !found.same).min_by_key(|found| found.position);
        let compared = *worst.or(found.iter().max_by_key(|found| found.position))?;
        let before = self.others.insert(site, compared);
        (before.is_none_or(|before| before.same != compared.same)).then_some(compared)
    }

    /// Those that are in the group now are compared with, soon.
    pub(super) fn in_view(&mut self, sites: &[SiteId]) {
        self.others.retain(|site, _| sites.contains(site));
        self.due = None;
    }

    /// Somebody wants to know how others' states are now.
    pub(super) fn want(&mut self, told: Told<BTreeMap<SiteId, Compared>>) {
        match self.wanted.len() < WANTED_MAX {
            true => self.wanted.push(told),
            false => drop(told.send(Err(HostError::Busy))),
        }
    }

    fn tell(&mut self) {
        let others = self.others();
        self.wanted.drain(..).for_each(|told| drop(told.send(Ok(others.clone()))));
    }

    /// How others' states were.
    pub(super) fn others(&self) -> BTreeMap<SiteId, Compared> {
        self.others.clone()
    }
}

impl Hosting {
    /// Asks the other members how their states are, when it is time.
    pub(super) fn compare(&mut self, node: &mut Node, now: Time, name: &GroupName) {
        let Some(process) = self.process else { return };
        let Some(hosted) = self.groups.get_mut(name) else { return };
        let comparison = &mut hosted.comparison;
        let due = *comparison.due.get_or_insert(now + SOON);
        let is_due = now >= due || !comparison.wanted.is_empty();
        if !is_due || comparison.asking || !matches!(hosted.stage, Stage::Open(..)) {
            return;
        }
        comparison.due = Some(now + AGAIN);
        let others = hosted.missing.others_now();
        if others.is_empty() {
            return comparison.tell();
        }
        let options = CastOptions {
            only: others.to_vec(),
            replies: Replies::All,
            timeout: WITHIN,
            ..CastOptions::plain(Order::Fbcast)
        };
        // Refused, it is asked again.
        if let Ok(Casted::Call(call)) = node.cast(now, process, name, &options, &Bytes::from_static(QUESTION))
        {
            comparison.asking = true;
            self.fetching.insert(call, Asked::digests(name.clone()));
        }
    }

    /// What they said.
    pub(super) fn compared(&mut self, name: &GroupName, replies: &[(MemberId, Bytes)]) {
        let Some(hosted) = self.groups.get_mut(name) else { return };
        let comparison = &mut hosted.comparison;
        comparison.asking = false;
        let Stage::Open(_, served) = &hosted.stage else { return };
        if hosted.held.is_some() {
            return comparison.tell();
        }
        let here = comparison.applied.map(|applied| (applied, served.digest()));
        for (member, said) in replies {
            let Some(theirs) = read(said) else {
                tracing::debug!(group = %name, %member, "an answer that is no list of digests");
                continue;
            };
            let site = member.process.site();
            match comparison.compare(site, &theirs, here) {
                Some(Compared { position, same: false }) => {
                    tracing::error!(group = %name, %site, position, "the state here is not that of another site; see `unanimous status`");
                }
                Some(Compared { position, same: true }) => {
                    tracing::debug!(group = %name, %site, position, "the state is that of another site");
                }
                None => {}
            }
        }
        comparison.tell();
    }

    /// Another site asks how the state of a group is here.
    pub(super) fn tell_digests(&mut self, node: &mut Node, now: Time, to: ReplyTo) {
        let hosted = self.groups.values().find(|hosted| hosted.missing.is_own(to.member));
        let told = hosted.filter(|hosted| hosted.held.is_none()).and_then(|hosted| match &hosted.stage {
            Stage::Open(_, served) => Some(hosted.comparison.told(|| served.digest())),
            Stage::Opening(_) | Stage::Refused(_) => None,
        });
        self.tell_payload(node, now, to, told.map(|marks| write(&marks)));
    }
}

/// Marks as they travel: 16 bytes each.
fn write(marks: &[Mark]) -> Bytes {
    let numbers = marks.iter().flat_map(|(at, digest)| [at.to_be_bytes(), digest.to_be_bytes()]);
    numbers.flatten().collect::<Vec<u8>>().into()
}

/// None: these are none, or more than anybody remembers.
fn read(said: &[u8]) -> Option<Vec<Mark>> {
    if !said.len().is_multiple_of(16) || said.len() > (MARKS_MAX + 1) * 16 {
        return None;
    }
    let number = |half: &[u8]| half.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    Some(said.chunks_exact(16).map(|pair| (number(pair), number(&pair[8..]))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHER: SiteId = SiteId(2);

    fn at(position: u64) -> Comparison {
        let mut comparison = Comparison::default();
        comparison.restart(0);
        (1..=position).for_each(|at| comparison.applied(at, || at * 7));
        comparison
    }

    #[test]
    fn sites_that_are_never_at_rest_compare_what_they_were() {
        let (mut here, there) = (at(2 * EVERY + 5), at(2 * EVERY + 9));
        let theirs = there.told(|| 1);
        let found = here.compare(OTHER, &read(&write(&theirs)).expect("marks"), Some((2 * EVERY + 5, 2)));
        assert_eq!(found, Some(Compared { position: 2 * EVERY, same: true }));
        // It is no news a second time.
        assert_eq!(here.compare(OTHER, &theirs, None), None);
        assert_eq!(here.others()[&OTHER], Compared { position: 2 * EVERY, same: true });
    }

    #[test]
    fn sites_at_rest_compare_what_they_are() {
        let (mut here, there) = (at(5), at(5));
        let theirs = there.told(|| 42);
        assert_eq!(here.compare(OTHER, &theirs, Some((5, 42))), Some(Compared { position: 5, same: true }));
        assert_eq!(here.compare(OTHER, &theirs, Some((5, 43))), Some(Compared { position: 5, same: false }));
        // One has gone on: nothing is known, and what was known stays.
        assert_eq!(here.compare(OTHER, &theirs, Some((6, 44))), None);
        assert!(!here.others()[&OTHER].same);
    }

    #[test]
    fn the_first_difference_is_told_and_an_agreement_behind_it_hides_nothing() {
        let mut here = at(3 * EVERY);
        let mut theirs = here.told(|| 0);
        theirs[1].1 += 1;
        assert_eq!(here.compare(OTHER, &theirs, None), Some(Compared { position: 2 * EVERY, same: false }));
    }

    #[test]
    fn a_new_state_is_compared_anew_and_who_has_gone_is_forgotten() {
        let mut here = at(EVERY);
        let theirs = [(EVERY, 1)];
        assert!(here.compare(OTHER, &theirs, None).is_some_and(|found| !found.same));
        here.in_view(&[OTHER]);
        assert_eq!(here.others().len(), 1);
        here.in_view(&[]);
        assert!(here.others().is_empty());
        assert!(here.compare(OTHER, &theirs, None).is_some_and(|found| !found.same));
        here.restart(EVERY + 3);
        assert!(here.others().is_empty() && here.compare(OTHER, &theirs, None).is_none());
    }

    #[test]
    fn few_are_remembered_and_more_are_not_read() {
        let here = at(20 * EVERY);
        assert_eq!(here.told(|| 0).len(), MARKS_MAX + 1);
        assert!(read(&[0; 16 * (MARKS_MAX + 2)]).is_none());
        assert!(read(&[0; 17]).is_none());
        assert_eq!(read(&[]), Some(Vec::new()));
    }
}
