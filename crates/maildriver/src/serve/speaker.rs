//! The protocol machines behind one face, for the connection that drives one.

use bytes::Bytes;
use mail::UserId;
use wire::Time;

use super::news::Interest;
use crate::edge::{Answer, Request, Ticket};
use crate::service::{Sight, now as clock};
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

    pub(super) fn advance(&mut self, now: Time, sight: &Sight) {
        match self {
            Speaker::Imap(session) => {
                session.set_apart(sight.apart);
                session.advance(now, &sight.state);
            }
            Speaker::Smtp(session) => session.advance(now, clock(), &sight.state),
        }
    }

    /// Whether anybody in the world may send letters on it.
    pub(super) fn is_for_strangers(&self) -> bool {
        match self {
            Speaker::Imap(_) => false,
            Speaker::Smtp(session) => session.is_inbound(),
        }
    }

    /// Who looks at mail, and not only brings some.
    pub(super) fn reader(&self) -> Option<UserId> {
        match self {
            Speaker::Imap(session) => session.user(),
            Speaker::Smtp(_) => None,
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
