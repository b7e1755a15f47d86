//! What was held is brought to the others when the site is among them again: each thing once, in order [Mail 12].

use std::time::Duration;

use mail::command::{Merge, Queued};
use mail::{
    Command, Entry, Outcome, Principal, Receipt, Refusal, RequestId, Spool, SpoolId, SpoolLimits, SpoolNext,
};
use site::{HostError, Standing};

use super::super::{Mail, MailError, group, now};
use crate::smtp::notice::Notice;

/// When something cannot be done yet it is tried again after so long.
const AGAIN: Duration = Duration::from_millis(500);

/// Reads what the spool's log has; then merges it whenever the group is active, until the site ends. `host` is what the site
/// calls itself.
pub(crate) async fn tend(mail: Mail, host: String) {
    while let Err(error) = mail.open_spool().await {
        match error {
            MailError::Host(HostError::Stopped) => return,
            MailError::Answer | MailError::Spool(_) => {
                tracing::error!(%error, "what this site held cannot be read; it stays on its disk, and nothing more is held");
                return mail.desk().unreadable();
            }
            error => tracing::debug!(%error, "what this site held is not read yet"),
        }
        tokio::time::sleep(AGAIN).await;
    }
    let (mut standing, mut count) = mail.desk().follow();
    loop {
        match mail.merge_all(&host).await {
            Ok(()) => {
                let ended = tokio::select! {
                    ended = standing.changed() => ended,
                    ended = count.changed() => ended,
                };
                if ended.is_err() {
                    return;
                }
            }
            Err(MailError::Host(HostError::Stopped)) => return,
            Err(error) => {
                tracing::debug!(%error, "what this site holds is not merged yet");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

impl Mail {
    async fn open_spool(&self) -> Result<(), MailError> {
        // Before the state is there nothing can be judged.
        self.view().map(drop)?;
        let had = self.site.spool_open(group()).await?;
        let number = had.note.first_chunk().map_or(1, |note| u64::from_le_bytes(*note));
        let next = SpoolNext { place: u32::try_from(had.next).unwrap_or(u32::MAX), number };
        let mut spool = Spool::new(had.store, next, SpoolLimits::default());
        let (mut from, mut is_merged) = (1, false);
        while let Some((place, payload)) = self.site.spool_next(group(), from).await? {
            from = place + 1;
            let view = self.view()?;
            let entry = Entry::decode(&payload).map_err(|_| MailError::Answer)?;
            let place = u32::try_from(place).map_err(|_| MailError::Spool(mail::BadSpool::Full))?;
            is_merged |= !spool.accept(&view, place, &entry).map_err(MailError::Spool)?;
        }
        if is_merged {
            let (places, number) = (spool.places().map(u64::from).collect(), spool.next().number);
            self.site.spool_keep(group(), places, note(number)).await?;
        }
        if !spool.is_empty() {
            tracing::info!(held = spool.len(), "letters and changes wait here for a majority");
        }
        self.desk().opened(spool);
        self.shared.tell_of_all();
        Ok(())
    }

    /// Merges all that is held, if the group is active.
    async fn merge_all(&self, host: &str) -> Result<(), MailError> {
        if self.desk().standing() != Standing::Active {
            return Ok(());
        }
        let state = self.reach().await?;
        for store in self.desk().stores(&state) {
            if state.held_validity(store).is_none() {
                let enrol = Entry::new(Principal::Site, None, Command::EnrolStore(store));
                self.propose(&enrol.map_err(|_| MailError::Answer)?).await?;
            }
        }
        let merged = self.merge_each(host).await;
        let settled = self.settle().await;
        merged.and(settled)
    }

    async fn merge_each(&self, host: &str) -> Result<(), MailError> {
        let mut is_alone = false;
        loop {
            let view = self.view()?;
            let Some((id, place)) = self.desk().next(&view) else { return Ok(()) };
            if self.desk().is_anothers(id) && !is_alone {
                // All who hold it may bring it, and it is merged once; one is enough.
                tokio::time::sleep(self.sharing().patience()).await;
                let view = self.view()?;
                is_alone = self.desk().next(&view) == Some((id, place));
                continue;
            }
            let found = self.spooled(u64::from(place)).await?;
            match found.map(|payload| Entry::decode(&payload)) {
                Some(Ok(entry)) => self.merge(id, &entry, host).await?,
                Some(Err(_)) | None => {
                    tracing::error!(?id, "something that was held here is damaged, and lost");
                    self.desk().lose(id);
                }
            }
        }
    }

    /// Any outcome but `Full` settles it.
    async fn merge(&self, id: SpoolId, entry: &Entry, host: &str) -> Result<(), MailError> {
        // The sender is told before the letter is merged: then it cannot be forgotten.
        self.owe(id, entry, None, host).await?;
        let outcome = self.propose(entry).await?;
        match outcome {
            Outcome::Refused(Refusal::Full) => return Err(MailError::Unmerged),
            Outcome::Refused(why) => tracing::info!(?id, %why, "a change that was queued here is refused"),
            Outcome::Delivered(receipts) => self.owe(id, entry, Some(receipts), host).await?,
            _ => {}
        }
        match self.view()?.is_merged(id) {
            true => Ok(()),
            false => Err(MailError::Unmerged),
        }
    }

    /// Tells the sender of a letter, once, who does not get it: as far as can be seen before, or as it turned out.
    async fn owe(
        &self,
        id: SpoolId,
        entry: &Entry,
        receipts: Option<Vec<Receipt>>,
        host: &str,
    ) -> Result<(), MailError> {
        let Command::Merge(Merge { by, change: Queued::Deliver(deliver), .. }) = &entry.head().command else {
            return Ok(());
        };
        let view = self.view()?;
        let judge = |to| view.resolve(to, *by).map_or_else(Receipt::Refused, |_| Receipt::Delivered);
        let receipts = receipts.unwrap_or_else(|| deliver.recipients.iter().map(judge).collect());
        let notice = Notice {
            site: host,
            clock: now(),
            by: *by,
            sender: &deliver.sender,
            recipients: &deliver.recipients,
            receipts: &receipts,
            letter: entry.letter().map_or(&[][..], |letter| &letter[..]),
            request: Some(entry.head().request.unwrap_or_else(|| name_of(id, *by))),
            refused_too: true,
        };
        if let Some(notice) = notice.entry(&view) {
            // A sender who is gone is told nothing.
            self.propose(&notice).await?;
        }
        Ok(())
    }

    /// Drops what is merged.
    async fn settle(&self) -> Result<(), MailError> {
        let _writing = self.desk().writing.lock().await;
        let view = self.view()?;
        if let Some((places, number)) = self.desk().settle(&view) {
            self.shared.tell_of_all();
            self.site.spool_keep(group(), places, note(number)).await?;
        }
        Ok(())
    }
}

pub(super) fn note(number: u64) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(&number.to_le_bytes())
}

/// A name for a letter that has none.
fn name_of(id: SpoolId, by: Principal) -> RequestId {
    let mut client = *b"held at a store\0";
    client[8..].copy_from_slice(&id.store.0.to_be_bytes());
    RequestId::of_session(by, client, id.number)
}
