//! What became of a letter, as replies.

use mail::{Outcome, Receipt, Refusal, State};

use super::letter::Letter;
use super::notice::Notice;
use super::reply::{self, Reply};
use super::run::Task;
use super::session::{Mode, Session};
use crate::edge::{Answer, Request};

/// One receipt for each of so many recipients.
pub(super) fn receipts(outcome: Outcome, count: usize) -> Result<Vec<Receipt>, Refusal> {
    match outcome {
        Outcome::Delivered(receipts) if receipts.len() == count => Ok(receipts),
        // A repeat is told what the first was told. What is not remembered word by word was done.
        Outcome::Repeated { answer, .. } => receipts(*answer, count),
        Outcome::Done => Ok(vec![Receipt::Delivered; count]),
        Outcome::Refused(refusal) => Err(refusal),
        Outcome::Delivered(_)
        | Outcome::Appended { .. }
        | Outcome::Stored { .. }
        | Outcome::Expunged { .. }
        | Outcome::Copied { .. }
        | Outcome::Created { .. }
        | Outcome::Added(_)
        | Outcome::Claimed { .. }
        | Outcome::Enrolled { .. } => Err(Refusal::Unreadable),
    }
}

/// What each recipient's reply is.
fn replies(receipts: &[Receipt], good: &Reply) -> Vec<Reply> {
    let reply = |receipt: &Receipt| match receipt {
        Receipt::Delivered | Receipt::Partly(_) => good.clone(),
        Receipt::Refused(refusal) => reply::refusal(*refusal),
    };
    receipts.iter().map(reply).collect()
}

/// The one reply that SMTP has for all: good if anybody has the letter. If nobody has, one that lets the client try
/// again wins.
fn joined(replies: Vec<Reply>) -> Reply {
    let best = |reply: &Reply| (reply.is_good(), reply.is_temporary());
    // The first of equals.
    replies.into_iter().rev().max_by_key(best).unwrap_or(reply::UNAVAILABLE)
}

impl Session {
    /// The letter is with some of its recipients at least, or with none. Whoever is owed a word about those who do
    /// not have it is told before the client is: then it cannot be forgotten.
    pub(super) fn delivered(&mut self, letter: &Letter, receipts: Vec<Receipt>, good: &Reply, state: &State) {
        let replies = replies(&receipts, good);
        let lmtp = self.config.mode == Mode::Lmtp;
        let anybody = replies.iter().any(Reply::is_good);
        let notice = Notice {
            site: &self.config.name,
            clock: self.clock,
            by: letter.by,
            sender: &letter.sender,
            recipients: &letter.recipients,
            receipts: &receipts,
            letter: &letter.received,
            request: letter.request,
            // The client of LMTP is told of each, and tells the sender.
            refused_too: !lmtp,
        };
        let owed = if anybody { notice.entry(state) } else { None };
        let replies = if lmtp { replies } else { vec![joined(replies)] };
        match owed {
            Some(entry) => {
                let repeatable = letter.request.is_some();
                self.ask(Task::Notice { replies, repeatable }, Request::Propose(entry));
            }
            None => self.finish(&replies),
        }
    }

    /// Somebody was told, or could not be. If a repeat does no harm, the client is asked for one.
    pub(super) fn told(&mut self, replies: Vec<Reply>, repeatable: bool, answer: &Answer) {
        let told = matches!(answer, Answer::Applied(_) | Answer::Held(_));
        if told || !repeatable {
            return self.finish(&replies);
        }
        let again = |reply: &Reply| if reply.is_good() { reply::UNAVAILABLE } else { reply.clone() };
        self.finish(&replies.iter().map(again).collect::<Vec<_>>());
    }

    fn finish(&mut self, replies: &[Reply]) {
        if replies.iter().any(Reply::is_good) {
            self.idle_commands = 0;
        }
        replies.iter().for_each(|reply| self.reply(reply));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_reply_for_all() {
        let codes = |receipts: &[Receipt]| joined(replies(receipts, &reply::DELIVERED)).code;
        let (full, unknown) = (Receipt::Refused(Refusal::Full), Receipt::Refused(Refusal::NoAddress));
        assert_eq!(codes(&[unknown.clone(), Receipt::Delivered, full.clone()]), 250);
        assert_eq!(codes(&[unknown.clone(), full]), 452);
        assert_eq!(codes(&[unknown.clone(), Receipt::Refused(Refusal::OverQuota)]), 550);
        assert_eq!(codes(&[unknown, Receipt::Partly(Vec::new())]), 250);
    }

    #[test]
    fn what_is_told_to_a_repeat() {
        let first = Outcome::Delivered(vec![Receipt::Refused(Refusal::OverQuota), Receipt::Delivered]);
        let repeated =
            |answer: Outcome| Outcome::Repeated { first: mail::Position(1), answer: Box::new(answer) };
        let Outcome::Delivered(wanted) = first.clone() else { unreachable!() };
        assert_eq!(receipts(repeated(first.clone()), 2), Ok(wanted));
        assert_eq!(receipts(repeated(Outcome::Done), 2), Ok(vec![Receipt::Delivered; 2]));
        assert_eq!(receipts(first, 3), Err(Refusal::Unreadable));
        assert_eq!(receipts(Outcome::Refused(Refusal::NoUser), 1), Err(Refusal::NoUser));
    }
}
