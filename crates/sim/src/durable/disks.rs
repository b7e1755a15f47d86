//! The stores' disks: each a simulated `wal` disk that survives its site, the store that is open on it while the site
//! lives, and the work that waits for it. Work takes time; when the time has come all of it is done at once, so a site
//! that dies before has done nothing of it, or, by the dice, dies in the middle of it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use durable::{
    Body, CheckpointHead, Configuration, Done, Durable, Entry, Life, Locator, Number, Remembered, StoreOp,
    Token,
};
use stack::store::{DiskStore, Opened, StoreError, Who};
use wal::sim::{Faults, SimDisk};
use wal::{Disk, LogError, OpenError};
use wire::{Incarnation, SiteId, StoreId};

use super::Options;
use super::app::App;
use super::plan::Plan;
use super::service::Service;
use crate::dice::{Concern, Dice};
use crate::world::site_id;

/// What is written of a checkpoint between two pieces of other work.
const SLICE_BYTES: u64 = 64;

/// Something for a store to do.
pub enum Job {
    Op(StoreOp),
    /// Take a checkpoint.
    Take {
        head: CheckpointHead,
        window: Bytes,
        state: Vec<(Locator, Bytes)>,
    },
}

/// What is known to be on a disk from now on.
pub enum Held {
    Entry(Number),
    UpTo(u64),
}

/// When a piece of work will be done, and the number to ask for it by.
pub type Due = (Duration, u64);

/// One site's place.
struct Place {
    disk: SimDisk,
    store: StoreId,
    /// How often the store was started: its incarnation, which is on the disk.
    lives: u64,
    counts: bool,
    open: Option<Open>,
    /// Entries that were on their way to the disk when the site died: they may be there.
    perhaps: Vec<Number>,
}

struct Open {
    store: DiskStore<SimDisk>,
    waiting: VecDeque<Job>,
    /// What is being done, and by which number it is awaited.
    working: Option<(u64, Vec<Job>)>,
}

/// An old copy of a store's directory.
struct Copy {
    site: usize,
    disk: SimDisk,
    /// How often the store had been started; none if only what it wrote was copied.
    lives: Option<u64>,
}

/// All sites' stores.
pub struct Disks<S> {
    places: Vec<Place>,
    /// The application before anything was done to it.
    fresh: App<S>,
    copy: Option<Copy>,
    /// The W that is wanted.
    writes: Option<u16>,
    dice: Dice,
    faults: Faults,
    work_mean: Duration,
    segment_bytes: u64,
    settings: durable::Settings,
    founding: durable::Configuration,
    log_bugs: wal::Bugs,
    next_store: u64,
    serial: u64,
    /// A site died in the middle of a store's work.
    pub torn: u64,
}

impl<S: Service> Disks<S> {
    pub fn new(seed: u64, plan: &Plan, options: &Options) -> Disks<S> {
        let mut dice = Dice::new(seed, Concern::Stores);
        let faults = Faults { sync_errors: plan.sync_errors, ..Faults::default() };
        let store = |site: usize| StoreId(100 + site as u64);
        let places = (0..plan.swarm.world.sites).map(|site| Place {
            disk: SimDisk::new(dice.number(), faults),
            store: store(site),
            lives: 0,
            counts: site < plan.stores,
            open: None,
            perhaps: Vec::new(),
        });
        let places: Vec<Place> = places.collect();
        Disks {
            places,
            fresh: App::new(options),
            copy: None,
            writes: plan.writes,
            dice,
            faults,
            work_mean: plan.work_mean,
            segment_bytes: plan.segment_bytes,
            settings: durable::Settings { bugs: options.durable, ..plan.settings.clone() },
            founding: plan.configuration((0..plan.stores).map(|site| (store(site), site_id(site)))),
            log_bugs: options.log,
            next_store: 1_000,
            serial: 0,
            torn: 0,
        }
    }

    /// The store at a site.
    pub fn store(&self, site: usize) -> StoreId {
        self.places[site].store
    }

    /// All sites' stores, in order.
    pub fn stores(&self) -> Vec<StoreId> {
        self.places.iter().map(|place| place.store).collect()
    }

    /// Whether the store at a site is to be one that counts.
    pub fn counts(&self, site: usize) -> bool {
        self.places[site].counts
    }

    /// Another site's store is to count, or not. False if that cannot be wanted.
    pub fn move_on(&mut self, site: usize, plan: &Plan) -> bool {
        let counts = self.places[site].counts;
        let after = if counts { self.counting() - 1 } else { self.counting() + 1 };
        let may = after >= plan.stores_least() && plan.may_want_writes(after, self.writes);
        if may {
            self.places[site].counts = !counts;
        }
        may
    }

    /// Another W is to be in force. False if that cannot be wanted.
    pub fn rewrite(&mut self, plan: &Plan) -> bool {
        let stores = self.counting();
        let writes = self.dice.chance(700).then(|| self.dice.between(1, stores as u64) as u16);
        let may = writes != self.writes && plan.may_want_writes(stores, writes);
        if may {
            self.writes = writes;
        }
        may
    }

    fn counting(&self) -> usize {
        self.places.iter().filter(|place| place.counts).count()
    }

    /// The stores that are there, whether they count or not.
    pub fn alive(&self) -> BTreeMap<StoreId, SiteId> {
        self.places.iter().enumerate().map(|(site, place)| (place.store, site_id(site))).collect()
    }

    /// The configuration that is to be in force, when everything is well.
    pub fn wanted(&self) -> Configuration {
        let places = self.places.iter().enumerate().filter(|(_, place)| place.counts);
        let stores = places.map(|(site, place)| (place.store, site_id(site))).collect();
        Configuration { stores, writes: self.writes }
    }

    /// Opens the store of a site that starts, and gives its machine and the application's state.
    pub fn open(&mut self, site: usize) -> Result<(Durable, App<S>), StoreError> {
        let nonce = self.dice.number();
        self.places[site].lives += 1;
        let place = &self.places[site];
        let life = Life { incarnation: Incarnation(place.lives), nonce };
        let mut app = self.fresh.clone();
        let opened = self.open_on(site, place.disk.clone(), life, &mut |at, part| app.restore(at, part))?;
        app.applied = opened.store.checkpoint().map_or(0, |head| head.number.position);
        self.places[site].open = Some(Open { store: opened.store, waiting: VecDeque::new(), working: None });
        Ok((opened.machine, app))
    }

    /// Opens the store of a site on this disk.
    fn open_on(
        &self,
        site: usize,
        disk: SimDisk,
        life: Life,
        take: &mut dyn FnMut(&Locator, &[u8]),
    ) -> Result<Opened<SimDisk>, StoreError> {
        let store = self.places[site].store;
        let founding = self.founding.stores.contains_key(&store);
        let founders = founding.then(|| self.founding.clone());
        let who = Who { site: site_id(site), store, life, founders };
        DiskStore::open_with(disk, self.config(store), self.settings.clone(), who, take)
    }

    fn config(&self, store: StoreId) -> wal::Config {
        wal::Config {
            segment_bytes: self.segment_bytes,
            allocate_bytes: 1 << 10,
            index_bytes: 256,
            buffer_bytes: 1 << 10,
            bugs: self.log_bugs,
            ..wal::Config::new(store.0)
        }
    }

    /// What of that which was on its way when the site died is on the disk, now that its log has been read up to here.
    pub fn found(&mut self, site: usize, last: u64) -> Vec<Held> {
        let perhaps = std::mem::take(&mut self.places[site].perhaps);
        perhaps.into_iter().filter(|number| number.position <= last).map(Held::Entry).collect()
    }

    /// Why the store of a site has failed.
    pub fn why(&self, site: usize) -> &str {
        self.places[site].open.as_ref().and_then(|open| open.store.failed()).unwrap_or("nobody knows")
    }

    /// The application's state as of the checkpoint in force.
    pub fn load(&self, site: usize) -> Result<App<S>, StoreError> {
        let mut app = self.fresh.clone();
        if let Some(open) = &self.places[site].open
            && let Some(head) = open.store.state(&mut |at, part| app.restore(at, part))?
        {
            app.applied = head.number.position;
        }
        Ok(app)
    }

    /// Work for a store. Returns when it will be done, and by which number to ask for it then, if the store was idle.
    pub fn ask(&mut self, site: usize, job: Job) -> Option<Due> {
        let open = self.places[site].open.as_mut()?;
        open.waiting.push_back(job);
        self.begin(site)
    }

    fn begin(&mut self, site: usize) -> Option<Due> {
        let open = self.places[site].open.as_mut()?;
        if open.working.is_some() || (open.waiting.is_empty() && !open.store.is_taking()) {
            return None;
        }
        self.serial += 1;
        open.working = Some((self.serial, open.waiting.drain(..).collect()));
        let mut takes = Duration::from_micros(50) + self.dice.wait(self.work_mean);
        if self.dice.chance(10) {
            takes *= 20;
        }
        Some((takes, self.serial))
    }

    /// The time has come: what was done, what is on the disk by that, and the next piece of work.
    pub fn work(&mut self, site: usize, serial: u64) -> Option<(Vec<Done>, Vec<Held>, Option<Due>)> {
        let Place { open, perhaps, .. } = &mut self.places[site];
        let open = open.as_mut()?;
        let (_, jobs) = open.working.take_if(|(working, _)| *working == serial)?;
        let entries = entries_of(&jobs);
        let done = perform(&mut open.store, jobs);
        let mut held = Vec::new();
        for done in &done {
            match done {
                Done::Stored(token) => {
                    let stored = entries.iter().filter(|(of, _)| of == token);
                    held.extend(stored.map(|(_, number)| Held::Entry(*number)));
                }
                Done::Installed(..) | Done::Taken(..) => {
                    held.extend(open.store.checkpoint().map(|head| Held::UpTo(head.number.position)));
                }
                // A failed sync loses a part, and keeps a part.
                Done::Failed(token) => {
                    let written = entries.iter().filter(|(of, _)| of == token);
                    perhaps.extend(written.map(|(_, number)| *number));
                }
                Done::StoredTogether(_)
                | Done::Full(_)
                | Done::Read(..)
                | Done::Part(..)
                | Done::NotTaken(_) => {}
            }
        }
        let next = self.begin(site);
        Some((done, held, next))
    }

    /// The site has died.
    pub fn crash(&mut self, site: usize) {
        let place = &mut self.places[site];
        let Some(mut open) = place.open.take() else {
            // It died while it opened its store.
            return place.disk.crash();
        };
        if let Some((_, jobs)) = open.working.take() {
            place.perhaps.extend(entries_of(&jobs).into_iter().map(|(_, number)| number));
            if self.dice.chance(600) {
                self.torn += 1;
                place.disk.crash_in(1 + self.dice.below(12));
                perform(&mut open.store, jobs);
            }
        }
        // The process alone, or the machine with what the disk had not synced.
        match self.dice.chance(300) {
            true => place.disk.restart(),
            false => place.disk.crash(),
        }
    }

    /// The directory of a dead site is emptied: another store.
    pub fn empty(&mut self, site: usize) {
        self.next_store += 1;
        let place = &mut self.places[site];
        assert!(place.open.is_none(), "only a dead site's store is emptied");
        place.disk = SimDisk::new(self.dice.number(), self.faults);
        place.store = StoreId(self.next_store);
        place.lives = 0;
        place.perhaps.clear();
    }

    /// The site of whose directory there is an old copy.
    pub fn copied(&self) -> Option<usize> {
        self.copy.as_ref().map(|copy| copy.site)
    }

    /// Somebody copies what is on the disk of a site.
    pub fn copy(&mut self, site: usize) {
        let (seed, whole) = (self.dice.number(), self.dice.chance(700));
        let Place { disk, lives, .. } = &self.places[site];
        self.copy =
            Some(Copy { site, disk: disk.copy(seed, Faults::default()), lives: whole.then_some(*lives) });
    }

    /// Whether every other store that is to count has it on its disk that the copied one has lived, or acknowledged,
    /// since it was copied: else nobody could recognise the copy (D16).
    pub fn copy_is_known(&self) -> bool {
        let Some(copy) = &self.copy else { return false };
        let Place { store, lives, .. } = &self.places[copy.site];
        let life = Life { incarnation: Incarnation(copy.lives.unwrap_or(*lives) + 1), nonce: 0 };
        let Ok(opened) = self.open_on(copy.site, copy.disk.copy(0, Faults::default()), life, &mut |_, _| {})
        else {
            return false;
        };
        let Some(own) = self.remembered(copy.site, &copy.disk) else { return false };
        let status = opened.machine.status();
        let held = status.floor.map_or(0, |floor| floor.position).max(status.last.position);
        let others =
            self.places.iter().enumerate().filter(|(site, place)| place.counts && *site != copy.site);
        let mut known = others.map(|(site, place)| {
            let seen = self.remembered(site, &place.disk).map_or_else(Vec::new, |other| other.seen);
            let mut seen = seen.into_iter().filter(|(of, ..)| of == store);
            seen.any(|(_, seen, acked)| {
                seen.incarnation >= life.incarnation
                    || acked.view > own.adopted
                    || (acked.view == own.adopted && acked.position > held)
            })
        });
        known.all(|known| known)
    }

    /// What is on a disk for certain of the meta record of a site's store.
    fn remembered(&self, site: usize, disk: &SimDisk) -> Option<Remembered> {
        let disk = disk.copy(0, Faults::default());
        let (log, _) = wal::Log::open(disk, self.config(self.places[site].store)).ok()?;
        Remembered::of(log.metadata())
    }

    /// The old copy takes the place of a dead site's directory.
    pub fn put_back(&mut self) {
        let Some(Copy { site, disk, lives }) = self.copy.take() else { return };
        let place = &mut self.places[site];
        assert!(place.open.is_none(), "only a dead site's directory is replaced");
        disk.set_faults(self.faults);
        place.disk = disk;
        place.lives = lives.unwrap_or(place.lives);
        place.perhaps.clear();
    }

    /// Some bytes rot: of a closed segment, or of one copy of the metadata. (The last records of the open segment are
    /// taken for a torn tail if they rot before anything was written behind them: `docs/log.md`.) False if there is
    /// nothing to rot.
    pub fn rot(&mut self, site: usize) -> bool {
        let place = &self.places[site];
        let mut files: Vec<(String, u64)> = place.disk.list().unwrap_or_default();
        files.sort();
        // The open one is the newest of those that were appended to: a compacted or repaired one is newer than what it holds.
        let open = files.iter().rposition(|(name, _)| name.ends_with(".seg") && !is_moved(&place.disk, name));
        let may = |n: usize, name: &str| (name.ends_with(".seg") && Some(n) != open) || name == "meta-0";
        let files: Vec<(String, u64)> = files
            .into_iter()
            .enumerate()
            .filter(|(n, (name, bytes))| *bytes > 0 && may(*n, name))
            .map(|(_, file)| file)
            .collect();
        if files.is_empty() {
            return false;
        }
        let (name, bytes) = self.dice.pick(&files).clone();
        let (offset, flip) = (self.dice.below(bytes), 1 << self.dice.below(8));
        place.disk.rot(&name, offset, flip)
    }

    /// The disk of a site has so many bytes of room left from now on.
    pub fn fill(&mut self, site: usize) {
        let place = &self.places[site];
        let used: u64 = place.disk.list().unwrap_or_default().iter().map(|(_, bytes)| bytes).sum();
        let capacity = used + self.dice.below(3_000) + 1;
        place.disk.set_faults(Faults { capacity, ..self.faults });
    }

    /// There is room again.
    pub fn empty_out(&mut self, site: usize) {
        self.places[site].disk.set_faults(self.faults);
    }

    /// Everything is well from now on.
    pub fn calm(&mut self) {
        self.faults = Faults::default();
        self.places.iter().for_each(|place| place.disk.set_faults(Faults::default()));
    }
}

/// Whether compaction or repair wrote a segment: its header says so (`docs/log.md`).
fn is_moved(disk: &SimDisk, name: &str) -> bool {
    const KIND: usize = 10;
    disk.contents(name).is_some_and(|bytes| bytes.get(KIND).is_some_and(|kind| *kind != 0))
}

/// Whether an error of opening is one of the disk's bad days: the site is started again.
pub fn is_passing(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::Open(OpenError::Disk(_))
            | StoreError::Log(LogError::Fatal(_) | LogError::Full(_) | LogError::Read(_))
    )
}

fn perform(store: &mut DiskStore<SimDisk>, jobs: Vec<Job>) -> Vec<Done> {
    let mut done = Vec::new();
    let mut ops = Vec::new();
    for job in jobs {
        match job {
            Job::Op(op) => ops.push(op),
            Job::Take { head, window, state } => {
                done.extend(store.work(std::mem::take(&mut ops)));
                store.take(head, &window, Box::new(state.into_iter()));
            }
        }
    }
    done.extend(store.work(ops));
    // A part or two of a checkpoint between two pieces of other work.
    done.extend(store.take_some(SLICE_BYTES));
    done
}

fn entries_of(jobs: &[Job]) -> Vec<(Token, Number)> {
    let records = jobs.iter().flat_map(|job| match job {
        Job::Op(StoreOp::Append { token, records }) => {
            records.iter().map(|record| (*token, &record.bytes)).collect()
        }
        Job::Op(StoreOp::Repair { token, record }) => vec![(*token, &record.bytes)],
        Job::Op(_) | Job::Take { .. } => Vec::new(),
    });
    let number = |(token, bytes): (Token, &Bytes)| {
        let entry: Entry = Entry::from_record(bytes.clone()).ok()?;
        // Only requests are given to applications.
        matches!(entry.body, Body::Request(_)).then_some((token, entry.number))
    };
    records.filter_map(number).collect()
}
