//! Who is told of a change: only the connections that it may be news to, however many there are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mail::{Change, MailboxId, UserId};
use tokio::sync::Notify;
use tokio::sync::broadcast::{Receiver, error::RecvError};

/// What a connection wants to hear of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Interest {
    /// That its user is gone.
    pub(super) user: Option<UserId>,
    /// What comes, goes or changes in a mailbox.
    pub(super) mailbox: Option<MailboxId>,
}

/// All connections of a site, by what they want to hear of.
#[derive(Debug, Default)]
pub(super) struct News {
    listeners: Mutex<Listeners>,
}

#[derive(Debug, Default)]
struct Listeners {
    next: u64,
    all: BTreeMap<u64, Arc<Notify>>,
    users: BTreeMap<UserId, BTreeSet<u64>>,
    mailboxes: BTreeMap<MailboxId, BTreeSet<u64>>,
}

/// A connection that listens, until this is dropped.
#[derive(Debug)]
pub(super) struct Listening {
    news: Arc<News>,
    number: u64,
    interest: Interest,
    bell: Arc<Notify>,
}

impl News {
    /// Hears of nothing yet, but of what concerns all.
    pub(super) fn listen(self: &Arc<News>) -> Listening {
        let bell = Arc::new(Notify::new());
        let mut listeners = self.listeners();
        let number = listeners.next;
        listeners.next += 1;
        listeners.all.insert(number, Arc::clone(&bell));
        Listening { news: Arc::clone(self), number, interest: Interest::default(), bell }
    }

    /// Tells of changes as they come, until the site ends.
    pub(super) async fn follow(self: Arc<News>, mut changes: Receiver<Arc<Change>>) {
        loop {
            match changes.recv().await {
                Ok(change) => self.tell(&change),
                // Nobody can say what was missed: all look at everything that they show.
                Err(RecvError::Lagged(_)) => self.tell(&Change::Lost),
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn tell(&self, change: &Change) {
        let listeners = self.listeners();
        let concerned = match change {
            Change::Came { mailbox, .. }
            | Change::Went { mailbox, .. }
            | Change::Flags { mailbox, .. }
            | Change::Removed { mailbox } => listeners.mailboxes.get(mailbox),
            Change::UserRemoved { user } => listeners.users.get(user),
            Change::Folders { .. } | Change::Credentials { .. } => None,
            Change::Lost => return listeners.all.values().for_each(|bell| bell.notify_one()),
        };
        let bells = concerned.into_iter().flatten().filter_map(|number| listeners.all.get(number));
        bells.for_each(|bell| bell.notify_one());
    }

    fn listeners(&self) -> MutexGuard<'_, Listeners> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listening {
    /// Hears of this from now on. True if that is something else than before: what changed a moment ago may have been missed,
    /// so the state is to be looked at once more.
    pub(super) fn wants(&mut self, interest: Interest) -> bool {
        if self.interest == interest {
            return false;
        }
        let before = std::mem::replace(&mut self.interest, interest);
        let mut listeners = self.news.listeners();
        listeners.forget(self.number, before);
        if let Some(user) = interest.user {
            listeners.users.entry(user).or_default().insert(self.number);
        }
        if let Some(mailbox) = interest.mailbox {
            listeners.mailboxes.entry(mailbox).or_default().insert(self.number);
        }
        true
    }

    /// Returns when there was something since the last time. Cancel-safe.
    pub(super) async fn news(&self) {
        self.bell.notified().await;
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut listeners = self.news.listeners();
        listeners.forget(self.number, self.interest);
        listeners.all.remove(&self.number);
    }
}

impl Listeners {
    fn forget(&mut self, number: u64, interest: Interest) {
        if let Some(user) = interest.user {
            take_out(&mut self.users, user, number);
        }
        if let Some(mailbox) = interest.mailbox {
            take_out(&mut self.mailboxes, mailbox, number);
        }
    }
}

fn take_out<K: Ord>(from: &mut BTreeMap<K, BTreeSet<u64>>, key: K, number: u64) {
    if let Some(numbers) = from.get_mut(&key) {
        numbers.remove(&number);
        if numbers.is_empty() {
            from.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn rings(listening: &Listening) -> bool {
        pin!(listening.news()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    fn came(mailbox: u32) -> Change {
        Change::Came { mailbox: MailboxId(mailbox), first: 1, last: 1, modseq: 2 }
    }

    #[test]
    fn each_hears_of_its_mailbox_and_its_user_and_all_hear_that_something_was_lost() {
        let news = Arc::new(News::default());
        let [mut one, mut two, nobody] = [(); 3].map(|()| news.listen());
        let interest =
            |user, mailbox| Interest { user: Some(UserId(user)), mailbox: Some(MailboxId(mailbox)) };
        assert!(one.wants(interest(1, 10)) && two.wants(interest(2, 10)));
        assert!(!two.wants(interest(2, 10)), "it is the same");
        news.tell(&came(10));
        assert!(rings(&one) && rings(&two) && !rings(&nobody));
        assert!(!rings(&one), "it was heard");
        assert!(two.wants(Interest { mailbox: None, ..interest(2, 10) }));
        news.tell(&came(10));
        assert!(rings(&one) && !rings(&two));
        news.tell(&Change::UserRemoved { user: UserId(2) });
        assert!(!rings(&one) && rings(&two));
        news.tell(&Change::Lost);
        assert!(rings(&one) && rings(&two) && rings(&nobody));
    }

    #[test]
    fn nothing_is_kept_of_who_has_gone() {
        let news = Arc::new(News::default());
        let mut one = news.listen();
        one.wants(Interest { user: Some(UserId(1)), mailbox: Some(MailboxId(10)) });
        drop(one);
        let left = news.listeners();
        assert!(left.all.is_empty() && left.users.is_empty() && left.mailboxes.is_empty());
    }
}
