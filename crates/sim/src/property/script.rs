//! Short histories for the properties' own tests: members are numbers, views are numbers, messages are numbers.
//! One group, each member's process at a site of its own, unless a test says otherwise.

use std::sync::Arc;

use membership::group::{GroupMember, GroupOptions, GroupView};
use wire::{GroupId, GroupName, Incarnation, MemberId, ProcessId, SiteId, SiteIncarnation, Time, ViewId};

use super::Breach;
use crate::history::{History, Message, Observation, What};
use crate::host::Order;

pub(super) fn life(n: u32) -> SiteIncarnation {
    SiteIncarnation { site: SiteId(n), incarnation: Incarnation(1) }
}

pub(super) fn member(n: u32) -> MemberId {
    MemberId { process: ProcessId { birth: life(n), local: 1 }, join: 1 }
}

pub(super) fn view_id(n: u64) -> ViewId {
    ViewId { epoch: n, attempt: 0, coordinator: life(1) }
}

fn name() -> GroupName {
    GroupName::parse("g").expect("a good name")
}

#[derive(Clone)]
pub(super) struct Script {
    seen: Vec<Observation>,
    current: std::collections::BTreeMap<u32, Arc<GroupView>>,
    pub(super) primary: bool,
}

impl Script {
    pub(super) fn new() -> Script {
        Script { seen: Vec::new(), current: Default::default(), primary: true }
    }

    pub(super) fn see(&mut self, what: What) -> &mut Self {
        let at = Time::from_millis(self.seen.len() as u64);
        self.seen.push(Observation { at, what });
        self
    }

    /// These members install this view of all of them, having come together.
    pub(super) fn view(&mut self, n: u64, members: &[u32]) -> &mut Self {
        for &m in members {
            self.installs(m, n, members, members);
        }
        self
    }

    /// One member installs a view; `with` is its transitional set.
    pub(super) fn installs(&mut self, m: u32, n: u64, members: &[u32], with: &[u32]) -> &mut Self {
        let listed = |m: &u32| GroupMember { id: member(*m), role: None, previous: None };
        let view = Arc::new(GroupView {
            group: GroupId::default(),
            name: name(),
            id: view_id(n),
            primary: self.primary,
            lives: true,
            members: members.iter().map(listed).collect(),
            joined: Vec::new(),
            left: Vec::new(),
            options: GroupOptions::default(),
        });
        self.current.insert(m, view.clone());
        let transitional = with.iter().map(|m| member(*m)).collect();
        self.see(What::View { member: member(m), view, transitional })
    }

    pub(super) fn cast(&mut self, m: u32, message: Message, order: Order) -> &mut Self {
        self.cast_with(m, message, order, false)
    }

    pub(super) fn cast_safe(&mut self, m: u32, message: Message, order: Order) -> &mut Self {
        self.cast_with(m, message, order, true)
    }

    pub(super) fn cast_large(&mut self, m: u32, message: Message, order: Order) -> &mut Self {
        self.cast_with(m, message, order, false);
        if let Some(Observation { what: What::Cast { large, .. }, .. }) = self.seen.last_mut() {
            *large = true;
        }
        self
    }

    fn cast_with(&mut self, m: u32, message: Message, order: Order, safe: bool) -> &mut Self {
        self.see(What::Cast {
            message,
            member: member(m),
            group: name(),
            order,
            safe,
            exclude_self: false,
            only: Arc::new([]),
            large: false,
        })
    }

    /// A member is delivered messages, in the view that it is in.
    pub(super) fn delivers(&mut self, m: u32, messages: &[Message]) -> &mut Self {
        for &message in messages {
            let view = self.current.get(&m).map_or(ViewId::default(), |v| v.id);
            let from = self.seen.iter().find_map(|o| match &o.what {
                What::Cast { message: cast, member, .. } if *cast == message => Some(*member),
                _ => None,
            });
            let from = from.unwrap_or(member(99));
            let group = GroupId::default();
            self.see(What::Deliver { member: member(m), message: Some(message), group, view, from });
        }
        self
    }

    pub(super) fn signal(&mut self, m: u32) -> &mut Self {
        self.see(What::Signal(member(m)))
    }

    pub(super) fn dies(&mut self, m: u32) -> &mut Self {
        self.see(What::Died(life(m)))
    }

    pub(super) fn healed(&mut self) -> &mut Self {
        self.see(What::Healed)
    }

    pub(super) fn clone_with(&self, more: impl FnOnce(&mut Script) -> &mut Script) -> Script {
        let mut script = self.clone();
        more(&mut script);
        script
    }

    pub(super) fn history(&self) -> History {
        History::new(self.seen.clone())
    }

    #[track_caller]
    pub(super) fn kept(&self, check: fn(&History) -> Result<(), Breach>) {
        assert_eq!(check(&self.history()), Ok(()));
    }

    #[track_caller]
    pub(super) fn broken(&self, check: fn(&History) -> Result<(), Breach>) {
        assert!(check(&self.history()).is_err(), "the check did not notice");
    }
}
