//! Durable groups at this site: a machine (`durable::Durable`) for each, on top of the group's ordinary views and
//! deliveries.
//!
//! ```text
//!   Endpoint: View, Blocked, Deliver of entries ─▶ Durable ─▶ entries to cast, messages to sites, operations for the
//!   messages of other sites, what the disk has done, requests ─▶       disk, what there is to apply and to answer
//! ```
//!
//! It stands here, beside the endpoints, and not on top of the node, because of one thing: the machine must see where in
//! the order of deliveries the endpoint began to flush (D1). What the node tells its processes comes later than that.
//!
//! A machine is of a group's *name*. It is there before a process of the site joins and stays when the last has left,
//! since it has to learn what the group did meanwhile; after all sites have died the name's next group goes on from the
//! same disks. It casts through any member of the site's. Entries travel as abcasts of a kind of their own
//! ([`Kind::Entry`]): the members may cast whatever they like beside them, and are not shown them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use durable::{
    Answer, Change, ChangeError, ClientId, Done, Durable, Event as Said, ProposeError, ReadId, Request,
    Status, StoreOp,
};
use membership::group::{Consistency, GroupRequest, GroupView};
use multicast::call::{Envelope, Kind};
use multicast::{Cast, CastError, Order};
use wire::{GroupId, GroupName, SiteId, Time, ViewId};

use super::{Action, Group, Groups};
use crate::api::Event;

/// The machines, by their groups' names.
#[derive(Default)]
pub(super) struct Stores {
    stores: BTreeMap<GroupName, Store>,
    /// Those to which something was done since they were last settled.
    touched: BTreeSet<GroupName>,
    ops: VecDeque<(GroupName, StoreOp)>,
}

/// One machine.
struct Store {
    machine: Box<Durable>,
    /// The group and view that it was given last.
    view: Option<(GroupId, ViewId)>,
    /// A cast that found the window full.
    held: Option<Bytes>,
}

impl Stores {
    fn touch(&mut self, name: &GroupName) -> Option<&mut Store> {
        let store = self.stores.get_mut(name)?;
        if !self.touched.contains(name) {
            self.touched.insert(name.clone());
        }
        Some(store)
    }
}

/// A durable group at this site, to be asked for things. What follows from it comes with the node's next settling.
pub struct DurableGroup<'a> {
    machine: &'a mut Durable,
    now: Time,
}

impl DurableGroup<'_> {
    /// A client's request: see [`Durable::propose`].
    pub fn propose(&mut self, time: u64, request: Request) -> Result<(), ProposeError> {
        self.machine.propose(self.now, time, request)
    }

    /// Nobody waits for this request any more.
    pub fn forget(&mut self, client: ClientId, sequence: u64) {
        self.machine.forget(client, sequence);
    }

    /// Asks when everything that was acknowledged anywhere before now is applied here: see [`Durable::read`].
    pub fn read(&mut self) -> Result<ReadId, ProposeError> {
        self.machine.read(self.now)
    }

    /// Nobody waits for this read any more.
    pub fn forget_read(&mut self, id: ReadId) {
        self.machine.forget_read(id);
    }

    /// Asks for a change of the configuration: see [`Durable::change`].
    pub fn change(&mut self, change: Change) -> Result<(), ChangeError> {
        self.machine.change(self.now, change)
    }

    /// The application has applied the entry that it was given last, and answers this.
    pub fn applied(&mut self, position: u64, answer: Bytes) {
        self.machine.handle_applied(self.now, position, answer);
    }

    /// The disk has done something.
    pub fn done(&mut self, done: Done) {
        self.machine.handle_done(self.now, done);
    }

    /// How far the group is, who is away, how this store catches up.
    pub fn status(&self) -> Status {
        self.machine.status()
    }
}

impl Groups {
    /// This site has a store of a group; a machine that was there under the name is dropped. If the site has members in
    /// the group already, the machine takes part from the next view on.
    pub(crate) fn open_store(&mut self, name: GroupName, machine: Durable) {
        self.stores.stores.insert(name.clone(), Store { machine: Box::new(machine), view: None, held: None });
        self.stores.touch(&name);
    }

    /// The group's store goes, with all that waits.
    pub(crate) fn close_store(&mut self, name: &GroupName) {
        self.stores.stores.remove(name);
        self.stores.ops.retain(|(of, _)| of != name);
    }

    pub(crate) fn store(&mut self, now: Time, name: &GroupName) -> Option<DurableGroup<'_>> {
        let store = self.stores.touch(name)?;
        Some(DurableGroup { machine: &mut store.machine, now })
    }

    pub(crate) fn store_status(&self, name: &GroupName) -> Option<Status> {
        self.stores.stores.get(name).map(|store| store.machine.status())
    }

    pub(crate) fn poll_store_op(&mut self) -> Option<(GroupName, StoreOp)> {
        self.stores.ops.pop_front()
    }

    /// What a store of another site says to this site's, behind the group's name.
    pub(crate) fn handle_store_message(
        &mut self,
        now: Time,
        from: SiteId,
        body: &Bytes,
    ) -> Result<(), String> {
        let (name, message) = address_of(body).ok_or("a message for no store")?;
        // Who has no store of the group has nothing to say to those who have.
        let Some(store) = self.stores.touch(&name) else { return Ok(()) };
        store.machine.handle_message(now, from, message).map_err(|error| error.to_string())
    }

    pub(super) fn stores_time_out(&mut self, now: Time) {
        let is_due = |store: &Store| store.machine.poll_timeout().is_some_and(|at| at <= now);
        let due: Vec<GroupName> = self
            .stores
            .stores
            .iter()
            .filter(|(_, store)| is_due(store))
            .map(|(name, _)| name.clone())
            .collect();
        for name in due {
            if let Some(store) = self.stores.touch(&name) {
                store.machine.handle_timeout(now);
            }
        }
    }

    pub(super) fn stores_timeout(&self) -> Option<Time> {
        self.stores.stores.values().filter_map(|store| store.machine.poll_timeout()).min()
    }

    /// The data plane has installed a view.
    pub(super) fn view_for_store(&mut self, now: Time, view: &GroupView) {
        // Without a flush deliveries have no end in common.
        if view.options.consistency != Consistency::VirtuallySynchronous {
            return;
        }
        if let Some(store) = self.stores.touch(&view.name) {
            store.held = None;
            let mut sites: Vec<SiteId> = Vec::new();
            for member in &view.members {
                if !sites.contains(&member.id.site()) {
                    sites.push(member.id.site());
                }
            }
            let primary = view.primary && view.lives;
            store.machine.handle_view(now, durable::View { id: view.id, primary, sites });
            // What is delivered in a view that the machine does not take is nothing to it.
            store.view = (store.machine.view() == Some(view.id)).then_some((view.group, view.id));
        }
    }

    /// The data plane has begun to flush a view.
    pub(super) fn blocked_for_store(&mut self, now: Time, group: &Group, id: GroupId) {
        if let Some(store) = self.stores.touch(&group.name)
            && store.view.is_some_and(|(of, _)| of == id)
        {
            store.machine.handle_blocked(now);
        }
    }

    /// Casting is possible again, or there is room.
    pub(super) fn casts_for_store(&mut self, name: &GroupName) {
        self.stores.touch(name);
    }

    /// An entry was delivered. It is nothing to a site without a store, nor to a store that came in the middle of the
    /// view.
    pub(super) fn entry_for_store(
        &mut self,
        now: Time,
        group: &Group,
        at: (GroupId, ViewId),
        from: SiteId,
        body: Bytes,
    ) {
        let Some(store) = self.stores.touch(&group.name).filter(|store| store.view == Some(at)) else {
            return;
        };
        let taken = match Envelope::parse(body) {
            Ok((_, entry)) => {
                store.machine.handle_delivery(now, from, entry).map_err(|error| error.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = taken {
            let note = format!("dropped an entry of {from} for the store of {}: {error}", group.name);
            self.events.push_back(Event::Note(note));
        }
    }

    /// Does what machines ask for. Says whether there was anything.
    pub(super) fn settle_stores(&mut self, now: Time) -> bool {
        let mut busy = false;
        while let Some(name) = self.stores.touched.pop_first() {
            busy = true;
            self.settle_store(now, &name);
        }
        busy
    }

    fn settle_store(&mut self, now: Time, name: &GroupName) {
        let Some(store) = self.stores.stores.get_mut(name) else { return };
        while let Some(op) = store.machine.poll_store() {
            self.stores.ops.push_back((name.clone(), op));
        }
        while let Some(transmit) = store.machine.poll_transmit() {
            let message = frame_of(name, &transmit.message);
            self.actions.push_back(Action::Store { to: transmit.to, message });
        }
        let mut notes = Vec::new();
        if let Some((id, view)) = store.view
            && let Some(group) = self.groups.get_mut(&id)
            && cast_entries(store, group, view, now, &mut notes)
        {
            self.dirty.insert(id);
        }
        if store.machine.poll_refresh()
            && let Some((group, _)) = store.view
        {
            self.actions.push_back(Action::Submit(GroupRequest::Refresh { group }));
        }
        while let Some(said) = store.machine.poll_event() {
            if matches!(said, Said::Answer { answer: Answer::Refused(_), .. }) {
                notes.push(format!("{name} refused a request: {said:?}"));
            }
            self.events.push_back(Event::Durable { group: name.clone(), said });
        }
        self.events.extend(notes.into_iter().map(Event::Note));
    }
}

/// Casts what the machine wants cast, while the group takes it in the view that the machine knows. Says whether it cast.
fn cast_entries(
    store: &mut Store,
    group: &mut Group,
    view: ViewId,
    now: Time,
    notes: &mut Vec<String>,
) -> bool {
    let me = group.me;
    let installed = group.endpoint.view().filter(|installed| installed.id == view);
    let member = installed.and_then(|view| view.members.iter().map(|m| m.id).find(|m| m.process.birth == me));
    let Some(member) = member.filter(|_| !group.endpoint.is_blocked()) else { return false };
    let mut busy = false;
    loop {
        let fresh = |entry: Bytes| Envelope::of(Kind::Entry).wrap(&entry);
        let Some(body) = store.held.take().or_else(|| store.machine.poll_cast().map(fresh)) else {
            return busy;
        };
        let cast = Cast { order: Order::Abcast, safe: false, payload: body.clone() };
        match group.endpoint.cast(now, member, cast) {
            Ok(number) => {
                group.newest = group.newest.max(number);
                busy = true;
            }
            Err(CastError::Full) => {
                store.held = Some(body);
                return busy;
            }
            // A view change has begun: the machine casts again in the next view what matters.
            Err(CastError::Blocked) => return busy,
            Err(error) => notes.push(format!("an entry for {} is not cast: {error}", group.name)),
        }
    }
}

/// Whether a delivery is an entry for stores.
pub(super) fn is_entry(order: Order, body: &[u8]) -> bool {
    order == Order::Abcast && Envelope::kind_of(body) == Some(Kind::Entry)
}

/// A message for the store of a group: the length of the group's name (one byte), the name, the message.
fn frame_of(name: &GroupName, message: &[u8]) -> Bytes {
    let name = name.as_str().as_bytes();
    let mut frame = Vec::with_capacity(1 + name.len() + message.len());
    frame.push(u8::try_from(name.len()).unwrap_or(u8::MAX)); // at most 128 bytes
    frame.extend_from_slice(name);
    frame.extend_from_slice(message);
    frame.into()
}

fn address_of(body: &[u8]) -> Option<(GroupName, &[u8])> {
    let (length, rest) = body.split_first()?;
    let (name, message) = rest.split_at_checked(usize::from(*length))?;
    Some((GroupName::parse(std::str::from_utf8(name).ok()?).ok()?, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_finds_its_group_and_hostile_bytes_none() {
        let name = GroupName::parse("ledger").expect("a name");
        let frame = frame_of(&name, b"x");
        assert_eq!(address_of(&frame), Some((name, &b"x"[..])));
        for cut in 0..frame.len() - 1 {
            assert_eq!(address_of(&frame[..cut]), None);
        }
        assert_eq!(address_of(&[1, 0xff]), None);
    }
}
