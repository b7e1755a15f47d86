//! A simulated disk: seeded, and as bad as disks get.
//!
//! What is written stays in a cache until it is synced. A [crash](SimDisk::crash) keeps any part of it: all,
//! nothing, a beginning, an end, or sectors at random, each file and the directory for itself; sectors that a file
//! gained and did not get may hold what stood there before. A failed sync loses some of the cache for good, and the
//! next one reports success. A full disk takes the beginning of a write. One seed and one sequence of calls give
//! one history.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use crate::disk::{Disk, DiskError};

/// What a disk writes as one.
pub const SECTOR_BYTES: usize = 512;
/// Files that were removed, whose content may show up again.
const BURIED_MAX: usize = 8;

/// How bad the disk is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Of a million syncs of files and of the directory, so many fail.
    pub sync_errors: u32,
    /// Of a million calls, so many take about a second.
    pub slow_calls: u32,
    /// Bytes of all files together; 0 is no limit.
    pub capacity: u64,
}

/// A simulated directory. A clone is the same one.
#[derive(Clone, Debug)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    dice: Dice,
    faults: Faults,
    /// As a running program sees it.
    names: BTreeMap<String, u64>,
    /// As a crash leaves it.
    durable_names: BTreeMap<String, u64>,
    /// What was done to names since they were synced.
    name_changes: Vec<NameChange>,
    files: BTreeMap<u64, Content>,
    next_file: u64,
    buried: VecDeque<Vec<u8>>,
    unreadable: BTreeSet<(u64, u64)>,
    calls: u64,
    crash_at: Option<u64>,
    fail_sync_at: Option<u64>,
    crashed: bool,
    elapsed: Duration,
}

#[derive(Debug)]
enum NameChange {
    Created(String, u64),
    Renamed(String, String, u64),
    Removed(String),
}

#[derive(Debug, Default)]
struct Content {
    cache: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors of the cache that were written since the last sync.
    dirty: BTreeSet<usize>,
    /// The shortest it was since the last sync.
    low: usize,
    /// What sectors held before.
    before: BTreeMap<usize, Vec<u8>>,
}

#[derive(Debug)]
struct Dice(ChaCha8Rng);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.0.next_u64()) * u128::from(n)) >> 64) as u64
    }

    fn chance(&mut self, per_million: u32) -> bool {
        per_million > 0 && self.below(1_000_000) < u64::from(per_million)
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 0
    }
}

/// Which of several things done since the last sync a crash keeps.
#[derive(Clone, Copy, Debug)]
enum Kept {
    Nothing,
    All,
    Before(u64),
    From(u64),
    Some(u64),
}

impl Kept {
    fn draw(dice: &mut Dice, count: usize) -> Kept {
        match dice.below(6) {
            0 => Kept::Nothing,
            1 => Kept::All,
            2 => Kept::Before(dice.below(count as u64 + 1)),
            3 => Kept::From(dice.below(count as u64 + 1)),
            _ => Kept::Some(1 + dice.below(9)),
        }
    }

    fn keeps(self, dice: &mut Dice, i: usize) -> bool {
        match self {
            Kept::Nothing => false,
            Kept::All => true,
            Kept::Before(n) => (i as u64) < n,
            Kept::From(n) => i as u64 >= n,
            Kept::Some(tenths) => dice.below(10) < tenths,
        }
    }
}

impl Content {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = offset + bytes.len();
        if self.cache.len() < end {
            self.cache.resize(end, 0);
        }
        self.cache[offset..end].copy_from_slice(bytes);
        self.dirty.extend(offset / SECTOR_BYTES..=(end - 1) / SECTOR_BYTES);
    }

    fn truncate(&mut self, length: usize) {
        self.low = self.low.min(length);
        self.cache.resize(length, 0);
        self.dirty.split_off(&length.div_ceil(SECTOR_BYTES));
        if !length.is_multiple_of(SECTOR_BYTES) {
            self.dirty.insert(length / SECTOR_BYTES);
        }
    }

    fn shorten_durably(&mut self, length: usize) {
        let from = length / SECTOR_BYTES;
        for (i, sector) in self.durable.chunks(SECTOR_BYTES).enumerate().skip(from) {
            self.before.insert(i, sector.to_vec());
        }
        self.durable.truncate(length);
    }

    fn persist(&mut self, sector: usize) {
        let start = sector * SECTOR_BYTES;
        let end = (start + SECTOR_BYTES).min(self.cache.len()).min(self.durable.len());
        if start < end {
            self.before.insert(sector, self.durable[start..end].to_vec());
            self.durable[start..end].copy_from_slice(&self.cache[start..end]);
        }
    }

    fn sync(&mut self) {
        self.shorten_durably(self.low.min(self.durable.len()));
        self.durable.resize(self.cache.len(), 0);
        for sector in std::mem::take(&mut self.dirty) {
            self.persist(sector);
        }
        self.low = self.cache.len();
    }

    /// A sync that failed: some sectors arrive, the others never will, and the cache calls all of them clean.
    fn sync_badly(&mut self, dice: &mut Dice) {
        if dice.coin() {
            self.shorten_durably(self.low.min(self.durable.len()));
            self.durable.resize(self.cache.len(), 0);
            self.low = self.cache.len();
        }
        for sector in std::mem::take(&mut self.dirty) {
            if dice.coin() {
                self.persist(sector);
            }
        }
    }

    fn crash(&mut self, dice: &mut Dice, buried: &VecDeque<Vec<u8>>) {
        let kept = Kept::draw(dice, self.dirty.len());
        let (cut, grown) = match kept {
            Kept::Nothing => (false, false),
            Kept::All => (true, true),
            Kept::Before(_) | Kept::From(_) | Kept::Some(_) => (dice.coin(), dice.coin()),
        };
        if cut {
            self.shorten_durably(self.low.min(self.durable.len()));
        }
        if self.cache.len() > self.durable.len() {
            let most = self.cache.len() - self.durable.len();
            let more = if grown { most } else { dice.below(most as u64 + 1) as usize };
            let more = if matches!(kept, Kept::Nothing) { 0 } else { more };
            self.grow_with_leftovers(self.durable.len() + more, dice, buried);
        }
        for (i, sector) in std::mem::take(&mut self.dirty).into_iter().enumerate() {
            if kept.keeps(dice, i) {
                self.persist(sector);
            }
        }
        self.cache.clone_from(&self.durable);
        self.low = self.cache.len();
    }

    /// What a file gained and was never written is zeros, or, on a bad day, what the sector held before.
    fn grow_with_leftovers(&mut self, length: usize, dice: &mut Dice, buried: &VecDeque<Vec<u8>>) {
        let from = self.durable.len();
        self.durable.resize(length, 0);
        let (stale, other) = (dice.below(3) == 0, dice.below(buried.len() as u64 + 1) as usize);
        if !stale {
            return;
        }
        for sector in from.div_ceil(SECTOR_BYTES)..length / SECTOR_BYTES {
            let start = sector * SECTOR_BYTES;
            let own = self.before.get(&sector).map(Vec::as_slice);
            let others = buried.get(other).and_then(|file| file.get(start..start + SECTOR_BYTES));
            if let Some(old) = own.or(others)
                && dice.coin()
            {
                self.durable[start..start + old.len()].copy_from_slice(old);
            }
        }
    }
}

impl State {
    /// Counts a call. An error if the machine is down, or goes down with this very call: then the call is done as
    /// far as the crash decides.
    fn begin(&mut self, cost: Duration) -> Result<bool, DiskError> {
        if self.crashed {
            return Err(down());
        }
        self.calls += 1;
        self.elapsed += cost;
        if self.dice.chance(self.faults.slow_calls) {
            self.elapsed += Duration::from_millis(500 + self.dice.below(1000));
        }
        self.crashed = self.crash_at.is_some_and(|at| self.calls >= at);
        Ok(self.crashed)
    }

    fn file(&mut self, name: &str) -> Result<&mut Content, DiskError> {
        let found = self.names.get(name).and_then(|number| self.files.get_mut(number));
        found.ok_or_else(|| DiskError::NotFound(name.to_owned()))
    }

    fn room(&self) -> u64 {
        match self.faults.capacity {
            0 => u64::MAX,
            capacity => {
                let used: u64 = self.names.values().map(|n| self.files[n].cache.len() as u64).sum();
                capacity.saturating_sub(used)
            }
        }
    }

    fn sync_fails(&mut self) -> bool {
        let now = self.fail_sync_at.is_some_and(|at| self.calls >= at);
        if now {
            self.fail_sync_at = None;
        }
        now || self.dice.chance(self.faults.sync_errors)
    }

    fn change_durably(&mut self, change: NameChange) {
        match change {
            NameChange::Created(name, file) => {
                self.durable_names.insert(name, file);
            }
            NameChange::Renamed(from, to, file) => {
                self.durable_names.retain(|name, number| !(*name == from && *number == file));
                self.durable_names.insert(to, file);
            }
            NameChange::Removed(name) => {
                self.durable_names.remove(&name);
            }
        }
    }

    fn bury_the_nameless(&mut self) {
        // A name that was given and taken again, neither of it synced, may come back in a crash.
        let changes = |number: &u64| {
            self.name_changes.iter().any(|change| match change {
                NameChange::Created(_, file) | NameChange::Renamed(_, _, file) => file == number,
                NameChange::Removed(_) => false,
            })
        };
        let named = |number: &u64| {
            self.names.values().chain(self.durable_names.values()).any(|n| n == number) || changes(number)
        };
        let gone: Vec<u64> = self.files.keys().copied().filter(|number| !named(number)).collect();
        for number in gone {
            if let Some(content) = self.files.remove(&number) {
                self.buried.push_back(content.durable);
                if self.buried.len() > BURIED_MAX {
                    self.buried.pop_front();
                }
            }
        }
    }
}

fn down() -> DiskError {
    DiskError::Failed { name: String::new(), why: "the machine is down".to_owned() }
}

fn failed(name: &str) -> DiskError {
    DiskError::Failed { name: name.to_owned(), why: "input/output error".to_owned() }
}

impl SimDisk {
    /// An empty directory.
    pub fn new(seed: u64, faults: Faults) -> SimDisk {
        let state = State {
            dice: Dice(ChaCha8Rng::seed_from_u64(seed)),
            faults,
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            name_changes: Vec::new(),
            files: BTreeMap::new(),
            next_file: 0,
            buried: VecDeque::new(),
            unreadable: BTreeSet::new(),
            calls: 0,
            crash_at: None,
            fail_sync_at: None,
            crashed: false,
            elapsed: Duration::ZERO,
        };
        SimDisk { state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The faults from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// Calls so far, those of reading included.
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// The machine goes down in the middle of the call that is so many calls away, 1 for the next.
    pub fn crash_in(&self, calls: u64) {
        let mut state = self.state();
        state.crash_at = Some(state.calls + calls.max(1));
    }

    /// The first sync from this many calls on fails.
    pub fn fail_sync_in(&self, calls: u64) {
        let mut state = self.state();
        state.fail_sync_at = Some(state.calls + calls.max(1));
    }

    /// The power fails, and comes back: what was not synced is kept in part. Also ends what [`crash_in`] began.
    ///
    /// [`crash_in`]: SimDisk::crash_in
    pub fn crash(&self) {
        let state = &mut *self.state();
        let changes = std::mem::take(&mut state.name_changes);
        let kept = Kept::draw(&mut state.dice, changes.len());
        for (i, change) in changes.into_iter().enumerate() {
            if kept.keeps(&mut state.dice, i) {
                state.change_durably(change);
            }
        }
        state.names.clone_from(&state.durable_names);
        state.bury_the_nameless();
        for content in state.files.values_mut() {
            content.crash(&mut state.dice, &state.buried);
        }
        (state.crashed, state.crash_at, state.fail_sync_at) = (false, None, None);
    }

    /// The process ends and another begins; the machine stays up, and the cache with it. Also ends what
    /// [`crash_in`](SimDisk::crash_in) began.
    pub fn restart(&self) {
        let mut state = self.state();
        (state.crashed, state.crash_at, state.fail_sync_at) = (false, None, None);
    }

    /// How long the calls since the last question would have taken.
    pub fn take_elapsed(&self) -> Duration {
        std::mem::take(&mut self.state().elapsed)
    }

    /// Changes a byte of a file, on the disk and in the cache. False if it has no such byte.
    pub fn rot(&self, name: &str, offset: u64, flip: u8) -> bool {
        let mut state = self.state();
        let Ok(content) = state.file(name) else { return false };
        let at = offset as usize;
        let durable = content.durable.get_mut(at).map(|byte| *byte ^= flip).is_some();
        content.cache.get_mut(at).map(|byte| *byte ^= flip).is_some() && durable
    }

    /// Makes a sector of a file unreadable.
    pub fn make_unreadable(&self, name: &str, sector: u64) {
        let mut state = self.state();
        if let Some(number) = state.names.get(name).copied() {
            state.unreadable.insert((number, sector));
        }
    }

    /// A file's bytes, as a running program sees them.
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        self.state().file(name).ok().map(|content| content.cache.clone())
    }

    /// Another disk with what is on this one for certain: what every crash leaves.
    pub fn copy(&self, seed: u64, faults: Faults) -> SimDisk {
        let (copy, state) = (SimDisk::new(seed, faults), self.state());
        for (name, number) in &state.durable_names {
            copy.put(name, &state.files[number].durable);
        }
        drop(state);
        copy
    }

    /// Puts a file there, durably, in place of the one that has the name.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let mut state = self.state();
        let number = state.next_file;
        state.next_file += 1;
        let (cache, durable) = (bytes.to_vec(), bytes.to_vec());
        state.files.insert(number, Content { cache, durable, low: bytes.len(), ..Content::default() });
        state.names.insert(name.to_owned(), number);
        state.durable_names.insert(name.to_owned(), number);
    }

    /// Removes a file, durably, as a person would.
    pub fn take_away(&self, name: &str) {
        let mut state = self.state();
        state.names.remove(name);
        state.durable_names.remove(name);
        state.bury_the_nameless();
    }
}

impl Disk for SimDisk {
    fn list(&self) -> Result<Vec<(String, u64)>, DiskError> {
        let mut state = self.state();
        if state.begin(Duration::from_micros(20))? {
            return Err(down());
        }
        Ok(state.names.iter().map(|(name, n)| (name.clone(), state.files[n].cache.len() as u64)).collect())
    }

    fn create(&self, name: &str) -> Result<(), DiskError> {
        let mut state = self.state();
        let crashed = state.begin(Duration::from_micros(20))?;
        if state.names.contains_key(name) {
            return Err(DiskError::Failed { name: name.to_owned(), why: "it is there".to_owned() });
        }
        if state.room() == 0 {
            return Err(DiskError::Full(name.to_owned()));
        }
        let number = state.next_file;
        state.next_file += 1;
        state.files.insert(number, Content::default());
        state.names.insert(name.to_owned(), number);
        state.name_changes.push(NameChange::Created(name.to_owned(), number));
        if crashed { Err(down()) } else { Ok(()) }
    }

    fn read_at(&self, name: &str, offset: u64, into: &mut [u8]) -> Result<usize, DiskError> {
        let mut state = self.state();
        if state.begin(Duration::from_micros(10))? {
            return Err(down());
        }
        let number = state.names.get(name).copied().ok_or_else(|| DiskError::NotFound(name.to_owned()))?;
        let bytes = &state.files[&number].cache;
        let start = (offset as usize).min(bytes.len());
        let end = start.saturating_add(into.len()).min(bytes.len());
        let sectors = (start / SECTOR_BYTES) as u64..end.div_ceil(SECTOR_BYTES) as u64;
        let bad = state.unreadable.range((number, sectors.start)..(number, sectors.end.max(sectors.start)));
        if bad.count() > 0 {
            return Err(DiskError::Unreadable(name.to_owned()));
        }
        into[..end - start].copy_from_slice(&bytes[start..end]);
        Ok(end - start)
    }

    fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let mut state = self.state();
        let crashed = state.begin(Duration::from_micros(20) + Duration::from_nanos(bytes.len() as u64))?;
        let room = state.room();
        let content = state.file(name)?;
        let end = offset + bytes.len() as u64;
        let most = (content.cache.len() as u64).saturating_add(room);
        if end > most {
            let fits = (most.saturating_sub(offset) as usize).min(bytes.len());
            content.write(offset as usize, &bytes[..fits / SECTOR_BYTES * SECTOR_BYTES]);
            return Err(DiskError::Full(name.to_owned()));
        }
        content.write(offset as usize, bytes);
        if crashed { Err(down()) } else { Ok(()) }
    }

    fn allocate(&self, name: &str, length: u64) -> Result<(), DiskError> {
        let mut state = self.state();
        let crashed = state.begin(Duration::from_micros(20))?;
        let room = state.room();
        let content = state.file(name)?;
        let more = length.saturating_sub(content.cache.len() as u64);
        if more > room {
            return Err(DiskError::Full(name.to_owned()));
        }
        if more > 0 {
            content.cache.resize(length as usize, 0);
        }
        if crashed { Err(down()) } else { Ok(()) }
    }

    fn truncate(&self, name: &str, length: u64) -> Result<(), DiskError> {
        let mut state = self.state();
        let crashed = state.begin(Duration::from_micros(20))?;
        state.file(name)?.truncate(length as usize);
        if crashed { Err(down()) } else { Ok(()) }
    }

    fn sync(&self, name: &str) -> Result<(), DiskError> {
        let mut state = self.state();
        let cost = Duration::from_micros(500 + state.dice.below(5000));
        if state.begin(cost)? {
            return Err(down());
        }
        let fails = state.sync_fails();
        let state = &mut *state;
        let number = state.names.get(name).copied().ok_or_else(|| DiskError::NotFound(name.to_owned()))?;
        let Some(content) = state.files.get_mut(&number) else { return Err(failed(name)) };
        if fails {
            content.sync_badly(&mut state.dice);
            return Err(failed(name));
        }
        content.sync();
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let mut state = self.state();
        let crashed = state.begin(Duration::from_micros(20))?;
        let number = state.names.remove(from).ok_or_else(|| DiskError::NotFound(from.to_owned()))?;
        state.names.insert(to.to_owned(), number);
        state.name_changes.push(NameChange::Renamed(from.to_owned(), to.to_owned(), number));
        if crashed { Err(down()) } else { Ok(()) }
    }

    fn remove(&self, name: &str) -> Result<(), DiskError> {
        let mut state = self.state();
        let crashed = state.begin(Duration::from_micros(20))?;
        state.names.remove(name).ok_or_else(|| DiskError::NotFound(name.to_owned()))?;
        state.name_changes.push(NameChange::Removed(name.to_owned()));
        if crashed { Err(down()) } else { Ok(()) }
    }

    fn sync_dir(&self) -> Result<(), DiskError> {
        let mut state = self.state();
        let cost = Duration::from_micros(500 + state.dice.below(5000));
        if state.begin(cost)? {
            return Err(down());
        }
        let fails = state.sync_fails();
        let mut changes = std::mem::take(&mut state.name_changes);
        if fails {
            // Journals do not forget: what a failed sync leaves undone is still to be done.
            let done = state.dice.below(changes.len() as u64 + 1) as usize;
            state.name_changes = changes.split_off(done);
        }
        changes.into_iter().for_each(|change| state.change_durably(change));
        state.bury_the_nameless();
        if fails { Err(failed("the directory")) } else { Ok(()) }
    }
}

#[cfg(test)]
#[path = "sim_tests.rs"]
mod tests;
