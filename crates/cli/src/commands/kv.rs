//! `kv`: durable maps from the command line.

use std::io::{Read, Write};

use serde_json::json;
use unanimous::Bytes;
use unanimous::session::protocol::{Condition, ErrorCode};
use unanimous::session::{Change, Error, Pair, Session, WriteOptions};

use crate::args::{Find, Kv, OnlyIf};
use crate::failure::Failure;
use crate::locate;
use crate::output::{say, say_json};

/// Keys that are asked for at a time.
const PAGE: usize = 1_000;

/// `unanimous kv …`.
pub async fn run(find: &Find, args: &Kv, json: bool) -> Result<(), Failure> {
    let (session, _events) = locate::session(find, "kv").await?;
    match args {
        Kv::Create { map } => {
            session.create_map(map).await?;
            done(json, || json!({"map": map, "created": true}), || format!("{map} is there"))
        }
        Kv::Put { map, key, value, ttl, only } => {
            let value = match value.as_str() {
                "-" => from_stdin()?,
                text => Bytes::from(text.to_owned()),
            };
            let ttl_ms = ttl.map(|seconds| seconds.saturating_mul(1_000));
            let options = WriteOptions { ttl_ms, only_if: condition(only), once: None };
            let revision = put(&session, map, key, value, options).await?;
            done(
                json,
                || json!({"map": map, "key": key, "revision": revision}),
                || format!("{key} put at revision {revision}"),
            )
        }
        Kv::Get { map, key, local } => match session.get(map, key, *local).await? {
            Some(pair) if json => say_json(&shown(&pair)),
            Some(pair) => print(&pair.value),
            None => Err(Failure::refused(format!("{map} has no key {key}"))),
        },
        Kv::Del { map, key, only } => {
            let options = WriteOptions { only_if: condition(only), ..WriteOptions::default() };
            let (revision, was_there) = session.delete(map, key, options).await?;
            let text = if was_there { "deleted" } else { "was not there" };
            done(
                json,
                || json!({"map": map, "key": key, "revision": revision, "deleted": was_there}),
                || format!("{key} {text}"),
            )
        }
        Kv::List { map, prefix, limit, local } => list(&session, (map, prefix), *limit, *local, json).await,
        Kv::Watch { map, prefix, since } => {
            let mut since = *since;
            loop {
                let (changes, upto) = session.changes(map, since, prefix).await?;
                changes.iter().try_for_each(|change| tell(change, json))?;
                since = Some(upto);
            }
        }
    }
}

/// Puts, in a map that is made if it is not there.
async fn put(
    session: &Session,
    map: &str,
    key: &str,
    value: Bytes,
    options: WriteOptions,
) -> Result<u64, Error> {
    match session.put(map, key, value.clone(), options.clone()).await {
        Err(Error::Refused(failure)) if failure.error == ErrorCode::NoSuchGroup => {}
        put => return put,
    }
    match session.create_map(map).await {
        // Somebody else was faster.
        Err(Error::Refused(failure)) if failure.error == ErrorCode::Exists => {}
        created => created?,
    }
    session.put(map, key, value, options).await
}

async fn list(
    session: &Session,
    (map, prefix): (&str, &str),
    limit: Option<usize>,
    local: bool,
    json: bool,
) -> Result<(), Failure> {
    let mut left = limit.unwrap_or(usize::MAX);
    let mut after = None;
    while left > 0 {
        let page = session.list(map, prefix, after, Some(left.min(PAGE)), local).await?;
        for pair in &page.pairs {
            match json {
                true => say_json(&shown(pair))?,
                false => say(&format!("{}\t{}", pair.header.key, String::from_utf8_lossy(&pair.value)))?,
            }
        }
        left -= page.pairs.len().min(left);
        after = page.after;
        if after.is_none() {
            break;
        }
    }
    Ok(())
}

fn tell(change: &Change, json: bool) -> Result<(), Failure> {
    let (header, value) = (&change.header, String::from_utf8_lossy(&change.value));
    if json {
        let put = header.what == "put";
        return say_json(&json!({
            "event": header.what, "key": header.key, "revision": header.revision, "value": put.then_some(value),
        }));
    }
    match header.what.as_str() {
        "put" => say(&format!("{} put {}\t{value}", header.revision, header.key)),
        what => say(&format!("{} {what} {}", header.revision, header.key)),
    }
}

fn shown(pair: &Pair) -> serde_json::Value {
    let mut object = serde_json::to_value(&pair.header).unwrap_or_default();
    object["value"] = String::from_utf8_lossy(&pair.value).into();
    object
}

fn done(
    json: bool,
    object: impl FnOnce() -> serde_json::Value,
    line: impl FnOnce() -> String,
) -> Result<(), Failure> {
    if json { say_json(&object()) } else { say(&line()) }
}

/// A value as it is, with a line's end if it has none.
fn print(value: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(value)?;
    if !value.ends_with(b"\n") {
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}

fn from_stdin() -> Result<Bytes, Failure> {
    let mut value = Vec::new();
    std::io::stdin().lock().read_to_end(&mut value)?;
    Ok(value.into())
}

fn condition(only: &OnlyIf) -> Option<Condition> {
    match only {
        OnlyIf { if_absent: true, .. } => Some(Condition::Absent),
        OnlyIf { if_present: true, .. } => Some(Condition::Present),
        OnlyIf { if_revision, .. } => if_revision.map(Condition::Revision),
    }
}
