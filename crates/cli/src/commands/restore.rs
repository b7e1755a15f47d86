//! `restore`: what is in a backup, written into a running cluster through the groups' own logs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;
use unanimous::session::protocol::ErrorCode;
use unanimous::session::{Error, RestorePart, Restored, Session};

use super::backup::source::{Range, Source};
use super::backup::{Seen, progress};
use crate::args::{Find, Restore};
use crate::failure::Failure;
use crate::locate;
use crate::output::{say, say_json};

/// Ranges under way at once.
const WINDOW: usize = 8;
/// How long a range is tried again while the cluster can't be written, and how often.
const PATIENCE: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_millis(200);

/// `unanimous restore`.
pub async fn run(find: &Find, args: &Restore, json: bool) -> Result<(), Failure> {
    let mut source = Source::open(&args.file)?;
    // Nothing is changed before the whole file is known to be good.
    let seen = source.verify(json)?;
    let (session, _events) = locate::session(find, "restore").await?;
    let Some(head) = &seen.head else { return Ok(()) };
    if head.cluster == session.cluster() && !args.same_cluster {
        return Err(Failure::refused(format!(
            "the backup is of this very cluster, {}; --same-cluster restores into it all the same",
            head.cluster
        )));
    }
    if !args.overwrite {
        refuse_others(&session, &mut source, &seen).await?;
    }
    let done = write(&session, &mut source, &seen, args.overwrite, json).await?;
    for (group, Restored { written, same, deleted, .. }) in &done {
        if !json {
            say(&format!(
                "{group}: {written} pairs written, {same} were there, {deleted} others taken away"
            ))?;
        }
    }
    if json {
        let groups = done.iter().map(|(group, Restored { written, same, deleted, .. })| {
            json!({ "group": group, "written": written, "same": same, "deleted": deleted })
        });
        let cluster = session.cluster();
        say_json(&json!({ "from": head.cluster, "cluster": cluster, "groups": groups.collect::<Vec<_>>() }))?;
    }
    Ok(())
}

/// Looks whether groups that are there have anything that the backup does not have. Changes nothing.
async fn refuse_others(session: &Session, source: &mut Source, seen: &Seen) -> Result<(), Failure> {
    let mut there = BTreeSet::new();
    for group in seen.groups.iter().map(|contents| contents.group.to_string()) {
        // All of the map against nothing.
        let all = RestorePart { compare: true, ..RestorePart::default() };
        match patiently(session, &group, all).await {
            Ok(found) if found.unwanted > 0 => drop(there.insert(group)),
            Ok(_) => {}
            Err(Error::Refused(failure)) if failure.error == ErrorCode::NoSuchGroup => {}
            Err(error) => return Err(error.into()),
        }
    }
    if there.is_empty() {
        return Ok(());
    }
    let mut others: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    while let Some(range) = source.range()? {
        if there.contains(&range.group) {
            let group = range.group.clone();
            let found = patiently(session, &group, part(range, true, false)).await?;
            let (different, unwanted) = others.entry(group).or_default();
            *different += found.different;
            *unwanted += found.unwanted;
        }
    }
    source.rewind()?;
    others.retain(|_, (different, unwanted)| *different + *unwanted > 0);
    match others.pop_first() {
        None => Ok(()),
        Some((group, (different, unwanted))) => Err(Failure::refused(format!(
            "{group} is in this cluster already, with {different} keys that have other values than in the backup and at \
             least {unwanted} that it does not have; nothing was changed. Restore into another cluster, or make it what \
             it is in the backup with --overwrite"
        ))),
    }
}

async fn write(
    session: &Session,
    source: &mut Source,
    seen: &Seen,
    overwrite: bool,
    json: bool,
) -> Result<BTreeMap<String, Restored>, Failure> {
    for contents in &seen.groups {
        create(session, &contents.group.to_string()).await.map_err(interrupted)?;
    }
    let progress = progress(json, "restoring", source.bytes());
    let mut done: BTreeMap<String, Restored> = BTreeMap::new();
    let mut under_way = JoinSet::new();
    loop {
        let range = source.range()?;
        if range.is_none() || under_way.len() == WINDOW {
            let Some(finished) = under_way.join_next().await else { break };
            let (group, bytes, told): (String, u64, Result<Restored, Error>) =
                finished.map_err(|error| Failure::refused(error.to_string()))?;
            let told = told.map_err(interrupted)?;
            progress.inc(bytes);
            let sum = done.entry(group).or_default();
            sum.same += told.same;
            sum.written += told.written;
            sum.deleted += told.deleted;
        }
        if let Some(range) = range {
            let session = session.clone();
            under_way.spawn(async move {
                let (group, bytes) = (range.group.clone(), range.part.len() as u64);
                let told = patiently(&session, &group, part(range, false, overwrite)).await;
                (group, bytes, told)
            });
        }
    }
    progress.finish_and_clear();
    Ok(done)
}

async fn create(session: &Session, group: &str) -> Result<(), Error> {
    let end = Instant::now() + PATIENCE;
    loop {
        match session.create_map(group).await {
            Err(Error::Refused(failure)) if failure.error == ErrorCode::Exists => return Ok(()),
            Err(Error::Refused(failure)) if passes(failure.error) && Instant::now() < end => {
                tokio::time::sleep(AGAIN).await;
            }
            created => return created,
        }
    }
}

/// Asks until the cluster can do it. A range may be restored as often as one likes.
async fn patiently(session: &Session, group: &str, part: RestorePart) -> Result<Restored, Error> {
    let end = Instant::now() + PATIENCE;
    loop {
        match session.restore_part(group, part.clone()).await {
            Err(Error::Refused(failure)) if passes(failure.error) && Instant::now() < end => {
                tokio::time::sleep(AGAIN).await;
            }
            told => return told,
        }
    }
}

/// Whether it may go better in a moment.
fn passes(error: ErrorCode) -> bool {
    matches!(error, ErrorCode::Busy | ErrorCode::Interrupted | ErrorCode::NotPrimary)
}

fn part(range: Range, compare: bool, overwrite: bool) -> RestorePart {
    let Range { quota, clock_ms, after, upto, part, .. } = range;
    RestorePart { after, upto, part, clock_ms, quota, compare, overwrite }
}

fn interrupted(error: Error) -> Failure {
    let Failure { status, message } = error.into();
    let message = format!("{message}. A part may have been restored; say the same again to go on");
    Failure { status, message }
}
