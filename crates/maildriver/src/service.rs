//! Mail as a service of a running site: the state machine as the application of a durable group, and what sessions and mail
//! programs' connections want of it.
//!
//! ```text
//!  entries ─▶ Application ─▶ State ◀── a snapshot, made when somebody looks ── IMAP, requests of sessions
//!                              └──────▶ the feed: what came, went or changed ─▶ those that wait
//! ```

mod application;
mod held;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use mail::{BadSpool, Change, Entry, EntryTime, MailboxId, Outcome, Position, State, UidSet, held_place};
use site::config::Minority;
use site::{Handle, HostError, Kind, Standing, Write};
use tokio::sync::broadcast;
use wire::GroupName;

pub use application::Application;
pub use held::Taken;
use held::{Desk, Sharing, Waits};
pub(crate) use held::{Sight, share, tend};

/// The name of the mail's group.
pub const GROUP: &str = "unanimous.mail";
/// The longest letter: an entry with it travels from site to site as one message.
pub const LETTER_BYTES_MAX: usize = (3 << 20) - (128 << 10);
/// Changes that a connection may be behind; it then looks at everything that it shows.
const CHANGES_MAX: usize = 4_096;
/// A letter that was just applied may still be on its way to this site's disk.
const LETTER_TRIES: u32 = 10;
const LETTER_AGAIN: Duration = Duration::from_millis(50);

/// What a site's application and everybody who looks at it share.
#[derive(Debug)]
pub struct Shared {
    current: Mutex<Current>,
    changes: broadcast::Sender<Arc<Change>>,
    desk: Desk,
    sharing: Sharing,
    /// Letters of strangers and servers are held without a majority, too.
    spools_strangers: bool,
}

#[derive(Debug, Default)]
struct Current {
    /// The state that the site serves; none before it has been read from the disk.
    state: Option<Arc<Mutex<State>>>,
    /// As it was when somebody looked last.
    snapshot: Option<Arc<State>>,
}

impl Shared {
    /// Of a site that does not have the state yet. `minority` says what becomes of letters of strangers and servers while it has no
    /// majority.
    pub fn new(minority: Minority) -> Shared {
        Shared {
            current: Mutex::default(),
            changes: broadcast::Sender::new(CHANGES_MAX),
            desk: Desk::default(),
            sharing: Sharing::default(),
            spools_strangers: minority == Minority::Spool,
        }
    }

    /// The state as it is now; none before the site has it. It is a copy that shares with the state whatever does not
    /// change, and one with everybody else who looks before the next entry: to read it, however long, holds up nobody.
    pub fn view(&self) -> Option<Arc<State>> {
        let mut current = lock(&self.current);
        let state = current.state.clone()?;
        let state = lock(&state);
        if let Some(snapshot) = &current.snapshot
            && snapshot.position() == state.position()
        {
            return Some(Arc::clone(snapshot));
        }
        let snapshot = Arc::new(state.clone());
        current.snapshot = Some(Arc::clone(&snapshot));
        Some(snapshot)
    }

    /// Whether the site has the state.
    pub fn is_ready(&self) -> bool {
        lock(&self.current).state.is_some()
    }

    /// What changes from now on.
    pub fn changes(&self) -> broadcast::Receiver<Arc<Change>> {
        self.changes.subscribe()
    }

    /// How much waits at this site for a majority.
    pub(crate) fn waits(&self) -> Waits {
        self.desk.waits(self.view().as_deref())
    }

    /// Whom this site shares that with, as `status` tells it.
    pub(crate) fn shares(&self) -> serde_json::Value {
        self.sharing.told()
    }

    /// What this site shows of a mailbox is something else now.
    fn tell_of(&self, mailbox: MailboxId) {
        self.tell(Change::Flags { mailbox, uids: UidSet::default(), modseq: 0 });
    }

    /// The same of any.
    fn tell_of_all(&self) {
        self.tell(Change::Lost);
    }

    fn enter(&self, state: &Arc<Mutex<State>>) {
        *lock(&self.current) = Current { state: Some(Arc::clone(state)), snapshot: None };
        self.tell(Change::Lost);
    }

    fn stands(&self, standing: Standing) {
        self.desk.stands(standing);
        self.tell_of_all();
    }

    fn tell(&self, change: Change) {
        // Nobody may be waiting.
        let _ = self.changes.send(Arc::new(change));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Mail at one site.
#[derive(Clone, Debug)]
pub struct Mail {
    site: Handle,
    shared: Arc<Shared>,
}

/// Why something could not be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailError {
    /// The group did not do it, or nobody can say.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The state is still being read from the disk.
    #[error("mail is not ready at this site yet; try again")]
    NotReady,
    /// The site has no majority, and does not hold letters of strangers. Nothing has changed.
    #[error("this side of a partition has no majority; try again later, or at another site")]
    Minority,
    /// What is held cannot be merged now.
    #[error("the group has no room for what this site holds")]
    Unmerged,
    /// It cannot be held.
    #[error(transparent)]
    Spool(BadSpool),
    /// What the group answered means nothing to this version.
    #[error("the answer is of a later version; upgrade this site")]
    Answer,
}

impl Mail {
    /// Mail at this site.
    pub fn new(site: Handle, shared: Arc<Shared>) -> Mail {
        Mail { site, shared }
    }

    /// The site.
    pub fn site(&self) -> &Handle {
        &self.site
    }

    /// The state as it is at this site now.
    ///
    /// # Errors
    ///
    /// The site does not have it yet.
    pub fn view(&self) -> Result<Arc<State>, MailError> {
        self.shared.view().ok_or(MailError::NotReady)
    }

    /// What changes from now on.
    pub fn changes(&self) -> broadcast::Receiver<Arc<Change>> {
        self.shared.changes()
    }

    /// Waits until whatever was acknowledged at any site is in this site's state, and gives that.
    ///
    /// # Errors
    ///
    /// [`HostError::NotActive`]: this side of a partition has no majority.
    pub async fn reach(&self) -> Result<Arc<State>, MailError> {
        self.site.reach(group()).await?;
        self.view()
    }

    /// Proposes an entry, and waits until it is on most disks and applied here.
    ///
    /// # Errors
    ///
    /// [`HostError::Unknown`]: it may have been done.
    pub async fn propose(&self, entry: &Entry) -> Result<Outcome, MailError> {
        let write = Write { name: None, payload: entry.encode() };
        let answer = self.site.write_service(group(), Kind::Mail, write).await?;
        minicbor::decode(&answer).map_err(|_| MailError::Answer)
    }

    /// A letter's bytes; none, if it is deleted, or not at this site at the moment.
    ///
    /// # Errors
    ///
    /// The group's store at this site cannot be used.
    pub async fn letter(&self, position: Position) -> Result<Option<Bytes>, MailError> {
        if held_place(position).is_some() {
            return self.held_letter(position).await;
        }
        for _ in 0..LETTER_TRIES {
            if let Some(payload) = self.site.payload(group(), position.0).await? {
                let letter = Entry::letter_in(&payload).map_err(|_| MailError::Answer)?;
                return Ok(Some(payload.slice_ref(letter)));
            }
            if !self.view()?.is_live(position) {
                break;
            }
            tokio::time::sleep(LETTER_AGAIN).await;
        }
        Ok(None)
    }
}

/// The site's wall clock, as it stamps entries.
#[allow(clippy::disallowed_methods, reason = "a letter says when it came")]
pub(crate) fn now() -> EntryTime {
    EntryTime(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64))
}

/// The name of the mail's group.
pub fn group() -> GroupName {
    GroupName::parse(GROUP).expect("the group has a good name")
}
