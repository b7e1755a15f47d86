//! Backups over a session.

use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde_json::{Map, Value};
use wire::session::Op;

use crate::session::{Error, Session};

/// A backup that was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Begun {
    /// How many durable groups it has.
    pub groups: u64,
    /// About how many bytes it will have.
    pub bytes: u64,
    /// When it was taken, by the site's clock, in milliseconds since 1970.
    pub taken_ms: u64,
}

/// What a backup has in a range of a map's keys, and what is to be done about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestorePart {
    /// The range begins behind this key; none: with the first.
    pub after: Option<Bytes>,
    /// It goes up to this key; none: to the last.
    pub upto: Option<Bytes>,
    /// The part, as the backup has it; empty: there are no pairs.
    pub part: Bytes,
    /// The time of the backup, in milliseconds since 1970.
    pub clock_ms: u64,
    /// What the map's pairs may count together from now on; none: as it is.
    pub quota: Option<u64>,
    /// Say how the map differs, and change nothing.
    pub compare: bool,
    /// Also where the map has something else: that is lost.
    pub overwrite: bool,
}

/// How a range of a map was, and what was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Restored {
    /// Pairs that were there already.
    pub same: u64,
    /// Compared only: keys that are absent.
    pub absent: u64,
    /// Compared only: keys that have other values.
    pub different: u64,
    /// Compared only: keys that the backup does not have.
    pub unwanted: u64,
    /// Pairs that were written.
    pub written: u64,
    /// Keys that were taken away.
    pub deleted: u64,
}

impl Session {
    /// Takes all durable groups as they are now; they are fetched with [`backup_next`](Session::backup_next). A backup that
    /// this session has begun before is given up.
    /// Mail cannot be in it yet: a cluster that has some refuses, unless it is to be left out.
    pub async fn backup(&self, without_mail: bool) -> Result<Begun, Error> {
        read(self.request(Op::Backup { without_mail }, Bytes::new()).await?.0)
    }

    /// The next piece of the backup's file; none: that was all. One at a time.
    pub async fn backup_next(&self) -> Result<Option<Bytes>, Error> {
        let (result, piece) = self.request(Op::BackupNext, Bytes::new()).await?;
        Ok((result.get("end").and_then(Value::as_bool) != Some(true)).then_some(piece))
    }

    /// Makes a range of a map what a backup has there, or compares them. May be repeated.
    pub async fn restore_part(&self, map: &str, part: RestorePart) -> Result<Restored, Error> {
        let RestorePart { after, upto, part, clock_ms, quota, compare, overwrite } = part;
        let (after, upto) = (after.unwrap_or_default(), upto.unwrap_or_default());
        let mut body = BytesMut::with_capacity(after.len() + upto.len() + part.len());
        [&after, &upto, &part].into_iter().for_each(|bytes| body.extend_from_slice(bytes));
        let (after_len, upto_len) = (after.len(), upto.len());
        let map = map.to_owned();
        let op = Op::RestorePart { map, after_len, upto_len, clock_ms, quota, compare, overwrite };
        read(self.request(op, body.freeze()).await?.0)
    }
}

fn read<T: serde::de::DeserializeOwned>(result: Map<String, Value>) -> Result<T, Error> {
    serde_json::from_value(Value::Object(result)).map_err(|error| Error::Protocol(error.to_string()))
}
