//! What a quorum is (A1). Any two quorums of one line view intersect.

use wire::{Bug, Bugs};

use crate::step::{Peer, Step};

/// Whether this peer votes in the instance of this line view. Votes go by store: a restarted site keeps its
/// vote, an emptied disk has none. Step 0 knows no stores yet.
pub fn is_acceptor(line: &Step, peer: Peer) -> bool {
    line.members
        .iter()
        .any(|m| m.peer.site == peer.site && (line.position == 0 || m.peer.store == peer.store))
}

/// Whether the peers for which `voted` holds are a quorum of this line view: more than half of it, or exactly
/// half with rank 0; all of step 0 (C0), so that an emptied disk cannot found a second line.
pub fn is_quorum(line: &Step, bugs: Bugs, voted: impl Fn(Peer) -> bool) -> bool {
    let all = line.members.len();
    let votes = line.members.iter().filter(|m| voted(m.peer)).count();
    if line.position == 0 {
        return votes == all;
    }
    let senior = line.members.first().is_some_and(|m| voted(m.peer)) || bugs.has(Bug::HalfWithoutSenior);
    votes * 2 > all || (votes * 2 == all && votes > 0 && senior)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::CoreMember;
    use wire::{Incarnation, SiteId, StoreId, ViewId};

    fn line(position: u64, sites: u32) -> Step {
        let member = |site| CoreMember {
            peer: Peer { site: SiteId(site), incarnation: Incarnation(1), store: StoreId(u64::from(site)) },
            joined_at: ViewId::default(),
        };
        Step {
            id: ViewId::default(),
            base: ViewId::default(),
            position,
            primary: true,
            members: (1..=sites).map(member).collect(),
            removed: Vec::new(),
            requests: Vec::new(),
            digest: 0,
            branches: Vec::new(),
        }
    }

    #[test]
    fn any_two_quorums_of_a_line_view_intersect() {
        for sites in 1..=6u32 {
            let line = line(1, sites);
            let quorum = |set: u32| is_quorum(&line, Bugs::NONE, |p| set & (1 << (p.site.0 - 1)) != 0);
            for a in 0..1 << sites {
                for b in 0..1 << sites {
                    assert!(!(quorum(a) && quorum(b)) || a & b != 0, "{sites} sites: {a:b} and {b:b}");
                }
            }
        }
    }

    #[test]
    fn the_founding_takes_all_founders() {
        let line = line(0, 3);
        assert!(is_quorum(&line, Bugs::NONE, |_| true));
        assert!(!is_quorum(&line, Bugs::NONE, |p| p.site != SiteId(3)));
        let stranger = Peer { site: SiteId(1), incarnation: Incarnation(9), store: StoreId(77) };
        assert!(is_acceptor(&line, stranger));
    }

    #[test]
    fn a_restarted_site_keeps_its_vote_and_an_emptied_disk_has_none() {
        let line = line(3, 3);
        let peer = |store| Peer { site: SiteId(1), incarnation: Incarnation(9), store: StoreId(store) };
        assert!(is_acceptor(&line, peer(1)));
        assert!(!is_acceptor(&line, peer(77)));
    }
}
