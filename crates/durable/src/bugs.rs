//! Switches that re-introduce known bugs, so that the simulation can prove that it would have caught them. In the
//! manner of `wire::bugs`: without the feature `bugs` a [`Bugs`] is empty and every test of it is `false`.

/// A bug that can be re-introduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Bug {
    /// D10: an entry is applied and answered when it is on this disk alone.
    AppliedBeforeW,
    /// D6: logs are compared by position before view.
    LongestLogWins,
    /// D14: a damaged tail is cut like a torn one, and the store counts as sure.
    TailCutVotes,
    /// D17: a statement counts for its site, whatever store is there.
    EmptiedStoreVotes,
    /// D3: records are not checked at recovery.
    TornTailAccepted,
    /// D4: a failed write counts as done.
    SyncErrorIgnored,
    /// D12: the senior site answers reads by itself.
    DeposedReader,
    /// D6, D10: quorums are of the configured stores that are in the view.
    QuorumOfLiving,
    /// D1: what is delivered after `Blocked` is numbered too.
    NumberedInFlush,
    /// D7: entries of older views are committed by themselves.
    OldEntriesCommitted,
    /// D13: a repeated request is applied again.
    AppliedTwice,
    /// D2: fetched entries are written over what is there, without comparing.
    CutUnproven,
    /// D2: positions are acknowledged before they are on disk.
    AckBeforeDisk,
    /// D16: an old copy of a store counts.
    SurpassedVotes,
}

impl Bug {
    /// Every bug, in order.
    pub const ALL: [Bug; 14] = [
        Bug::AppliedBeforeW,
        Bug::LongestLogWins,
        Bug::TailCutVotes,
        Bug::EmptiedStoreVotes,
        Bug::TornTailAccepted,
        Bug::SyncErrorIgnored,
        Bug::DeposedReader,
        Bug::QuorumOfLiving,
        Bug::NumberedInFlush,
        Bug::OldEntriesCommitted,
        Bug::AppliedTwice,
        Bug::CutUnproven,
        Bug::AckBeforeDisk,
        Bug::SurpassedVotes,
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
