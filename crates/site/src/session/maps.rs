//! A session's requests for durable maps. Keys are text here; values are bytes, and travel as bodies.

use bytes::{BufMut, Bytes, BytesMut};
use durable::{ClientId, Mode, Name, Progress, Why};
use serde_json::{Map as Object, Value, json};
use tools::map::{self, Answer, Change, Changes, Delete, Listed, Pair, Put, What};
use wire::GroupName;
use wire::session::{ChangeHeader, Condition, ErrorCode, Failure, Once, Op, PairHeader, Principal};

use super::connection::object;
use super::translate::{bad, failure, group_name};
use crate::handle::Handle;
use crate::hosting::{GroupStatus, HostError, Write};

/// Keys that are listed if nothing is said.
const LIST_DEFAULT: usize = 1_000;

pub(crate) use crate::service::Answered;

pub(super) fn is_one(op: &Op) -> bool {
    matches!(
        op,
        Op::CreateMap { .. }
            | Op::Put { .. }
            | Op::Delete { .. }
            | Op::Get { .. }
            | Op::List { .. }
            | Op::Changes { .. }
    )
}

/// What a principal has to be.
pub(super) fn needs(op: &Op) -> Principal {
    match op {
        Op::CreateMap { .. } => Principal::Member,
        _ => Principal::Client,
    }
}

/// Runs one of them.
pub(crate) async fn run(handle: &Handle, op: Op, body: Bytes) -> Answered {
    match op {
        Op::CreateMap { map } => {
            handle.create_map(group_name(&map)?).await.map_err(refused)?;
            Ok((Object::new(), Bytes::new()))
        }
        Op::Put { map, key, ttl_ms, only_if, once } => {
            let only_if = only_if.map(condition);
            let put = Put { key: key.as_bytes(), value: &body, ttl_ms, only_if };
            write(handle, &map, map::Request::Put(put), once).await
        }
        Op::Delete { map, key, only_if, once } => {
            let delete = Delete { key: key.as_bytes(), only_if: only_if.map(condition) };
            write(handle, &map, map::Request::Delete(delete), once).await
        }
        Op::Get { map, key, local } => {
            let look = move |map: &map::Map| map.get(key.as_bytes(), map.clock()).cloned();
            match handle.read_map(group_name(&map)?, local, look).await.map_err(refused)? {
                Some(pair) => Ok((with_found(header(&pair)), pair.value_bytes())),
                None => Ok((object(json!({"found": false})), Bytes::new())),
            }
        }
        Op::List { map, prefix, after, limit, local } => {
            let look = move |map: &map::Map| {
                let after = after.as_deref().map(str::as_bytes);
                map.list(prefix.as_bytes(), after, limit.unwrap_or(LIST_DEFAULT), map.clock())
            };
            listed(&handle.read_map(group_name(&map)?, local, look).await.map_err(refused)?)
        }
        Op::Changes { map, since, prefix } => {
            let map = group_name(&map)?;
            let since = match since {
                Some(since) => since,
                None => handle.read_map(map.clone(), false, map::Map::revision).await.map_err(refused)?,
            };
            changes(handle, map, since, prefix).await
        }
        _ => Err(bad("no request of a map")),
    }
}

async fn write(handle: &Handle, map: &str, request: map::Request<'_>, once: Option<Once>) -> Answered {
    let name = match once {
        Some(Once { client, sequence, answered }) => {
            Some(Name { client: client_id(&client)?, sequence, answered })
        }
        None => None,
    };
    let write = Write { name, payload: request.encode() };
    let answer = handle.write_map(group_name(map)?, write).await.map_err(refused)?;
    let unreadable =
        || failure(ErrorCode::Interrupted, "the answer is of a later version; upgrade this site");
    match Answer::decode(&answer).map_err(|_| unreadable())? {
        Answer::Done { revision, previous } => {
            Ok((object(json!({"revision": revision, "previous": previous})), Bytes::new()))
        }
        Answer::Unmet { found, .. } => Err(failure(
            ErrorCode::Unmet,
            match found {
                Some(found) => {
                    format!("the condition does not hold: the key was changed at revision {}", found.modified)
                }
                None => "the condition does not hold: there is no such key".to_owned(),
            },
        )),
        Answer::Full { counted, quota } => Err(failure(
            ErrorCode::TooLarge,
            format!("the map is full: it counts {counted} bytes and may have {quota}; delete something"),
        )),
        Answer::Malformed(fault) => Err(bad(fault.to_string())),
        Answer::Batch { .. } => Err(unreadable()),
    }
}

/// Waits for changes.
async fn changes(handle: &Handle, map: GroupName, since: u64, prefix: String) -> Answered {
    let told = handle.map_changes(map, since, prefix.into_bytes().into()).await.map_err(refused)?;
    let Changes { changes, upto } =
        told.map_err(|compacted| failure(ErrorCode::Compacted, compacted.to_string()))?;
    let mut values = BytesMut::new();
    let mut headers = Vec::new();
    for Change { revision, what } in &changes {
        let (what, key, value): (_, &[u8], &[u8]) = match what {
            What::Put(pair) => ("put", pair.key(), pair.value()),
            What::Deleted(key) => ("deleted", key, &[]),
            What::Expired(key) => ("expired", key, &[]),
        };
        values.put_slice(value);
        headers.push(ChangeHeader {
            key: String::from_utf8_lossy(key).into_owned(),
            revision: *revision,
            what: what.to_owned(),
            len: value.len(),
        });
    }
    let (head_len, body) = with_head(&headers, &values);
    Ok((object(json!({"head_len": head_len, "upto": upto})), body))
}

fn listed(listed: &Listed) -> Answered {
    let mut values = BytesMut::new();
    listed.pairs.iter().for_each(|pair| values.put_slice(pair.value()));
    let headers: Vec<PairHeader> = listed.pairs.iter().map(header).collect();
    let after = listed.after.as_ref().map(|key| String::from_utf8_lossy(key).into_owned());
    let (head_len, body) = with_head(&headers, &values);
    Ok((object(json!({"head_len": head_len, "after": after})), body))
}

/// Headers and values as one body: a header line would not hold that many headers. Gives how long the headers are.
fn with_head(headers: &impl serde::Serialize, values: &[u8]) -> (usize, Bytes) {
    // Writing to memory does not fail.
    let mut body = serde_json::to_vec(headers).unwrap_or_default();
    let head_len = body.len();
    body.extend_from_slice(values);
    (head_len, body.into())
}

fn header(pair: &Pair) -> PairHeader {
    PairHeader {
        key: String::from_utf8_lossy(pair.key()).into_owned(),
        revision: pair.modified(),
        created: pair.created(),
        versions: pair.versions(),
        expires_ms: pair.expires(),
        len: pair.value().len(),
    }
}

fn with_found(header: PairHeader) -> Object<String, Value> {
    let mut result = object(serde_json::to_value(header).unwrap_or(Value::Null));
    result.insert("found".to_owned(), Value::Bool(true));
    result
}

/// How a durable group is at this site, as `status --json` shows it.
pub(super) fn status(group: &GroupStatus) -> Value {
    let mut told = json!({"group": group.group.to_string(), "digest": format!("{:016x}", group.digest)});
    if let Some(trouble) = &group.refused {
        told["state"] = "refused".into();
        told["trouble"] = trouble.kind.name().into();
        told["tried_again"] = trouble.kind.may_pass().into();
        told["why"] = trouble.why.clone().into();
    }
    if group.missing > 0 {
        told["payloads_missing"] = group.missing.into();
    }
    let compared = group.compared.iter();
    told["compared"] = compared
        .map(|(site, found)| json!({"site": site.0, "position": found.position, "same": found.same}))
        .collect();
    let Some(machine) = &group.machine else { return told };
    let (state, why) = match machine.mode {
        Mode::Active => ("active", None),
        Mode::ReadOnly(why) => ("read-only", Some(why)),
    };
    told["state"] = state.into();
    if let Some(Why::Stores { here, needed }) = why {
        told["stores_here"] = here.into();
        told["stores_needed"] = needed.into();
    }
    told["applied"] = machine.applied.into();
    told["committed"] = machine.committed.into();
    told["writes"] = machine.configuration.writes().into();
    let stores = machine.configuration.stores.iter();
    told["stores"] =
        stores.map(|(store, site)| json!({"store": store.to_string(), "site": site.0})).collect();
    let absent = machine.absent.iter().map(|absent| {
        json!({"site": absent.site.0, "here": absent.here, "since_ms": absent.since, "behind": absent.behind})
    });
    told["absent"] = absent.collect();
    told["full"] = machine.full.iter().map(|site| site.0).collect();
    told["writable"] = (machine.mode == Mode::Active && machine.has_room).into();
    told["damaged"] = machine.damaged.clone().into();
    told["catching_up"] = match machine.progress {
        None => Value::Null,
        Some(Progress::Tail { at, of }) => json!({"at": at, "of": of}),
        Some(Progress::Checkpoint { received, donor, .. }) => {
            json!({"received_bytes": received, "from": donor.0})
        }
    };
    told
}

fn condition(condition: Condition) -> map::Condition<'static> {
    match condition {
        Condition::Absent => map::Condition::Absent,
        Condition::Present => map::Condition::Present,
        Condition::Revision(revision) => map::Condition::Revision(revision),
    }
}

fn client_id(text: &str) -> Result<ClientId, Failure> {
    let parsed = (text.len() == 32).then(|| u128::from_str_radix(text, 16).ok()).flatten();
    let number = parsed.ok_or_else(|| bad("once.client: 32 hexadecimal digits"))?;
    Ok(ClientId(number.to_be_bytes()))
}

pub(super) fn refused(error: HostError) -> Failure {
    failure(error.code(), error.to_string())
}
