//! `mail doctor`: looks for what is wrong with mail at this site [Mail 11].

use std::sync::Arc;
use std::time::{Duration, Instant};

use mail::{Checkpoint, Entry, Position, Restore, State};
use serde_json::{Value, json};
use site::Answered;
use wire::session::ErrorCode;

use super::{Asked, failure, refused, told};
use crate::service::{MailError, group};

/// Letters that one answer is about, at most, and for how long they are looked at.
const LETTERS_MAX: usize = 2_000;
const LETTERS_FOR: Duration = Duration::from_secs(2);
/// Positions that are named.
const NAMED_MAX: usize = 100;

impl Asked {
    /// Counts everything anew, makes a second state from what a checkpoint of it would be, and compares with other sites.
    pub(super) async fn examine(&self) -> Answered {
        let state = match self.mail.reach().await {
            Ok(state) => state,
            // A site that is apart is looked at as it is.
            Err(MailError::Host(_)) => self.mail.view().map_err(refused)?,
            Err(error) => return Err(refused(error)),
        };
        let looked_at = Arc::clone(&state);
        // Takes time with the size of the state: not on the threads that carry the site.
        let wrong = tokio::task::spawn_blocking(move || wrong_with(&looked_at)).await;
        let wrong = wrong.map_err(|error| failure(ErrorCode::Stopping, error.to_string()))?;
        let mailboxes: usize = state.users().map(|user| state.names_of(user.id()).len()).sum();
        told(json!({
            "position": state.position().0,
            "digest": state.digest().to_string(),
            "users": state.users().count(),
            "mailboxes": mailboxes,
            "letters": state.storage().live_letters,
            "index_bytes": state.index_bytes(),
            "wrong": wrong,
            "compared": self.compared().await?,
        }))
    }

    /// How the states of the other sites are, compared with this one's.
    async fn compared(&self) -> Result<Value, wire::session::Failure> {
        let site = self.mail.site();
        let sites = site.sites().await.map_err(|error| failure(error.code(), error.to_string()))?;
        let name = |of: wire::SiteId| {
            let known = sites.iter().find(|site| site.site == of);
            known.map_or_else(|| of.to_string(), |site| site.name.clone())
        };
        let compared = site.compare(group()).await.map_err(|error| refused(error.into()))?;
        let line = |(of, found): (wire::SiteId, site::Compared)| json!({"site": name(of), "position": found.position, "same": found.same});
        Ok(compared.into_iter().map(line).collect())
    }

    /// Reads letters behind a position from this site's disk, some at a time.
    pub(super) async fn read_letters(&self, after: u64) -> Answered {
        let state = self.mail.view().map_err(refused)?;
        #[allow(clippy::disallowed_methods, reason = "an answer that takes long is cut in two")]
        let until = Instant::now() + LETTERS_FOR;
        let mut letters =
            state.live_letters(Position(after.saturating_add(1)), Position(u64::MAX)).peekable();
        let (mut read, mut bytes, mut bad, mut last) = (0_u64, 0_u64, Vec::new(), after);
        while let Some(letter) = letters.next_if(|_| {
            #[allow(clippy::disallowed_methods, reason = "an answer that takes long is cut in two")]
            let now = Instant::now();
            read < LETTERS_MAX as u64 && (read == 0 || now < until)
        }) {
            let at = letter.position;
            let payload =
                self.mail.site().payload(group(), at.0).await.map_err(|error| refused(error.into()))?;
            let whole = payload.as_ref().and_then(|payload| Entry::letter_in(payload).ok());
            read += 1;
            last = at.0;
            match whole.filter(|whole| whole.len() == letter.bytes as usize) {
                Some(whole) => bytes += whole.len() as u64,
                // It may have been deleted meanwhile.
                None if self.mail.view().is_ok_and(|now| !now.is_live(at)) => {}
                None => bad.push(at.0),
            }
        }
        let more = letters.peek().is_some();
        let (wrong, named) = (bad.len(), bad.into_iter().take(NAMED_MAX).collect::<Vec<_>>());
        told(json!({
            "read": read, "bytes": bytes, "not_here": wrong, "positions": named,
            "after": more.then_some(last), "of": state.storage().live_letters,
        }))
    }
}

/// What is wrong with a state: its counts, or what it would be when it was read again.
fn wrong_with(state: &State) -> Option<String> {
    if let Err(why) = state.audit() {
        return Some(why);
    }
    let mut again = Restore::new();
    for chunk in Checkpoint::of(state) {
        if let Err(error) = again.read(&chunk) {
            return Some(format!("its checkpoint: {error}"));
        }
    }
    match again.finish() {
        Ok(again) if again.digest() == state.digest() => None,
        Ok(_) => Some("its checkpoint has another digest".to_owned()),
        Err(error) => Some(format!("its checkpoint: {error}")),
    }
}
