//! A session's requests to make a range of a map what a backup has there. Each may be repeated: what is there already is
//! left as it is. What is missing is written through the group's log, like any write.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;
use tokio::task::JoinSet;
use tools::map::limits::{BATCH_MAX, KEY_BYTES_MAX, TTL_MS_MAX, VALUE_BYTES_MAX};
use tools::map::{self, Answer, Batch, Condition, Delete, Difference, Operation, Pair, Put, Reader};
use wire::GroupName;
use wire::session::{ErrorCode, Failure};

use super::backup::differs;
use super::connection::object;
use super::maps::{Answered, refused};
use super::translate::{bad, failure, group_name};
use crate::handle::Handle;
use crate::hosting::Write;

/// Bytes of one batch's keys and values; one pair may be longer.
const BATCH_BYTES: usize = 1 << 20;

/// How often a range is compared again because it was written meanwhile: by an earlier attempt whose fate was not known, or
/// by somebody else.
const ROUNDS_MAX: usize = 8;

/// What a backup has in a range of keys.
pub(super) struct Range {
    after: Option<Bytes>,
    upto: Option<Bytes>,
    /// Those whose time was not over.
    wanted: Vec<Pair>,
    clock_ms: u64,
}

/// What is to be done about it.
pub(super) struct How {
    pub(super) quota: Option<u64>,
    pub(super) compare: bool,
    pub(super) overwrite: bool,
}

impl Range {
    /// Reads a request's body.
    pub(super) fn parse(
        mut body: Bytes,
        after_len: usize,
        upto_len: usize,
        clock_ms: u64,
    ) -> Result<Range, Failure> {
        if after_len > KEY_BYTES_MAX || upto_len > KEY_BYTES_MAX || after_len + upto_len > body.len() {
            return Err(bad("after_len, upto_len: the body begins with keys of these lengths"));
        }
        let mut key = |len: usize| (len > 0).then(|| body.split_to(len));
        let (after, upto) = (key(after_len), key(upto_len));
        let mut wanted = match body.is_empty() {
            true => Vec::new(),
            false => {
                Reader::pairs_of(&body).map_err(|_| bad("body: this is no part of a backup of a map"))?
            }
        };
        let first = wanted.first().map(Pair::key);
        let last = wanted.last().map(Pair::key);
        if first.zip(after.as_deref()).is_some_and(|(first, after)| first <= after)
            || last.zip(upto.as_deref()).is_some_and(|(last, upto)| last > upto)
        {
            return Err(bad("body: a pair is not in the range"));
        }
        wanted.retain(|pair| !pair.is_due(clock_ms));
        Ok(Range { after, upto, wanted, clock_ms })
    }

    fn difference(&self, map: &map::Map) -> Difference {
        map.difference(self.after.as_deref(), self.upto.as_deref(), &self.wanted)
    }

    /// The writes that take the difference away.
    fn operations<'a>(&'a self, difference: &'a Difference) -> impl Iterator<Item = Operation<'a>> {
        let put = |place: &usize, only_if| {
            let pair = &self.wanted[*place];
            // What is left is above 0, or the pair would not be wanted.
            let ttl_ms = pair.expires().map(|end| (end - self.clock_ms).min(TTL_MS_MAX));
            Operation::Put(Put { key: pair.key(), value: pair.value(), ttl_ms, only_if })
        };
        // A key that came meanwhile is somebody else's write: it is not overwritten unasked.
        let absent = difference.absent.iter().map(move |place| put(place, Some(Condition::Absent)));
        let different = difference.different.iter().map(move |place| put(place, None));
        let unwanted = difference.unwanted.iter();
        let unwanted = unwanted.map(|key| Operation::Delete(Delete { key, only_if: None }));
        absent.chain(different).chain(unwanted)
    }

    /// The same as requests, each within the bounds of one.
    fn batches(&self, difference: &Difference) -> Vec<Bytes> {
        let (mut batches, mut operations, mut bytes) = (Vec::new(), Vec::new(), 0);
        for operation in self.operations(difference) {
            let more = match &operation {
                Operation::Put(put) => put.key.len() + put.value.len(),
                Operation::Delete(delete) => delete.key.len(),
            };
            if operations.len() == BATCH_MAX || (bytes + more > BATCH_BYTES && !operations.is_empty()) {
                let operations = std::mem::take(&mut operations);
                batches.push(map::Request::Batch(Batch { operations }).encode());
                bytes = 0;
            }
            bytes += more;
            operations.push(operation);
        }
        if !operations.is_empty() {
            batches.push(map::Request::Batch(Batch { operations }).encode());
        }
        batches
    }
}

/// Compares, and makes it so if that is asked for.
pub(super) async fn run(handle: &Handle, map: &str, range: Range, how: How) -> Answered {
    let map = group_name(map)?;
    let range = Arc::new(range);
    let (mut written, mut deleted) = (0, 0);
    let mut rounds = 0..ROUNDS_MAX;
    loop {
        let looked_at = Arc::clone(&range);
        let look = move |map: &map::Map| (looked_at.difference(map), map.quota().1);
        let (found, quota) = handle.read_map(map.clone(), false, look).await.map_err(refused)?;
        let (absent, different, unwanted) = (found.absent.len(), found.different.len(), found.unwanted.len());
        if how.compare {
            let told = json!({
                "same": found.same, "absent": absent, "different": different, "unwanted": unwanted,
            });
            return Ok((object(told), Bytes::new()));
        }
        if !how.overwrite && different + unwanted > 0 {
            return Err(differs(format!(
                "{map} has other pairs than the backup: {different} keys of this part with other values, {unwanted} that \
                 the backup does not have"
            )));
        }
        if let Some(wanted) = how.quota.filter(|wanted| *wanted != quota) {
            let request = map::Request::Quota(map::Quota { bytes: wanted }).encode();
            write(handle.clone(), map.clone(), request).await?;
        }
        let batches = range.batches(&found);
        if batches.is_empty() {
            let told = json!({ "same": found.same, "written": written, "deleted": deleted });
            return Ok((object(told), Bytes::new()));
        }
        let mut writes = JoinSet::new();
        for request in batches {
            writes.spawn(write(handle.clone(), map.clone(), request));
        }
        let mut failed = None;
        while let Some(done) = writes.join_next().await {
            let stopped = || failure(ErrorCode::Stopping, "the site is going down; connect to another");
            failed = failed.or(done.unwrap_or_else(|_| Err(stopped())).err());
        }
        match failed {
            Some(Failure { error: ErrorCode::Unmet, .. }) if rounds.next().is_some() => continue,
            Some(failure) => return Err(failure),
            None => {}
        }
        written += absent + different;
        deleted += unwanted;
        if !found.more {
            let told = json!({ "same": found.same, "written": written, "deleted": deleted });
            return Ok((object(told), Bytes::new()));
        }
    }
}

async fn write(handle: Handle, map: GroupName, payload: Bytes) -> Result<(), Failure> {
    // Nobody repeats this very write: if its fate is not known, the range is compared again.
    let write = Write { name: None, payload };
    let answer = handle.write_map(map.clone(), write).await.map_err(refused)?;
    match Answer::decode(&answer) {
        Ok(Answer::Done { .. } | Answer::Batch { .. }) => Ok(()),
        Ok(Answer::Unmet { .. }) => Err(failure(
            ErrorCode::Unmet,
            format!("somebody else writes to {map} while it is restored; stop that, and restore again"),
        )),
        Ok(Answer::Full { counted, quota }) => Err(failure(
            ErrorCode::TooLarge,
            format!("{map} is full: it counts {counted} bytes and may have {quota}"),
        )),
        Ok(Answer::Malformed(fault)) => Err(bad(fault.to_string())),
        Err(_) => Err(failure(ErrorCode::Interrupted, "the answer is of a later version; upgrade this site")),
    }
}

const _: () = assert!(BATCH_BYTES + KEY_BYTES_MAX + VALUE_BYTES_MAX < map::limits::REQUEST_BYTES_MAX);

#[cfg(test)]
mod tests {
    use durable::ClientId;
    use durable::{Application, Applying};
    use tools::map::{Map, Request};

    use super::*;

    /// A map with so many pairs of so many bytes, each with an end at 1,000 ms times its number.
    fn filled(pairs: u64, bytes: usize) -> Map {
        let mut map = Map::default();
        for n in 1..=pairs {
            let (key, value) = (n.to_be_bytes(), vec![n as u8; bytes]);
            let put = Put { key: &key, value: &value, ttl_ms: Some(n * 1_000), only_if: None };
            let payload = Request::Put(put).encode();
            map.apply(Applying { position: n, clock: 0, client: ClientId([0; 16]), payload });
        }
        map
    }

    fn part(map: &Map) -> Bytes {
        map.snapshot().find(|(at, _)| at.domain == 2).expect("a part with pairs").1
    }

    #[test]
    fn a_range_is_written_in_batches_that_are_within_their_bounds() {
        for (pairs, bytes) in [(1, 0), (63, 10), (64, 10), (65, 10), (500, 10), (1, VALUE_BYTES_MAX)] {
            let range = Range::parse(part(&filled(pairs, bytes)), 0, 0, 0).expect("a part");
            let (mut restored, mut position) = (Map::default(), 0);
            for payload in range.batches(&range.difference(&Map::default())) {
                position += 1;
                assert!(Request::decode(&payload).is_ok(), "{pairs} of {bytes}");
                restored.apply(Applying { position, clock: 0, client: ClientId([0; 16]), payload });
            }
            assert_eq!(restored.len() as u64, pairs);
            assert_eq!(range.difference(&restored).same as u64, pairs);
            assert_eq!(position, pairs.div_ceil(BATCH_MAX as u64));
        }
    }

    #[test]
    fn a_pair_gets_the_time_that_it_had_left() {
        let range = Range::parse(part(&filled(3, 1)), 0, 0, 1_500).expect("a part");
        assert_eq!(range.wanted.len(), 2, "the first one's time was over");
        let difference = range.difference(&Map::default());
        let left: Vec<Option<u64>> = range
            .operations(&difference)
            .map(|operation| match operation {
                Operation::Put(put) => put.ttl_ms,
                Operation::Delete(_) => None,
            })
            .collect();
        assert_eq!(left, [Some(500), Some(1_500)]);
    }

    #[test]
    fn a_body_that_is_no_part_of_the_range_is_refused() {
        let part = part(&filled(3, 1));
        let key = |n: u64| n.to_be_bytes().to_vec();
        let body = |after: &[u8], upto: &[u8]| Bytes::from([after, upto, &part].concat());
        let parse = |after: &[u8], upto: &[u8]| {
            Range::parse(body(after, upto), after.len(), upto.len(), 0).map(|range| range.wanted.len())
        };
        assert_eq!(parse(&[], &[]), Ok(3));
        assert_eq!(parse(&key(0), &key(3)), Ok(3));
        assert!(parse(&key(1), &key(3)).is_err());
        assert!(parse(&key(0), &key(2)).is_err());
        assert!(Range::parse(Bytes::from_static(b"what"), 0, 0, 0).is_err());
        assert!(Range::parse(Bytes::from_static(b"what"), 5, 0, 0).is_err());
        assert!(Range::parse(Bytes::from_static(b"what"), usize::MAX, 2, 0).is_err());
        assert!(Range::parse(Bytes::new(), 0, 0, 0).is_ok_and(|range| range.wanted.is_empty()));
    }
}
