//! What a group tells its member, or one who watches it.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use wire::session::ReplyKind;
use wire::{GroupName, MemberId, ViewId};

use crate::cast::Order;
use crate::error::Error;
use crate::local;
use crate::view::View;

/// What a group tells. A watcher is told of [`Event::View`], [`Event::SiteLost`] and [`Event::Left`] only.
#[derive(Clone, Debug)]
pub enum Event {
    /// A new view.
    View(Arc<View>),
    /// A message.
    Message(Delivery),
    /// From here to the next view, safe messages are sure to be held by these only.
    Signal {
        /// They.
        members: Vec<MemberId>,
    },
    /// A view change is going on: casts wait.
    Blocked,
    /// They no longer do.
    Unblocked,
    /// The process's site is gone, and the membership with it: to the others, this member has failed. Another
    /// site is looked for; [`Event::Rejoined`] or [`Event::Left`] follows.
    SiteLost {
        /// Why, for people.
        why: String,
    },
    /// The process is in the group again, as a new member, without what was delivered meanwhile: through another site; or
    /// through its own, which the others had taken for dead, or whose side of a partition had died. Its first view follows.
    Rejoined {
        /// The new member.
        member: MemberId,
        /// The site's name.
        site: String,
    },
    /// The process is no longer in the group. The last event.
    Left {
        /// Why, for people.
        why: String,
    },
}

/// A message as it was delivered.
#[derive(Clone)]
pub struct Delivery {
    /// The group.
    pub group: GroupName,
    /// The view in which it was delivered.
    pub view: ViewId,
    /// Who cast it; an outsider's member has join number 0.
    pub from: MemberId,
    /// In which order.
    pub order: Order,
    /// The message.
    pub payload: Bytes,
    // Boxed, because most messages want none.
    pub(crate) answer: Option<Box<AnswerTo>>,
}

/// The way of an answer back to the caster.
#[derive(Clone, Debug)]
pub(crate) enum AnswerTo {
    /// Over the session through which the message came.
    Session {
        /// That session.
        session: client::Session,
        /// What the site calls the message.
        to: String,
    },
    /// To the site inside this program.
    Local {
        /// That site.
        handle: site::Handle,
        /// The process that answers.
        process: wire::ProcessId,
        /// What it answers.
        to: stack::ReplyTo,
    },
}

impl Delivery {
    /// Whether the caster waits for a reply of this member.
    pub fn wants_reply(&self) -> bool {
        self.answer.is_some()
    }

    /// Replies. Nothing happens if no reply is wanted.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if the answer was given already or the caller is gone, [`Error::Interrupted`] if the
    /// site is lost.
    pub async fn reply(&self, payload: impl Into<Bytes>) -> Result<(), Error> {
        self.answer(ReplyKind::Reply, payload.into()).await
    }

    /// Says that this member has nothing to say; the caller does not wait for it.
    pub async fn null_reply(&self) -> Result<(), Error> {
        self.answer(ReplyKind::Null, Bytes::new()).await
    }

    /// Ends the whole call at once, with a reason.
    pub async fn abort_reply(&self, reason: impl Into<Bytes>) -> Result<(), Error> {
        self.answer(ReplyKind::Abort, reason.into()).await
    }

    async fn answer(&self, kind: ReplyKind, payload: Bytes) -> Result<(), Error> {
        match self.answer.as_deref() {
            None => Ok(()),
            Some(AnswerTo::Session { session, to }) => {
                session.reply(to, kind, payload).await.map_err(Error::of_request)
            }
            Some(AnswerTo::Local { handle, process, to }) => {
                let kind = match kind {
                    ReplyKind::Reply => stack::ReplyKind::Reply,
                    ReplyKind::Null => stack::ReplyKind::Null,
                    ReplyKind::Abort => stack::ReplyKind::Abort,
                };
                handle.reply(*process, *to, kind, payload).await.map_err(local::error)
            }
        }
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("group", &self.group)
            .field("view", &self.view)
            .field("from", &self.from)
            .field("order", &self.order)
            .field("payload", &self.payload)
            .field("wants_reply", &self.wants_reply())
            .finish()
    }
}
