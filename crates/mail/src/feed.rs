//! What happened to which mailbox, for sessions that wait (IDLE, polling). The feed is a site's own: no part
//! of the replicated state, of its digest, or of a checkpoint [Mail 8].

use std::collections::VecDeque;

use crate::ids::{MailboxId, UserId};
use crate::limits::FEED_CHANGES_MAX;
use crate::uids::UidSet;

/// Something that a waiting session wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Letters came.
    Came {
        /// Where.
        mailbox: MailboxId,
        /// The first's UID.
        first: u32,
        /// The last's UID.
        last: u32,
        /// Their MODSEQ.
        modseq: u64,
    },
    /// Letters went.
    Went {
        /// Where.
        mailbox: MailboxId,
        /// Which.
        uids: UidSet,
        /// The mailbox's MODSEQ now.
        modseq: u64,
    },
    /// Flags changed.
    Flags {
        /// Where.
        mailbox: MailboxId,
        /// Whose.
        uids: UidSet,
        /// Their MODSEQ.
        modseq: u64,
    },
    /// A mailbox was removed; its letters went with it.
    Removed {
        /// Which.
        mailbox: MailboxId,
    },
    /// A user's mailboxes, their names or uses, or its subscriptions are others now.
    Folders {
        /// Whose.
        user: UserId,
    },
    /// A user's passwords or rights changed: logins that were verified before are void.
    Credentials {
        /// Whose.
        user: UserId,
    },
    /// A user is gone.
    UserRemoved {
        /// Who.
        user: UserId,
    },
    /// More happened than anybody polled: whoever waits looks again at everything.
    Lost,
}

/// Off until somebody polls.
#[derive(Clone, Debug, Default)]
pub(crate) struct Feed {
    on: bool,
    changes: VecDeque<Change>,
}

impl Feed {
    pub(crate) fn turn(&mut self, on: bool) {
        self.on = on;
        self.changes.clear();
    }

    pub(crate) fn say(&mut self, change: impl FnOnce() -> Change) {
        if !self.on || self.changes.front() == Some(&Change::Lost) {
            return;
        }
        if self.changes.len() == FEED_CHANGES_MAX {
            self.changes.clear();
            self.changes.push_back(Change::Lost);
            return;
        }
        self.changes.push_back(change());
    }

    pub(crate) fn poll(&mut self) -> Option<Change> {
        self.changes.pop_front()
    }
}
