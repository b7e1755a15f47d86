//! Process lists: some members named together, as a pure value. A cast with a list is delivered to the
//! listed members only, and a list can become a group of its own. [ISIS Manual 2.0, chapter 1]

use membership::group::{Create, GroupOptions, GroupRequest, GroupView};
use wire::{GroupName, MemberId, ProcessId};

/// A set of members, in order of their ids. Holds at most [`ProcessList::LEN_MAX`].
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessList {
    /// Sorted, without doubles: small lists are searched faster so than as a tree.
    members: Vec<MemberId>,
}

/// The list is full; it is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a process list holds at most {} members", ProcessList::LEN_MAX)]
pub struct ListFull;

impl ProcessList {
    /// The longest list.
    pub const LEN_MAX: usize = 1024;

    /// A list of these members; doubles count once.
    pub fn create(members: impl IntoIterator<Item = MemberId>) -> Result<ProcessList, ListFull> {
        let mut list = ProcessList::default();
        for member in members {
            list.add(member)?;
        }
        Ok(list)
    }

    /// Adds a member. Says whether it was new.
    pub fn add(&mut self, member: MemberId) -> Result<bool, ListFull> {
        match self.members.binary_search(&member) {
            Ok(_) => Ok(false),
            Err(_) if self.members.len() >= Self::LEN_MAX => Err(ListFull),
            Err(at) => {
                self.members.insert(at, member);
                Ok(true)
            }
        }
    }

    /// Removes a member. Says whether it was there.
    pub fn remove(&mut self, member: MemberId) -> bool {
        let found = self.members.binary_search(&member);
        if let Ok(at) = found {
            self.members.remove(at);
        }
        found.is_ok()
    }

    /// Whether this member is listed.
    pub fn contains(&self, member: MemberId) -> bool {
        self.members.binary_search(&member).is_ok()
    }

    /// The members, by id.
    pub fn members(&self) -> &[MemberId] {
        &self.members
    }

    /// How many are listed.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether none is listed.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Those of the list that are members of this view: a subgroup.
    pub fn within(&self, view: &GroupView) -> ProcessList {
        let present = |id: &&MemberId| view.members.iter().any(|member| member.id == **id);
        ProcessList { members: self.members.iter().filter(present).copied().collect() }
    }

    /// The requests that make the listed processes a group of their own, to be submitted together and in
    /// this order: the first creates it, the others enter it. `draw` gives each process its new join number,
    /// which only the process's own site can draw; a process that is listed twice, as two members, joins once.
    pub fn make_group(
        &self,
        name: &GroupName,
        options: &GroupOptions,
        mut draw: impl FnMut(ProcessId) -> u64,
    ) -> Vec<GroupRequest> {
        let mut processes: Vec<ProcessId> = self.members.iter().map(|member| member.process).collect();
        processes.dedup();
        let join = |(at, process): (usize, ProcessId)| GroupRequest::Join {
            group: name.clone(),
            member: MemberId { process, join: draw(process) },
            role: None,
            create: if at == 0 { Create::MustCreate } else { Create::MustExist },
            options: options.clone(),
        };
        processes.into_iter().enumerate().map(join).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::testing::{member, view};

    #[test]
    fn a_list_is_a_set_whatever_the_order_of_its_making() {
        let one = ProcessList::create([member(3), member(1), member(3), member(2)]).expect("short");
        let mut two = ProcessList::create([member(2), member(3), member(4)]).expect("short");
        assert_eq!(two.add(member(1)), Ok(true));
        assert_eq!(two.add(member(1)), Ok(false));
        assert!(two.remove(member(4)) && !two.remove(member(4)));
        assert_eq!(one, two);
        assert!(one.contains(member(2)) && !one.contains(member(4)));
    }

    #[test]
    fn a_full_list_refuses_and_stays_as_it_was() {
        let all = (0..ProcessList::LEN_MAX as u32).map(member);
        let mut list = ProcessList::create(all).expect("just full");
        assert_eq!(list.add(member(5000)), Err(ListFull));
        assert_eq!(list.add(member(5)), Ok(false));
        assert_eq!(list.len(), ProcessList::LEN_MAX);
    }

    #[test]
    fn a_subgroup_is_who_is_listed_and_present() {
        let list = ProcessList::create([member(1), member(3), member(9)]).expect("short");
        assert_eq!(list.within(&view(1, &[1, 2, 3])).members(), [member(1), member(3)]);
    }

    #[test]
    fn a_list_becomes_a_group_that_its_first_member_creates() {
        let list = ProcessList::create([member(2), member(1)]).expect("short");
        let name = GroupName::parse("half").expect("a good name");
        let requests = list.make_group(&name, &GroupOptions::default(), |_| 7);
        let seen: Vec<_> = requests
            .iter()
            .map(|request| match request {
                GroupRequest::Join { member, create, .. } => (member.process, member.join, *create),
                other => panic!("not a join: {other:?}"),
            })
            .collect();
        assert_eq!(
            seen,
            [(member(1).process, 7, Create::MustCreate), (member(2).process, 7, Create::MustExist)]
        );
    }
}
