//! Casts one message after another, each with a text of its own, and notes what became of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use unanimous::Bytes;
use unanimous::session::protocol::ErrorCode;
use unanimous::session::{Error, Session};

use super::member::Member;
use super::verdict::{PATIENCE, Verdict, failed};

/// What was cast.
#[derive(Clone, Debug, Default)]
pub struct Cast {
    /// Taken by the site: delivered, unless its member was thrown out of the group first.
    pub taken: BTreeSet<String>,
    /// Nobody could say.
    pub unknown: BTreeSet<String>,
    /// Refused: never delivered.
    pub refused: BTreeSet<String>,
}

impl Cast {
    /// Several casters' in one.
    pub fn add(&mut self, other: Cast) {
        self.taken.extend(other.taken);
        self.unknown.extend(other.unknown);
        self.refused.extend(other.refused);
    }
}

/// How it casts.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// Between two casts.
    pub pause: Duration,
    /// Of a message; at least its text.
    pub bytes: usize,
}

impl Default for Manner {
    fn default() -> Manner {
        Manner { pause: Duration::from_millis(2), bytes: 0 }
    }
}

pub struct Caster {
    stop: Arc<AtomicBool>,
    /// Casts that the site has taken.
    pub taken: Arc<AtomicU64>,
    task: JoinHandle<Cast>,
}

impl Caster {
    /// Casts as this member, until it is stopped or its session ends.
    pub fn start(member: &Member, manner: Manner) -> Caster {
        let (stop, taken) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let casting = cast(
            member.session.clone(),
            member.group.clone(),
            member.log.name.clone(),
            manner,
            (Arc::clone(&stop), Arc::clone(&taken)),
        );
        Caster { stop, taken, task: tokio::spawn(casting) }
    }

    /// Stops after the cast under way.
    pub async fn stop(self) -> Verdict<Cast> {
        self.stop.store(true, Ordering::Relaxed);
        match tokio::time::timeout(PATIENCE, self.task).await {
            Ok(cast) => Ok(cast?),
            Err(_) => failed("a cast is neither taken nor refused"),
        }
    }
}

async fn cast(
    session: Session,
    group: String,
    name: String,
    manner: Manner,
    (stop, count): (Arc<AtomicBool>, Arc<AtomicU64>),
) -> Cast {
    let mut all = Cast::default();
    for n in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let text = format!("{name}:{n}");
        let mut payload = text.clone().into_bytes();
        if payload.len() < manner.bytes {
            payload.push(b' ');
            payload.resize(manner.bytes, b'.');
        }
        match session.cast(&group, "abcast", Bytes::from(payload)).await {
            Ok(()) => {
                all.taken.insert(text);
                count.fetch_add(1, Ordering::Relaxed);
            }
            Err(Error::Refused(failure)) if failure.error == ErrorCode::Interrupted => {
                all.unknown.insert(text);
            }
            Err(Error::Refused(_)) => {
                all.refused.insert(text);
                // It will be refused for a while.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(_) => {
                all.unknown.insert(text);
                break;
            }
        }
        tokio::time::sleep(manner.pause).await;
    }
    all
}
