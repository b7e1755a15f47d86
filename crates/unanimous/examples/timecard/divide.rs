//! Who searches which departments. Every member works it out alone, from the views that all of them see.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use unanimous::MemberId;

use crate::records::Department;

/// A rule, and what it has to remember.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Division {
    /// Department d belongs to rank (d-1) modulo the number of members; ranks beyond the departments stand by. A
    /// function of the view alone.
    ByRank {
        /// The members by rank.
        members: Vec<MemberId>,
    },
    /// Whoever leaves hands its departments to those who have the fewest; whoever joins takes half of what the one
    /// with the most has. Few departments move, but the rule needs its past: a joiner is told.
    Steady {
        /// The departments of each member.
        of: BTreeMap<MemberId, Vec<Department>>,
    },
}

impl Division {
    /// The first rule.
    pub fn by_rank() -> Division {
        Division::ByRank { members: Vec::new() }
    }

    /// The second.
    pub fn steady() -> Division {
        Division::Steady { of: BTreeMap::new() }
    }

    /// A new view: `members` by rank, of `count` departments.
    pub fn view(&mut self, members: &[MemberId], count: u32) {
        match self {
            Division::ByRank { members: known } => *known = members.to_vec(),
            Division::Steady { of } => steady_view(of, members, count),
        }
    }

    /// A member's departments, in order; none if it stands by.
    pub fn of(&self, member: MemberId, count: u32) -> Vec<Department> {
        match self {
            Division::ByRank { members } => {
                let Some(rank) = members.iter().position(|&other| other == member) else { return Vec::new() };
                (1..=count).skip(rank).step_by(members.len()).collect()
            }
            Division::Steady { of } => of.get(&member).cloned().unwrap_or_default(),
        }
    }
}

fn steady_view(of: &mut BTreeMap<MemberId, Vec<Department>>, members: &[MemberId], count: u32) {
    let mut free: Vec<Department> = Vec::new();
    of.retain(|member, departments| {
        let stays = members.contains(member);
        if !stays {
            free.append(departments);
        }
        stays
    });
    if of.is_empty() {
        free = (1..=count).collect();
        if let Some(&senior) = members.first() {
            of.insert(senior, Vec::new());
        }
    }
    free.sort_unstable();
    for department in free {
        // Of equals `min_by_key` takes the first: the senior.
        let fewest = members.iter().filter_map(|member| Some((of.get(member)?.len(), *member)));
        if let Some((_, member)) = fewest.min_by_key(|(has, _)| *has) {
            of.entry(member).or_default().push(department);
        }
    }
    for joiner in members {
        if of.contains_key(joiner) {
            continue;
        }
        let most = members.iter().filter_map(|member| Some((of.get(member)?.len(), *member)));
        let taken = match most.min_by_key(|(has, _)| Reverse(*has)) {
            Some((has, member)) => of.entry(member).or_default().split_off(has - has / 2),
            None => Vec::new(),
        };
        of.insert(*joiner, taken);
    }
    of.values_mut().for_each(|departments| departments.sort_unstable());
}

#[cfg(test)]
mod tests {
    use unanimous::ProcessId;

    use super::*;

    fn member(n: u64) -> MemberId {
        MemberId { process: ProcessId { local: n, ..ProcessId::default() }, join: 1 }
    }

    fn all(division: &Division, members: &[MemberId], count: u32) -> Vec<Department> {
        let mut all: Vec<_> = members.iter().flat_map(|&member| division.of(member, count)).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn by_rank_gives_every_department_to_one_member_however_many_there_are() {
        for size in 1..9 {
            let members: Vec<_> = (1..=size).map(member).collect();
            let mut division = Division::by_rank();
            division.view(&members, 5);
            assert_eq!(all(&division, &members, 5), [1, 2, 3, 4, 5], "{size} members");
        }
    }

    #[test]
    fn members_beyond_the_departments_stand_by_and_step_in() {
        let members: Vec<_> = (1..=6).map(member).collect();
        let mut division = Division::by_rank();
        division.view(&members, 5);
        assert!(division.of(members[5], 5).is_empty());
        division.view(&members[1..], 5);
        assert_eq!(division.of(members[5], 5), [5]);
    }

    #[test]
    fn steady_moves_only_what_it_must() {
        let members: Vec<_> = (1..=3).map(member).collect();
        let mut division = Division::steady();
        division.view(&members[..1], 5);
        assert_eq!(division.of(members[0], 5), [1, 2, 3, 4, 5]);
        division.view(&members[..2], 5);
        assert_eq!(division.of(members[1], 5), [4, 5]);
        division.view(&members, 5);
        assert_eq!(division.of(members[2], 5), [3]);
        let before = division.of(members[2], 5);
        division.view(&members[1..], 5);
        assert_eq!(all(&division, &members[1..], 5), [1, 2, 3, 4, 5]);
        assert!(before.iter().all(|department| division.of(members[2], 5).contains(department)));
    }

    #[test]
    fn steady_covers_every_department_through_any_change() {
        let members: Vec<_> = (1..=7).map(member).collect();
        let mut division = Division::steady();
        // Each number is a set of members, as bits: views in which some leave and some join at once.
        for set in
            [1u32, 3, 7, 0b111_1111, 0b111_0000, 0b000_1111, 0b100_0001, 0b011_1110, 0b100_0000, 0b000_0001]
        {
            let view: Vec<_> =
                members.iter().enumerate().filter(|(i, _)| set & (1 << i) != 0).map(|(_, m)| *m).collect();
            division.view(&view, 5);
            assert_eq!(all(&division, &view, 5), [1, 2, 3, 4, 5], "{set:b}");
        }
    }
}
