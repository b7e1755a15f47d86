//! Who is logged in at this site by a mail program, and who was.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mail::{EntryTime, UserId};
use wire::Time;

use crate::login::Recent;

/// Users whose last login is remembered; the one who logged in longest ago goes first.
const LAST_MAX: usize = 200_000;
/// For how long it is.
const LAST_LIFE: Duration = Duration::from_secs(400 * 24 * 3_600);

/// The logins of a site's connections. It has no more of them than there may be connections.
#[derive(Debug)]
pub(crate) struct Online(Mutex<All>);

#[derive(Debug)]
struct All {
    next: u64,
    now: BTreeMap<u64, Login>,
    last: Recent<UserId, ()>,
}

/// A connection on which somebody has logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Login {
    /// Who.
    pub user: UserId,
    /// `imap` or `submission`.
    pub protocol: &'static str,
    /// Whether it is inside TLS.
    pub tls: bool,
    /// Where the program is.
    pub from: IpAddr,
    /// When, by the site's clock.
    pub since: EntryTime,
}

/// A login that lasts until this is dropped.
#[derive(Debug)]
pub(super) struct Present<'a> {
    online: &'a Online,
    number: u64,
}

impl Default for Online {
    fn default() -> Online {
        let last = Recent::new(LAST_LIFE, LAST_MAX);
        Online(Mutex::new(All { next: 0, now: BTreeMap::new(), last }))
    }
}

impl Online {
    /// Somebody has logged in.
    pub(super) fn enter(&self, login: Login) -> Present<'_> {
        let mut all = self.all();
        all.next += 1;
        let number = all.next;
        all.last.put(Time::from_millis(login.since.0), login.user, ());
        all.now.insert(number, login);
        Present { online: self, number }
    }

    /// Who is logged in now, in the order in which they logged in, behind one, by its number.
    pub(crate) fn behind(&self, after: u64) -> Vec<(u64, Login)> {
        let all = self.all();
        all.now.range(after.saturating_add(1)..).map(|(number, login)| (*number, login.clone())).collect()
    }

    /// When a user last logged in here, if it was since this site was started.
    pub(crate) fn last(&self, user: UserId, now: EntryTime) -> Option<EntryTime> {
        let all = self.all();
        let (at, ()) = all.last.get(Time::from_millis(now.0), &user)?;
        Some(EntryTime(at.as_nanos() / 1_000_000))
    }

    fn all(&self) -> MutexGuard<'_, All> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.online.all().now.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn who_has_gone_is_remembered_and_not_shown() {
        let online = Online::default();
        let login = |user, since| Login {
            user: UserId(user),
            protocol: "imap",
            tls: true,
            from: Ipv4Addr::LOCALHOST.into(),
            since: EntryTime(since),
        };
        let (ann, bob) = (online.enter(login(1, 1_000)), online.enter(login(2, 2_000)));
        let again = online.enter(login(1, 3_000));
        let users = |after| online.behind(after).iter().map(|(_, login)| login.user.0).collect::<Vec<_>>();
        assert_eq!((users(0), users(1), users(3)), (vec![1, 2, 1], vec![2, 1], vec![]));
        drop((ann, again));
        assert_eq!(users(0), [2]);
        let last = |user| online.last(UserId(user), EntryTime(4_000)).map(|at| at.0);
        assert_eq!((last(1), last(2), last(3)), (Some(3_000), Some(2_000), None));
        drop(bob);
        assert!(users(0).is_empty() && last(2).is_some());
    }
}
