//! What goes in and comes out of an endpoint: casts, deliveries, events, transmits and their errors.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use membership::group::GroupView;
use wire::{MemberId, SiteId, ViewId};

/// The order that a message asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Order {
    /// Transport only: delivered at receipt.
    Mbcast,
    /// After everything its site cast before it (mbcasts apart).
    Fbcast,
    /// After everything its site had delivered or cast before it.
    Cbcast,
    /// At the same place among the abcasts at every member.
    Abcast,
    /// Between two views, after everything in the earlier one. Only in a [`Delivery`]: see
    /// [`Endpoint::gbcast`](crate::Endpoint::gbcast).
    Gbcast,
}

/// One message to be cast.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cast {
    /// The order it asks for; not [`Order::Gbcast`].
    pub order: Order,
    /// Whether it is delivered only when every member's site is known to have it (M10).
    pub safe: bool,
    /// What it says.
    pub payload: Bytes,
}

/// The number of a message among those cast at one site in one group, over all its members, orders and views;
/// from 1, without gaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageNumber(pub u64);

/// Why a cast was refused. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CastError {
    /// A view change is under way; [`Event::Unblocked`] follows.
    #[error("a view change is under way")]
    Blocked,
    /// The window is full; [`Event::Writable`] follows.
    #[error("the window of unstable messages is full")]
    Full,
    /// Larger than `message_bytes_max` (a gbcast: than what a Flush can carry).
    #[error("the message is too large")]
    TooLarge,
    /// The sender is no member of the installed view at this site.
    #[error("the sender is not a member here")]
    NotMember,
    /// This side of a partition has died: the group may only be read.
    #[error("this side of the group may only be read")]
    ReadOnly,
    /// The group promises no such order: a `Weak` or `Strong` group has mbcast only, and gbcast has a call of
    /// its own.
    #[error("the group does not offer this order")]
    NotOffered,
}

/// Why a view was refused. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    /// It is a view of another group.
    #[error("a view of another group")]
    OtherGroup,
    /// It lists more sites than [`SITES_MAX`](crate::SITES_MAX), or more members than a rank can number.
    #[error("a view with too many sites or members")]
    TooLarge,
}

/// Why a frame was refused. The endpoint's state has not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The bytes are no frame of this version, or say what no honest site would.
    #[error("a malformed frame")]
    Malformed,
    /// It belongs to another group.
    #[error("a frame of another group")]
    OtherGroup,
    /// The sender's site does not host a member of the view that the frame names.
    #[error("a frame from a site outside the view")]
    NotParticipant,
    /// A message before it is missing; the link below should not lose any.
    #[error("a frame before this one is missing")]
    Gap,
    /// The sender goes beyond its credit, or too far ahead of the views known here.
    #[error("more than the sender's credit")]
    Overrun,
}

/// A message for the members at this site.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Delivery {
    /// The view in which it was cast and is delivered.
    pub view: ViewId,
    /// Who cast it.
    pub sender: MemberId,
    /// The site where it was cast.
    pub site: SiteId,
    /// Its number there; with `site` and the group it names the message for ever within a life of the site.
    pub number: MessageNumber,
    /// The order that it asked for.
    pub order: Order,
    /// Whether it asked for safe delivery.
    pub safe: bool,
    /// What it says: a slice of the frame it came in, which stays in memory as long as this does.
    pub payload: Bytes,
}

/// What an endpoint tells the members at its site.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A new view is installed. Those in `transitional` came from the same view as we and delivered the same
    /// messages in it (empty at our first view).
    View {
        /// The view.
        view: Arc<GroupView>,
        /// The transitional set: who moves with us.
        transitional: Vec<MemberId>,
    },
    /// The view lists no member at this site any more: the endpoint is over and may be dropped.
    Ended {
        /// The view that lists us no more.
        view: Arc<GroupView>,
    },
    /// A message.
    Deliver(Delivery),
    /// Safe messages after this and before the next view are known to be held by those listed only (M10).
    TransitionalSignal {
        /// The transitional set of the view that follows.
        transitional: Vec<MemberId>,
    },
    /// A view change has begun: casts are refused until [`Event::Unblocked`].
    Blocked,
    /// Casts are taken again.
    Unblocked {
        /// How long they were not.
        after: Duration,
    },
    /// A cast that was refused as [`CastError::Full`] may be tried again.
    Writable,
    /// Every message of this site up to this number is held by all, or by all who are still there.
    Stable {
        /// The number.
        number: MessageNumber,
    },
    /// The site keeps a view change waiting (M6): to be submitted as a suspect.
    Suspect(SiteId),
    /// The site's acknowledgements stand still while others are held back: its members should be asked to go.
    Slow(SiteId),
    /// A gbcast waits for a view change (M11): submit `Refresh` for the group.
    RequestRefresh,
    /// A transition was taken; only with [`Config::trace`](crate::Config::trace).
    Trace(Transition),
}

/// The transitions that a simulator counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transition {
    /// A first Flush in a view was sent.
    FlushStart,
    /// A newer view arrived in mid-flush.
    Cascade,
    /// Messages or order runs were asked for at the cut.
    Fetch,
    /// A view was installed with others moving along.
    Install,
    /// A view was installed alone: nobody else came from the same view.
    InstallAlone,
    /// The sequencer of the new view is another site than before.
    SequencerChange,
    /// A fragment was sent.
    Fragment,
    /// A sender met a full window.
    WindowFull,
    /// A link below was full.
    LinkFull,
    /// A safe message was delivered only after the transitional signal.
    SafeAfterSignal,
    /// Abcasts without a place in the order were delivered at the cut.
    UnorderedAtCut,
    /// A gbcast was delivered.
    Gbcast,
    /// A message for a later view was kept.
    EarlyFrame,
    /// A message for an earlier view was dropped.
    LateFrame,
    /// A Flush or a fetch did not come in time.
    FlushTimeout,
    /// The Flushes do not fit together: the cut is not causally closed. No honest site makes this happen.
    CutNotClosed,
}

/// A frame to be sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Transmit {
    /// To whom; never empty.
    pub to: Arc<[SiteId]>,
    /// The same bytes for all of them.
    pub frame: Bytes,
}
