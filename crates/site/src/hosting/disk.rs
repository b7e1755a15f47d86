//! A durable group's disk: a thread of its own that opens the store and then does what the machine asks. What waits
//! when it looks is done together, with one sync.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use bytes::Bytes;
use durable::{Application, CheckpointHead, Done, Durable, Locator, Parts, Settings, StoreOp};
use net::FileDisk;
use stack::store::{DiskStore, Who};
use tokio::sync::mpsc::UnboundedSender;
use wire::GroupName;

use super::served::Served;
use super::trouble::{Trouble, TroubleKind};

/// What is written of a checkpoint between two pieces of other work, at least: a fraction of a millisecond's worth.
const SLICE_BYTES: u64 = 256 << 10;
/// And at least so many times what was appended: it is done before the next one is due, when the log has grown by half of it.
const SLICE_SHARE: u64 = 3;

/// What to do about a store that nobody can open. The folder alone must not go: the site knows that it had one.
const GIVE_UP: &str = "; give the site a new data directory, and let its new store count in place of this one: `unanimous site replace`";
/// Parts of a state that are read and not taken in yet, at most: of 64 KiB, unless a pair is longer.
const PARTS_AHEAD: usize = 16;

/// Something for a store to do.
pub(super) enum Job {
    /// What the machine asks.
    Op(StoreOp),
    /// Take a checkpoint.
    Take { head: CheckpointHead, window: Bytes, state: Parts },
    /// Read the state of the checkpoint in force into a new application.
    Restore(Served),
}

/// What a store says.
pub(crate) enum Said {
    /// It is open, and this was its state.
    Opened(Box<Durable>, Served),
    /// It cannot be opened.
    Refused(Trouble),
    /// This is done.
    Done(Vec<Done>),
    /// The state of the checkpoint in force.
    Restored(Served),
    /// The disk failed: what it holds is not known until it is read again.
    Failed(String),
}

/// Where a group's store is, and what it is to be.
pub(super) struct Place {
    pub(super) group: GroupName,
    /// The folder of all groups' stores.
    pub(super) root: PathBuf,
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
    let mut store = match open(place) {
        Ok((store, machine, state)) => {
            if !say(Said::Opened(machine, state)) {
                return;
            }
            store
        }
        Err(why) => {
            say(Said::Refused(why));
            return;
        }
    };
    loop {
        // While a checkpoint is being taken nothing is waited for.
        let first = match store.is_taking() {
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
        let (mut done, mut ops, mut appended) = (Vec::new(), Vec::new(), 0);
        for job in first.into_iter().chain(jobs.try_iter()) {
            match job {
                Job::Op(op) => {
                    appended += appends(&op);
                    ops.push(op);
                }
                Job::Take { head, window, state } => {
                    done.extend(store.work(std::mem::take(&mut ops)));
                    store.take(head, &window, state);
                }
                Job::Restore(mut state) => {
                    done.extend(store.work(std::mem::take(&mut ops)));
                    // The machine goes on only when it has been told what was done before.
                    if !done.is_empty() && !say(Said::Done(std::mem::take(&mut done))) {
                        return;
                    }
                    let said = match load(&store, &mut state) {
                        Ok(()) => Said::Restored(state),
                        Err(why) => Said::Failed(why),
                    };
                    if !say(said) {
                        return;
                    }
                }
            }
        }
        done.extend(store.work(ops));
        done.extend(store.take_some(SLICE_BYTES.max(SLICE_SHARE * appended)));
        if let Some(why) = store.failed() {
            // With what was done nobody can do anything any more: the site stops, and says why.
            say(Said::Failed(why.to_owned()));
            return;
        }
        if !done.is_empty() && !say(Said::Done(done)) {
            return;
        }
    }
}

/// Bytes that an operation adds to the log.
fn appends(op: &StoreOp) -> u64 {
    match op {
        StoreOp::Append { records, .. } => records.iter().map(|record| record.bytes.len() as u64).sum(),
        _ => 0,
    }
}

/// Opens the store, or makes it if there never was one.
fn open(place: Place) -> Result<(DiskStore<FileDisk>, Box<Durable>, Served), Trouble> {
    let Place { group, root, who, mut empty } = place;
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
    let config = wal::Config::new(who.store.0);
    let failed = |kind: TroubleKind, why: &dyn std::fmt::Display| {
        let what = match kind {
            TroubleKind::Damaged => GIVE_UP,
            TroubleKind::Full | TroubleKind::System => "",
        };
        Trouble { kind, why: format!("the store in {}: {why}{what}", folder.display()) }
    };
    let (opened, restored) = taken_in(&mut empty, |take| {
        DiskStore::open_with(disk, config, Settings::default(), who, take)
            .map_err(|error| failed(TroubleKind::of_store(&error), &error))
    });
    let opened = opened?;
    restored.map_err(|why| failed(TroubleKind::Damaged, &why))?;
    if !marker.exists() {
        mark(&marker).map_err(told)?;
    }
    Ok((opened.store, Box::new(opened.machine), empty))
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
    read.map_err(|error| error.to_string()).and(restored)
}

/// Gives what shows the parts of a state to it: they are read, and checked, on this thread, and taken in on another
/// meanwhile. What the reading came to, and what the taking in.
fn taken_in<T>(
    state: &mut Served,
    show: impl FnOnce(&mut dyn FnMut(&Locator, &[u8])) -> T,
) -> (T, Result<(), String>) {
    let (parts, shown) = mpsc::sync_channel::<(Locator, Bytes)>(PARTS_AHEAD);
    thread::scope(|scope| {
        let taking = scope.spawn(move || {
            for (at, part) in shown {
                state.restore(&at, part).map_err(|wrong| wrong.to_string())?;
            }
            Ok(())
        });
        let read = show(&mut |at, part| {
            // Whoever takes it in no more says why.
            let _ = parts.send((at.clone(), Bytes::copy_from_slice(part)));
        });
        drop(parts);
        let taken = taking.join().unwrap_or_else(|_| Err("the state cannot be taken in".to_owned()));
        (read, taken)
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
        Place { group, root: root.to_owned(), who, empty: Served::new(tools::catalog::Kind::Map) }
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
