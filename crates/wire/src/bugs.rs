//! The bugs of the core's protocols, for the simulator's and the model checker's proof of themselves: see [`switches::bugs`].

switches::bugs! {
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
