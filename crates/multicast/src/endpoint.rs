//! The endpoint: one group at one site.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use membership::group::GroupView;
use wire::{GroupId, MemberId, SiteId, SiteIncarnation, Time, ViewId};

use crate::config::Config;
use crate::event::{Cast, CastError, Event, FrameError, MessageNumber, Transmit, ViewError};

/// One group at one site, for all its members there.
///
/// Call any `handle_*`, [`cast`](Endpoint::cast) or [`gbcast`](Endpoint::gbcast); then
/// [`poll_transmit`](Endpoint::poll_transmit) until it has nothing more, then
/// [`poll_event`](Endpoint::poll_event) until it has nothing more, then set a timer for
/// [`poll_timeout`](Endpoint::poll_timeout). A batch closes when `poll_transmit` is called, so under load
/// batches grow by themselves.
///
/// The link below must deliver frames between two lives of two sites in order and without loss. An endpoint
/// may be created when the first frame of an unknown group arrives ([`Endpoint::group_of`]): it keeps frames,
/// within the senders' credit, until its first view.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    config: Config,
    group: GroupId,
    me: SiteIncarnation,
    view: Option<Arc<GroupView>>,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
}

impl Endpoint {
    /// An endpoint without a view.
    pub fn new(config: Config, group: GroupId, me: SiteIncarnation) -> Endpoint {
        Endpoint { config, group, me, view: None, transmits: VecDeque::new(), events: VecDeque::new() }
    }

    /// The group to which a frame belongs; none if it is no frame.
    pub fn group_of(_frame: &[u8]) -> Option<GroupId> {
        None
    }

    /// The installed view.
    pub fn view(&self) -> Option<&Arc<GroupView>> {
        self.view.as_ref()
    }

    /// A view from the member interface (M2). A view that is not newer than what was flushed for is ignored.
    pub fn handle_view(&mut self, _now: Time, view: Arc<GroupView>) -> Result<(), ViewError> {
        self.view = Some(view);
        Ok(())
    }

    /// A hint that a view is being agreed on (M12).
    pub fn handle_start_change(&mut self, _now: Time, _view: ViewId, _sites: &[SiteId]) {}

    /// A frame from the link.
    pub fn handle_frame(&mut self, _now: Time, _from: SiteId, _frame: Bytes) -> Result<(), FrameError> {
        Ok(())
    }

    /// The link to a site takes no more: no new batch leaves until it is writable.
    pub fn handle_link_full(&mut self, _site: SiteId) {}

    /// The link to a site takes frames again.
    pub fn handle_link_writable(&mut self, _site: SiteId) {}

    /// Our own consumers are behind (`true`) or not: while they are, nothing more is acknowledged, so that the
    /// senders' windows fill.
    pub fn hold_acks(&mut self, _now: Time, _hold: bool) {}

    /// A time-out that `poll_timeout` had named. Calling it early is harmless.
    pub fn handle_timeout(&mut self, _now: Time) {}

    /// When `handle_timeout` is to be called.
    pub fn poll_timeout(&self) -> Option<Time> {
        None
    }

    /// Casts a message for a member at this site.
    pub fn cast(&mut self, _now: Time, _from: MemberId, _cast: Cast) -> Result<MessageNumber, CastError> {
        Err(CastError::Blocked)
    }

    /// Casts a message that is ordered against everything, views included (M11).
    pub fn gbcast(&mut self, _now: Time, _from: MemberId, _: Bytes) -> Result<MessageNumber, CastError> {
        Err(CastError::Blocked)
    }

    /// The next frame to be sent.
    pub fn poll_transmit(&mut self, _now: Time) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }
}
