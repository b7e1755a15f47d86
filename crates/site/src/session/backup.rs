//! A session's requests for backups: one is taken, then fetched piece by piece, each made when it is asked for.
//!
//! What the site keeps for a backup is the states as they were, which share with the present ones whatever did not change,
//! and one piece: so, at worst, each map a second time, if all of it is written anew meanwhile.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde_json::{Map as Object, Value, json};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tools::backup::{Group, GroupHead, Head, Stream};
use wire::session::{ErrorCode, Failure, Op, Principal};

use super::connection::{Shared, object};
use super::maps::{Answered, refused};
use super::restore;
use super::translate::{bad, failure};

/// Backups that are fetched at once from one site.
pub(crate) const BACKUPS_MAX: usize = 2;
/// Bytes of a piece; one part of a state may be longer.
const PIECE_BYTES: usize = 1 << 20;
/// A backup of which nobody asks for the next piece for so long is given up, and what it holds is let go.
const IDLE: Duration = Duration::from_secs(300);

/// The backup that a session has begun. A second one takes the place of the first.
pub(super) type Slot = Arc<Mutex<Fetched>>;

#[derive(Default)]
pub(super) enum Fetched {
    #[default]
    None,
    /// To go on with, and since when.
    Open(Box<Open>, Instant),
    /// A piece of it is being made.
    Busy,
    /// Nobody asked for more of it.
    GivenUp,
}

pub(super) struct Open {
    stream: Stream,
    /// Its place among the site's.
    _place: OwnedSemaphorePermit,
}

pub(super) fn is_one(op: &Op) -> bool {
    matches!(op, Op::Backup { .. } | Op::BackupNext | Op::RestorePart { .. })
}

/// Runs one of them.
pub(super) async fn run(shared: &Shared, op: Op, body: Bytes) -> Answered {
    shared.may(Principal::Administer)?;
    match op {
        Op::Backup { without_mail } => begin(shared, without_mail).await,
        Op::BackupNext => next(shared).await,
        Op::RestorePart { map, after_len, upto_len, clock_ms, quota, compare, overwrite } => {
            let range = restore::Range::parse(body, after_len, upto_len, clock_ms)?;
            let how = restore::How { quota, compare, overwrite };
            restore::run(&shared.site.handle, &map, range, how).await
        }
        _ => Err(bad("no request of a backup")),
    }
}

async fn begin(shared: &Shared, without_mail: bool) -> Answered {
    let Ok(place) = Arc::clone(&shared.site.backups).try_acquire_owned() else {
        let why = format!(
            "{BACKUPS_MAX} backups are being fetched from this site; wait for one, or ask another site"
        );
        return Err(failure(ErrorCode::Busy, why));
    };
    let (cut, left_out) = shared.site.handle.cut(without_mail).await.map_err(refused)?;
    let taken_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let bytes: u64 = cut.iter().map(|snapshot| snapshot.bytes).sum();
    let head = Head {
        id: net::random().to_be_bytes(),
        cluster: shared.site.cluster.clone(),
        site: shared.site.name.clone(),
        taken_ms,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        groups: cut.len() as u64,
        without_mail: left_out,
    };
    let told = object(json!({ "groups": cut.len(), "bytes": bytes, "taken_ms": taken_ms }));
    let groups = cut.into_iter().map(|snapshot| Group {
        head: GroupHead { name: snapshot.group, kind: snapshot.kind },
        parts: snapshot.parts,
    });
    let stream = Stream::new(head, groups.collect());
    tracing::info!(groups = told["groups"].as_u64(), bytes, process = %shared.process, "a backup is taken");
    set(&shared.backup, Fetched::Open(Box::new(Open { stream, _place: place }), Instant::now()));
    tokio::spawn(give_up(Arc::downgrade(&shared.backup)));
    Ok((told, Bytes::new()))
}

async fn next(shared: &Shared) -> Answered {
    let mut open = match set(&shared.backup, Fetched::Busy) {
        Fetched::Open(open, _) => open,
        other => {
            let why = match other {
                Fetched::GivenUp => {
                    "this backup was given up: nobody asked for more of it for five minutes; begin anew"
                }
                Fetched::Busy => "ask for one piece of a backup at a time",
                _ => "no backup has been begun, or this one has been fetched",
            };
            set(&shared.backup, other);
            return Err(bad(why));
        }
    };
    // Checksums and digests of a whole piece: not on the threads that carry the site.
    let made = tokio::task::spawn_blocking(move || {
        let piece = open.stream.next_piece(PIECE_BYTES);
        (piece, open)
    });
    let (piece, open) =
        made.await.map_err(|_| failure(ErrorCode::Stopping, "the site is going down; connect to another"))?;
    match piece {
        Some(piece) => {
            set(&shared.backup, Fetched::Open(open, Instant::now()));
            Ok((told_end(false), piece))
        }
        None => {
            set(&shared.backup, Fetched::None);
            Ok((told_end(true), Bytes::new()))
        }
    }
}

fn told_end(end: bool) -> Object<String, Value> {
    object(json!({ "end": end }))
}

fn set(slot: &Mutex<Fetched>, now: Fetched) -> Fetched {
    // Nothing panics while it is held.
    std::mem::replace(&mut slot.lock().unwrap_or_else(PoisonError::into_inner), now)
}

/// Lets go of a backup that nobody asks for. Ends with it, or with its session.
async fn give_up(slot: std::sync::Weak<Mutex<Fetched>>) {
    loop {
        tokio::time::sleep(IDLE / 4).await;
        let Some(slot) = slot.upgrade() else { return };
        let mut fetched = slot.lock().unwrap_or_else(PoisonError::into_inner);
        match &*fetched {
            Fetched::Open(_, since) if since.elapsed() >= IDLE => {
                *fetched = Fetched::GivenUp;
                return;
            }
            Fetched::Open(..) | Fetched::Busy => {}
            Fetched::None | Fetched::GivenUp => return,
        }
    }
}

/// What a failed request of a restore says.
pub(super) fn differs(message: String) -> Failure {
    failure(ErrorCode::Exists, message)
}
