//! What became of an entry: the same at every site.

use minicbor::{Decode, Encode};

use crate::ids::{MailboxId, Position, UserId};
use crate::uids::UidSet;

/// What became of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Outcome {
    /// It is done; there is nothing more to say.
    #[n(0)]
    Done,
    /// A letter was handed out: one receipt for each envelope recipient, in their order.
    #[n(1)]
    Delivered(#[n(0)] Vec<Receipt>),
    /// A letter was put into a mailbox.
    #[n(2)]
    Appended {
        /// The mailbox's UIDVALIDITY.
        #[n(0)]
        validity: u32,
        /// The letter's UID.
        #[n(1)]
        uid: u32,
    },
    /// Flags were changed.
    #[n(3)]
    Stored {
        /// The mailbox's MODSEQ now.
        #[n(0)]
        modseq: u64,
        /// Letters whose flags are others now.
        #[n(1)]
        changed: UidSet,
        /// Letters that were passed over because they had changed since the MODSEQ that the client knew.
        #[n(2)]
        modified: UidSet,
    },
    /// Letters are gone.
    #[n(4)]
    Expunged {
        /// The mailbox's MODSEQ now.
        #[n(0)]
        modseq: u64,
        /// Which.
        #[n(1)]
        uids: UidSet,
    },
    /// Letters were copied or moved: the `n`th of `from` is the `n`th of `to`.
    #[n(5)]
    Copied {
        /// The target's UIDVALIDITY.
        #[n(0)]
        validity: u32,
        /// UIDs where they were.
        #[n(1)]
        from: UidSet,
        /// UIDs where they are.
        #[n(2)]
        to: UidSet,
    },
    /// A mailbox was made.
    #[n(6)]
    Created {
        /// Its id.
        #[n(0)]
        mailbox: MailboxId,
        /// Its UIDVALIDITY.
        #[n(1)]
        validity: u32,
    },
    /// A user was added.
    #[n(7)]
    Added(#[n(0)] UserId),
    /// Letters from the first UID to below the second are recent to whoever asked.
    #[n(8)]
    Claimed {
        /// The first.
        #[n(0)]
        from: u32,
        /// Behind the last.
        #[n(1)]
        to: u32,
    },
    /// A store may show `Held` mailboxes with this UIDVALIDITY.
    #[n(9)]
    Enrolled {
        /// The UIDVALIDITY.
        #[n(0)]
        held_validity: u32,
    },
    /// The same request was done before; nothing was done again.
    #[n(10)]
    Repeated {
        /// Where; 0 if that is not remembered.
        #[n(0)]
        first: Position,
        /// What became of it then; `Done` for what is not remembered in more detail.
        #[n(1)]
        answer: Box<Outcome>,
    },
    /// It cannot be done. Nothing has changed.
    #[n(11)]
    Refused(#[n(0)] Refusal),
}

impl Outcome {
    /// Whether nothing was done.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Outcome::Refused(_))
    }
}

/// What became of a letter for one envelope recipient.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Receipt {
    /// It is in the recipient's mailbox, or in those of all that the address stands for.
    #[n(0)]
    Delivered,
    /// Some of those that the address stands for have it; these have not, because of their quota (at most
    /// [`RECEIPT_USERS_MAX`](crate::limits::RECEIPT_USERS_MAX) are named). Whoever accepted the letter owes the
    /// list's owner or the sender a word.
    #[n(1)]
    Partly(#[n(0)] Vec<UserId>),
    /// Nobody has it.
    #[n(2)]
    Refused(#[n(0)] Refusal),
}

/// Why something was not done. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, thiserror::Error)]
pub enum Refusal {
    /// The entry's position is not behind the last one's.
    #[n(0)]
    #[error("this entry was applied before")]
    AlreadyApplied,
    /// The principal may not do this.
    #[n(1)]
    #[error("not permitted")]
    NotPermitted,
    /// No such user.
    #[n(2)]
    #[error("no such user")]
    NoUser,
    /// No such mailbox.
    #[n(3)]
    #[error("no such mailbox")]
    NoMailbox,
    /// The name, use or address is taken.
    #[n(4)]
    #[error("there is one already")]
    Exists,
    /// INBOX cannot be removed, and `Held` is no real mailbox.
    #[n(5)]
    #[error("this mailbox is not like others")]
    Reserved,
    /// A new name that is too long, too deep or below the old one.
    #[n(6)]
    #[error("the new name cannot be used")]
    BadName,
    /// The mailbox's user has no more room.
    #[n(7)]
    #[error("over quota")]
    OverQuota,
    /// A bound of the state is reached.
    #[n(8)]
    #[error("a bound is reached; see the limits")]
    Full,
    /// The mailbox knows as many keywords as it can.
    #[n(9)]
    #[error("the mailbox has no room for another keyword")]
    KeywordsFull,
    /// The domain is not ours.
    #[n(10)]
    #[error("mail for other domains is not taken")]
    NotLocal,
    /// Nobody has this address.
    #[n(11)]
    #[error("no such address here")]
    NoAddress,
    /// Aliases lead back to themselves, or too deep.
    #[n(12)]
    #[error("aliases lead in a circle or too deep")]
    AliasLoop,
    /// An address stands for too many mailboxes.
    #[n(13)]
    #[error("an address stands for too many mailboxes")]
    TooManyTargets,
    /// The list takes no letters from this sender.
    #[n(14)]
    #[error("the list takes no letters from this sender")]
    NotAllowedToPost,
    /// Aliases, lists or users still use it.
    #[n(15)]
    #[error("it is still in use")]
    InUse,
    /// The two mailboxes belong to two users, or are one.
    #[n(16)]
    #[error("these two mailboxes cannot exchange letters")]
    WrongMailbox,
    /// The entry cannot be read: one of a later version, or damaged before it was proposed.
    #[n(17)]
    #[error("the entry cannot be read")]
    Unreadable,
    /// Only the primary can do this.
    #[n(18)]
    #[error("only the primary can do this; this side is a minority")]
    PrimaryOnly,
    /// The store has no UIDVALIDITY for `Held` yet: it has not been in the primary.
    #[n(19)]
    #[error("this store was never enrolled in the primary")]
    NotEnrolled,
}
