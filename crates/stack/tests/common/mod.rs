//! Sites on a perfect little network that a test may cut: packets take a millisecond, disks no time at all.

#![allow(dead_code, reason = "each test file uses a part of it")]

mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use membership::group::{GroupOptions, GroupView};
use membership::step::Peer;
use multicast::Order;
use stack::{CastError, CastOptions, Casted, Config, Connection, Event, JoinOptions, Node, Record};
use wire::{Bugs, ClusterId, GroupName, Incarnation, MemberId, ProcessId, SiteId, StoreId, Time};

pub use store::Store;

const LATENCY: Duration = Duration::from_millis(1);
/// How long anything that a test waits for may take.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Site {
    pub node: Option<Node>,
    /// Of a durable group, if the test gave it one.
    pub store: Option<Store>,
    incarnation: u64,
    record: Option<Record>,
    mserver: bool,
    /// What the site told, in order; a test takes from it what it has looked at.
    pub told: Vec<Event>,
}

pub struct Cluster {
    pub now: Time,
    pub sites: BTreeMap<u32, Site>,
    cut: BTreeSet<(u32, u32)>,
    /// What is under way where the way stalls, in order.
    stalled: BTreeMap<(u32, u32), Vec<Packet>>,
    packets: BTreeMap<(Time, u64), Packet>,
    sent: u64,
    /// Whether sites lose what is sent to them.
    pub deaf: BTreeSet<u32>,
    window_bytes_max: usize,
}

struct Packet {
    from: u32,
    from_life: u64,
    to: u32,
    to_life: u64,
    bytes: Bytes,
}

/// A group's name.
pub fn group(name: &str) -> GroupName {
    GroupName::parse(name).expect("a good name")
}

impl Cluster {
    /// Starts sites 1 to `mservers`, all founders, and after them `attached` sites without an mserver.
    pub fn start(mservers: u32, attached: u32) -> Cluster {
        Cluster::with_window(mservers, attached, 1 << 20)
    }

    pub fn with_window(mservers: u32, attached: u32, window_bytes_max: usize) -> Cluster {
        let site = |n: u32| Site {
            node: None,
            store: None,
            incarnation: 0,
            record: None,
            mserver: n <= mservers,
            told: Vec::new(),
        };
        let mut cluster = Cluster {
            now: Time::from_millis(1),
            sites: (1..=mservers + attached).map(|n| (n, site(n))).collect(),
            cut: BTreeSet::new(),
            stalled: BTreeMap::new(),
            packets: BTreeMap::new(),
            sent: 0,
            deaf: BTreeSet::new(),
            window_bytes_max,
        };
        for n in 1..=mservers + attached {
            cluster.restart(n);
        }
        cluster.until("all mservers are in one view", |c| c.together(&(1..=mservers).collect::<Vec<_>>()));
        cluster
    }

    /// Begins another life of a site that is down.
    pub fn restart(&mut self, n: u32) {
        let mservers: Vec<u32> = self.mservers();
        let site = self.sites.get_mut(&n).expect("a site of the test");
        assert!(site.node.is_none(), "it is down");
        site.incarnation += 1;
        let name = |n: u32| format!("site-{n}");
        let config = Config {
            cluster: ClusterId(7),
            cluster_epoch: 0,
            me: Peer {
                site: SiteId(n),
                incarnation: Incarnation(site.incarnation),
                store: StoreId(u64::from(n)),
            },
            name: name(n),
            founders: mservers.iter().map(|n| SiteId(*n)).collect(),
            known: mservers.iter().filter(|m| **m != n).map(|m| (SiteId(*m), name(*m))).collect(),
            mservers: mservers.iter().filter(|m| **m != n).map(|m| SiteId(*m)).collect(),
            addresses: Vec::new(),
            mserver: site.mserver,
            window_bytes_max: self.window_bytes_max,
            slow_member_after: Duration::from_secs(30),
            link: stack::LinkConfig::default(),
            detection_max: Duration::from_secs(1),
            bugs: Bugs::NONE,
            trace: false,
        };
        let seed = u64::from(n) << 8 | site.incarnation;
        let mut node = Node::start(config, site.record.as_ref(), self.now, seed).expect("its own record");
        if let Some(store) = &mut site.store {
            store.open(&mut node, SiteId(n), Incarnation(site.incarnation));
        }
        site.node = Some(node);
        let others: Vec<u32> = self.up().into_iter().filter(|m| *m != n).collect();
        for other in others {
            self.connect(n, other);
        }
        self.work();
    }

    /// A machine dies.
    pub fn kill(&mut self, n: u32) {
        let site = self.sites.get_mut(&n).expect("a site of the test");
        site.node = None;
        if let Some(store) = &mut site.store {
            store.crash();
        }
        for other in self.up() {
            self.connection(other, n, Connection::Closed);
        }
        self.work();
    }

    /// A site's process dies, and its machine says so.
    pub fn kill_process(&mut self, n: u32) {
        self.kill(n);
        for other in self.up() {
            self.connection(other, n, Connection::Refused);
        }
        self.work();
    }

    /// Cuts the network into these sides.
    pub fn partition(&mut self, sides: &[&[u32]]) {
        for (at, side) in sides.iter().enumerate() {
            for a in *side {
                for b in sides[at + 1..].iter().copied().flatten() {
                    self.cut.extend([(*a, *b), (*b, *a)]);
                    self.connection(*a, *b, Connection::Closed);
                    self.connection(*b, *a, Connection::Closed);
                }
            }
        }
        self.work();
    }

    /// Mends the network.
    pub fn heal(&mut self) {
        for (a, b) in std::mem::take(&mut self.cut) {
            if a < b && self.is_up(a) && self.is_up(b) {
                self.connect(a, b);
            }
        }
        self.work();
    }

    /// Mends the network between two sites.
    #[allow(dead_code, reason = "not every test has partitions")]
    pub fn mend(&mut self, a: u32, b: u32) {
        self.cut.retain(|way| *way != (a, b) && *way != (b, a));
        self.connect(a, b);
        self.work();
    }

    /// What one site sends to another waits, from now on.
    pub fn stall(&mut self, from: u32, to: u32) {
        self.stalled.insert((from, to), Vec::new());
    }

    /// All that waits for a site comes at once, and is handed over in one turn, what these sites sent in this order.
    pub fn resume(&mut self, to: u32, from: &[u32]) {
        let now = self.now;
        for &from in from {
            for packet in self.stalled.remove(&(from, to)).expect("the way stalls") {
                let taken = self.node(to).handle_packet(now, SiteId(from), packet.bytes);
                taken.expect("honest packets are taken");
            }
        }
        self.drain(to);
    }

    pub fn node(&mut self, n: u32) -> &mut Node {
        self.sites.get_mut(&n).and_then(|site| site.node.as_mut()).expect("the site is up")
    }

    /// A new process at a site.
    pub fn process(&mut self, n: u32) -> ProcessId {
        self.node(n).open_process()
    }

    /// A new process joins; waits until it is in.
    pub fn join(&mut self, n: u32, name: &str, rules: GroupOptions) -> MemberId {
        let member = self.ask_to_join(n, name, rules);
        self.until("the join is done", |c| c.view(n, name).is_some_and(|view| lists(&view, member)));
        member
    }

    /// A new process asks to join.
    pub fn ask_to_join(&mut self, n: u32, name: &str, rules: GroupOptions) -> MemberId {
        let process = self.process(n);
        let now = self.now;
        let options = JoinOptions { rules, ..JoinOptions::default() };
        let member = self.node(n).join(now, process, group(name), options).expect("it is asked");
        self.work();
        member
    }

    /// Casts without an answer, as soon as the group takes it.
    pub fn cast(&mut self, member: MemberId, name: &str, order: Order, text: &str) {
        let payload = Bytes::copy_from_slice(text.as_bytes());
        let casted = self.cast_with(member.process, name, &CastOptions::plain(order), &payload);
        assert_eq!(casted, Casted::Done);
    }

    /// Casts as soon as the group takes it.
    pub fn cast_with(
        &mut self,
        process: ProcessId,
        name: &str,
        options: &CastOptions,
        payload: &Bytes,
    ) -> Casted {
        let deadline = self.now + PATIENCE;
        loop {
            let now = self.now;
            let casted = self.node(process.birth.site.0).cast(now, process, &group(name), options, payload);
            self.work();
            match casted {
                Ok(casted) => return casted,
                Err(CastError::Blocked | CastError::Full | CastError::Busy) => self.step(deadline, "a cast"),
                Err(error) => panic!("a cast was refused: {error}"),
            }
        }
    }

    /// Lets time pass until something holds.
    pub fn until(&mut self, what: &str, mut holds: impl FnMut(&Cluster) -> bool) {
        let deadline = self.now + PATIENCE;
        while !holds(self) {
            self.step(deadline, what);
        }
    }

    /// Lets this much time pass.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.next() <= end {
            self.now = self.now.max(self.next());
            self.turn();
        }
        self.now = end;
    }

    /// The newest view of a group that a site was told.
    pub fn view(&self, n: u32, name: &str) -> Option<std::sync::Arc<GroupView>> {
        self.sites[&n].told.iter().rev().find_map(|event| match event {
            Event::View { view, .. } if view.name == group(name) => Some(view.clone()),
            _ => None,
        })
    }

    /// The messages that a site was delivered, as text, in order.
    pub fn texts(&self, n: u32) -> Vec<String> {
        let text = |event: &Event| match event {
            Event::Deliver { payload, .. } => Some(String::from_utf8_lossy(payload).into_owned()),
            _ => None,
        };
        self.sites[&n].told.iter().filter_map(text).collect()
    }

    pub fn has(&self, n: u32, text: &str) -> bool {
        self.texts(n).iter().any(|had| had == text)
    }

    /// Whether these sites, and no others, are in one primary view.
    pub fn together(&self, sites: &[u32]) -> bool {
        let view_of = |n: &u32| {
            let status = self.sites[n].node.as_ref()?.status();
            let members: Vec<u32> =
                status.sites.iter().filter(|s| s.rank.is_some()).map(|s| s.site.0).collect();
            (status.primary && members == sites).then_some(status.view?)
        };
        let first = sites.first().and_then(&view_of);
        first.is_some() && sites.iter().all(|n| view_of(n) == first)
    }

    pub fn is_up(&self, n: u32) -> bool {
        self.sites[&n].node.is_some()
    }

    /// Does what is to be done now.
    pub fn work(&mut self) {
        for n in self.up() {
            self.drain(n);
        }
    }

    fn mservers(&self) -> Vec<u32> {
        self.sites.iter().filter(|(_, site)| site.mserver).map(|(n, _)| *n).collect()
    }

    fn up(&self) -> Vec<u32> {
        self.sites.iter().filter(|(_, site)| site.node.is_some()).map(|(n, _)| *n).collect()
    }

    fn connect(&mut self, a: u32, b: u32) {
        if !self.cut.contains(&(a, b)) {
            let (of_a, of_b) = (self.sites[&a].incarnation, self.sites[&b].incarnation);
            self.connection(a, b, Connection::Up(Incarnation(of_b)));
            self.connection(b, a, Connection::Up(Incarnation(of_a)));
        }
    }

    fn connection(&mut self, at: u32, to: u32, connection: Connection) {
        let now = self.now;
        if let Some(node) = self.sites.get_mut(&at).and_then(|site| site.node.as_mut()) {
            node.handle_connection(now, SiteId(to), connection);
        }
    }

    fn step(&mut self, deadline: Time, what: &str) {
        let next = self.next();
        assert!(next <= deadline, "{what}: it does not come about");
        self.now = self.now.max(next);
        self.turn();
    }

    fn next(&self) -> Time {
        let nodes = self.sites.values().filter_map(|site| site.node.as_ref());
        let timers = nodes.filter_map(Node::poll_timeout).min();
        let packet = self.packets.first_key_value().map(|((at, _), _)| *at);
        timers.into_iter().chain(packet).min().expect("a node always has a time-out")
    }

    /// Everything that is due now.
    fn turn(&mut self) {
        let now = self.now;
        while let Some(entry) = self.packets.first_entry().filter(|entry| entry.key().0 <= now) {
            let packet = entry.remove();
            if let Some(stalled) = self.stalled.get_mut(&(packet.from, packet.to)) {
                stalled.push(packet);
                continue;
            }
            let arrives = !self.cut.contains(&(packet.from, packet.to)) && !self.deaf.contains(&packet.to);
            let lives = |n: u32, life: u64| self.sites[&n].incarnation == life && self.is_up(n);
            if arrives && lives(packet.to, packet.to_life) && lives(packet.from, packet.from_life) {
                let node = self.node(packet.to);
                node.handle_packet(now, SiteId(packet.from), packet.bytes).expect("honest packets are taken");
                self.drain(packet.to);
            }
        }
        for n in self.up() {
            if self.node(n).poll_timeout().is_some_and(|at| at <= now) {
                self.node(n).handle_timeout(now);
            }
            self.drain(n);
        }
    }

    fn drain(&mut self, n: u32) {
        let now = self.now;
        let lives: BTreeMap<u32, u64> = self.sites.iter().map(|(n, site)| (*n, site.incarnation)).collect();
        let site = self.sites.get_mut(&n).expect("a site of the test");
        let Some(node) = &mut site.node else { return };
        node.settle(now);
        while let Some(store) = node.poll_store() {
            site.record = Some(store.record);
            node.handle_stored(now, store.ticket);
            node.settle(now);
        }
        if let Some(store) = &mut site.store {
            store.work(node, now, &mut site.told);
        }
        while let Some(transmit) = node.poll_transmit(now) {
            self.sent += 1;
            let bytes = [transmit.header, transmit.body].concat().into();
            let to = transmit.to.0;
            let packet = Packet { from: n, from_life: lives[&n], to, to_life: lives[&to], bytes };
            self.packets.insert((now + LATENCY, self.sent), packet);
        }
        while let Some(event) = node.poll_event() {
            site.told.push(event);
        }
    }
}

/// Whether a view lists a member.
pub fn lists(view: &GroupView, member: MemberId) -> bool {
    view.members.iter().any(|listed| listed.id == member)
}
