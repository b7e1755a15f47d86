//! A machine that keeps every promise of safety by keeping to itself: each process is alone in its group. It
//! chatters with the other sites and writes to its disk, so that the world has something to do.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use membership::group::{GroupMember, GroupOptions, GroupView};
use sim::host::{Answer, Boot, Cast, Channel, Connection, Event, Host, Request, Transmit, Write};
use wire::{GroupId, GroupName, MemberId, ProcessId, SiteId, SiteIncarnation, Time, ViewId};

/// What a hermit does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vice {
    /// Nothing.
    None,
    /// It delivers some messages twice.
    Stutters,
    /// It finds fault with itself after its twentieth write.
    Panics,
}

pub struct Hermit {
    vice: Vice,
    life: SiteIncarnation,
    others: Vec<SiteId>,
    groups: BTreeMap<MemberId, Arc<GroupView>>,
    born: u64,
    views: u64,
    wakes_at: Time,
    transmits: VecDeque<Transmit>,
    writes: VecDeque<Write>,
    events: VecDeque<Event>,
}

impl Hermit {
    fn view(&mut self, process: ProcessId, name: GroupName, options: GroupOptions) {
        self.views += 1;
        let id = ViewId { epoch: self.views, attempt: 0, coordinator: self.life };
        let member = MemberId { process, join: self.views };
        let listed = GroupMember { id: member, role: None, previous: None };
        let view = Arc::new(GroupView {
            group: GroupId { created: id, index: 0 },
            name,
            id,
            primary: false,
            lives: true,
            members: vec![listed],
            joined: vec![member],
            left: Vec::new(),
            options,
        });
        self.groups.insert(member, view.clone());
        self.events.push_back(Event::Transition("alone"));
        self.events.push_back(Event::View { view, members: vec![member], transitional: vec![member] });
    }

    fn member(&self, process: ProcessId, name: &GroupName) -> Option<(MemberId, Arc<GroupView>)> {
        let found = self.groups.iter().find(|(member, view)| member.process == process && view.name == *name);
        found.map(|(member, view)| (*member, view.clone()))
    }

    fn cast(&mut self, process: ProcessId, name: &GroupName, cast: Cast) -> Answer {
        let Some((member, view)) = self.member(process, name) else { return Answer::Refused("no member") };
        if cast.exclude_self || !(cast.only.is_empty() || cast.only.contains(&member)) {
            return Answer::Taken(0);
        }
        let (group, view) = (view.group, view.id);
        let twice = self.vice == Vice::Stutters && cast.payload[0].is_multiple_of(97);
        for _ in 0..if twice { 2 } else { 1 } {
            let (order, payload) = (cast.order, cast.payload.clone());
            let event = Event::Deliver { group, view, from: member, to: None, order, reply: None, payload };
            self.events.push_back(event);
        }
        Answer::Taken(0)
    }

    fn leave(&mut self, process: ProcessId, name: &GroupName) {
        if let Some((member, view)) = self.member(process, name) {
            self.groups.remove(&member);
            self.events.push_back(Event::Left { group: view.group, member });
        }
    }
}

impl Host for Hermit {
    type Config = Vice;

    fn start(vice: &Vice, boot: Boot, now: Time) -> Result<Hermit, String> {
        let others = boot.sites.iter().copied().filter(|s| *s != boot.life.site).collect();
        Ok(Hermit {
            vice: *vice,
            life: boot.life,
            others,
            groups: BTreeMap::new(),
            born: 0,
            views: 0,
            wakes_at: now,
            transmits: VecDeque::new(),
            writes: VecDeque::new(),
            events: VecDeque::new(),
        })
    }

    fn open_process(&mut self) -> ProcessId {
        self.born += 1;
        ProcessId { birth: self.life, local: self.born }
    }

    fn handle_packet(&mut self, _: Time, from: SiteId, channel: Channel, bytes: Bytes) {
        if bytes[0] > 0 {
            let bytes = Bytes::copy_from_slice(&[bytes[0] - 1]);
            self.transmits.push_back(Transmit { to: from, channel, bytes });
        }
    }

    fn handle_connection(&mut self, _: Time, _: SiteId, _: Connection) {}

    fn handle_stored(&mut self, _: Time, ticket: u64) {
        assert!(self.vice != Vice::Panics || ticket < 20, "a hermit loses patience");
    }

    fn handle_timeout(&mut self, now: Time) {
        assert!(now >= self.wakes_at, "woken early");
        self.wakes_at = now + Duration::from_millis(50);
        self.views += 1;
        let record = Bytes::copy_from_slice(&self.views.to_le_bytes());
        self.writes.push_back(Write { ticket: self.views, record });
        for (n, &to) in self.others.iter().enumerate() {
            let channel = if n % 2 == 0 { Channel::Stream } else { Channel::Datagram };
            self.transmits.push_back(Transmit { to, channel, bytes: Bytes::from_static(&[3]) });
        }
    }

    fn handle_request(&mut self, _: Time, request: Request) -> Answer {
        match request {
            Request::Join(process, name, options) => self.view(process, name, options),
            Request::Leave(process, name) => self.leave(process, &name),
            Request::Gone(process) => self.groups.retain(|member, _| member.process != process),
            Request::Cast(process, name, cast) => return self.cast(process, &name, cast),
            Request::Reply(..) | Request::Flush(..) | Request::Durable(..) => return Answer::Later,
            Request::Stop => self.events.push_back(Event::MayStop),
        }
        Answer::Taken(0)
    }

    fn poll_write(&mut self) -> Option<Write> {
        self.writes.pop_front()
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn poll_timeout(&self) -> Option<Time> {
        Some(self.wakes_at)
    }
}
