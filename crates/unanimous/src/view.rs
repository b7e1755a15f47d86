//! A view of a group, as its members and those who watch it see it.

use wire::session::View as Line;
use wire::{GroupName, MemberId, ViewId};

use crate::ids::{self, IdError};

pub use membership::step::Why;

/// Who is in a group. Every member sees the same views in the same order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The group's name.
    pub group: GroupName,
    /// Unique for ever, on all sides of a cut network.
    pub id: ViewId,
    /// Whether it is on the primary line of views, of which there is one.
    pub primary: bool,
    /// Whether this side lives. One that does not gets a last view and may only be read.
    pub lives: bool,
    /// This process's member of the group; none if it only watches.
    pub me: Option<MemberId>,
    /// The members by rank: the oldest first.
    pub members: Vec<MemberId>,
    /// Who joined with this view.
    pub joined: Vec<MemberId>,
    /// Who is no longer there, and why.
    pub left: Vec<(MemberId, Why)>,
    /// Who came from the same previous view as this process and delivered the same messages in it.
    pub transitional: Vec<MemberId>,
}

impl View {
    /// This process's rank; none if it only watches.
    pub fn rank(&self) -> Option<usize> {
        self.rank_of(self.me?)
    }

    /// A member's rank.
    pub fn rank_of(&self, member: MemberId) -> Option<usize> {
        self.members.iter().position(|&other| other == member)
    }

    /// The oldest member.
    pub fn senior(&self) -> Option<MemberId> {
        self.members.first().copied()
    }

    pub(crate) fn from_line(group: GroupName, line: &Line) -> Result<View, IdError> {
        let members = all(&line.members)?;
        let left = line
            .left
            .iter()
            .map(|gone| Ok((ids::member(&gone.member)?, why(&gone.why))))
            .collect::<Result<_, IdError>>()?;
        Ok(View {
            group,
            id: ids::view(&line.id)?,
            primary: line.primary,
            lives: line.lives,
            me: line.rank.and_then(|rank| members.get(rank).copied()),
            members,
            joined: all(&line.joined)?,
            left,
            transitional: all(&line.transitional)?,
        })
    }
}

fn all(members: &[String]) -> Result<Vec<MemberId>, IdError> {
    members.iter().map(|member| ids::member(member)).collect()
}

/// A reason that a later version may give counts as a failure: the member did not say good-bye.
fn why(text: &str) -> Why {
    match text {
        "left" => Why::Left,
        "partitioned" => Why::Partitioned,
        _ => Why::Failed,
    }
}

#[cfg(test)]
mod tests {
    use wire::session::LeftMember;

    use super::*;

    #[test]
    fn a_session_s_view_keeps_ranks_and_reasons() {
        let line = Line {
            group: "chat".into(),
            id: "4-0-s1.1".into(),
            primary: true,
            lives: true,
            rank: Some(1),
            members: vec!["s1.1/3#1".into(), "s2.1/3#1".into()],
            joined: vec!["s2.1/3#1".into()],
            left: vec![LeftMember { member: "s3.1/1#1".into(), why: "partitioned".into() }],
            transitional: vec!["s1.1/3#1".into()],
        };
        let view = View::from_line(GroupName::parse("chat").expect("a name"), &line).expect("reads");
        assert_eq!(view.rank(), Some(1));
        assert_eq!(view.me, Some(view.members[1]));
        assert_eq!(view.senior(), Some(view.members[0]));
        assert_eq!(view.left[0].1, Why::Partitioned);

        let garbled = Line { members: vec!["nobody".into()], ..line };
        assert!(View::from_line(GroupName::parse("chat").expect("a name"), &garbled).is_err());
    }
}
