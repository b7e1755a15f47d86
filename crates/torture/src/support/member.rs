//! A member of a group over a site's session socket; all that it is told is kept, in order, for the oracle.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use unanimous::session::protocol::{ErrorCode, View};
use unanimous::session::{Address, Error, Event, Events, JoinOptions, Session, connect};

use super::verdict::{PATIENCE, Verdict, failed};

/// What a member was told.
#[derive(Clone, Debug)]
pub enum Entry {
    View(View),
    /// `text` is the payload up to its first blank.
    Message {
        view: String,
        text: String,
    },
    /// It is no longer in the group, or its session is over; with the reason.
    Over(String),
}

/// All that a member was told, and when.
#[derive(Debug)]
pub struct Log {
    /// For the oracle's complaints.
    pub name: String,
    entries: Mutex<Vec<(Instant, Entry)>>,
    count: watch::Sender<usize>,
}

impl Log {
    pub fn new(name: &str) -> Arc<Log> {
        Arc::new(Log { name: name.to_owned(), entries: Mutex::default(), count: watch::channel(0).0 })
    }

    pub fn entries(&self) -> MutexGuard<'_, Vec<(Instant, Entry)>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn push(&self, entry: Entry) {
        let count = {
            let mut entries = self.entries();
            entries.push((Instant::now(), entry));
            entries.len()
        };
        self.count.send_replace(count);
    }

    /// Waits until what was told so far answers the question.
    pub async fn until<T>(
        &self,
        what: &str,
        mut look: impl FnMut(&[(Instant, Entry)]) -> Option<T>,
    ) -> Verdict<T> {
        let mut count = self.count.subscribe();
        let looking = async {
            loop {
                count.borrow_and_update();
                if let Some(found) = look(&self.entries()) {
                    return found;
                }
                if count.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        match tokio::time::timeout(PATIENCE, looking).await {
            Ok(found) => Ok(found),
            Err(_) => {
                let last =
                    self.entries().iter().rev().take(3).map(|(_, e)| format!("{e:?}")).collect::<Vec<_>>();
                failed(format!(
                    "{} waited in vain for {what}; last it was told: {}",
                    self.name,
                    last.join(" < ")
                ))
            }
        }
    }

    /// The views so far.
    pub fn views(&self) -> Vec<View> {
        let view = |(_, entry): &(Instant, Entry)| match entry {
            Entry::View(view) => Some(view.clone()),
            Entry::Message { .. } | Entry::Over(_) => None,
        };
        self.entries().iter().filter_map(view).collect()
    }

    /// Waits for a view of so many members; gives it and when it came.
    pub async fn view_of(&self, members: usize) -> Verdict<(Instant, View)> {
        self.until(&format!("a view of {members}"), |entries| {
            last_view(entries).filter(|(_, v)| v.members.len() == members)
        })
        .await
    }
}

/// The view that holds after all this.
pub fn last_view(entries: &[(Instant, Entry)]) -> Option<(Instant, View)> {
    entries.iter().rev().find_map(|(at, entry)| match entry {
        Entry::View(view) => Some((*at, view.clone())),
        Entry::Message { .. } | Entry::Over(_) => None,
    })
}

pub struct Member {
    pub group: String,
    pub session: Session,
    pub log: Arc<Log>,
    reader: JoinHandle<()>,
}

impl Drop for Member {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Member {
    /// Joins with the default rules.
    pub async fn join(address: &Address, group: &str, name: &str) -> Verdict<Member> {
        Member::join_with(address, group, name, JoinOptions::default()).await
    }

    /// Joins as soon as the site serves sessions and is admitted.
    pub async fn join_with(
        address: &Address,
        group: &str,
        name: &str,
        options: JoinOptions,
    ) -> Verdict<Member> {
        let log = Log::new(name);
        let trying = async {
            loop {
                match try_join(address, group, &options).await {
                    Err(Error::Unreachable { .. } | Error::Ended(_)) => {}
                    Err(Error::Refused(failure)) if failure.error == ErrorCode::NotAdmitted => {}
                    other => return other,
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let Ok(joined) = tokio::time::timeout(PATIENCE, trying).await else {
            return failed(format!("{name} can't join {group} at {address}"));
        };
        let (session, events) = joined?;
        let reader = tokio::spawn(read(events, Arc::clone(&log), group.to_owned()));
        Ok(Member { group: group.to_owned(), session, log, reader })
    }
}

async fn try_join(address: &Address, group: &str, options: &JoinOptions) -> Result<(Session, Events), Error> {
    let (session, events) = connect(address, "torture").await?;
    session.join(group, options.clone()).await?;
    Ok((session, events))
}

async fn read(mut events: Events, log: Arc<Log>, wanted: String) {
    while let Some(event) = events.next().await {
        match event {
            Event::View(view) if view.group == wanted => log.push(Entry::View(view)),
            Event::Message { group, view, payload, .. } if group == wanted => {
                let end = payload.iter().position(|byte| *byte == b' ').unwrap_or(payload.len());
                let text = String::from_utf8_lossy(&payload[..end]).into_owned();
                log.push(Entry::Message { view, text });
            }
            Event::Left { group, why } if group == wanted => log.push(Entry::Over(why)),
            Event::Ended { why, error: _ } => log.push(Entry::Over(why)),
            Event::View(_)
            | Event::Message { .. }
            | Event::Left { .. }
            | Event::Signal { .. }
            | Event::Blocked { .. }
            | Event::Writable { .. } => {}
        }
    }
}
