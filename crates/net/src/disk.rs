//! The real disk of a site: a data directory with one identity and one small record, both safe against `kill -9`,
//! power cuts and one damaged file.
//!
//! ```text
//!  DIR/lock         held while a process uses the directory
//!  DIR/identity-0   DIR/identity-1     store id and incarnation, two copies
//!  DIR/record-0     DIR/record-1       the node's record, two copies
//!  DIR/recovered-0  DIR/recovered-1    the last recovery by force, if there was one, two copies
//!  DIR/NAME-0       DIR/NAME-1         other small things that a site keeps ([`Kept`]), two copies
//! ```
//!
//! A record replaces its predecessor as a whole: both copies are written beside the old ones and made durable,
//! then renamed over them, then the directory is made durable, and only then is it reported as stored. So at every
//! moment one whole copy of the last reported record exists, and after the report there are two: one file may be
//! damaged and nothing that was promised is forgotten.
//!
//! An error of `fdatasync` is fatal and never retried: what the kernel then still holds is unknown. A full disk is
//! found while writing beside, when nothing has changed yet; the disk's thread says so once and goes on trying.

mod kept;
mod recovered;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use ring::rand::{SecureRandom, SystemRandom};
use wire::{Incarnation, StoreId};

use crate::input::{Input, InputSender};
use crate::metrics::Metrics;

pub use kept::Kept;
pub use recovered::{Held, Recovered};

/// The longest record.
pub const RECORD_BYTES_MAX: usize = 64 * 1024 * 1024;

const MAGIC: &[u8; 8] = b"UNANREC1";
const HEADER_BYTES: usize = 8 + 8 + 8;
const COPIES: usize = 2;

/// How often a full disk is tried again.
const FULL_RETRY: Duration = Duration::from_millis(500);

/// Why the disk refused.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// Another process uses the directory. Nothing has changed.
    #[error("{0} is in use by another process; stop it, or choose another directory")]
    Locked(PathBuf),
    /// The disk is full. The last stored record is as it was.
    #[error("{0}: the disk is full; the site waits until there is room")]
    Full(PathBuf),
    /// Both copies are damaged: what this store promised is lost. Nothing has changed.
    #[error("{0}: both copies are damaged; move the directory away, and the site returns as a new store")]
    Damaged(PathBuf),
    /// Reading or writing failed before anything was replaced.
    #[error("{path}: {error}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Making data durable failed; what is on the disk is unknown until it is read again. The site must stop.
    #[error("{path}: the disk could not make data durable: {error}; the site stops")]
    Sync {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

impl DiskError {
    /// Whether the site must stop.
    pub fn is_fatal(&self) -> bool {
        match self {
            DiskError::Full(_) => false,
            DiskError::Locked(_) | DiskError::Damaged(_) | DiskError::Io { .. } | DiskError::Sync { .. } => {
                true
            }
        }
    }
}

/// What a data directory held when it was opened.
#[derive(Debug)]
pub struct Opened {
    /// The directory's random name, drawn when it was made.
    pub store: StoreId,
    /// This life of the site: raised and durable.
    pub incarnation: Incarnation,
    /// The directory was made by this start, or by one before that went no further ([`Held::outlive`]): nobody has a copy.
    pub fresh: bool,
    /// The last stored record of this cluster epoch, if there ever was one.
    pub record: Option<Vec<u8>>,
    /// The last recovery by force, if there was one.
    pub recovered: Option<Recovered>,
    /// Copies that were damaged and have been mended from the other: worth a line in the log.
    pub mended: Vec<PathBuf>,
}

/// A data directory in use, and the thread that writes to it. Dropping it writes what is queued, then lets the
/// directory go.
pub struct Disk {
    requests: Option<Sender<Request>>,
    thread: Option<JoinHandle<()>>,
}

struct Request {
    ticket: u64,
    record: Vec<u8>,
}

impl Disk {
    /// Opens or makes a data directory, raises its incarnation, and starts its thread. Blocks for a few `fsync`s:
    /// a site does this before anything else.
    pub fn open(dir: &Path, inputs: InputSender, metrics: Arc<Metrics>) -> Result<(Disk, Opened), DiskError> {
        fs::create_dir_all(dir).map_err(|error| io_error(dir, error))?;
        let lock = lock(dir)?;
        let (identity, held, mut mended) = Replaced::open(dir, "identity")?;
        let (record, bytes, more) = Replaced::open(dir, "record")?;
        mended.extend(more);
        let (_, recovery, more) = recovered::open(dir)?;
        mended.extend(more);
        let (store, incarnation) = match held {
            Some(held) => parse_identity(&held).ok_or_else(|| DiskError::Damaged(dir.join("identity")))?,
            // A record without its identity: the directory was tampered with, and its promises are nobody's.
            None if bytes.is_some() => return Err(DiskError::Damaged(dir.join("identity"))),
            None => (random_store(dir)?, Incarnation(0)),
        };
        let (recovered, bytes) = recovered::take_apart(dir, recovery, bytes)?;
        let fresh = incarnation == Incarnation(0) || recovered::outlived(dir) == Some(incarnation);
        let incarnation = Incarnation(incarnation.0 + 1);
        let mut identity = identity;
        identity.replace(&identity_bytes(store, incarnation))?;

        let (requests, queue) = channel();
        let writer = Writer { record, queue, inputs, metrics, _lock: lock };
        let thread = thread::Builder::new()
            .name("disk".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| io_error(dir, error))?;
        let disk = Disk { requests: Some(requests), thread: Some(thread) };
        Ok((disk, Opened { store, incarnation, fresh, record: bytes, recovered, mended }))
    }

    /// Stores a record in place of its predecessor. `Input::Stored(ticket)` says when it is durable; records that
    /// wait together are written as one, the last. Bounded by the site, which has few records under way.
    pub fn store(&self, ticket: u64, record: Vec<u8>) {
        assert!(record.len() <= RECORD_BYTES_MAX, "a node's record is small");
        let requests = self.requests.as_ref().expect("the queue closes in drop only");
        // The thread ends early only after it has reported a fatal error.
        let _ = requests.send(Request { ticket, record });
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Writer {
    record: Replaced,
    queue: Receiver<Request>,
    inputs: InputSender,
    metrics: Arc<Metrics>,
    _lock: File,
}

impl Writer {
    fn run(mut self) {
        while let Ok(first) = self.queue.recv() {
            let mut tickets = vec![first.ticket];
            let mut record = first.record;
            let mut told_full = false;
            loop {
                self.drain(&mut tickets, &mut record);
                match self.record.replace(&record) {
                    Ok(()) => break,
                    Err(error) if error.is_fatal() => {
                        self.inputs.send(Input::Disk(error));
                        return;
                    }
                    Err(full) => {
                        self.metrics.disk_full.count();
                        if !std::mem::replace(&mut told_full, true) {
                            self.inputs.send(Input::Disk(full));
                        }
                        if !self.wait_for_room(&mut tickets, &mut record) {
                            return;
                        }
                    }
                }
            }
            self.metrics.records_stored.count();
            tickets.into_iter().for_each(|ticket| self.inputs.send(Input::Stored(ticket)));
        }
    }

    fn drain(&self, tickets: &mut Vec<u64>, record: &mut Vec<u8>) {
        while let Ok(request) = self.queue.try_recv() {
            tickets.push(request.ticket);
            *record = request.record;
        }
    }

    /// Waits a while, or for a newer record. False if the site is stopping: what could not be stored was never
    /// reported.
    fn wait_for_room(&self, tickets: &mut Vec<u64>, record: &mut Vec<u8>) -> bool {
        match self.queue.recv_timeout(FULL_RETRY) {
            Ok(request) => {
                tickets.push(request.ticket);
                *record = request.record;
                true
            }
            Err(RecvTimeoutError::Timeout) => true,
            Err(RecvTimeoutError::Disconnected) => false,
        }
    }
}

/// A small file in two copies that is replaced as a whole.
struct Replaced {
    dir: PathBuf,
    name: &'static str,
    sequence: u64,
    #[cfg(test)]
    fail: Option<Box<dyn FnMut(Step) -> io::Result<()> + Send>>,
}

/// The steps of a replacement that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Write,
    Sync,
    Rename,
    SyncDir,
}

impl Replaced {
    /// Finds the newest whole copy, and mends the other from it.
    #[allow(clippy::type_complexity, reason = "the parts of one answer, taken apart at once")]
    fn open(dir: &Path, name: &'static str) -> Result<(Replaced, Option<Vec<u8>>, Vec<PathBuf>), DiskError> {
        let mut newest: Option<(u64, Vec<u8>)> = None;
        let mut damaged = Vec::new();
        let mut stale = false;
        for copy in 0..COPIES {
            let path = dir.join(format!("{name}-{copy}"));
            match read_copy(&path)? {
                Copy::Absent => stale = true,
                Copy::Damaged => damaged.push(path),
                Copy::Whole(sequence, content) => match &newest {
                    Some((best, _)) if *best >= sequence => stale |= *best != sequence,
                    Some(_) | None => {
                        stale |= newest.is_some();
                        newest = Some((sequence, content));
                    }
                },
            }
        }
        let mut replaced = Replaced {
            dir: dir.to_owned(),
            name,
            sequence: newest.as_ref().map_or(0, |(sequence, _)| *sequence),
            #[cfg(test)]
            fail: None,
        };
        match &newest {
            // A first record whose copies are both damaged was never reported only if no file was whole; that
            // cannot be told from a damaged disk, so it is not guessed.
            None if !damaged.is_empty() => return Err(DiskError::Damaged(dir.join(name))),
            Some((_, content)) if stale || !damaged.is_empty() => replaced.replace(content)?,
            Some(_) | None => {}
        }
        Ok((replaced, newest.map(|(_, content)| content), damaged))
    }

    /// Returns when the content is durable in both copies. A full disk leaves the old content; any other error
    /// leaves the old or the new.
    fn replace(&mut self, content: &[u8]) -> Result<(), DiskError> {
        let sequence = self.sequence + 1;
        let bytes = encode_copy(sequence, content);
        for copy in 0..COPIES {
            let path = self.temporary(copy);
            self.write(&path, &bytes).inspect_err(|_| {
                // Give the room back; the next attempt truncates the file anyway.
                let _ = fs::remove_file(&path);
            })?;
        }
        for copy in 0..COPIES {
            let path = self.dir.join(format!("{}-{copy}", self.name));
            self.step(Step::Rename)
                .and_then(|()| fs::rename(self.temporary(copy), &path))
                .map_err(|error| io_error(&path, error))?;
        }
        self.step(Step::SyncDir)
            .and_then(|()| File::open(&self.dir)?.sync_all())
            .map_err(|error| DiskError::Sync { path: self.dir.clone(), error })?;
        self.sequence = sequence;
        Ok(())
    }

    fn write(&mut self, path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
        self.step(Step::Write).map_err(|error| io_error(path, error))?;
        let mut file = File::create(path).map_err(|error| io_error(path, error))?;
        file.write_all(bytes).map_err(|error| io_error(path, error))?;
        self.step(Step::Sync)
            .and_then(|()| file.sync_data())
            .map_err(|error| DiskError::Sync { path: path.to_owned(), error })
    }

    fn temporary(&self, copy: usize) -> PathBuf {
        self.dir.join(format!("{}-{copy}.new", self.name))
    }

    #[cfg(test)]
    fn step(&mut self, step: Step) -> io::Result<()> {
        self.fail.as_mut().map_or(Ok(()), |fail| fail(step))
    }

    #[cfg(not(test))]
    fn step(&mut self, _: Step) -> io::Result<()> {
        Ok(())
    }
}

enum Copy {
    Absent,
    Damaged,
    Whole(u64, Vec<u8>),
}

/// `magic, sequence, length, content, SHA-256 of all before`.
fn encode_copy(sequence: u64, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + content.len() + SHA256_OUTPUT_LEN);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&sequence.to_le_bytes());
    bytes.extend_from_slice(&(content.len() as u64).to_le_bytes());
    bytes.extend_from_slice(content);
    let sum = digest(&SHA256, &bytes);
    bytes.extend_from_slice(sum.as_ref());
    bytes
}

fn read_copy(path: &Path) -> Result<Copy, DiskError> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => {
            let limit = (RECORD_BYTES_MAX + HEADER_BYTES + SHA256_OUTPUT_LEN) as u64;
            match file.take(limit + 1).read_to_end(&mut bytes) {
                Ok(_) => {}
                // A sector that cannot be read is damage, which the other copy may mend.
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => {
                    return Ok(Copy::Damaged);
                }
                Err(error) => return Err(io_error(path, error)),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Copy::Absent),
        Err(error) => return Err(io_error(path, error)),
    }
    Ok(decode_copy(&bytes)
        .map_or(Copy::Damaged, |(sequence, content)| Copy::Whole(sequence, content.to_vec())))
}

fn decode_copy(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(SHA256_OUTPUT_LEN)?)?;
    let rest = body.strip_prefix(MAGIC)?;
    let (sequence, rest) = rest.split_first_chunk::<8>()?;
    let (length, content) = rest.split_first_chunk::<8>()?;
    let whole = u64::from_le_bytes(*length) == content.len() as u64 && digest(&SHA256, body).as_ref() == sum;
    whole.then_some((u64::from_le_bytes(*sequence), content))
}

fn identity_bytes(store: StoreId, incarnation: Incarnation) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&store.0.to_le_bytes());
    bytes[8..].copy_from_slice(&incarnation.0.to_le_bytes());
    bytes
}

fn parse_identity(bytes: &[u8]) -> Option<(StoreId, Incarnation)> {
    let (store, incarnation) = bytes.split_first_chunk::<8>()?;
    let incarnation = incarnation.try_into().ok()?;
    Some((StoreId(u64::from_le_bytes(*store)), Incarnation(u64::from_le_bytes(incarnation))))
}

fn random_store(dir: &Path) -> Result<StoreId, DiskError> {
    let mut bytes = [0; 8];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| io_error(dir, io::Error::other("no randomness from the system")))?;
    Ok(StoreId(u64::from_le_bytes(bytes).max(1)))
}

/// The lock is the open file's: it goes with the process, however that ends.
pub(crate) fn lock(dir: &Path) -> Result<File, DiskError> {
    let path = dir.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|error| io_error(&path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(DiskError::Locked(dir.to_owned())),
        Err(TryLockError::Error(error)) => Err(io_error(&path, error)),
    }
}

fn io_error(path: &Path, error: io::Error) -> DiskError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DiskError::Full(path.to_owned()),
        _ => DiskError::Io { path: path.to_owned(), error },
    }
}

#[cfg(test)]
#[path = "disk_tests.rs"]
mod tests;
