//! What this site takes in while it has no majority, and what it shows meanwhile [Mail 12].
//!
//! ```text
//!  letters, flags, deletions ─▶ Mail::take ─▶ queue ─▶ the spool's log ─▶ Spool ─▶ a copy of the state, as sessions see it
//!                                   │                     ▲    └─▶ the logs of the other sites of this side (share)
//!                                   │                     └─────── what those have taken in
//!                                   └─ with a majority ─▶ propose
//! ```

mod desk;
mod merge;
mod share;
#[cfg(test)]
mod tests;

use std::time::Duration;

use mail::command::{Expunge, Store};
use mail::{
    Ask, Command, Entry, HELD, Outcome, Principal, Queuing, Receipt, Refusal, RequestId, SpoolId, UidSet,
    UserId, held_place,
};
use site::{HostError, Standing};

use super::{Mail, MailError, group, now};
pub(crate) use desk::{Desk, Sight, Waits};
pub(crate) use merge::tend;
pub(crate) use share::{Sharing, share};

/// How long a user's changes wait until what the same site held before is merged.
const MERGED_WITHIN: Duration = Duration::from_secs(10);

/// What became of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It was applied; or it is queued here, and this is what it will come to if nobody changes the same meanwhile.
    Applied(Outcome),
    /// The letter is on this site's disk, and those of its side, and will be delivered: one receipt for each recipient.
    Held(Vec<Receipt>),
}

impl Mail {
    /// Whether this site has been without a majority for so long that it serves what it has.
    pub fn is_apart(&self) -> bool {
        self.desk().standing() == Standing::Apart
    }

    /// The state as a user's programs see it at this site: with what is queued here on top, and `Held`.
    ///
    /// # Errors
    ///
    /// The site does not have the state yet.
    pub(crate) fn sight(&self, user: Option<UserId>) -> Result<Sight, MailError> {
        Ok(self.desk().sight(self.view()?, user))
    }

    /// Waits until whatever was acknowledged at any site is in this site's state; where there is no majority, so long as it
    /// takes to know that.
    ///
    /// # Errors
    ///
    /// [`HostError::NotActive`]: nobody knows whether there is a majority.
    pub async fn look(&self) -> Result<(), MailError> {
        if self.is_apart() {
            return Ok(());
        }
        match self.reach().await {
            Err(MailError::Host(HostError::NotActive(_))) if self.is_apart() => Ok(()),
            reached => reached.map(drop),
        }
    }

    /// Proposes an entry; without a majority, queues it here if it is one that a minority may have.
    ///
    /// # Errors
    ///
    /// [`HostError::Unknown`]: it may have been done.
    pub async fn take(&self, entry: Entry) -> Result<Taken, MailError> {
        let by = entry.head().by;
        match (&entry.head().command, by) {
            (Command::Store(store), Principal::User(user)) if store.mailbox == HELD => {
                return self.mark(user, store);
            }
            (Command::Expunge(expunge), Principal::User(user)) if expunge.mailbox == HELD => {
                return self.take_back(by, user, expunge).await.map(Taken::Applied);
            }
            _ => {}
        }
        if self.is_apart() {
            return self.hold(entry).await;
        }
        if !entry.head().command.carries_letter() {
            // What the same user did before comes first.
            let _ = tokio::time::timeout(MERGED_WITHIN, self.desk().emptied()).await;
        }
        match self.propose(&entry).await {
            Err(MailError::Host(HostError::NotActive(_))) if self.is_apart() => self.hold(entry).await,
            outcome => outcome.map(Taken::Applied),
        }
    }

    /// Takes letters of a user's `Held` back for that user; those that are named, or of those the ones marked `\Deleted`.
    ///
    /// # Errors
    ///
    /// Some may have been taken back.
    pub async fn take_back(
        &self,
        by: Principal,
        user: UserId,
        expunge: &Expunge,
    ) -> Result<Outcome, MailError> {
        let view = self.view()?;
        let (mut gone, wanted) = (Vec::new(), self.desk().chosen(&view, user, expunge));
        for uid in wanted {
            match self.queue_apart(by, None, Ask::Discard { user, uid }).await? {
                // It has left `Held` meanwhile.
                Taken::Applied(Outcome::Refused(Refusal::NoMailbox)) => {}
                Taken::Applied(Outcome::Refused(why)) => return Ok(Outcome::Refused(why)),
                _ => gone.push(uid),
            }
        }
        Ok(Outcome::Expunged { modseq: 0, uids: UidSet::of(gone) })
    }

    fn mark(&self, user: UserId, store: &Store) -> Result<Taken, MailError> {
        if store.unchanged_since.is_some() {
            return Ok(Taken::Applied(Outcome::Refused(Refusal::PrimaryOnly)));
        }
        let view = self.view()?;
        let outcome = self.desk().mark(&view, user, store)?;
        self.shared.tell_of(HELD);
        Ok(Taken::Applied(outcome))
    }

    /// Queues what an entry asks for.
    async fn hold(&self, entry: Entry) -> Result<Taken, MailError> {
        let (by, request) = (entry.head().by, entry.head().request);
        let (ask, recipients) = match (&entry.head().command, entry.letter()) {
            (Command::Deliver(deliver), Some(letter)) => {
                if by == Principal::Outside && !self.shared.spools_strangers {
                    return Err(MailError::Minority);
                }
                (Ask::Deliver(deliver.clone(), letter.clone()), deliver.recipients.len())
            }
            (Command::Store(store), _) => (Ask::Store(store.clone()), 0),
            (Command::Expunge(expunge), _) => {
                let uids = self.desk().shown_of(&self.view()?, expunge);
                if uids.is_empty() {
                    return Ok(Taken::Applied(Outcome::Expunged { modseq: 0, uids }));
                }
                (Ask::Expunge(Expunge { uids, ..expunge.clone() }), 0)
            }
            _ => return Ok(Taken::Applied(Outcome::Refused(Refusal::PrimaryOnly))),
        };
        match self.queue_apart(by, request, ask).await? {
            // What a repeat is told of those who were refused is not remembered here.
            Taken::Held(receipts) if receipts.is_empty() => {
                Ok(Taken::Held(vec![Receipt::Delivered; recipients]))
            }
            taken => Ok(taken),
        }
    }

    /// The same as [`queue`](Mail::queue), to its end also when nobody waits for it any more: what is on the disk is in memory.
    async fn queue_apart(
        &self,
        by: Principal,
        request: Option<RequestId>,
        ask: Ask,
    ) -> Result<Taken, MailError> {
        let mail = self.clone();
        let queued = tokio::spawn(async move { mail.queue(by, request, ask).await });
        queued.await.unwrap_or(Err(MailError::Host(HostError::Stopped)))
    }

    /// Makes what a client asks durable at this site and at the others of this side, and shows it.
    async fn queue(&self, by: Principal, request: Option<RequestId>, ask: Ask) -> Result<Taken, MailError> {
        let (entry, taken) = self.queue_here(by, request, ask).await?;
        // Nothing is locked meanwhile: two sites may be telling each other.
        if let Some(entry) = entry {
            self.tell_others(&entry).await;
        }
        Ok(taken)
    }

    /// Makes what a client asks durable at this site, and shows it. With what the others are to have, too.
    async fn queue_here(
        &self,
        by: Principal,
        request: Option<RequestId>,
        ask: Ask,
    ) -> Result<(Option<Entry>, Taken), MailError> {
        let desk = self.desk();
        let _writing = desk.writing.lock().await;
        self.reserve().await?;
        let view = self.view()?;
        let (entry, receipts) = match desk.queue(&view, now(), by, request, ask)? {
            Ok(Queuing::Write { entry, receipts }) => (entry, receipts),
            Ok(Queuing::Held(id)) => return Ok((self.held_thing(id).await?, Taken::Held(Vec::new()))),
            Ok(Queuing::Done) => return Ok((None, Taken::Applied(Outcome::Done))),
            Err(refusal) => return Ok((None, Taken::Applied(Outcome::Refused(refusal)))),
        };
        let payload = entry.encode();
        if payload.len() > durable::Settings::default().payload_bytes_max {
            // Nobody could ever propose it.
            return Err(MailError::Host(HostError::TooLarge));
        }
        let place = self.site.spool_write(group(), payload).await?;
        let outcome = desk.accept(&view, place, &entry)?;
        self.shared.tell_of(desk::changes(&entry));
        let taken = if receipts.is_empty() { Taken::Applied(outcome) } else { Taken::Held(receipts) };
        Ok((Some(entry), taken))
    }

    /// Sees to it that the next number is below one that the log knows: it is not used again, even if what has it is damaged here.
    async fn reserve(&self) -> Result<(), MailError> {
        if let Some((places, number)) = self.desk().to_reserve() {
            self.site.spool_keep(group(), places, merge::note(number)).await?;
            self.desk().reserved(number);
        }
        Ok(())
    }

    /// Something that is held, as it was written down.
    async fn held_thing(&self, id: SpoolId) -> Result<Option<Entry>, MailError> {
        let Some(place) = self.desk().place(id) else { return Ok(None) };
        let payload = self.spooled(u64::from(place)).await?;
        Ok(payload.and_then(|payload| Entry::decode(&payload).ok()))
    }

    /// The bytes of a letter in `Held`.
    pub(super) async fn held_letter(
        &self,
        position: mail::Position,
    ) -> Result<Option<bytes::Bytes>, MailError> {
        let Some(place) = held_place(position) else { return Ok(None) };
        let found = self.spooled(place).await?;
        let entry = found.and_then(|payload| Entry::decode(&payload).ok());
        Ok(entry.and_then(|entry| entry.letter().cloned()))
    }

    /// How much waits at this site for a majority.
    pub(crate) fn waits(&self) -> Waits {
        self.shared.waits()
    }

    pub(super) fn desk(&self) -> &Desk {
        &self.shared.desk
    }
}
