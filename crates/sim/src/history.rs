//! What was observed in a run, as plain values, and an index over it that the properties are checked on.
//!
//! An observation is what a process could see: that it installed a view, cast, was delivered a message. The
//! history groups them by member (a member is one process in one group, from its first view to its end) and
//! each member's time into *stays*: one per view, with what was cast and delivered in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use membership::group::{Consistency, GroupView};
use wire::{GroupId, GroupName, MemberId, ProcessId, SiteId, SiteIncarnation, Time, ViewId};

use crate::host::Order;

/// Numbers the messages of a run, from 0.
pub type Message = usize;

/// One thing that was seen.
#[derive(Clone, Debug)]
pub struct Observation {
    /// When, in the world's time.
    pub at: Time,
    /// What.
    pub what: What,
}

/// What was seen.
#[derive(Clone, Debug)]
pub enum What {
    /// A site died, and all members there.
    Died(SiteIncarnation),
    /// The core-set has a view at a site.
    Core {
        /// Where.
        life: SiteIncarnation,
        /// Which view.
        view: ViewId,
        /// Whether it is on the primary line.
        primary: bool,
        /// Its place on the line.
        position: u64,
        /// The sites in it.
        sites: Arc<[SiteId]>,
    },
    /// A member installed a view.
    View {
        /// Who.
        member: MemberId,
        /// Which.
        view: Arc<GroupView>,
        /// Who came along.
        transitional: Arc<[MemberId]>,
    },
    /// A member is out of its group: it asked, was expelled, or its process died.
    Left(MemberId),
    /// A message was cast and taken.
    Cast {
        /// Its number.
        message: Message,
        /// Who: an outsider has join number 0.
        member: MemberId,
        /// The group, by the name that the caster knows.
        group: GroupName,
        /// In which order.
        order: Order,
        /// Whether delivery is safe.
        safe: bool,
        /// Whether the caster itself is left out.
        exclude_self: bool,
        /// Who it is for; empty: all.
        only: Arc<[MemberId]>,
        /// Whether it may travel in fragments: then it has the place of its last one, and what is cast after it may
        /// pass it.
        large: bool,
    },
    /// A member was delivered a message.
    Deliver {
        /// Who.
        member: MemberId,
        /// Which; none if it is no message that anybody cast.
        message: Option<Message>,
        /// The group of the delivery.
        group: GroupId,
        /// The view it names.
        view: ViewId,
        /// Who cast it, as the member was told.
        from: MemberId,
    },
    /// A member saw the transitional signal.
    Signal(MemberId),
    /// A caster was told that these members had, and answered, its message.
    Replied(Message, Vec<MemberId>),
    /// A caster was told that these messages of its own are at every member.
    Flushed(Vec<Message>),
    /// A caster was told that its message was and will be delivered nowhere.
    NotSent(Message),
    /// At the end a process still waits to join a group.
    Waiting(ProcessId, GroupName),
    /// Every site runs and is in one primary view; none dies from now on, and each is reached by some neighbour, but for
    /// one perhaps.
    Accurate {
        /// The one.
        but: Option<SiteId>,
    },
    /// Every fault has ended.
    Healed,
}

/// A delivery in a stay.
#[derive(Clone, Copy, Debug)]
pub struct Delivery {
    /// Which message; none if nobody cast it.
    pub message: Option<Message>,
    /// Where among the observations.
    pub at: usize,
    /// The group that the delivery names.
    pub group: GroupId,
    /// The view that the delivery names.
    pub view: ViewId,
    /// Who cast it, as the member was told.
    pub from: MemberId,
    /// Whether it came after the transitional signal.
    pub after_signal: bool,
}

/// A member's time in one view.
#[derive(Clone, Debug)]
pub struct Stay {
    /// The view.
    pub view: Arc<GroupView>,
    /// The transitional set it came with.
    pub transitional: Arc<[MemberId]>,
    /// Where the view was installed, among the observations.
    pub at: usize,
    /// What was delivered, in order.
    pub deliveries: Vec<Delivery>,
    /// What the member cast, in order.
    pub casts: Vec<Message>,
}

impl Stay {
    /// Whether the view lists a member.
    pub fn lists(&self, member: MemberId) -> bool {
        self.view.members.iter().any(|m| m.id == member)
    }

    /// Whether the group asked for virtual synchrony; weaker groups are promised less.
    pub fn synchronous(&self) -> bool {
        is_synchronous(&self.view)
    }

    /// The messages delivered, in order.
    pub fn messages(&self) -> impl Iterator<Item = Message> {
        self.deliveries.iter().filter_map(|d| d.message)
    }
}

/// Whether a view's group asked for virtual synchrony.
pub fn is_synchronous(view: &GroupView) -> bool {
    view.options.consistency == Consistency::VirtuallySynchronous
}

/// How a member ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It is there to the last.
    Alive,
    /// It is out of the group.
    Left,
    /// Its site died.
    Died,
}

/// One process in one group.
#[derive(Clone, Debug)]
pub struct Member {
    /// Who.
    pub id: MemberId,
    /// Its views, in order.
    pub stays: Vec<Stay>,
    /// Deliveries before its first view.
    pub strays: Vec<Delivery>,
    /// How it ended.
    pub end: End,
}

impl Member {
    /// Every delivery, in order.
    pub fn deliveries(&self) -> impl Iterator<Item = &Delivery> {
        self.strays.iter().chain(self.stays.iter().flat_map(|stay| &stay.deliveries))
    }

    /// The view after this stay, if there was one.
    pub fn next(&self, stay: usize) -> Option<ViewId> {
        let (before, after) = (self.stays.get(stay)?, self.stays.get(stay + 1)?);
        (before.view.group == after.view.group).then_some(after.view.id)
    }

    /// The stay from which it came to this one. A member whose group, founded on one side of a partition, ended when it
    /// met another of the same name is new in that one.
    pub fn previous(&self, stay: usize) -> Option<&Stay> {
        let before = self.stays.get(stay.checked_sub(1)?)?;
        (before.view.group == self.stays[stay].view.group).then_some(before)
    }

    /// Where it went from this stay: who has the same answer moved together.
    pub fn onward(&self, stay: usize) -> Onward {
        match self.next(stay) {
            Some(view) => Onward::To(view),
            None if self.end == End::Alive && stay + 1 >= self.stays.len() => Onward::Stayed,
            None => Onward::Lost,
        }
    }
}

/// Where a member went from a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Onward {
    /// To this view.
    To(ViewId),
    /// It is in it to the last.
    Stayed,
    /// Nowhere: it died or left in it, or the group ended and its members are in another.
    Lost,
}

/// A message as it was cast.
#[derive(Clone, Debug)]
pub struct CastRecord {
    /// Who cast it.
    pub member: MemberId,
    /// To which group.
    pub group: GroupName,
    /// Where among the observations.
    pub at: usize,
    /// In which view the caster was, if it was in one.
    pub view: Option<ViewId>,
    /// In which order.
    pub order: Order,
    /// Whether delivery is safe.
    pub safe: bool,
    /// Whether the caster is left out.
    pub exclude_self: bool,
    /// Who it is for; empty: all.
    pub only: Arc<[MemberId]>,
    /// Whether what is cast after it may pass it.
    pub large: bool,
}

impl CastRecord {
    /// Whether a member is among those it is for.
    pub fn is_for(&self, member: MemberId) -> bool {
        !(self.exclude_self && member == self.member) && (self.only.is_empty() || self.only.contains(&member))
    }

    /// Whether it came from outside the group.
    pub fn from_outside(&self) -> bool {
        self.member.join == 0
    }
}

/// The observations of a run, indexed.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// All that was seen, in the order it was seen.
    pub observations: Vec<Observation>,
    /// The members.
    pub members: BTreeMap<MemberId, Member>,
    /// The messages, by number.
    pub casts: Vec<Option<CastRecord>>,
    /// Whether the run got to its second phase and to the end of it.
    pub healed: bool,
}

impl History {
    /// Indexes what was seen.
    pub fn new(observations: Vec<Observation>) -> History {
        let mut history = History::default();
        let mut signalled: BTreeMap<MemberId, bool> = BTreeMap::new();
        for (at, observation) in observations.iter().enumerate() {
            history.index(at, &observation.what, &mut signalled);
        }
        history.observations = observations;
        history
    }

    /// A message that was cast.
    pub fn cast(&self, message: Message) -> Option<&CastRecord> {
        self.casts.get(message)?.as_ref()
    }

    /// The same, for a delivery of something that was cast.
    pub fn cast_of(&self, delivery: &Delivery) -> Option<(Message, &CastRecord)> {
        let message = delivery.message?;
        Some((message, self.cast(message)?))
    }

    /// All stays, with who stayed and its number among the member's own.
    pub fn stays(&self) -> impl Iterator<Item = (&Member, usize, &Stay)> {
        self.members.values().flat_map(|m| m.stays.iter().enumerate().map(move |(n, stay)| (m, n, stay)))
    }

    fn member(&mut self, id: MemberId) -> &mut Member {
        self.members.entry(id).or_insert_with(|| Member {
            id,
            stays: Vec::new(),
            strays: Vec::new(),
            end: End::Alive,
        })
    }

    fn index(&mut self, at: usize, what: &What, signalled: &mut BTreeMap<MemberId, bool>) {
        match what {
            What::Died(life) => {
                let here = self.members.values_mut().filter(|m| m.id.process.birth == *life);
                here.filter(|m| m.end == End::Alive).for_each(|m| m.end = End::Died);
            }
            What::View { member, view, transitional } => {
                signalled.insert(*member, false);
                let stay = Stay {
                    view: view.clone(),
                    transitional: transitional.clone(),
                    at,
                    deliveries: Vec::new(),
                    casts: Vec::new(),
                };
                self.member(*member).stays.push(stay);
            }
            What::Left(member) => self.member(*member).end = End::Left,
            What::Cast { message, member, group, order, safe, exclude_self, only, large } => {
                let stay = self.members.get_mut(member).and_then(|m| m.stays.last_mut());
                let view = stay.map(|stay| {
                    stay.casts.push(*message);
                    stay.view.id
                });
                let record = CastRecord {
                    member: *member,
                    group: group.clone(),
                    at,
                    view,
                    order: *order,
                    safe: *safe,
                    exclude_self: *exclude_self,
                    large: *large,
                    only: only.clone(),
                };
                if self.casts.len() <= *message {
                    self.casts.resize(*message + 1, None);
                }
                self.casts[*message] = Some(record);
            }
            What::Deliver { member, message, group, view, from } => {
                let after_signal = signalled.get(member).copied().unwrap_or(false);
                let (message, group, view, from) = (*message, *group, *view, *from);
                let delivery = Delivery { message, at, group, view, from, after_signal };
                let member = self.member(*member);
                match member.stays.last_mut() {
                    Some(stay) => stay.deliveries.push(delivery),
                    None => member.strays.push(delivery),
                }
            }
            What::Signal(member) => {
                signalled.insert(*member, true);
            }
            What::Healed => self.healed = true,
            What::Core { .. }
            | What::Waiting(..)
            | What::Replied(..)
            | What::Flushed(_)
            | What::NotSent(_)
            | What::Accurate { .. } => {}
        }
    }
}
