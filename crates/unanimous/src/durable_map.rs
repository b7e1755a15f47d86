//! Durable maps: what was acknowledged is on the disks of most of the map's stores, and is lost no more.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use client::maps;
use client::protocol::{Condition, ErrorCode, Once, Op};
use client::{Change, Page, Pair, WriteOptions};
use durable::{Ending, Name, Names};
use tokio::time::Instant;
use wire::session::BODY_BYTES_MAX;
use wire::{GroupName, Time};

use crate::cast::too_large;
use crate::error::Error;
use crate::process::Process;

/// A durable map, as one process uses it. Clones share it.
///
/// A write is answered when it is on the disks of most of the map's stores, in one order with all others. If the site is lost
/// before it answers, the write is repeated at the next one **under the same name**, so it is done once: a write that
/// returned `Ok` was done exactly once, and one that returned [`Error::Interrupted`] may have been done once. Reads are
/// linearizable unless they are asked to be local.
///
/// ```no_run
/// use unanimous::{Condition, Site};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let process = Site::connect_any(unanimous::locate::addresses()?, "counter").await?;
/// let map = process.durable_map("counters").await?;
/// let revision = map.put("visits", "1").only_if(Condition::Absent).send().await?;
/// let pair = map.get("visits").await?.expect("it was put");
/// assert_eq!(pair.header.revision, revision);
/// map.put("visits", "2").only_if(Condition::Revision(revision)).send().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct DurableMap {
    process: Process,
    name: GroupName,
    names: Arc<OpenNames>,
}

/// The names of this program's writes.
#[derive(Debug)]
struct OpenNames {
    names: Mutex<Names>,
    began: Instant,
}

/// A name that is given back when its write has ended, or is given up.
struct Taken<'a> {
    of: &'a OpenNames,
    name: Name,
    ending: Ending,
}

impl DurableMap {
    /// Finds a map, or lets it be made on the stores that count in the cluster's catalog.
    pub(crate) async fn open(process: &Process, name: GroupName) -> Result<DurableMap, Error> {
        let create = Op::CreateMap { map: name.to_string() };
        match process.request(create, Bytes::new()).await {
            Ok(_) | Err(Error::Refused { code: ErrorCode::Exists, .. }) => {}
            Err(error) => return Err(error),
        }
        let names = OpenNames { names: Mutex::new(Names::new(net::random())), began: Instant::now() };
        Ok(DurableMap { process: process.clone(), name, names: Arc::new(names) })
    }

    /// The map's name.
    pub fn name(&self) -> &GroupName {
        &self.name
    }

    /// Gives a key a value: [`Write::send`] does it, and gives the revision.
    pub fn put(&self, key: &str, value: impl Into<Bytes>) -> Write<'_> {
        Write { map: self, key: key.to_owned(), value: Some(value.into()), ttl: None, only_if: None }
    }

    /// Takes a key away: [`Write::send`] does it, and gives the revision, also if there was no such key.
    pub fn delete(&self, key: &str) -> Write<'_> {
        Write { map: self, key: key.to_owned(), value: None, ttl: None, only_if: None }
    }

    /// The value of a key, after every write that was acknowledged anywhere before.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with [`ErrorCode::NotPrimary`]: this side of a partition has no majority of the stores.
    pub async fn get(&self, key: &str) -> Result<Option<Pair>, Error> {
        self.look(key, false).await
    }

    /// The value of a key as the site has it: perhaps from the past, but at once, and in a minority too.
    pub async fn get_local(&self, key: &str) -> Result<Option<Pair>, Error> {
        self.look(key, true).await
    }

    async fn look(&self, key: &str, local: bool) -> Result<Option<Pair>, Error> {
        let op = Op::Get { map: self.name.to_string(), key: key.to_owned(), local };
        maps::found(self.process.request(op, Bytes::new()).await?).map_err(Error::of_request)
    }

    /// Keys that begin with a prefix, in order, behind one if it is given: a page, and where to go on. What is written
    /// between two pages may or may not be in the second.
    pub async fn list(&self, prefix: &str, after: Option<String>) -> Result<Page, Error> {
        let (map, prefix) = (self.name.to_string(), prefix.to_owned());
        let op = Op::List { map, prefix, after, limit: None, local: false };
        maps::page(self.process.request(op, Bytes::new()).await?).map_err(Error::of_request)
    }

    /// Follows the changes of keys that begin with a prefix: behind a revision, or from now on.
    pub fn watch(&self, prefix: &str, since: Option<u64>) -> Watch {
        Watch { map: self.clone(), prefix: prefix.to_owned(), since, told: Vec::new().into_iter() }
    }
}

/// A write to a map, to be sent.
#[derive(Debug)]
#[must_use = "nothing is written before `send` is awaited"]
pub struct Write<'a> {
    map: &'a DurableMap,
    key: String,
    /// None: the key is taken away.
    value: Option<Bytes>,
    ttl: Option<Duration>,
    only_if: Option<Condition>,
}

impl Write<'_> {
    /// After so long the key is gone, by the time of the map's entries. Means nothing to a delete.
    pub fn ttl(self, ttl: Duration) -> Self {
        Write { ttl: Some(ttl), ..self }
    }

    /// Only if this holds before: else [`Error::Refused`] with [`ErrorCode::Unmet`], and nothing is changed.
    pub fn only_if(self, condition: Condition) -> Self {
        Write { only_if: Some(condition), ..self }
    }

    /// Writes. Gives the revision, when the disks have it. If the future is dropped, the write may or may not be done.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`]: nothing was done. [`Error::Interrupted`]: it may have been done, once.
    pub async fn send(self) -> Result<u64, Error> {
        let Write { map, key, value, ttl, only_if } = self;
        if value.as_ref().is_some_and(|value| value.len() > BODY_BYTES_MAX) {
            return Err(too_large());
        }
        let mut taken = map.names.take()?;
        let ttl_ms = ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        let options = WriteOptions { ttl_ms, only_if, once: Some(taken.once()) };
        let op = match value {
            Some(_) => maps::put(map.name.as_str(), &key, options),
            None => maps::delete(map.name.as_str(), &key, options),
        };
        let answer = map.process.request(op, value.unwrap_or_default()).await;
        taken.ended(&answer);
        maps::written(&answer?).map(|(revision, _)| revision).map_err(Error::of_request)
    }
}

/// The changes of a map, one after the other.
#[derive(Debug)]
pub struct Watch {
    map: DurableMap,
    prefix: String,
    since: Option<u64>,
    told: std::vec::IntoIter<Change>,
}

impl Watch {
    /// The next change, as soon as there is one; each once, in order, also when the site is lost in between. Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with [`ErrorCode::Compacted`]: too much has changed since; list the keys, and watch from
    /// the revision that they say.
    pub async fn next(&mut self) -> Result<Change, Error> {
        loop {
            if let Some(change) = self.told.next() {
                return Ok(change);
            }
            let (map, prefix) = (self.map.name.to_string(), self.prefix.clone());
            let op = Op::Changes { map, since: self.since, prefix };
            let answer = self.map.process.request(op, Bytes::new()).await?;
            let (changes, upto) = maps::changed(answer).map_err(Error::of_request)?;
            (self.since, self.told) = (Some(upto), changes.into_iter());
        }
    }
}

impl OpenNames {
    fn take(&self) -> Result<Taken<'_>, Error> {
        let elapsed = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let name = self.names.lock().unwrap_or_else(PoisonError::into_inner).take(Time::from_nanos(elapsed));
        let name = name.ok_or_else(|| Error::Refused {
            code: ErrorCode::Busy,
            message: "too many writes of this map are under way; wait for some of them".to_owned(),
        })?;
        Ok(Taken { of: self, name, ending: Ending::GivenUp })
    }
}

impl Taken<'_> {
    fn once(&self) -> Once {
        let Name { client, sequence, answered } = self.name;
        Once { client: format!("{client:?}"), sequence, answered }
    }

    fn ended<T>(&mut self, answer: &Result<T, Error>) {
        self.ending = match answer {
            Ok(_) | Err(Error::Refused { code: ErrorCode::Unmet, .. }) => Ending::Applied,
            Err(Error::Interrupted) => Ending::Unknown,
            Err(_) => Ending::GivenUp,
        };
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.of.names.lock().unwrap_or_else(PoisonError::into_inner).give_back(
            self.name.client,
            self.name.sequence,
            self.ending,
        );
    }
}
