//! A log on a bad disk, and a model that knows what it must remember.
//!
//! One seed draws the sizes, the faults and the calls. A life ends with a crash, most often in the middle of a call,
//! or with a failed sync; then the log is opened again, perhaps with a crash in the middle of that, and compared.

mod dice;
mod met;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use wal::sim::{Faults, SimDisk};
use wal::{Bug, Bugs, Config, Item, Log, LogError, Reader};

use dice::Dice;
pub use met::Met;

pub const ID: u64 = 0xA11CE;

/// What the log was told, and what it said.
#[derive(Default)]
struct Model {
    /// Entries that were taken and not cut: position to content. The tag is made from the content.
    entries: BTreeMap<u64, Vec<u8>>,
    next: u64,
    /// Everything below was reported as synced.
    synced: u64,
    /// A truncation that was called and did not return.
    cutting: Option<u64>,
    /// Reported as durable, and perhaps durable.
    metadata: Vec<u8>,
    metadata_maybe: Option<Vec<u8>>,
    checkpoint: Option<(u64, Vec<u8>)>,
    checkpoint_maybe: Option<(u64, Vec<u8>)>,
    /// Released in this life.
    released: BTreeSet<u64>,
    /// Released when the checkpoint was begun, for those above.
    released_durably: BTreeSet<u64>,
    released_maybe: BTreeSet<u64>,
    /// Lost without having been synced, with good ones behind.
    damaged: BTreeSet<u64>,
    /// Positions that were skipped.
    skipped: BTreeSet<u64>,
}

impl Model {
    /// Positions that were skipped are there only once an entry or a checkpoint follows them.
    fn backed(&self, position: u64) -> u64 {
        let entry = self.entries.range(..position).next_back().map_or(0, |(last, _)| *last);
        let checkpoint = self.checkpoint.as_ref().map_or(0, |(last, _)| *last);
        entry.max(checkpoint) + 1
    }
}

struct World {
    dice: Dice,
    disk: SimDisk,
    config: Config,
    model: Model,
    payload: Range<u64>,
    counter: u64,
    met: Met,
    /// A crash was asked for, or a failed sync.
    doomed: bool,
    /// An old snapshot, and how far the log went then.
    snapshot: Option<(Reader<SimDisk>, u64)>,
    /// A checkpoint that is being written: its position, and what of it is to come.
    state: Option<(u64, Vec<u8>, usize)>,
    /// Say what is done: `UNANIMOUS_LOG_TRACE=1`.
    trace: bool,
}

macro_rules! trace {
    ($world:expr, $($what:tt)*) => {
        if $world.trace {
            eprintln!($($what)*);
        }
    };
}

fn content(counter: u64, bytes: u64) -> Vec<u8> {
    let mut content = counter.to_le_bytes().to_vec();
    let mut dice = Dice::new(counter);
    while content.len() < 8 + bytes as usize {
        content.push(dice.number() as u8);
    }
    content
}

fn tag(content: &[u8]) -> Vec<u8> {
    content[..(content[0] % 9) as usize].to_vec()
}

/// Runs one seed. An error tells what was broken.
pub fn run(seed: u64, bugs: Bugs) -> Result<Met, String> {
    let mut dice = Dice::new(seed);
    let segment_bytes = dice.pick(&[600, 1000, 2000, 5000, 20_000]);
    let config = Config {
        segment_bytes,
        allocate_bytes: dice.pick(&[1, 512, 4096]),
        index_bytes: dice.pick(&[1, 200, 1000]),
        buffer_bytes: dice.pick(&[64, 700, 1 << 20]),
        live_percent: dice.pick(&[30, 50, 80]),
        bugs,
        ..Config::new(ID)
    };
    let payload = dice.pick(&[(24, 24), (56, 56), (0, 60), (0, 300), (0, 3000)]);
    let disk = SimDisk::new(seed, Faults::default());
    let model = Model { next: 1, synced: 1, ..Model::default() };
    let mut world = World {
        dice,
        disk,
        config,
        model,
        payload: payload.0..payload.1 + 1,
        counter: seed << 20,
        met: Met::default(),
        doomed: false,
        snapshot: None,
        state: None,
        trace: std::env::var_os("UNANIMOUS_LOG_TRACE").is_some(),
    };
    trace!(world, "seed {seed}: {:?}", world.config);
    let lives = world.dice.between(2, 7);
    for _ in 0..lives {
        world.life()?;
    }
    Ok(world.met)
}

impl World {
    fn life(&mut self) -> Result<(), String> {
        self.met.lives += 1;
        let mut log = self.open()?;
        self.compare(&mut log)?;
        let ops = self.dice.between(1, 60);
        // How long until the crash: calls of the disk, so that it strikes in the middle of the log's.
        let mut failing = false;
        match self.dice.below(8) {
            0 => {}
            1 => {
                (self.doomed, failing) = (true, true);
                self.disk.fail_sync_in(1 + self.dice.below(ops * 4));
            }
            _ => {
                self.doomed = true;
                self.disk.crash_in(1 + self.dice.below(ops * 5));
            }
        }
        if self.dice.below(4) == 0 {
            let files: u64 = self.total_bytes();
            let capacity = files + self.dice.below(6000);
            self.disk.set_faults(Faults { capacity: capacity.max(8192), ..Faults::default() });
        }
        for _ in 0..ops {
            if self.dice.below(12) == 0 {
                self.disk.set_faults(Faults::default());
            }
            let stepped = self.step(&mut log);
            trace!(self, "  next {} synced {} {:?}", log.next(), log.synced(), stepped.as_ref().err());
            if let Err(error) = stepped {
                match error {
                    Stop::Wrong(why) => return Err(why),
                    Stop::Refused(LogError::Fatal(_)) if self.doomed => {
                        match failing {
                            true => self.met.failed_syncs += 1,
                            false => self.met.crashes_in_calls += 1,
                        }
                        self.refused_from_now_on(&mut log)?;
                        break;
                    }
                    Stop::Refused(LogError::Read(_)) if self.doomed => break,
                    Stop::Refused(LogError::Full(_)) => self.met.full += 1,
                    Stop::Refused(other) => return Err(format!("refused: {other}")),
                }
            }
        }
        drop(log);
        self.disk.set_faults(Faults::default());
        self.end_life();
        self.doomed = false;
        (self.snapshot, self.state) = (None, None);
        Ok(())
    }

    fn total_bytes(&self) -> u64 {
        self.files().iter().map(|(_, bytes)| bytes).sum()
    }

    /// The power fails, or only the process ends.
    fn end_life(&mut self) {
        if self.dice.below(3) == 0 {
            trace!(self, "restart");
            self.disk.restart();
        } else {
            trace!(self, "crash");
            self.disk.crash();
        }
    }

    fn files(&self) -> Vec<(String, u64)> {
        use wal::Disk;
        self.disk.list().unwrap_or_default()
    }

    fn open(&mut self) -> Result<Log<SimDisk>, String> {
        for attempt in 0.. {
            if attempt < 2 && self.dice.below(5) == 0 {
                self.disk.crash_in(1 + self.dice.below(30));
            }
            match Log::open(self.disk.clone(), self.config.clone()) {
                Ok((log, opened)) => {
                    trace!(self, "open: next {} {opened:?} {:?}", log.next(), self.files());
                    self.disk.crash_in(u64::MAX / 2);
                    self.met.torn += u64::from(opened.torn_bytes > 0);
                    if !opened.unreadable.is_empty() || opened.checkpoint_damaged {
                        return Err(format!("after a crash: {opened:?}"));
                    }
                    return Ok(log);
                }
                Err(error) if attempt < 2 => {
                    if !error.to_string().contains("machine is down") {
                        return Err(format!("opening: {error}"));
                    }
                    self.met.crashes_in_opening += 1;
                    self.end_life();
                }
                Err(error) => return Err(format!("opening: {error}")),
            }
        }
        unreachable!("the last attempt is not disturbed")
    }

    /// After an error that is fatal every call is refused.
    fn refused_from_now_on(&mut self, log: &mut Log<SimDisk>) -> Result<(), String> {
        let calls = [
            log.append(b"", b"x").map(drop),
            log.sync().map(drop),
            log.write(),
            log.truncate(log.next()),
            log.set_metadata(b"x"),
            log.compact(100).map(drop),
            log.checkpoint_begin(0, b""),
            log.checkpoint_finish(),
            log.read(1).map(drop),
            log.repair(&[]),
            log.release(1..1),
            log.skip_to(log.next()),
        ];
        match calls.iter().position(|call| !matches!(call, Err(LogError::Fatal(_)))) {
            Some(which) => {
                Err(format!("call {which} was not refused after a fatal error: {:?}", calls[which]))
            }
            None => Ok(()),
        }
    }

    fn step(&mut self, log: &mut Log<SimDisk>) -> Result<(), Stop> {
        let step = self.dice.below(27);
        trace!(self, "step {step}, call {}", self.disk.calls());
        match step {
            0..=9 => {
                for _ in 0..self.dice.between(1, 4) {
                    self.append(log)?;
                }
                Ok(())
            }
            10..=13 => {
                let synced = log.sync()?;
                if synced != self.model.next {
                    return Err(Stop::Wrong(format!("synced to {synced}, not {}", self.model.next)));
                }
                self.model.synced = self.model.backed(synced);
                self.met.synced += 1;
                Ok(())
            }
            14 => Ok(log.write()?),
            15 => self.truncate(log),
            16 => self.set_metadata(log),
            17 | 18 => self.release(log),
            19..=21 => self.checkpoint(log),
            22 | 23 => {
                for _ in 0..self.dice.pick(&[1, 1, 4, 20]) {
                    match log.compact(self.dice.pick(&[1, 300, 5000]))? {
                        wal::Compacted::Freed { .. } => self.met.compactions += 1,
                        wal::Compacted::Working => {}
                        wal::Compacted::Idle => break,
                    }
                }
                self.read_somewhere(log)
            }
            24 => self.repair(log),
            25 => self.skip(log),
            _ => {
                log.write()?;
                if self.dice.below(3) == 0 || self.snapshot.is_none() {
                    self.snapshot = Some((log.reader(), self.model.next));
                }
                self.read_somewhere(log)
            }
        }
    }

    fn append(&mut self, log: &mut Log<SimDisk>) -> Result<(), Stop> {
        self.counter += 1;
        let bytes = self.dice.between(self.payload.start, self.payload.end - 1);
        let content = content(self.counter, bytes);
        let position = self.model.next;
        let appended = log.append(&tag(&content), &content);
        if let Err(LogError::Full(_)) = &appended {
            if log.next() != position {
                return Err(Stop::Wrong(format!("a refused entry has position {position}")));
            }
            return Err(Stop::Refused(LogError::Full(String::new())));
        }
        // If this failed for good the entry may be there or not.
        self.model.entries.insert(position, content);
        self.model.next += 1;
        match appended? {
            at if at == position => Ok(()),
            at => Err(Stop::Wrong(format!("entry {position} was put at {at}"))),
        }
        .inspect(|()| self.met.appended += 1)
    }

    fn truncate(&mut self, log: &mut Log<SimDisk>) -> Result<(), Stop> {
        let least = self.model.checkpoint.as_ref().map_or(0, |(position, _)| *position) + 1;
        let least = least.max(self.model.next.saturating_sub(12));
        // What was synced is cut too, now and then: another view's log has gone on without it.
        let from = self.dice.between(least.min(self.model.next), self.model.next);
        if self.state.as_ref().is_some_and(|(position, ..)| *position >= from) {
            self.state = None;
        }
        trace!(self, "truncate {from}");
        self.model.cutting = Some(from);
        log.truncate(from)?;
        self.model.cutting = None;
        self.model.entries.split_off(&from);
        self.model.damaged.split_off(&from);
        self.model.skipped.split_off(&from);
        self.model.released.split_off(&from);
        self.model.next = from;
        self.model.synced = self.model.backed(self.model.synced.min(from));
        self.met.truncations += 1;
        Ok(())
    }

    fn set_metadata(&mut self, log: &mut Log<SimDisk>) -> Result<(), Stop> {
        self.counter += 1;
        let record = content(self.counter, self.dice.below(2000));
        self.model.metadata_maybe = Some(record.clone());
        log.set_metadata(&record)?;
        self.model.metadata = record;
        self.model.metadata_maybe = None;
        Ok(())
    }

    /// Mostly old ones, in runs: a mailbox is emptied, or a prefix is not needed any more.
    fn release(&mut self, log: &mut Log<SimDisk>) -> Result<(), Stop> {
        let to = self.model.synced;
        let from = match self.dice.below(4) {
            0 => 1,
            _ => self.dice.between(1, to),
        };
        let to = match self.dice.below(3) {
            0 => to,
            _ => (from + self.dice.below(9)).min(to),
        };
        trace!(self, "release {from}..{to}");
        log.release(from..to)?;
        self.model.released.extend(from..to);
        Ok(())
    }

    fn checkpoint(&mut self, log: &mut Log<SimDisk>) -> Result<(), Stop> {
        let Some((position, state, written)) = &mut self.state else {
            let least = self.model.checkpoint.as_ref().map_or(0, |(position, _)| *position);
            if least >= self.model.synced {
                return Ok(());
            }
            let position = self.dice.between(least, self.model.synced - 1);
            self.counter += 1;
            let state = content(self.counter, self.dice.below(2000));
            trace!(self, "checkpoint {position}");
            log.checkpoint_begin(position, &tag(&state))?;
            self.model.released_maybe = self.model.released.range(..=position).copied().collect();
            self.state = Some((position, state, 0));
            return Ok(());
        };
        if *written < state.len() {
            let to = (*written + self.dice.between(1, 1500) as usize).min(state.len());
            let chunk = state[*written..to].to_vec();
            *written = to;
            return log.checkpoint_chunk(&chunk).map(drop).map_err(|error| {
                self.state = None;
                Stop::Refused(error)
            });
        }
        let (position, state) = (*position, std::mem::take(state));
        self.state = None;
        self.model.checkpoint_maybe = Some((position, state.clone()));
        if let Err(error) = log.checkpoint_finish() {
            if matches!(error, LogError::Full(_)) {
                self.model.checkpoint_maybe = None;
            }
            return Err(Stop::Refused(error));
        }
        self.model.checkpoint = Some((position, state));
        self.model.checkpoint_maybe = None;
        self.model.released_durably = std::mem::take(&mut self.model.released_maybe);
        self.met.checkpoints += 1;
        Ok(())
    }

    /// Goes on behind positions that are not here: alone, or because a checkpoint comes from somebody else.
    fn skip(&mut self, log: &mut Log<SimDisk>) -> Result<(), Stop> {
        if self.dice.below(3) > 0 {
            return Ok(());
        }
        let (from, to) = (self.model.next, self.model.next + self.dice.below(9));
        let install = self.dice.below(2) == 0;
        self.model.skipped.extend(from..to);
        trace!(self, "skip {from}..{to} {install}");
        if !install {
            self.model.next = to;
            return Ok(log.skip_to(to)?);
        }
        if to == from {
            return Ok(());
        }
        self.state = None;
        self.counter += 1;
        let state = content(self.counter, self.dice.below(2000));
        let released = self.model.released.iter().copied().chain(from..to).collect();
        self.model.next = to;
        self.model.checkpoint_maybe = Some((to - 1, state.clone()));
        self.model.released_maybe = released;
        let begun = log.checkpoint_begin(to - 1, &tag(&state));
        if begun.is_ok() && log.append(b"", b"x").is_ok() {
            return Err(Stop::Wrong("an entry was taken before the checkpoint it follows".to_owned()));
        }
        let done = begun.and_then(|()| log.checkpoint_chunk(&state)).and_then(|_| log.checkpoint_finish());
        if let Err(error) = done {
            if matches!(error, LogError::Full(_)) {
                (self.model.next, self.model.checkpoint_maybe) = (log.next(), None);
                log.checkpoint_abort()?;
            }
            return Err(Stop::Refused(error));
        }
        self.model.checkpoint = self.model.checkpoint_maybe.take();
        self.model.released_durably = std::mem::take(&mut self.model.released_maybe);
        // The log before it was made durable first.
        self.model.synced = to;
        self.met.checkpoints += 1;
        Ok(())
    }

    fn repair(&mut self, log: &mut Log<SimDisk>) -> Result<(), Stop> {
        let lost: Vec<u64> = log.damaged().flat_map(|(first, last)| first..=last).collect();
        let wanted: Vec<(u64, Vec<u8>)> =
            lost.iter().filter_map(|at| Some((*at, self.model.entries.get(at)?.clone()))).collect();
        let tags: Vec<Vec<u8>> = wanted.iter().map(|(_, content)| tag(content)).collect();
        let entries: Vec<(u64, &[u8], &[u8])> = wanted
            .iter()
            .zip(&tags)
            .map(|((position, content), tag)| (*position, tag.as_slice(), content.as_slice()))
            .collect();
        trace!(self, "repair {lost:?}");
        log.repair(&entries)?;
        self.met.repaired += entries.len() as u64;
        for (position, _) in &wanted {
            self.model.damaged.remove(position);
            if log.read(*position)?.is_none() {
                return Err(Stop::Wrong(format!("entry {position} was repaired and is not there")));
            }
        }
        Ok(())
    }

    fn read_somewhere(&mut self, log: &mut Log<SimDisk>) -> Result<(), Stop> {
        log.write()?;
        let position = self.dice.between(1, self.model.next);
        let found = log.read(position);
        self.judge(position, found)?;
        let from = self.dice.between(1, self.model.next);
        let to = self.dice.between(from, self.model.next);
        let (mut at, budget) = (from, self.dice.pick(&[1, 500, 100_000]));
        let reader = log.reader();
        while at < to {
            at = self.judge_range(&reader, at, to, budget)?;
        }
        if let Some((reader, end)) = self.snapshot.take() {
            let from = self.dice.between(1, end);
            match if from < end { self.judge_range(&reader, from, end, 2000) } else { Ok(end) } {
                Ok(_) => self.snapshot = Some((reader, end)),
                Err(Stop::Refused(LogError::Gone)) => {}
                Err(other) => return Err(other),
            }
        }
        Ok(())
    }

    fn judge_range(&self, reader: &Reader<SimDisk>, from: u64, to: u64, budget: u64) -> Result<u64, Stop> {
        let mut seen = Vec::new();
        let next = reader.range(from, to, budget, &mut |item| match item {
            Item::Entry(entry) => seen.push((
                entry.position,
                entry.position,
                Some(wal::Owned { tag: entry.tag.to_vec(), payload: entry.payload.to_vec() }),
            )),
            Item::Damaged(first, last) => seen.push((first, last, None)),
        })?;
        if next <= from || next > to {
            return Err(Stop::Wrong(format!("reading {from}..{to} goes on at {next}")));
        }
        let mut at = from;
        for (first, last, owned) in seen {
            if first < at || last >= next {
                return Err(Stop::Wrong(format!("reading {from}..{next} shows {first}..={last} at {at}")));
            }
            for position in at..first {
                self.judge(position, Ok(None))?;
            }
            for position in first..=last {
                let found = match &owned {
                    Some(owned) => Ok(Some(owned.clone())),
                    None => Err(LogError::Damaged(position)),
                };
                self.judge(position, found)?;
            }
            at = last + 1;
        }
        for position in at..next {
            self.judge(position, Ok(None))?;
        }
        Ok(next)
    }

    /// Whether what was read at a position may be there.
    fn judge(&self, position: u64, found: Result<Option<wal::Owned>, LogError>) -> Result<(), Stop> {
        let model = &self.model;
        let expected = model.entries.get(&position);
        match found {
            Ok(Some(owned)) => match expected {
                Some(content) if *content == owned.payload && tag(content) == owned.tag => Ok(()),
                Some(_) => Err(Stop::Wrong(format!("entry {position} has another content"))),
                None => Err(Stop::Wrong(format!("entry {position} was never taken, or was cut"))),
            },
            Ok(None) => {
                let maybe = model.checkpoint_maybe.is_some() && model.released_maybe.contains(&position);
                let none = position >= model.next || model.skipped.contains(&position);
                if none || model.released_durably.contains(&position) || maybe {
                    Ok(())
                } else {
                    Err(Stop::Wrong(format!("entry {position} is missing")))
                }
            }
            Err(LogError::Damaged(_)) if model.damaged.contains(&position) => Ok(()),
            // Beside a damaged entry nobody knows that there never was one.
            Err(LogError::Damaged(_)) if model.skipped.contains(&position) => Ok(()),
            Err(LogError::Damaged(_)) => Err(Stop::Wrong(format!("entry {position} is damaged"))),
            Err(other) => Err(Stop::Refused(other)),
        }
    }

    /// After opening: what was synced is there, in order, nothing else but what was taken, nothing that was cut.
    fn compare(&mut self, log: &mut Log<SimDisk>) -> Result<(), String> {
        let model = &mut self.model;
        let least = model.cutting.map_or(model.synced, |from| model.backed(from.min(model.synced)));
        if log.next() < least || log.next() > model.next {
            let next = log.next();
            return Err(format!("the log ends at {next}; {least} to {} may be", model.next));
        }
        model.cutting = None;
        let listed: BTreeSet<u64> = log.damaged().flat_map(|(first, last)| first..=last).collect();
        // What was taken and not synced may be lost alone.
        let unsynced = model.synced..log.next();
        model.damaged.extend(listed.iter().filter(|position| unsynced.contains(*position)));
        self.met.damaged += listed.len() as u64;
        model.next = log.next();
        model.entries.split_off(&log.next());
        model.damaged.split_off(&log.next());
        model.skipped.split_off(&log.next());
        let metadata = log.metadata();
        if metadata != model.metadata && model.metadata_maybe.as_deref() != Some(metadata) {
            return Err("the metadata is neither the last one nor the one before".to_owned());
        }
        model.metadata = metadata.to_vec();
        model.metadata_maybe = None;
        let state = log.checkpoint().map(|checkpoint| {
            let (mut state, mut chunk, mut at) = (Vec::new(), Vec::new(), 0);
            while let Ok(Some(next)) = checkpoint.chunk(at, &mut chunk) {
                state.extend_from_slice(&chunk);
                at = next;
            }
            (checkpoint.position(), state)
        });
        if state != model.checkpoint && (model.checkpoint_maybe.is_none() || state != model.checkpoint_maybe)
        {
            return Err("the checkpoint is neither the last one nor the one before".to_owned());
        }
        if state.is_some() && state == model.checkpoint_maybe {
            model.checkpoint = model.checkpoint_maybe.take();
            model.released_durably = std::mem::take(&mut model.released_maybe);
        }
        model.checkpoint_maybe = None;
        // The owner takes up its state and releases no more than that knew.
        model.released = model.released_durably.clone();
        for position in 1..self.model.next {
            let found = log.read(position);
            self.judge(position, found).map_err(|stop| format!("after opening: {stop:?}"))?;
        }
        let mut at = 1;
        while at < self.model.next {
            let read = self.judge_range(&log.reader(), at, self.model.next, 5000);
            at = read.map_err(|stop| format!("after opening, by range: {stop:?}"))?;
        }
        self.model.synced = self.model.next;
        Ok(())
    }
}

#[derive(Debug)]
enum Stop {
    Wrong(String),
    Refused(LogError),
}

impl From<LogError> for Stop {
    fn from(error: LogError) -> Stop {
        Stop::Refused(error)
    }
}

/// Seeds until one fails, at most so many.
pub fn hunt(bug: Bug, seeds: u64) -> Option<(u64, String)> {
    (1..=seeds).find_map(|seed| run(seed, Bugs::only(bug)).err().map(|why| (seed, why)))
}
