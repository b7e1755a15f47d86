//! The protocol machines behind one face, for the connection that drives one.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use mail::{EntryTime, State, UserId};
use wire::Time;

use super::news::Interest;
use crate::edge::{Answer, Request, Ticket};
use crate::{imap, smtp};

/// What is spoken on a connection.
pub(super) enum Speaker {
    Imap(Box<imap::Session>),
    Smtp(Box<smtp::Session>),
}

impl Speaker {
    pub(super) fn handle_bytes(&mut self, now: Time, bytes: &[u8]) -> usize {
        match self {
            Speaker::Imap(session) => session.handle_bytes(now, bytes),
            Speaker::Smtp(session) => session.handle_bytes(now, bytes),
        }
    }

    pub(super) fn takes_bytes(&self) -> bool {
        match self {
            Speaker::Imap(session) => session.takes_bytes(),
            Speaker::Smtp(session) => session.takes_bytes(),
        }
    }

    pub(super) fn handle_answer(&mut self, now: Time, ticket: Ticket, answer: Answer) {
        match self {
            Speaker::Imap(session) => session.handle_answer(now, ticket, answer),
            Speaker::Smtp(session) => session.handle_answer(now, ticket, answer),
        }
    }

    pub(super) fn advance(&mut self, now: Time, state: &State) {
        match self {
            Speaker::Imap(session) => session.advance(now, state),
            Speaker::Smtp(session) => session.advance(now, clock(), state),
        }
    }

    pub(super) fn poll_output(&mut self) -> Option<Bytes> {
        match self {
            Speaker::Imap(session) => session.poll_output(),
            Speaker::Smtp(session) => session.poll_output(),
        }
    }

    pub(super) fn poll_request(&mut self) -> Option<(Ticket, Request)> {
        match self {
            Speaker::Imap(session) => session.poll_request(),
            Speaker::Smtp(session) => session.poll_request(),
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        match self {
            Speaker::Imap(session) => session.poll_timeout(),
            Speaker::Smtp(session) => session.poll_timeout(),
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Time) {
        match self {
            Speaker::Imap(session) => session.handle_timeout(now),
            Speaker::Smtp(session) => session.handle_timeout(now),
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        match self {
            Speaker::Imap(session) => session.is_closed(),
            Speaker::Smtp(session) => session.is_closed(),
        }
    }

    /// Who has logged in.
    pub(super) fn user(&self) -> Option<UserId> {
        match self {
            Speaker::Imap(session) => session.user(),
            Speaker::Smtp(session) => session.user(),
        }
    }

    /// What is spoken, as people call it.
    pub(super) fn protocol(&self) -> &'static str {
        match self {
            Speaker::Imap(_) => "imap",
            Speaker::Smtp(_) => "submission",
        }
    }

    /// What it has of letters in memory, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        match self {
            Speaker::Imap(session) => session.memory_bytes(),
            Speaker::Smtp(session) => session.memory_bytes(),
        }
    }

    /// Of which changes it is to be told, so that it goes on.
    pub(super) fn interest(&self) -> Interest {
        match self {
            Speaker::Imap(session) => Interest { user: session.user(), mailbox: session.selected() },
            Speaker::Smtp(session) => Interest { user: session.user(), mailbox: None },
        }
    }
}

/// The site's wall clock, as it stamps entries and logins.
#[allow(clippy::disallowed_methods, reason = "a letter says when it came")]
pub(crate) fn clock() -> EntryTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    EntryTime(since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)))
}
