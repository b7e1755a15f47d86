//! Durable groups' bugs, for the simulation's proof of itself: see [`switches::bugs`].

switches::bugs! {
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
