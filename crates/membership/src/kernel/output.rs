//! What comes out of the kernel.

use std::sync::Arc;

use wire::{Incarnation, SiteId, SiteIncarnation, ViewId};

use crate::group::Outcome;
use crate::kernel::message::Message;
use crate::kernel::record::{Record, Ticket};
use crate::kernel::tables::Tables;
use crate::step::{RequestId, Step};

/// A timer. Each names the attempt it is about; the kernel drops one that is over. At most one of each kind
/// runs: arming a kind again replaces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// Answers to an election are collected.
    Collect(ViewId),
    /// A proposal is sent again to who has not answered.
    Resend(ViewId),
    /// Acknowledgements are awaited.
    Ack(ViewId),
    /// The commit of somebody's attempt is awaited.
    Commit(ViewId),
    /// This site's turn to start comes.
    Backoff,
    /// A joiner asks again.
    Join,
    /// A leaver goes without having learned of it.
    Leave,
}

/// How long a timer runs, in terms of the round-trip bound R (A7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Delay {
    /// So many R.
    Rounds(u32),
    /// `place × 2R + random(R × 2^min(tries, 4))`.
    Backoff {
        /// This site's place among those that might start (C5).
        place: u32,
        /// How often it has tried since a step was learned.
        tries: u32,
    },
}

/// What the driver must do, or may want to know. In order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output<T: Tables> {
    /// Put the record on disk, replacing the old one atomically, then call `handle_stored`. What may be seen
    /// only after that is held back by the kernel itself.
    Store {
        /// Names the write.
        ticket: Ticket,
        /// The whole record.
        record: Box<Record<T>>,
    },
    /// Send a message; it may be lost, doubled or overtaken.
    Send {
        /// To which site.
        to: SiteId,
        /// What.
        message: Arc<Message<T>>,
    },
    /// Start a timer, in place of one of its kind that runs.
    Arm {
        /// Which.
        timer: Timer,
        /// How long.
        delay: Delay,
    },
    /// A change is proposed to this site: a hint for groups (M12).
    StartChange {
        /// The id that the view will have if it comes.
        id: ViewId,
        /// Its members.
        members: Vec<SiteIncarnation>,
    },
    /// This site is in a new view.
    Installed {
        /// The step that made it.
        step: Arc<Step>,
        /// The views of the groups that it changed; of all groups, if this site did not follow step by step.
        group_views: Vec<T::View>,
    },
    /// The line has moved on without this site: it is not in the view, and will merge when it is heard (C17).
    Excluded {
        /// The step that does not list it.
        step: ViewId,
    },
    /// A request of this site was settled.
    Settled {
        /// Which.
        request: RequestId,
        /// What became of it.
        outcome: Outcome,
        /// Settled on the line; else on this branch only, and it stays pending for the line.
        on_line: bool,
    },
    /// A member did not acknowledge: detection should look at it.
    Suspect(SiteIncarnation),
    /// This site has left the core-set and may stop.
    Left,
    /// This site's disk is an old copy: it must take a new store and a life above this one, and join (C13).
    Surpassed(Incarnation),
    /// A step's tables do not have the digest that its coordinator computed; the line is asked for in whole.
    Diverged(ViewId),
    /// For coverage: a transition of the protocol.
    Trace(Transition),
}

macro_rules! transitions {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// A transition of the protocol, counted by tests.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Transition { $($(#[$doc])* $name),* }

        impl Transition {
            /// All of them.
            pub const ALL: &'static [Transition] = &[$(Transition::$name),*];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self { $(Transition::$name => stringify!($name)),* }
            }
        }
    };
}

transitions! {
    /// Rank 0 started a two-phase change (C6).
    DirectAttempt,
    /// An election was started (C7).
    Election,
    /// A promise was given (C8).
    Promise,
    /// An attempt was refused (C8, C11).
    Refuse,
    /// An accepted step was found and is proposed again (C9.2).
    ForcedValue,
    /// A primary step was composed after an election (C9.2).
    ComposePrimary,
    /// A non-primary step was composed (C9.3).
    ComposeNonPrimary,
    /// An election came to nothing (C9).
    Abandon,
    /// An own attempt was dropped for a higher one.
    Outbid,
    /// An own attempt was dropped because the line moved (C1).
    LineMoved,
    /// A step was accepted (C11).
    Accept,
    /// A primary step was committed: all its members had acknowledged (C12).
    CommitByAll,
    /// A primary step was committed by a quorum after the time-out (C12).
    CommitByQuorum,
    /// A non-primary step was committed (C12).
    CommitNonPrimary,
    /// Acknowledgements did not come (C12).
    AckRanOut,
    /// A commit was asked for (C14).
    MsgQuery,
    /// A commit was put off (C14).
    Wait,
    /// A commit did not come (C14).
    OwedRanOut,
    /// A commit was sent again, from the record (C14).
    CommitResent,
    /// A laggard was answered with the line (C3).
    LaggardTold,
    /// The line was sent with its tables.
    Init,
    /// An election was answered while this site had an attempt of its own collecting.
    CoordFailWhileElecting,
    /// An election was answered while this site had a proposal out.
    CoordFailWhileInitiating,
    /// An election was answered while somebody's commit was awaited.
    CoordFailWhileOwed,
    /// An election was answered in peace.
    CoordFailWhileIdle,
    /// A site was let in (C16).
    Join,
    /// A member went (C18).
    Leave,
    /// A failed member was removed (C15).
    Fail,
    /// Two views met (C17).
    Merge,
    /// A member moved to rank 0.
    Reorder,
    /// A store came back in a new life (C19).
    Restart,
    /// A first step was learned (C0).
    Founded,
    /// The voice of an old copy was silenced (C13).
    OldStore,
}
