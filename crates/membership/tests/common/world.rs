//! A few kernels, their disks and the packets between them, under the control of a script or of a search. No
//! time: packets, timers and writes happen when they are told to.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use membership::kernel::{Config, Kernel, Message, NoTables, Output, Record, Ticket, Timer, Transition};
use membership::step::{Peer, RequestId, RequestKind, Step, Why, Witnesses};
use siphasher::sip::SipHasher13;
use wire::{Bugs, ClusterId, Incarnation, SiteId, SiteIncarnation, StoreId};

use super::oracle::Oracle;

/// A packet under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Packet {
    pub from: u32,
    pub to: u32,
    pub message: Arc<Message<NoTables>>,
    /// Its hash, to tell packets apart fast.
    pub hash: u64,
}

/// A site: its disk, and the kernel if it is up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    pub kernel: Option<Kernel<NoTables>>,
    pub disk: Option<Arc<Record<NoTables>>>,
    pub writing: VecDeque<Arc<Record<NoTables>>>,
    pub incarnation: u64,
    pub store: u64,
}

/// Something that a site told its driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Installed(Step),
    Excluded,
    Settled(RequestId, bool),
    Suspect(u32),
    Left,
    Surpassed,
}

/// Some sites.
#[derive(Clone, Debug)]
pub struct World {
    pub founders: Vec<u32>,
    pub bugs: Bugs,
    pub nodes: BTreeMap<u32, Arc<Node>>,
    pub net: Vec<Packet>,
    /// Writes are done at once.
    pub instant_disk: bool,
    pub oracle: Oracle,
    pub told: Vec<(u32, Told)>,
    pub transitions: BTreeSet<Transition>,
    tickets: BTreeMap<u32, VecDeque<Ticket>>,
}

pub fn hash_of(what: &impl Hash) -> u64 {
    let mut hasher = SipHasher13::new();
    what.hash(&mut hasher);
    hasher.finish()
}

pub fn site(n: u32) -> SiteId {
    SiteId(n)
}

impl World {
    /// Founders 1 to n, none of them up.
    pub fn new(founders: u32, bugs: Bugs) -> World {
        World {
            founders: (1..=founders).collect(),
            bugs,
            nodes: BTreeMap::new(),
            net: Vec::new(),
            instant_disk: true,
            oracle: Oracle::default(),
            told: Vec::new(),
            transitions: BTreeSet::new(),
            tickets: BTreeMap::new(),
        }
    }

    /// Founders 1 to n, up, in one view.
    pub fn founded(founders: u32, bugs: Bugs) -> World {
        let mut world = World::new(founders, bugs);
        for n in 1..=founders {
            world.start(n);
        }
        world.hear_all();
        world.settle();
        for n in 1..=founders {
            assert_eq!(world.position(n), 1, "site {n} is in the first view");
        }
        world.told.clear();
        world
    }

    /// Starts a site in its next life, from what is on its disk.
    pub fn start(&mut self, n: u32) {
        let empty =
            Node { kernel: None, disk: None, writing: VecDeque::new(), incarnation: 9, store: u64::from(n) };
        let node = Arc::make_mut(self.nodes.entry(n).or_insert_with(|| Arc::new(empty)));
        node.incarnation += 1;
        let me =
            Peer { site: site(n), incarnation: Incarnation(node.incarnation), store: StoreId(node.store) };
        let config = Config {
            cluster: ClusterId(1),
            cluster_epoch: 1,
            founders: self.founders.iter().map(|n| site(*n)).collect(),
            known: Vec::new(),
            bugs: self.bugs,
        };
        let record = node.disk.as_ref().map(|r| (**r).clone());
        node.kernel = Some(Kernel::start(config, me, record));
        self.drain(n);
    }

    /// The site stops; what is not on its disk is lost. `done` of the writes under way were finished.
    pub fn crash(&mut self, n: u32, done: usize) {
        let node = self.node_mut(n);
        for _ in 0..done {
            if let Some(record) = node.writing.pop_front() {
                node.disk = Some(record);
            }
        }
        node.writing.clear();
        node.kernel = None;
        self.tickets.remove(&n);
    }

    /// The disk is emptied: the next start is with a new store.
    pub fn empty_disk(&mut self, n: u32) {
        let node = self.node_mut(n);
        node.disk = None;
        node.store += 1000;
    }

    pub fn node_mut(&mut self, n: u32) -> &mut Node {
        Arc::make_mut(self.nodes.get_mut(&n).expect("a site of this world"))
    }

    pub fn is_up(&self, n: u32) -> bool {
        self.nodes.get(&n).is_some_and(|node| node.kernel.is_some())
    }

    pub fn kernel(&self, n: u32) -> &Kernel<NoTables> {
        self.nodes[&n].kernel.as_ref().expect("the site is up")
    }

    pub fn position(&self, n: u32) -> u64 {
        self.kernel(n).view().map_or(0, |v| v.step.position)
    }

    /// The sites in this site's view, by rank.
    pub fn members(&self, n: u32) -> Vec<u32> {
        self.kernel(n).view().map_or(Vec::new(), |v| v.step.members.iter().map(|m| m.peer.site.0).collect())
    }

    pub fn view(&self, n: u32) -> &Step {
        &self.kernel(n).view().expect("the site is in a view").step
    }

    pub fn life(&self, n: u32) -> SiteIncarnation {
        SiteIncarnation { site: site(n), incarnation: Incarnation(self.nodes[&n].incarnation) }
    }

    /// Calls a kernel and takes what comes out of it.
    pub fn with<R>(&mut self, n: u32, call: impl FnOnce(&mut Kernel<NoTables>) -> R) -> R {
        let node = self.node_mut(n);
        let result = call(node.kernel.as_mut().expect("the site is up"));
        self.drain(n);
        result
    }

    pub fn submit(&mut self, n: u32, kind: RequestKind) -> RequestId {
        self.with(n, |k| k.submit(kind)).expect("room for a request")
    }

    /// Detection at `n` says that a site is gone.
    pub fn fail(&mut self, n: u32, gone: u32) {
        let life = self.life(gone);
        self.with(n, |k| k.establish(life, Why::Failed, Witnesses::Two));
    }

    /// One site's word: nobody else speaks, and no refutation arrives.
    pub fn fail_alone(&mut self, n: u32, gone: u32) {
        let life = self.life(gone);
        self.with(n, |k| k.establish(life, Why::Failed, Witnesses::One));
    }

    /// Detection at `n` hears exactly these.
    pub fn hear(&mut self, n: u32, sites: &[u32]) {
        let sites = sites.iter().map(|s| site(*s)).collect();
        self.with(n, |k| k.handle_heard(&sites));
    }

    /// Everybody who is up hears everybody who is up.
    pub fn hear_all(&mut self) {
        let up: Vec<u32> = self.nodes.keys().copied().filter(|n| self.is_up(*n)).collect();
        for n in &up {
            self.hear(*n, &up);
        }
    }

    /// Delivers a packet by its place.
    pub fn deliver_at(&mut self, at: usize) {
        let packet = self.net.remove(at);
        self.hand_over(&packet);
    }

    pub fn hand_over(&mut self, packet: &Packet) {
        if self.is_up(packet.to) {
            let message = (*packet.message).clone();
            let _ = self.with(packet.to, |k| k.handle_message(message));
        }
    }

    /// Where the oldest packet of this kind stands.
    pub fn find(&self, from: u32, to: u32, name: &str) -> Option<usize> {
        self.net.iter().position(|p| p.from == from && p.to == to && p.message.body.name() == name)
    }

    /// Delivers the oldest packet of this kind.
    pub fn deliver(&mut self, from: u32, to: u32, name: &str) {
        let at = self.find(from, to, name).unwrap_or_else(|| panic!("no {name} from {from} to {to}: {self}"));
        self.deliver_at(at);
    }

    /// Delivers a copy of the oldest packet of this kind, and keeps it under way.
    pub fn duplicate(&mut self, from: u32, to: u32, name: &str) {
        let at = self.find(from, to, name).unwrap_or_else(|| panic!("no {name} from {from} to {to}: {self}"));
        let packet = self.net[at].clone();
        self.hand_over(&packet);
    }

    /// Takes the oldest packet of this kind out of the net, to be handed over later.
    pub fn hold(&mut self, from: u32, to: u32, name: &str) -> Packet {
        let at = self.find(from, to, name).unwrap_or_else(|| panic!("no {name} from {from} to {to}: {self}"));
        self.net.remove(at)
    }

    /// Loses every packet for which this holds.
    pub fn lose(&mut self, lost: impl Fn(&Packet) -> bool) {
        self.net.retain(|p| !lost(p));
    }

    /// Loses every packet of a kind between two sites.
    pub fn lose_all(&mut self, from: u32, to: u32, name: &str) {
        self.lose(|p| p.from == from && p.to == to && p.message.body.name() == name);
    }

    /// A timer of this site runs out, if it runs.
    pub fn fire(&mut self, n: u32, wanted: fn(&Timer) -> bool) -> bool {
        let timer = self.kernel(n).timers().into_iter().find(wanted);
        if let Some(timer) = timer {
            self.with(n, |k| k.handle_timer(timer));
        }
        timer.is_some()
    }

    /// The oldest write of a site is done.
    pub fn stored(&mut self, n: u32) {
        let node = self.node_mut(n);
        if let Some(record) = node.writing.pop_front() {
            node.disk = Some(record);
            let ticket =
                self.tickets.get_mut(&n).and_then(VecDeque::pop_front).expect("a ticket for each write");
            self.with(n, |k| k.handle_stored(ticket));
        }
    }

    /// Delivers everything, in order, until nothing is under way.
    pub fn quiesce(&mut self) {
        for _ in 0..10_000 {
            let writing = self.nodes.iter().find(|(_, node)| !node.writing.is_empty()).map(|(n, _)| *n);
            if let Some(n) = writing {
                self.stored(n);
            } else if !self.net.is_empty() {
                self.deliver_at(0);
            } else {
                return;
            }
        }
        panic!("the sites do not come to rest: {self}");
    }

    /// Delivers everything and lets timers run out, the shortest first, until nothing moves any more.
    pub fn settle(&mut self) {
        for _ in 0..200 {
            self.quiesce();
            let order: [fn(&Timer) -> bool; 4] = [
                |t| matches!(t, Timer::Resend(_) | Timer::Collect(_)),
                |t| matches!(t, Timer::Ack(_)),
                |t| matches!(t, Timer::Commit(_)),
                |t| matches!(t, Timer::Backoff | Timer::Join | Timer::Leave),
            ];
            let sites: Vec<u32> = self.nodes.keys().copied().filter(|n| self.is_up(*n)).collect();
            let fired = order.iter().any(|wanted| sites.iter().any(|n| self.fire(*n, *wanted)));
            if !fired {
                return;
            }
        }
        panic!("the sites do not settle: {self}");
    }

    pub fn assert_sound(&self) {
        assert_eq!(self.oracle.violation, None, "{self}");
    }

    fn drain(&mut self, n: u32) {
        loop {
            let node = self.node_mut(n);
            let kernel = node.kernel.as_mut().expect("the site is up");
            let mut outputs = Vec::new();
            while let Some(output) = kernel.poll_output() {
                outputs.push(output);
            }
            if outputs.is_empty() {
                return;
            }
            self.take(n, outputs);
        }
    }

    fn take(&mut self, n: u32, outputs: Vec<Output<NoTables>>) {
        let mut sent = Vec::new();
        let mut installed = Vec::new();
        let mut committed = false;
        let mut tickets = Vec::new();
        for output in outputs {
            let node = self.node_mut(n);
            match output {
                Output::Store { ticket, record } => {
                    node.writing.push_back(Arc::new(*record));
                    self.tickets.entry(n).or_default().push_back(ticket);
                    tickets.push(ticket);
                }
                Output::Send { to, message } => {
                    sent.push(message.clone());
                    let hash = hash_of(&(n, to.0, &*message));
                    self.net.push(Packet { from: n, to: to.0, message, hash });
                }
                Output::Installed { step, .. } => {
                    installed.push(step.clone());
                    self.told.push((n, Told::Installed((*step).clone())));
                }
                Output::Trace(transition) => {
                    self.transitions.insert(transition);
                    committed |= matches!(
                        transition,
                        Transition::CommitByAll | Transition::CommitByQuorum | Transition::CommitNonPrimary
                    );
                }
                Output::Excluded { .. } => self.told.push((n, Told::Excluded)),
                Output::Settled { request, on_line, .. } => {
                    self.told.push((n, Told::Settled(request, on_line)));
                }
                Output::Suspect(life) => self.told.push((n, Told::Suspect(life.site.0))),
                Output::Left => self.told.push((n, Told::Left)),
                Output::Surpassed(_) => self.told.push((n, Told::Surpassed)),
                Output::Diverged(step) => {
                    self.oracle.violation.get_or_insert(format!("tables diverge at {step}"));
                }
                Output::Arm { .. } | Output::StartChange { .. } => {}
            }
        }
        let kernel = self.nodes[&n].kernel.as_ref().expect("the site is up");
        let sent: Vec<&Message<NoTables>> = sent.iter().map(|m| &**m).collect();
        let installed: Vec<&Step> = installed.iter().map(|s| &**s).collect();
        self.oracle.observe(kernel, &sent, &installed, committed);
        if self.instant_disk {
            for _ in tickets {
                self.stored(n);
            }
        }
    }
}

impl std::fmt::Display for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f)?;
        for (n, node) in &self.nodes {
            let Some(kernel) = &node.kernel else {
                writeln!(f, "  site {n}: down")?;
                continue;
            };
            let view = kernel.view().map(|v| (v.step.id, v.step.primary, v.step.position));
            writeln!(
                f,
                "  site {n}: view {view:?} of {:?}, line {:?}, promised {}, timers {:?}, pending {:?}",
                self.members(*n),
                kernel.line().map(|l| (l.step.id, l.step.position)),
                kernel.promised(),
                kernel.timers(),
                kernel.pending().map(|r| r.kind).collect::<Vec<_>>(),
            )?;
        }
        for packet in &self.net {
            writeln!(f, "  {} -> {}: {}", packet.from, packet.to, packet.message.body.name())?;
        }
        Ok(())
    }
}
