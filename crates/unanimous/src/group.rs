//! A membership, as a handle to cast with.

use std::sync::Arc;

use bytes::Bytes;
use wire::{GroupName, MemberId};

use crate::cast::Cast;
use crate::error::Error;
use crate::process::Process;
use crate::queue::Seen;
use crate::view::View;

/// A membership of a group. Clones share it.
///
/// [`Group::view`], [`Group::rank`] and [`Group::member`] tell what the program has taken from its
/// [`Events`](crate::Events), not what may be waiting in them: so they fit the message it is working on.
#[derive(Clone, Debug)]
pub struct Group {
    process: Process,
    name: GroupName,
    seen: Arc<Seen>,
}

impl Group {
    pub(crate) fn new(process: Process, name: GroupName, seen: Arc<Seen>) -> Group {
        Group { process, name, seen }
    }

    /// The group's name.
    pub fn name(&self) -> &GroupName {
        &self.name
    }

    /// The process whose membership it is.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Who this process is in the group; none while its site is lost, and after leaving.
    pub fn member(&self) -> Option<MemberId> {
        self.seen.member()
    }

    /// The view; none before the first.
    pub fn view(&self) -> Option<Arc<View>> {
        self.seen.view()
    }

    /// This member's rank in the view.
    pub fn rank(&self) -> Option<usize> {
        self.view()?.rank()
    }

    /// A message to the group's members, this one included.
    pub fn cast(&self, payload: impl Into<Bytes>) -> Cast<'_> {
        Cast::new(&self.process, &self.name, Some(&self.seen), payload.into())
    }

    /// Waits until all casts of this member so far are at every member.
    pub async fn flush(&self) -> Result<(), Error> {
        self.process.flush(&self.name).await
    }

    /// Leaves. The events end with [`Event::Left`](crate::Event::Left) when the others know.
    pub async fn leave(&self) -> Result<(), Error> {
        self.process.leave(&self.name).await
    }
}
