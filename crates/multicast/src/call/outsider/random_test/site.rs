//! One member's site in the random world: the machines of a site, joined as the node joins them, and a record of what
//! its member was shown.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use membership::group::GroupView;
use wire::{Bugs, ViewId};

use super::super::super::answerer::{Answerer, Ticket};
use super::super::super::caller::Caller;
use super::super::super::point::{Answered, PointMessage};
use super::super::super::testing::{group, life, member};
use super::super::super::{Delivery, Envelope, Installed, Kind, Transmit};
use super::super::*;
use super::{CastId, Coverage};

/// Messages under way, by the two ends.
pub type Network = BTreeMap<(u32, u32), VecDeque<Bytes>>;

/// What a member was shown between two views.
pub struct Stay {
    pub view: ViewId,
    pub lives: bool,
    pub delivered: Vec<CastId>,
}

/// What a member was shown.
#[derive(Default)]
pub struct Record {
    pub stays: Vec<Stay>,
    /// What it answered, the first time.
    pub replied: BTreeMap<CastId, Bytes>,
}

impl Record {
    /// Each stay, with the view that came after it.
    pub fn moves(&self) -> impl Iterator<Item = (&Stay, Option<&Stay>)> {
        self.stays.iter().enumerate().map(|(n, stay)| (stay, self.stays.get(n + 1)))
    }

    pub fn delivered(&self) -> impl Iterator<Item = CastId> + '_ {
        self.stays.iter().flat_map(|stay| stay.delivered.iter().copied())
    }
}

pub struct Site {
    pub n: u32,
    pub dedup: Dedup,
    pub contact: Contact,
    pub caller: Caller,
    pub answerer: Answerer,
    view: Option<GroupView>,
    /// What it wants to be cast, in order.
    pub wanted: VecDeque<(Envelope, Bytes, Option<ViewId>)>,
    /// The era whose casts it is being delivered, and how many of them it was.
    pub era: Option<usize>,
    pub at: usize,
    /// The eras after it.
    pub path: VecDeque<(usize, Installed)>,
    /// Own casts delivered in this era, by place, whose settling has not been reported.
    unsettled: BTreeMap<usize, CastId>,
    pub tickets: Vec<Ticket>,
    pub record: Record,
    /// What clients were told is carried, until the world has looked at it.
    pub told: Vec<CastId>,
    /// Which clients it has said to be forgotten, until then.
    pub forgotten: Vec<ClientId>,
}

impl Site {
    pub fn new(n: u32, bugs: Bugs, clients_max: usize) -> Site {
        Site {
            n,
            dedup: Dedup::new(life(n), group(), clients_max, bugs),
            contact: Contact::new(life(n), group()),
            caller: Caller::new(life(n)),
            answerer: Answerer::new(),
            view: None,
            wanted: VecDeque::new(),
            era: None,
            at: 0,
            path: VecDeque::new(),
            unsettled: BTreeMap::new(),
            tickets: Vec::new(),
            record: Record::default(),
            told: Vec::new(),
            forgotten: Vec::new(),
        }
    }

    /// Whether it has installed the newest view that it is to install.
    pub fn is_up_to_date(&self) -> bool {
        self.era.is_some() && self.path.is_empty()
    }

    pub fn install(&mut self, era: usize, installed: &Installed) {
        self.era = Some(era);
        self.at = 0;
        self.unsettled.clear();
        let (view, lives) = (installed.view.id, installed.view.lives);
        self.record.stays.push(Stay { view, lives, delivered: Vec::new() });
        self.dedup.handle_view(installed);
        self.show_view(installed);
    }

    /// The group is over for this site: a view has come that does not list it.
    pub fn end(&mut self, view: &GroupView) {
        self.show_view(&Installed { view: view.clone().into(), together: [].into() });
    }

    fn show_view(&mut self, installed: &Installed) {
        self.caller.handle_view(&installed.view);
        self.answerer.handle_view(&installed.view);
        self.contact.handle_view(installed, &mut self.caller);
        self.view = Some(GroupView::clone(&installed.view));
    }

    /// The cast at its place of its era.
    pub fn deliver(&mut self, caster: u32, body: Bytes, seen: &mut Coverage) {
        let view = self.record.stays.last().expect("a view comes first").view;
        let (sender, order) = (member(caster), crate::Order::Abcast);
        let delivery = Delivery { group: group(), view, sender, order, body };
        let judged = self.dedup.handle_delivery(delivery).expect("well formed");
        if let Some((opened, judgement)) = judged {
            let origin = opened.envelope.outsider.expect("only outsiders cast here");
            if caster == self.n {
                self.unsettled.insert(self.at, (origin.client, origin.sequence));
            }
            self.judged(&opened, judgement, seen);
        }
        self.at += 1;
    }

    fn judged(&mut self, opened: &Opened, judgement: Judgement, seen: &mut Coverage) {
        let me = member(self.n);
        let origin = opened.envelope.outsider.expect("only outsiders cast here");
        match judgement {
            Judgement::First => {
                let stay = self.record.stays.last_mut().expect("a view comes first");
                stay.delivered.push((origin.client, origin.sequence));
                let ticket = self.answerer.handle_delivery(group(), me, opened.sender, &opened.envelope);
                self.tickets.extend(ticket);
            }
            Judgement::Repeated => {
                seen.repeated += u32::from(opened.envelope.kind == Kind::Cast);
                self.answerer.handle_repeated(group(), me, opened.sender, &opened.envelope);
            }
            Judgement::Forgotten | Judgement::Gone => {}
        }
        let view = self.view.as_ref().expect("views come first");
        self.contact.handle_judged(opened, judgement, view, &mut self.caller);
    }

    /// So many casts of its era are at all sites of it.
    pub fn settle(&mut self, stable: usize) {
        let later = self.unsettled.split_off(&stable);
        for (client, sequence) in std::mem::replace(&mut self.unsettled, later).into_values() {
            self.contact.handle_settled(client, sequence);
        }
    }

    /// What it casts next, if there is anything that it may cast.
    pub fn next_cast(&mut self, seen: &mut Coverage) -> Option<Bytes> {
        let (mut envelope, payload, as_of) = self.wanted.pop_front()?;
        if !self.record.stays.last()?.lives {
            if let Some(origin) = envelope.outsider {
                self.contact.handle_refused(&origin, Refusal::Busy, &mut self.caller);
            }
            return None;
        }
        if let Some((origin, as_of)) = envelope.outsider.zip(as_of) {
            match self.dedup.may_carry(&origin, as_of) {
                Carriage::Fresh => {}
                Carriage::Repeated => {
                    seen.known += 1;
                    envelope.kind = Kind::Repeated;
                }
                Carriage::Later => {
                    seen.waited += 1;
                    self.wanted.push_front((envelope, payload, Some(as_of)));
                    return None;
                }
                Carriage::Refused(refusal) => {
                    self.contact.handle_refused(&origin, refusal, &mut self.caller);
                    return None;
                }
            }
        }
        Some(envelope.wrap(&payload))
    }

    /// Carries all outputs to where they belong.
    pub fn flush(&mut self, network: &mut Network, seen: &mut Coverage) {
        loop {
            while let Some(output) = self.dedup.poll_output() {
                match output {
                    DedupOutput::Cast(envelope, payload) => self.wanted.push_back((envelope, payload, None)),
                    DedupOutput::Send(transmit) => {
                        let asked = matches!(transmit.message, PointMessage::TableRequest { .. });
                        seen.tables += u32::from(!asked);
                        send(network, self.n, transmit);
                    }
                }
            }
            while let Some(call) = self.caller.poll_ended() {
                assert!(self.contact.handle_ended(call, &mut self.caller));
            }
            while let Some(transmit) = self.answerer.poll_transmit() {
                send(network, self.n, transmit);
            }
            match self.contact.poll_output() {
                Some(ContactOutput::Cast { envelope, payload, as_of, .. }) => {
                    self.wanted.push_back((envelope, payload, as_of));
                }
                Some(ContactOutput::Send(transmit)) => {
                    if let PointMessage::Verdict { client, sequence, verdict, .. } = &transmit.message {
                        match verdict {
                            Verdict::Carried | Verdict::Outcome(_) => self.told.push((*client, *sequence)),
                            Verdict::Refused(Refusal::Forgotten) => self.forgotten.push(*client),
                            Verdict::Refused(_) => {}
                        }
                    }
                    send(network, self.n, transmit);
                }
                None => return,
            }
        }
    }
}

/// A client of the group, who is a member nowhere.
pub struct Outside {
    pub n: u32,
    pub client: Client,
    pub alive: bool,
    pub casts: u64,
    pub fates: BTreeMap<u64, Fate>,
    pub told: BTreeSet<u64>,
}

pub fn send(network: &mut Network, from: u32, transmit: Transmit) {
    if let PointMessage::Answer(answer) = &transmit.message {
        assert!(!matches!(answer.what, Answered::Abort(_)), "nobody aborts here");
    }
    network.entry((from, transmit.to.0)).or_default().push_back(transmit.message.encode());
}
