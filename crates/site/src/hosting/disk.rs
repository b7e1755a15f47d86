//! A durable group's disk: a thread of its own that opens the store and then does what the machine asks. What waits
//! when it looks is done together, with one sync.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use bytes::Bytes;
use durable::{CheckpointHead, Done, Durable, Locator, Parts, Settings, StoreOp};
use net::FileDisk;
use stack::ReplyTo;
use stack::store::{DiskStore, Who};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use wal::LogError;
use wire::GroupName;

use super::kept::{Moving, Payloads, in_log};
use super::served::{Reading, Served};
use super::spool::{SpoolAsk, SpoolLog};
use super::trouble::{Trouble, TroubleKind};
use crate::service::Kept;

/// What is written of a checkpoint between two pieces of other work, at least: a fraction of a millisecond's worth.
const SLICE_BYTES: u64 = 256 << 10;
/// And at least so many times what was appended: it is done before the next one is due, when the log has grown by half of it.
const SLICE_SHARE: u64 = 3;

/// What to do about a store that nobody can open. The folder alone must not go: the site knows that it had one.
const GIVE_UP: &str = "; give the site a new data directory, and let its new store count in place of this one: `unanimous site replace`";
/// Parts of a state that wait for a thread that reads them, and so many that were read and wait to be taken in, at most: of
/// 64 KiB, unless a pair is longer.
const PARTS_AHEAD: usize = 8;
/// Threads that read the parts of a state.
const READERS_MAX: usize = 4;

/// Something for a store to do.
pub(super) enum Job {
    /// What the machine asks.
    Op(StoreOp),
    /// Take a checkpoint; and which payloads its state keeps, if it keeps any.
    Take { head: CheckpointHead, window: Bytes, state: Parts, kept: Option<Kept> },
    /// Read the state of the checkpoint in force into a new application.
    Restore(Served),
    /// Read a payload for somebody here.
    Payload { position: u64, told: oneshot::Sender<Option<Bytes>> },
    /// Read a payload for another site.
    PayloadFor { position: u64, to: ReplyTo },
    /// Keep a payload that another site had.
    Keep { position: u64, payload: Bytes },
    /// Something of a service's spool.
    Spool(SpoolAsk),
}

/// What a store says.
pub(crate) enum Said {
    /// It is open, this was its state, and these payloads that it keeps are not here.
    Opened(Box<Durable>, Served, Vec<u64>),
    /// It cannot be opened.
    Refused(Trouble),
    /// This is done.
    Done(Vec<Done>),
    /// The state of the checkpoint in force, and the payloads that it keeps and that are not here.
    Restored(Served, Vec<u64>),
    /// These payloads are not here any more.
    Missing(Vec<u64>),
    /// A payload for another site, if it is here.
    Payload(ReplyTo, Option<Bytes>),
    /// The disk failed: what it holds is not known until it is read again.
    Failed(String),
}

/// Where a group's store is, and what it is to be.
pub(super) struct Place {
    pub(super) group: GroupName,
    /// The folder of all groups' stores.
    pub(super) root: PathBuf,
    pub(super) settings: Settings,
    pub(super) who: Who,
    /// The new state of such a group.
    pub(super) empty: Served,
}

/// A store's thread. When this is dropped, what waits is done, and the folder is let go.
pub(super) struct Disk {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Disk {
    /// Starts the thread, which opens the store first. What it has to say comes with the group's name. If there can be no
    /// thread, it says why.
    pub(super) fn start(place: Place, say: UnboundedSender<(GroupName, Said)>) -> (Disk, Option<Trouble>) {
        let (jobs, work) = mpsc::channel();
        let group = place.group.clone();
        let name = format!("store {group}").chars().take(15).collect();
        match thread::Builder::new().name(name).spawn(move || run(place, &work, &say)) {
            Ok(thread) => (Disk { jobs: Some(jobs), thread: Some(thread) }, None),
            Err(error) => {
                let why = format!("no thread for the store of {group}: {error}");
                (Disk { jobs: None, thread: None }, Some(Trouble { kind: TroubleKind::System, why }))
            }
        }
    }

    /// The thread, taken from where it was.
    pub(super) fn take(&mut self) -> Disk {
        Disk { jobs: self.jobs.take(), thread: self.thread.take() }
    }

    pub(super) fn ask(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // A thread that has ended has said why.
            let _ = jobs.send(job);
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.jobs = None;
        // The site is ending. Whoever starts it again finds the folder free.
        let _ = self.thread.take().map(thread::JoinHandle::join);
    }
}

fn run(place: Place, jobs: &mpsc::Receiver<Job>, say: &UnboundedSender<(GroupName, Said)>) {
    let group = place.group.clone();
    let say = |said: Said| say.send((group.clone(), said)).is_ok();
    let mut at_work = match open(place) {
        Ok((at_work, machine, state, missing)) => {
            if !say(Said::Opened(machine, state, missing)) {
                return;
            }
            at_work
        }
        Err(why) => {
            say(Said::Refused(why));
            return;
        }
    };
    loop {
        // While there is something to go on with nothing is waited for.
        let first = match at_work.is_busy() {
            true => match jobs.try_recv() {
                Ok(job) => Some(job),
                Err(mpsc::TryRecvError::Empty) => None,
                Err(mpsc::TryRecvError::Disconnected) => return,
            },
            false => match jobs.recv() {
                Ok(job) => Some(job),
                Err(mpsc::RecvError) => return,
            },
        };
        for job in first.into_iter().chain(jobs.try_iter()) {
            at_work.take(job);
            if !at_work.said.drain(..).all(&say) {
                return;
            }
        }
        at_work.finish();
        if !at_work.said.drain(..).all(&say) || at_work.failed {
            return;
        }
    }
}

/// A store's thread at work.
struct AtWork {
    store: DiskStore<FileDisk>,
    /// What a service keeps beside it.
    payloads: Option<Payloads>,
    /// And its spool.
    spool: Option<SpoolLog>,
    /// What the last checkpoint that was begun keeps, and what the last one that was taken does.
    begun: Vec<u64>,
    kept: Option<Vec<u64>>,
    moving: Option<Moving>,
    /// Room of payloads that are not kept any more is being given back.
    compacting: bool,
    /// Payloads were written that are not durable.
    dirty: bool,
    /// What waits to be done together.
    ops: Vec<StoreOp>,
    done: Vec<Done>,
    appended: u64,
    said: Vec<Said>,
    failed: bool,
}

impl AtWork {
    fn is_busy(&self) -> bool {
        let spool = self.spool.as_ref().is_some_and(SpoolLog::is_busy);
        self.store.is_taking() || self.moving.is_some() || self.compacting || spool
    }

    fn take(&mut self, job: Job) {
        match job {
            // What the log lets go is looked through first. That it stays until then is no error.
            Job::Op(StoreOp::Compact { token, before }) if self.payloads.is_some() => {
                self.done.push(Done::Stored(token));
                self.moving = self.kept.clone().map(|kept| Moving::new(before, kept));
            }
            Job::Op(op) => {
                self.appended += appends(&op);
                self.ops.push(op);
            }
            Job::Take { head, window, state, kept } => {
                self.work();
                self.store.take(head, &window, state);
                self.begun = kept.map_or_else(Vec::new, |kept| kept());
            }
            Job::Restore(mut state) => {
                self.work();
                // The machine goes on only when it has been told what was done before.
                self.tell_done();
                match load(&self.store, &mut state) {
                    Ok(()) => {
                        let missing = missing(&state, self.payloads.as_ref(), &self.store);
                        // What was kept before is of another state.
                        (self.moving, self.kept) = (None, None);
                        self.said.push(Said::Restored(state, missing));
                    }
                    Err(why) => self.fail(why),
                }
            }
            Job::Payload { position, told } => {
                let payload = self.payload(position);
                // Whoever has gone needs it no more.
                let _ = told.send(payload);
            }
            Job::PayloadFor { position, to } => {
                let payload = self.payload(position);
                self.said.push(Said::Payload(to, payload));
            }
            Job::Keep { position, payload } => {
                let kept = self.payloads.as_mut().map(|payloads| payloads.put(position, &payload));
                match kept {
                    Some(Ok(())) => self.dirty = true,
                    // It is asked for again.
                    Some(Err(LogError::Full(_))) => self.said.push(Said::Missing(vec![position])),
                    Some(Err(error)) => self.fail(error.to_string()),
                    None => {}
                }
            }
            Job::Spool(ask) => {
                if let Some(Err(error)) = self.spool.as_mut().map(|spool| spool.take(ask)) {
                    self.fail(error.to_string());
                }
            }
        }
    }

    /// Does what waits, and a piece of what takes longer.
    fn finish(&mut self) {
        self.work();
        let slice = SLICE_BYTES.max(SLICE_SHARE * std::mem::take(&mut self.appended));
        let taken = self.store.take_some(slice);
        if let Some(Done::Taken(..)) = &taken {
            self.kept = Some(std::mem::take(&mut self.begun));
        }
        self.done.extend(taken);
        if std::mem::take(&mut self.dirty)
            && let Some(Err(error)) = self.payloads.as_mut().map(Payloads::sync)
            && !matches!(error, LogError::Full(_))
        {
            self.fail(error.to_string());
        }
        if let Some(Err(error)) = self.spool.as_mut().map(SpoolLog::finish) {
            self.fail(error.to_string());
        }
        self.move_on();
        self.compact_some();
        if let Some(why) = self.store.failed() {
            // With what was done nobody can do anything any more: the site stops, and says why.
            self.fail(why.to_owned());
        }
        self.tell_done();
    }

    fn move_on(&mut self) {
        let (Some(moving), Some(payloads)) = (&mut self.moving, &mut self.payloads) else { return };
        match moving.step(&mut self.store, payloads) {
            Ok(false) => {}
            Ok(true) => {
                let missing = payloads.missing(moving.kept(), self.store.first());
                (self.moving, self.compacting) = (None, true);
                if !missing.is_empty() {
                    self.said.push(Said::Missing(missing));
                }
            }
            // The log stays as long as it is, and the next checkpoint tries again.
            Err(LogError::Full(_)) => self.moving = None,
            Err(error) => self.fail(error.to_string()),
        }
    }

    fn compact_some(&mut self) {
        if self.compacting
            && let Some(payloads) = &mut self.payloads
        {
            match payloads.compact_some() {
                Ok(idle) => self.compacting = !idle,
                Err(LogError::Full(_)) => self.compacting = false,
                Err(error) => self.fail(error.to_string()),
            }
        }
    }

    /// A payload, from where it is kept or from the log. What waits is done first only if the log does not have it yet.
    fn payload(&mut self, position: u64) -> Option<Bytes> {
        let found = self.find(position);
        if found.is_some() || self.ops.is_empty() {
            return found;
        }
        self.work();
        self.find(position)
    }

    fn find(&mut self, position: u64) -> Option<Bytes> {
        let payloads = self.payloads.as_mut()?;
        let had = payloads.has(position);
        match payloads.get(position) {
            Ok(Some(payload)) => return Some(payload),
            Ok(None) => {}
            Err(error) => {
                self.fail(error.to_string());
                return None;
            }
        }
        let found = (position >= self.store.first()).then(|| in_log(&mut self.store, position)).flatten();
        if had && found.is_none() {
            self.said.push(Said::Missing(vec![position]));
        }
        found
    }

    fn work(&mut self) {
        let ops = std::mem::take(&mut self.ops);
        self.done.extend(self.store.work(ops));
    }

    fn tell_done(&mut self) {
        if !self.done.is_empty() && !self.failed {
            self.said.push(Said::Done(std::mem::take(&mut self.done)));
        }
    }

    fn fail(&mut self, why: String) {
        if !std::mem::replace(&mut self.failed, true) {
            self.said.push(Said::Failed(why));
        }
    }
}

/// The payloads that a state keeps and that are not here.
fn missing(state: &Served, payloads: Option<&Payloads>, store: &DiskStore<FileDisk>) -> Vec<u64> {
    match (state.kept(), payloads) {
        (Some(kept), Some(payloads)) => payloads.missing(&kept(), store.first()),
        (Some(_), None) | (None, _) => Vec::new(),
    }
}

/// Bytes that an operation adds to the log.
fn appends(op: &StoreOp) -> u64 {
    match op {
        StoreOp::Append { records, .. } => records.iter().map(|record| record.bytes.len() as u64).sum(),
        _ => 0,
    }
}

/// Opens the store, or makes it if there never was one: with its machine, its state, and the payloads that are missing.
fn open(place: Place) -> Result<(AtWork, Box<Durable>, Served, Vec<u64>), Trouble> {
    let Place { group, root, settings, who, mut empty } = place;
    let folder = root.join(folder_of(&group));
    let marker = folder.with_extension("made");
    let told = |error: std::io::Error| Trouble {
        kind: TroubleKind::of_io(&error),
        why: format!("{}: {error}", folder.display()),
    };
    std::fs::create_dir_all(&root).map_err(told)?;
    let is_empty = std::fs::read_dir(&folder).map_or(true, |mut files| files.next().is_none());
    if is_empty && marker.exists() {
        let why = format!(
            "{} was emptied: this store has votes that it has forgotten; put the folder back and restart the site, or give it a \
             new data directory",
            folder.display()
        );
        return Err(Trouble { kind: TroubleKind::Damaged, why });
    }
    let disk = FileDisk::open(&folder).map_err(|error| Trouble {
        kind: match &error {
            net::DiskError::Io { error, .. } => TroubleKind::of_io(error),
            _ => TroubleKind::System,
        },
        why: error.to_string(),
    })?;
    let (who_id, store) = (who.store.0, who.store);
    let config = wal::Config::new(who_id);
    let failed = |kind: TroubleKind, why: &dyn std::fmt::Display| {
        let what = match kind {
            TroubleKind::Damaged => GIVE_UP,
            TroubleKind::Full | TroubleKind::System => "",
        };
        Trouble { kind, why: format!("the store in {}: {why}{what}", folder.display()) }
    };
    let (opened, restored) = taken_in(&mut empty, |take| {
        DiskStore::open_with(disk, config, settings, who, take)
            .map_err(|error| failed(TroubleKind::of_store(&error), &error))
    });
    let opened = opened?;
    restored.and_then(|()| empty.whole()).map_err(|why| failed(TroubleKind::Damaged, &why))?;
    let (payloads, spool) = match &empty {
        Served::Service(..) => {
            let payloads = Payloads::open(&folder.with_extension("kept"), who_id)?;
            (Some(payloads), Some(SpoolLog::open(&folder.with_extension("spool"), store)?))
        }
        Served::Catalog(_) | Served::Map(_) => (None, None),
    };
    if !marker.exists() {
        mark(&marker).map_err(told)?;
    }
    let missing = missing(&empty, payloads.as_ref(), &opened.store);
    let at_work = AtWork {
        store: opened.store,
        payloads,
        spool,
        begun: Vec::new(),
        kept: None,
        moving: None,
        compacting: false,
        dirty: false,
        ops: Vec::new(),
        done: Vec::new(),
        appended: 0,
        said: Vec::new(),
        failed: false,
    };
    Ok((at_work, Box::new(opened.machine), empty, missing))
}

/// Notes, durably, that there was a store.
fn mark(marker: &Path) -> std::io::Result<()> {
    std::fs::File::create(marker)?.sync_all()?;
    match marker.parent() {
        Some(folder) => std::fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn load(store: &DiskStore<FileDisk>, state: &mut Served) -> Result<(), String> {
    let (read, restored) = taken_in(state, |take| store.state(take).map(drop));
    read.map_err(|error| error.to_string()).and(restored)?;
    state.whole()
}

/// A part of a state, in memory that goes back to the thread that reads: what one thread allocates and another frees is
/// memory that was never used before, for every part anew.
struct Lent {
    part: Vec<u8>,
    back: mpsc::Sender<Vec<u8>>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.part
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // A reader that has ended needs it no more.
        let _ = self.back.send(std::mem::take(&mut self.part));
    }
}

/// Gives what shows the parts of a state to it: they come from the disk, and are checked, on this thread; meanwhile others
/// read them, and one more takes them in. What the showing came to, and what the taking in.
fn taken_in<T>(
    state: &mut Served,
    show: impl FnOnce(&mut dyn FnMut(&Locator, &[u8])) -> T,
) -> (T, Result<(), String>) {
    let reading = state.reading();
    let readers = match reading {
        Reading::Map => thread::available_parallelism().map_or(1, |all| all.get().min(READERS_MAX)),
        Reading::AsItIs => 1,
    };
    let (back, returned) = mpsc::channel::<Vec<u8>>();
    thread::scope(|scope| {
        // Each reader has every n-th part, so whoever takes them in knows whom to ask for the next.
        let (mut unread, mut read) = (Vec::new(), Vec::new());
        for _ in 0..readers {
            let (show, shown) = mpsc::sync_channel::<(Locator, Bytes)>(PARTS_AHEAD);
            let (tell, told) = mpsc::sync_channel(PARTS_AHEAD);
            scope.spawn(move || {
                let mut parts = shown.into_iter().map(|(at, part)| reading.read(at, part));
                // Whoever takes it in no more says why.
                parts.try_for_each(|part| tell.send(part))
            });
            unread.push(show);
            read.push(told);
        }
        let taking = scope.spawn(move || {
            // The first that has no more would have had the next.
            let parts = read.iter().cycle().map_while(|told| told.recv().ok());
            let mut taken = parts.map(|part| part.and_then(|part| state.take_in(part)));
            taken.try_for_each(|taken| taken.map_err(|wrong| wrong.to_string()))
        });
        let mut turn = (0..readers).cycle();
        let shown = show(&mut |at, part| {
            let mut lent = Lent { part: returned.try_recv().unwrap_or_default(), back: back.clone() };
            lent.part.clear();
            lent.part.extend_from_slice(part);
            if let Some(reader) = turn.next() {
                let _ = unread[reader].send((at.clone(), Bytes::from_owner(lent)));
            }
        });
        drop(unread);
        let taken = taking.join().unwrap_or_else(|_| Err("the state cannot be taken in".to_owned()));
        (shown, taken)
    })
}

/// The folder of a group: its name, if that is a plain one, else its bytes, six bits a letter: 176 letters at most.
fn folder_of(group: &GroupName) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let name = group.to_string();
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.len() <= 64 && name.bytes().all(plain) {
        return format!("group-{name}");
    }
    let mut folder = "name-".to_owned();
    for three in name.as_bytes().chunks(3) {
        let bits =
            three.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        let letters = (0..=three.len()).map(|n| LETTERS[(bits >> (18 - 6 * n)) as usize & 63]);
        folder.extend(letters.map(char::from));
    }
    folder
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(root: &Path) -> Place {
        let group = GroupName::parse("ledger").expect("a name");
        let life = durable::Life { incarnation: wire::Incarnation(1), nonce: 1 };
        let who = Who { site: wire::SiteId(1), store: wire::StoreId(1), life, founders: None };
        Place {
            group,
            root: root.to_owned(),
            settings: Settings::default(),
            who,
            empty: Served::Map(Box::default()),
        }
    }

    #[test]
    fn what_may_pass_is_told_from_a_folder_that_somebody_has_to_put_back() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path().join("groups");
        let trouble = |root: &Path| open(place(root)).err().map(|trouble| trouble.kind);
        // A file stands where the stores' folder belongs: when it has gone, the store is made.
        std::fs::write(&root, b"in the way").expect("a file");
        assert_eq!(trouble(&root), Some(TroubleKind::System));
        std::fs::remove_file(&root).expect("it is there");
        assert_eq!(trouble(&root), None);
        assert_eq!(trouble(&root), None);
        std::fs::remove_dir_all(root.join("group-ledger")).expect("it is there");
        assert_eq!(trouble(&root), Some(TroubleKind::Damaged));
    }

    #[test]
    fn a_store_that_is_damaged_says_what_to_do() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path().join("groups");
        drop(open(place(&root)).map(drop));
        for copy in ["meta-0", "meta-1"] {
            std::fs::write(root.join("group-ledger").join(copy), b"rust").expect("a file");
        }
        let trouble = open(place(&root)).err().expect("its promises are lost");
        assert_eq!(trouble.kind, TroubleKind::Damaged);
        assert!(trouble.why.contains("give the site a new data directory"), "{}", trouble.why);
    }

    #[test]
    fn no_two_groups_share_a_folder_and_none_leaves_it() {
        let folder = |name: &str| folder_of(&GroupName::parse(name).expect("a name"));
        let names = ["a", "A", "../a", "a/b", "6", "hex-61", "@lab:a", ".", "unanimous.catalog"];
        let folders: std::collections::BTreeSet<String> = names.iter().map(|name| folder(name)).collect();
        assert_eq!(folders.len(), names.len());
        assert!(folders.iter().all(|folder| !folder.contains(['/', '.'])));
        assert!(folder(&"é".repeat(64)).len() < 256 - ".made".len());
    }
}
