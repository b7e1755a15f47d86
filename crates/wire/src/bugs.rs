//! Switches that re-introduce known bugs, so that the simulator and the model checker can prove that they
//! would have caught them. Without the feature `bugs` a [`Bugs`] is empty, has no size, and every test of it
//! is the constant `false`: the shipped program does not contain the bugs.

/// A bug that can be re-introduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Bug {
    /// Line: promises are lost at a restart.
    PromisesLost,
    /// Line: a half without the senior member counts as a quorum.
    HalfWithoutSenior,
    /// Line: an accepted step that an election reports is ignored.
    ForcedValueIgnored,
    /// Line: an accepted step is proposed again under a new id.
    ForcedValueRenamed,
    /// Line: attempt 0 is used more than once in an epoch.
    AttemptZeroTwice,
    /// Line: an attempt goes on although the line has moved.
    AttemptNotAbandoned,
    /// Line: a non-primary step is installed over a newer line.
    NonPrimaryOverLine,
    /// A Commit about a past attempt is built from the present one (schedule 5).
    WrongCommitResent,
    /// An acknowledgement of an earlier attempt is counted (schedule 11).
    StaleAckCounted,
    /// One witness suffices to expel a member (schedule 9).
    SingleWitness,
    /// View ids are bare numbers.
    BareViewNumber,
    /// A promise is sent before it is on disk.
    PromiseBeforeDisk,
    /// Flush: a message is delivered after this site's Flush, beyond what the Flush said.
    DeliverAfterFlush,
    /// Flush: a message is acknowledged after this site's Flush.
    AckAfterFlush,
    /// Flush: two different Flushes are sent for one view.
    TwoFlushes,
    /// Flush: a view below the one flushed for is accepted.
    ViewBelowFlushed,
    /// Flush: `have` tells what was received instead of what is causally deliverable.
    HaveReceived,
    /// Flush: a missing Flush is not awaited.
    FlushNotAwaited,
    /// Messages are delivered into a new view without any flush.
    DeliverWithoutFlush,
    /// The order of messages that the sequencer announced is forgotten when it crashes.
    OrderLostAtSequencerCrash,
    /// An outsider's cast that is sent again through another contact is delivered twice.
    OutsiderCastTwice,
    /// A relayed frame may be relayed for ever.
    DetourLoops,
    /// A view that lists a site again is not taken, if the one before has just ended what others sent early.
    EndedTakesNoView,
}

impl Bug {
    /// Every bug, in order.
    pub const ALL: [Bug; 23] = [
        Bug::PromisesLost,
        Bug::HalfWithoutSenior,
        Bug::ForcedValueIgnored,
        Bug::ForcedValueRenamed,
        Bug::AttemptZeroTwice,
        Bug::AttemptNotAbandoned,
        Bug::NonPrimaryOverLine,
        Bug::WrongCommitResent,
        Bug::StaleAckCounted,
        Bug::SingleWitness,
        Bug::BareViewNumber,
        Bug::PromiseBeforeDisk,
        Bug::DeliverAfterFlush,
        Bug::AckAfterFlush,
        Bug::TwoFlushes,
        Bug::ViewBelowFlushed,
        Bug::HaveReceived,
        Bug::FlushNotAwaited,
        Bug::DeliverWithoutFlush,
        Bug::OrderLostAtSequencerCrash,
        Bug::OutsiderCastTwice,
        Bug::DetourLoops,
        Bug::EndedTakesNoView,
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
