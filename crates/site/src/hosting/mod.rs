//! Durable groups at a site: which there are, their stores, their applications, and who waits for them.
//!
//! ```text
//!  sessions, library ─▶ writes, reads ─▶ Hosting ─▶ the node's durable group ─▶ operations ─▶ the group's disk thread
//!                    ◀─ answers ◀─────── applications ◀─ entries to apply ◀─── what was done ◀─┘
//! ```
//!
//! The first is the *catalog* ([`tools::catalog`]), founded on the stores of the cluster's founders, which the tables of
//! the core-set name. Whatever it lists is opened at every site: as a store that counts where the group was founded,
//! elsewhere as one that follows. One process of the site is a member of all of them.

mod ask;
mod compare;
mod cut;
mod disk;
mod fetch;
mod handle;
mod kept;
mod member;
mod open;
#[cfg(test)]
mod payload_tests;
mod place;
mod placing;
mod requests;
mod served;
mod spool;
mod standing;
#[cfg(test)]
mod tests;
mod trouble;
mod watch;
mod weigh;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use durable::{
    Answer, Application, Applying, Body, ClientId, Configuration, Done, Ending, Event, Fatal, Life, Mode,
    Names, ReadId, Refused, Request, Settings, Why,
};
use membership::group::{Create, GroupOptions, Lives};
use membership::step::Peer;
use stack::store::Who;
use stack::{CallId, JoinOptions, Node};
use tokio::sync::mpsc;
use tools::catalog::{self, Catalog, Founding};
use tools::map;
use wire::{GroupName, ProcessId, Time};

pub(crate) use ask::Ask;
pub use ask::{GroupStatus, HostError, Placed, Write};
use ask::{Look, Told};
pub use compare::Compared;
use compare::Comparison;
use disk::{Disk, Job, Place, Said};
use fetch::{Asked, Missing};
use open::Open;
pub use placing::{Step, Wish};
use requests::created;
pub(crate) use served::Served;
pub use spool::Spooled;
use standing::Stands;
use trouble::{Founded, Tries};
pub use trouble::{Trouble, TroubleKind};
use watch::Watcher;
pub use weigh::Weight;

use crate::levels::{Levels, Unsupported};
use crate::service::Services;

/// How long a request waits for its group to become active, or to be opened.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a write or a read that the group has taken may be open. Then whoever waits is told that nobody can say whether
/// the write was done, or that the read came to nothing.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);
/// Requests of one group that may wait for it to become active, or to be opened.
const WAITING_MAX: usize = 4_096;
/// Programs that wait for a group's changes.
const WATCHERS_MAX: usize = 4_096;
/// A group that the site is not in is joined again after so long.
const JOIN_AGAIN: Duration = Duration::from_millis(500);
/// How often what is due is looked for.
const TICK: Duration = Duration::from_millis(200);

struct Hosted {
    founded: Founded,
    stage: Stage,
    tries: Tries,
    mode: Mode,
    /// Whether it has a majority, if it is a service's.
    stands: Stands,
    member: Joined,
    /// Writes that are proposed, and who waits for them.
    writes: Open<(ClientId, u64), Vec<Told<Bytes>>>,
    reads: Open<ReadId, Option<Look>>,
    /// What waits until the group can take it, and until when.
    waiting: VecDeque<(Time, Ask)>,
    watchers: Vec<Watcher>,
    changed: bool,
    /// What the site calls writes that come without a name.
    names: Names,
    /// As whom the site lets time pass, and its last number. Of a group that has forgotten it, another is drawn (D13).
    ticker: Option<(ClientId, u64)>,
    /// While the state of a checkpoint is read from the disk: what is to be done with that state, and not with the one
    /// before. Nothing else is applied until one entry is, so it is one of these, one checkpoint, and reads.
    held: Option<VecDeque<Event>>,
    /// What was committed when the stores were last asked to move, and when that was.
    noted: Option<(Time, u64)>,
    /// Payloads that a service keeps, and that have to be had from other sites.
    missing: Missing,
    /// Whether the state is that of the other sites.
    comparison: Comparison,
}

enum Stage {
    /// Its disk thread is at it.
    Opening(Disk),
    Open(Disk, Served),
    /// It cannot be opened. If that may pass, it is tried again.
    Refused(Trouble),
}

enum Joined {
    Not,
    /// Since then.
    Asked(Time),
    In,
}

/// Why the site has to stop.
pub(crate) enum Failed {
    /// A disk failed.
    Disk(String),
    /// Peers have seen a later life of a group's store.
    Surpassed,
    /// The cluster's feature level is one that this program does not have.
    Level(Unsupported),
}

/// All durable groups of a site.
pub(crate) struct Hosting {
    me: Peer,
    root: PathBuf,
    /// This start.
    nonce: u128,
    /// How many names the site has drawn to write under by itself.
    drawn: u128,
    process: Option<ProcessId>,
    groups: BTreeMap<GroupName, Hosted>,
    /// Groups of services that this site's program does not have.
    unserved: BTreeSet<GroupName>,
    /// What asks for groups that this site knows nothing of, until it knows all that the catalog's group knows.
    checking: BTreeMap<ReadId, (Time, Ask)>,
    /// What waits for the catalog's answer, each under a name of its own.
    creating: BTreeMap<ClientId, Told<()>>,
    levels: Arc<Levels>,
    settings: Settings,
    services: Services,
    /// Payloads that others were asked for.
    fetching: BTreeMap<CallId, Asked>,
    said: mpsc::UnboundedReceiver<(GroupName, Said)>,
    say: mpsc::UnboundedSender<(GroupName, Said)>,
    next_look: Time,
}

pub(crate) type FromDisk = (GroupName, Said);

impl Hosting {
    /// `root`: the folder of the stores. `nonce`: drawn at random at this start.
    pub(crate) fn new(
        me: Peer,
        root: PathBuf,
        nonce: u128,
        levels: Arc<Levels>,
        (settings, services): (Settings, Services),
    ) -> Hosting {
        let (say, said) = mpsc::unbounded_channel();
        Hosting {
            me,
            root,
            nonce,
            drawn: 0,
            process: None,
            groups: BTreeMap::new(),
            unserved: BTreeSet::new(),
            checking: BTreeMap::new(),
            creating: BTreeMap::new(),
            levels,
            settings,
            services,
            fetching: BTreeMap::new(),
            said,
            say,
            next_look: Time::ZERO,
        }
    }

    /// What a disk says. Cancel-safe.
    pub(crate) async fn recv(&mut self) -> Option<FromDisk> {
        self.said.recv().await
    }

    /// What a disk has said already.
    pub(crate) fn try_recv(&mut self) -> Option<FromDisk> {
        self.said.try_recv().ok()
    }

    /// When [`handle_timeout`](Hosting::handle_timeout) is due.
    pub(crate) fn poll_timeout(&self) -> Time {
        self.next_look
    }

    /// Looks for what is due: the catalog to be opened, groups to join, requests that have waited too long, pairs whose
    /// time is over.
    pub(crate) fn handle_timeout(&mut self, node: &mut Node, now: Time) {
        if now < self.next_look {
            return;
        }
        self.next_look = now + TICK;
        self.open_catalog(node);
        let names: Vec<GroupName> = self.groups.keys().cloned().collect();
        for name in names {
            self.try_again_to_open(now, &name);
            self.join(node, now, &name);
            self.look_at_standing(node, now, &name);
            self.give_up_waiting(now, &name);
            self.give_up_open(node, now, &name);
            self.tick(node, now, &name);
            self.fetch(node, now, &name);
            self.compare(node, now, &name);
        }
    }

    fn open_catalog(&mut self, node: &Node) {
        let name = catalog_name();
        if self.groups.contains_key(&name) {
            return;
        }
        let founders = node.founders();
        // A site without an mserver is told no tables; it founds nothing, and follows.
        if founders.is_empty() && node.attached_to().is_none() {
            return;
        }
        let stores = Configuration::majority(founders.iter().map(|peer| (peer.store, peer.site)));
        self.open(name, Served::Catalog(Catalog::default()), stores);
    }

    fn open(&mut self, group: GroupName, empty: Served, stores: Configuration) {
        let founded = Founded { empty, stores };
        let hosted = Hosted {
            stage: self.start(&group, &founded),
            founded,
            tries: Tries::default(),
            mode: Mode::ReadOnly(Why::NoView),
            stands: Stands::default(),
            member: Joined::Not,
            writes: Open::default(),
            reads: Open::default(),
            waiting: VecDeque::new(),
            watchers: Vec::new(),
            changed: false,
            ticker: None,
            names: Names::new(net::random()),
            held: None,
            noted: None,
            missing: Missing::default(),
            comparison: Comparison::default(),
        };
        self.groups.insert(group, hosted);
    }

    /// Starts to open a group's store.
    fn start(&self, group: &GroupName, founded: &Founded) -> Stage {
        let counted = founded.stores.counts(self.me.store, self.me.site);
        let life = Life { incarnation: self.me.incarnation, nonce: self.nonce as u64 };
        let founders = counted.then(|| founded.stores.clone());
        let who = Who { site: self.me.site, store: self.me.store, life, founders };
        let empty = founded.empty.renewed();
        let (root, settings) = (self.root.clone(), self.settings.clone());
        let place = Place { group: group.clone(), root, settings, who, empty };
        let (disk, refused) = Disk::start(place, self.say.clone());
        if let Some(trouble) = refused {
            // It is told like any other refusal, in its turn.
            let _ = self.say.send((group.clone(), Said::Refused(trouble)));
        }
        Stage::Opening(disk)
    }

    /// A store that could not be opened is opened again when it is time, if what kept it closed may have passed.
    fn try_again_to_open(&mut self, now: Time, name: &GroupName) {
        let Some(hosted) = self.groups.get_mut(name) else { return };
        if matches!(hosted.stage, Stage::Refused(_)) && hosted.tries.take(now) {
            let Some(hosted) = self.groups.get(name) else { return };
            let stage = self.start(name, &hosted.founded);
            if let Some(hosted) = self.groups.get_mut(name) {
                hosted.stage = stage;
            }
        }
    }

    /// Whether this site's program has the feature level that the catalog says is in force.
    fn look_at_level(&self) -> Result<(), Failed> {
        match self.groups.get(&catalog_name()) {
            Some(Hosted { stage: Stage::Open(_, Served::Catalog(catalog)), .. }) => {
                self.levels.met(catalog.level()).map_err(Failed::Level)
            }
            _ => Ok(()),
        }
    }

    /// Opens what the catalog lists and is not open yet, and answers who waits for it.
    fn open_listed(&mut self) {
        let Some(Hosted { stage: Stage::Open(_, Served::Catalog(catalog)), .. }) =
            self.groups.get(&catalog_name())
        else {
            return;
        };
        let known = |name: &GroupName| self.groups.contains_key(name) || self.unserved.contains(name);
        let missing = catalog.groups().filter(|(name, _)| !known(name));
        let missing: Vec<(GroupName, Founding)> = missing.map(|(n, f)| (n.clone(), f.clone())).collect();
        for (name, founding) in missing {
            tracing::info!(group = %name, kind = ?founding.kind, "a durable group");
            match Served::new(founding.kind, &self.services) {
                Some(empty) => self.open(name, empty, founding.stores),
                None => drop(self.unserved.insert(name)),
            }
        }
    }

    fn join(&mut self, node: &mut Node, now: Time, name: &GroupName) {
        let Some(hosted) = self.groups.get_mut(name) else { return };
        let due = match hosted.member {
            Joined::Not => true,
            // A join is answered in the end; this is for one whose answer went to somebody else.
            Joined::Asked(since) => now.since(since) > PATIENCE * 6,
            Joined::In => false,
        };
        if !due || !matches!(hosted.stage, Stage::Open(..)) {
            return;
        }
        let process = *self.process.get_or_insert_with(|| node.open_process());
        let rules = GroupOptions { lives: Lives::Primary, ..GroupOptions::default() };
        let options = JoinOptions { role: None, create: Create::IfMissing, rules };
        // Refused, it is tried again.
        if node.join(now, process, name.clone(), options).is_ok() {
            hosted.member = Joined::Asked(now);
        }
    }

    /// What a disk has said. An error is for the whole site.
    pub(crate) fn handle_disk(
        &mut self,
        node: &mut Node,
        now: Time,
        (name, said): FromDisk,
    ) -> Result<(), Failed> {
        let Some(hosted) = self.groups.get_mut(&name) else { return Ok(()) };
        match said {
            Said::Opened(machine, mut state, missing) => {
                let Stage::Opening(disk) = &mut hosted.stage else { return Ok(()) };
                state.enter();
                hosted.missing.set(missing);
                hosted.comparison.restart(machine.status().applied);
                hosted.stage = Stage::Open(disk.take(), state);
                hosted.tries = Tries::default();
                node.open_durable(name.clone(), *machine);
                self.join(node, now, &name);
                self.look_at_level()?;
                self.open_listed();
            }
            Said::Refused(trouble) => {
                let (why, kind) = (&trouble.why, trouble.kind.name());
                tracing::error!(group = %name, why, kind, "the store of a durable group cannot be opened");
                hosted.tries.refused(now, trouble.kind);
                let waiting = std::mem::take(&mut hosted.waiting);
                let error = HostError::Store(trouble.why.clone());
                waiting.into_iter().for_each(|(_, ask)| ask.refuse(error.clone()));
                hosted.stage = Stage::Refused(trouble);
            }
            Said::Done(done) => {
                if let Some(mut group) = node.durable(now, &name) {
                    Done::together(done).into_iter().for_each(|done| group.done(done));
                }
            }
            Said::Restored(mut state, missing) => {
                if let Stage::Open(_, served) = &mut hosted.stage {
                    state.enter();
                    *served = state;
                    hosted.changed = true;
                    hosted.missing.set(missing);
                }
                let held = hosted.held.take().unwrap_or_default();
                self.look_at_level()?;
                self.open_listed();
                for said in held {
                    self.handle_event(node, now, &name, said)?;
                }
            }
            Said::Missing(more) => hosted.missing.add(more),
            Said::Payload(to, payload) => self.tell_payload(node, now, to, payload),
            Said::Failed(why) => return Err(Failed::Disk(format!("the store of {name}: {why}"))),
        }
        Ok(())
    }

    /// Gives the disks what the machines ask of them.
    pub(crate) fn pass_on(&mut self, node: &mut Node) {
        while let Some((name, op)) = node.poll_durable_store() {
            if let Some(Hosted { stage: Stage::Open(disk, _), .. }) = self.groups.get(&name) {
                disk.ask(Job::Op(op));
            }
        }
    }

    /// What a machine says. An error is for the whole site.
    pub(crate) fn handle_event(
        &mut self,
        node: &mut Node,
        now: Time,
        name: &GroupName,
        said: Event,
    ) -> Result<(), Failed> {
        let Some(hosted) = self.groups.get_mut(name) else { return Ok(()) };
        let Stage::Open(disk, served) = &mut hosted.stage else { return Ok(()) };
        let of_the_state = matches!(
            said,
            Event::Apply { .. } | Event::Read(_) | Event::Checkpoint { .. } | Event::Restore(_)
        );
        if let Some(held) = hosted.held.as_mut().filter(|_| of_the_state) {
            held.push_back(said);
            return Ok(());
        }
        match said {
            Event::Mode(mode) => {
                tracing::info!(group = %name, ?mode, "durable group");
                hosted.mode = mode;
                self.look_at_standing(node, now, name);
                match mode {
                    Mode::Active => self.retry(node, now, name),
                    Mode::ReadOnly(_) => self.ask_reads_again(node, now, name),
                }
            }
            Event::Apply { entry, clock } => {
                let position = entry.number.position;
                let answer = match entry.body {
                    Body::Request(Request { client, payload, .. }) => {
                        served.apply(Applying { position, clock, client, payload })
                    }
                    Body::ViewStart { .. } | Body::Configuration(_) | Body::Mark => Bytes::new(),
                };
                hosted.comparison.applied(position, || served.digest());
                hosted.changed = true;
                let is_catalog = matches!(served, Served::Catalog(_));
                if let Some(mut group) = node.durable(now, name) {
                    group.applied(position, answer);
                }
                if is_catalog {
                    self.look_at_level()?;
                    self.open_listed();
                }
            }
            Event::Answer { client, sequence, answer } => {
                let is_refused = matches!(answer, Answer::Refused(_));
                let ending = match answer {
                    Answer::Refused(Refused::Forgotten) => Ending::Unknown,
                    Answer::Applied(_) | Answer::AppliedLong | Answer::Refused(Refused::Answered) => {
                        Ending::Applied
                    }
                };
                let answer = match answer {
                    Answer::Applied(answer) => Ok(answer),
                    Answer::AppliedLong => {
                        Err(HostError::Unknown("it was done; its answer was too long to be kept"))
                    }
                    Answer::Refused(Refused::Answered) => Err(HostError::Unknown(
                        "it was done and answered before, and the answer is forgotten",
                    )),
                    Answer::Refused(Refused::Forgotten) => {
                        Err(HostError::Unknown("this client was silent for too long and is forgotten"))
                    }
                };
                hosted.names.give_back(client, sequence, ending);
                for told in hosted.writes.remove(&(client, sequence)).unwrap_or_default() {
                    let _ = told.send(answer.clone());
                }
                if is_refused {
                    hosted.ticker.take_if(|ticker| ticker.0 == client);
                }
                if let Some(told) = self.creating.remove(&client) {
                    created(told, answer);
                }
            }
            Event::Read(id) => {
                if let Some(look) = hosted.reads.remove(&id).flatten() {
                    look(Ok(served));
                } else if matches!(served, Served::Catalog(_))
                    && let Some((until, ask)) = self.checking.remove(&id)
                {
                    if let Ask::Place { wish, told } = ask {
                        let _ = told.send(Ok(self.place(node, now, wish)));
                        return Ok(());
                    }
                    match ask.group().filter(|group| !self.groups.contains_key(*group)).cloned() {
                        Some(missing) => ask.refuse(HostError::NoSuchGroup(missing)),
                        None => self.try_now(node, now, until, ask),
                    }
                }
            }
            Event::Checkpoint { head, window } => {
                let (state, kept) = (served.snapshot(), served.kept());
                disk.ask(Job::Take { head, window, state, kept });
            }
            Event::Restore(head) => {
                hosted.comparison.restart(head.number.position);
                hosted.held = Some(VecDeque::new());
                disk.ask(Job::Restore(served.renewed()));
            }
            Event::Changed(Ok(number)) => {
                tracing::info!(group = %name, position = number.position, "its stores have changed");
            }
            // Whoever asks for it looks again, and asks again.
            Event::Changed(Err(why)) => tracing::debug!(group = %name, %why, "its stores have not changed"),
            Event::Full(true) => {
                tracing::warn!(group = %name, "the disk of this site is full: nothing is written here until there is room");
            }
            Event::Full(false) => {
                tracing::info!(group = %name, "there is room on the disk of this site again")
            }
            Event::Surpassed { .. } => return Err(Failed::Surpassed),
            Event::Fatal(Fatal::WriteFailed) => {
                return Err(Failed::Disk(format!("a write to the store of {name} failed")));
            }
            Event::Fatal(Fatal::Diverged) => {
                return Err(Failed::Disk(format!(
                    "the store of {name} differs from what the group has committed"
                )));
            }
        }
        Ok(())
    }

    /// A name to write under that nobody has had.
    fn draw(&mut self) -> ClientId {
        self.drawn += 1;
        ClientId(self.nonce.wrapping_add(self.drawn).to_be_bytes())
    }

    /// Lets time pass in a map with pairs whose time is over, at one site: at whichever comes first.
    fn tick(&mut self, node: &mut Node, now: Time, name: &GroupName) {
        let Some(hosted) = self.groups.get(name) else { return };
        let Stage::Open(_, Served::Map(map)) = &hosted.stage else { return };
        let time = unix_ms();
        if hosted.mode != Mode::Active || map.next_expiry().is_none_or(|due| due > time) {
            return;
        }
        let (client, last) = match hosted.ticker {
            Some(ticker) => ticker,
            None => (self.draw(), 0),
        };
        let sequence = last + 1;
        let request = Request { client, sequence, answered: last, payload: map::Request::Tick.encode() };
        if let Some(mut group) = node.durable(now, name)
            && group.propose(time, request).is_ok()
            && let Some(hosted) = self.groups.get_mut(name)
        {
            hosted.ticker = Some((client, sequence));
        }
    }

    fn status(&self, node: &Node) -> Vec<GroupStatus> {
        let status = |(name, hosted): (&GroupName, &Hosted)| GroupStatus {
            group: name.clone(),
            machine: node.durable_status(name),
            digest: match &hosted.stage {
                Stage::Open(_, served) => served.digest(),
                Stage::Opening(_) | Stage::Refused(_) => 0,
            },
            refused: match &hosted.stage {
                Stage::Refused(trouble) => Some(trouble.clone()),
                Stage::Opening(_) | Stage::Open(..) => None,
            },
            missing: hosted.missing.count(),
            compared: hosted.comparison.others(),
        };
        self.groups.iter().map(status).collect()
    }
}

impl Hosted {
    fn wait(&mut self, until: Time, ask: Ask) {
        match self.waiting.len() < WAITING_MAX {
            true => self.waiting.push_back((until, ask)),
            false => ask.refuse(HostError::Busy),
        }
    }
}

fn catalog_name() -> GroupName {
    GroupName::parse(catalog::NAME).expect("the catalog has a good name")
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
