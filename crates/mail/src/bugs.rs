//! Switches that re-introduce known bugs, so that the simulation can prove that it would have caught them. In the
//! manner of `wire::bugs`: without the feature `bugs` a [`Bugs`] is empty and every test of it is `false`.

/// A bug that can be re-introduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Bug {
    /// Mail 9: a repeat is taken for a new request.
    RepeatTakenAsNew,
    /// Mail 9, Mail 11: a checkpoint lacks the requests that are remembered.
    RequestsNotInCheckpoint,
    /// Mail 5, Mail 11: a checkpoint has a mailbox's letters, and neither its next UID nor what vanished.
    UidsNotInCheckpoint,
    /// Mail 5, Mail 11: a checkpoint lacks the last UIDVALIDITY that was given out.
    ValidityNotInCheckpoint,
    /// Mail 6: a change of flags gets the MODSEQ of the change before it.
    ModseqTwice,
    /// Mail 7: whoever two recipients stand for gets two copies.
    CopyForEachRecipient,
    /// Mail 12: a held letter that was deleted before it came, comes.
    DeletionForgotten,
}

impl Bug {
    /// Every bug, in order.
    pub const ALL: [Bug; 7] = [
        Bug::RepeatTakenAsNew,
        Bug::RequestsNotInCheckpoint,
        Bug::UidsNotInCheckpoint,
        Bug::ValidityNotInCheckpoint,
        Bug::ModseqTwice,
        Bug::CopyForEachRecipient,
        Bug::DeletionForgotten,
    ];
}

/// The set of bugs that are switched on: always empty in the shipped program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bugs {
    #[cfg(feature = "bugs")]
    bits: u32,
}

impl Bugs {
    /// No bug.
    pub const NONE: Bugs = Bugs {
        #[cfg(feature = "bugs")]
        bits: 0,
    };

    /// Just this one.
    #[cfg(feature = "bugs")]
    pub const fn only(bug: Bug) -> Bugs {
        Bugs { bits: 1 << bug as u32 }
    }

    /// Whether this bug is switched on.
    #[inline(always)]
    pub const fn has(self, bug: Bug) -> bool {
        #[cfg(feature = "bugs")]
        return self.bits & (1 << bug as u32) != 0;
        #[cfg(not(feature = "bugs"))]
        {
            let _ = bug;
            false
        }
    }
}
