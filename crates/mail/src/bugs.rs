//! The mail state machine's bugs, for the simulation's proof of itself: see [`switches::bugs`].

switches::bugs! {
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
