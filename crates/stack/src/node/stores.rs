//! Durable groups at a site: opening, asking, and what goes to the disk.

use durable::{Durable, Status, StoreOp};
use wire::{GroupName, Time};

use super::Node;
use crate::groups::DurableGroup;

impl Node {
    /// This site has a store of a group: the group's entries are kept by `machine` from the next view on that a process
    /// of this site sees. To be called before a process joins; one that has joined needs another view. Other sites
    /// without a store may have members too.
    ///
    /// The group must be virtually synchronous, and should live where the line does (`Lives::Primary`): elsewhere it is
    /// read and not written.
    pub fn open_durable(&mut self, group: GroupName, machine: Durable) {
        self.groups.open_store(group, machine);
    }

    /// The store of a group goes, with all that waits for it.
    pub fn close_durable(&mut self, group: &GroupName) {
        self.groups.close_store(group);
    }

    /// A group's store at this site, to be asked for things; none if it was not opened. What it says comes as
    /// [`Event::Durable`](crate::Event::Durable).
    pub fn durable(&mut self, now: Time, group: &GroupName) -> Option<DurableGroup<'_>> {
        self.groups.store(now, group)
    }

    /// How far a group's store at this site is; none if it was not opened.
    pub fn durable_status(&self, group: &GroupName) -> Option<Status> {
        self.groups.store_status(group)
    }

    /// The next operation for the disk of a group's store; those of one store in order.
    pub fn poll_durable_store(&mut self) -> Option<(GroupName, StoreOp)> {
        self.groups.poll_store_op()
    }
}
