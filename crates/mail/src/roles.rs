//! Master, Lieutenant and Caretaker: the first three ranks of the group's view [Mail 13].
//!
//! The order of the log needs none of them: every site accepts letters, and the group decides where they
//! stand. What is left of the roles is who does what needs one doer.
// [Yampell 86, 5, 6, 10, 11]

/// What somebody has to do once and not everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Propose what time alone brings: ticks, so that requests are forgotten in quiet hours.
    Housekeeping,
    /// Take the Master's place when it is gone.
    TakeOver,
    /// Give members that return the log's tail or a checkpoint.
    CatchUp,
    /// Compare the sites' digests, and tell the administrator of a difference.
    CompareDigests,
}

/// Who has which role in a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles<M> {
    /// Rank 0.
    pub master: M,
    /// Rank 1, if there is one.
    pub lieutenant: Option<M>,
    /// Rank 2; the most junior member of a smaller view.
    pub caretaker: M,
}

impl<M: Copy + Eq> Roles<M> {
    /// The roles in a view whose members stand by seniority; none of an empty one.
    pub fn of(members: &[M]) -> Option<Roles<M>> {
        let master = *members.first()?;
        let lieutenant = members.get(1).copied();
        let caretaker = members.get(2).copied().or(lieutenant).unwrap_or(master);
        Some(Roles { master, lieutenant, caretaker })
    }

    /// Whose duty something is. A Caretaker reads and sends; it proposes nothing, so what it does wrong costs
    /// time and no mail.
    pub fn bearer(&self, duty: Duty) -> M {
        match duty {
            Duty::Housekeeping => self.master,
            Duty::TakeOver => self.lieutenant.unwrap_or(self.master),
            Duty::CatchUp | Duty::CompareDigests => self.caretaker,
        }
    }

    /// Whether a member has a duty.
    pub fn may(&self, member: M, duty: Duty) -> bool {
        self.bearer(duty) == member
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_roles_and_small_views_share_them() {
        assert_eq!(Roles::<u32>::of(&[]), None);
        let alone = Roles::of(&[7]).unwrap();
        assert_eq!(alone, Roles { master: 7, lieutenant: None, caretaker: 7 });
        assert!(alone.may(7, Duty::TakeOver) && alone.may(7, Duty::CatchUp));
        let two = Roles::of(&[7, 3]).unwrap();
        assert_eq!(two, Roles { master: 7, lieutenant: Some(3), caretaker: 3 });
        let four = Roles::of(&[7, 3, 9, 1]).unwrap();
        assert_eq!(four, Roles { master: 7, lieutenant: Some(3), caretaker: 9 });
        assert!(!four.may(9, Duty::Housekeeping) && !four.may(1, Duty::CatchUp));
        // The Master dies: the Lieutenant is Master, the Caretaker is Lieutenant.
        let after = Roles::of(&[3, 9, 1]).unwrap();
        assert_eq!(after, Roles { master: 3, lieutenant: Some(9), caretaker: 1 });
    }
}
