//! Durable groups over a session: maps, their requests and what their answers say, and where the stores are.

use bytes::Bytes;
use serde_json::{Map, Value};
use wire::session::{ChangeHeader, Condition, Once, Op, PairHeader, PlacedGroup};

use crate::session::{Error, Session};

/// A pair of a durable map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Its key, revisions, and when it goes.
    pub header: PairHeader,
    /// Its value.
    pub value: Bytes,
}

/// One page of a durable map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Pairs with rising keys.
    pub pairs: Vec<Pair>,
    /// The key behind which to go on; none: that was all.
    pub after: Option<String>,
}

/// One change of a durable map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which key, when, and what became of it.
    pub header: ChangeHeader,
    /// The value, if it was put.
    pub value: Bytes,
}

/// How far the durable groups are on their way to the stores that they were wished to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// All of them are there.
    pub done: bool,
    /// How many there are: one, while the catalog of groups is under way itself.
    pub total: usize,
    /// How many of them are there.
    pub there: usize,
    /// Some of them, those that are not there yet first.
    pub groups: Vec<PlacedGroup>,
}

/// What a write says beside key and value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// After so many milliseconds a key that is put is gone.
    pub ttl_ms: Option<u64>,
    /// Only if this holds before.
    pub only_if: Option<Condition>,
    /// What makes a repeat of it harmless, at this site or another.
    pub once: Option<Once>,
}

/// What a request of a map is answered: the fields, and the body.
pub type Answer = (Map<String, Value>, Bytes);

impl Session {
    /// Lets there be a durable map, on the stores that count in the cluster's catalog.
    pub async fn create_map(&self, map: &str) -> Result<(), Error> {
        self.request(Op::CreateMap { map: map.to_owned() }, Bytes::new()).await.map(drop)
    }

    /// Takes the next step in every durable group towards stores without that of the site `from` (if that is `to` as well,
    /// without its earlier one) and with that of the site `to`. Ask again, at any site, until it is done.
    pub async fn place_stores(&self, from: Option<&str>, to: Option<&str>) -> Result<Placed, Error> {
        let op = Op::PlaceStores { from: from.map(str::to_owned), to: to.map(str::to_owned) };
        let (mut result, _) = self.request(op, Bytes::new()).await?;
        Ok(Placed {
            done: field(&mut result, "done")?,
            total: field(&mut result, "total")?,
            there: field(&mut result, "there")?,
            groups: field(&mut result, "groups")?,
        })
    }

    /// Gives a key a value. Gives the revision, when enough disks have it.
    pub async fn put(&self, map: &str, key: &str, value: Bytes, options: WriteOptions) -> Result<u64, Error> {
        written(&self.request(put(map, key, options), value).await?).map(|(revision, _)| revision)
    }

    /// Takes a key away. Gives the revision, and whether there was one.
    pub async fn delete(&self, map: &str, key: &str, options: WriteOptions) -> Result<(u64, bool), Error> {
        written(&self.request(delete(map, key, options), Bytes::new()).await?)
    }

    /// The value of a key: as of now, or as it is at this site (`local`).
    pub async fn get(&self, map: &str, key: &str, local: bool) -> Result<Option<Pair>, Error> {
        let op = Op::Get { map: map.to_owned(), key: key.to_owned(), local };
        found(self.request(op, Bytes::new()).await?)
    }

    /// Keys that begin with a prefix, in order, behind one if it is given.
    pub async fn list(
        &self,
        map: &str,
        prefix: &str,
        after: Option<String>,
        limit: Option<usize>,
        local: bool,
    ) -> Result<Page, Error> {
        let op = Op::List { map: map.to_owned(), prefix: prefix.to_owned(), after, limit, local };
        page(self.request(op, Bytes::new()).await?)
    }

    /// What has changed behind a revision (none: from now on), of keys that begin with a prefix, as soon as there is
    /// something. Gives the revision to go on from, at this site or another.
    pub async fn changes(
        &self,
        map: &str,
        since: Option<u64>,
        prefix: &str,
    ) -> Result<(Vec<Change>, u64), Error> {
        let op = Op::Changes { map: map.to_owned(), since, prefix: prefix.to_owned() };
        changed(self.request(op, Bytes::new()).await?)
    }
}

/// The request that gives a key a value: the request's body.
pub fn put(map: &str, key: &str, options: WriteOptions) -> Op {
    let WriteOptions { ttl_ms, only_if, once } = options;
    Op::Put { map: map.to_owned(), key: key.to_owned(), ttl_ms, only_if, once }
}

/// The request that takes a key away.
pub fn delete(map: &str, key: &str, options: WriteOptions) -> Op {
    let WriteOptions { ttl_ms: _, only_if, once } = options;
    Op::Delete { map: map.to_owned(), key: key.to_owned(), only_if, once }
}

/// What a write says: the revision, and whether there was such a key.
pub fn written((result, _): &Answer) -> Result<(u64, bool), Error> {
    let revision = result.get("revision").and_then(Value::as_u64);
    let revision = revision.ok_or_else(|| protocol("an answer without its revision"))?;
    Ok((revision, result.get("previous").is_some_and(|previous| !previous.is_null())))
}

/// What a read of a key says.
pub fn found((result, value): Answer) -> Result<Option<Pair>, Error> {
    if result.get("found").and_then(Value::as_bool) != Some(true) {
        return Ok(None);
    }
    let header = serde_json::from_value(Value::Object(result)).map_err(protocol)?;
    Ok(Some(Pair { header, value }))
}

/// What a list says.
pub fn page((mut result, mut body): Answer) -> Result<Page, Error> {
    let headers: Vec<PairHeader> = head(&mut result, &mut body)?;
    let pairs = headers.into_iter().map(|header| {
        let value = cut(&mut body, header.len)?;
        Ok(Pair { header, value })
    });
    Ok(Page { pairs: pairs.collect::<Result<_, Error>>()?, after: field(&mut result, "after")? })
}

/// What has changed, and the revision to go on from.
pub fn changed((mut result, mut body): Answer) -> Result<(Vec<Change>, u64), Error> {
    let headers: Vec<ChangeHeader> = head(&mut result, &mut body)?;
    let changes = headers.into_iter().map(|header| {
        let value = cut(&mut body, header.len)?;
        Ok(Change { header, value })
    });
    Ok((changes.collect::<Result<_, Error>>()?, field(&mut result, "upto")?))
}

pub(crate) fn field<T: serde::de::DeserializeOwned>(
    result: &mut Map<String, Value>,
    name: &str,
) -> Result<T, Error> {
    serde_json::from_value(result.remove(name).unwrap_or(Value::Null)).map_err(protocol)
}

/// The headers in front of the values.
pub(crate) fn head<T: serde::de::DeserializeOwned>(
    result: &mut Map<String, Value>,
    body: &mut Bytes,
) -> Result<Vec<T>, Error> {
    let head = cut(body, field(result, "head_len")?)?;
    serde_json::from_slice(&head).map_err(protocol)
}

pub(crate) fn cut(body: &mut Bytes, len: usize) -> Result<Bytes, Error> {
    if len > body.len() {
        return Err(protocol("an answer with fewer bytes than it says"));
    }
    Ok(body.split_to(len))
}

fn protocol(error: impl ToString) -> Error {
    Error::Protocol(error.to_string())
}
