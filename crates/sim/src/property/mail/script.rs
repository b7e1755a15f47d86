//! Short histories for the tests of the promises: of user 1, whose INBOX is mailbox 1 with UIDVALIDITY 1.

use ::mail::command::{Deliver, Expunge};
use ::mail::{Address, Command, Entry, MailboxId, Outcome, Principal, Receipt, RequestId, UidSet, UserId};
use bytes::Bytes;
use durable::ClientId;
use wire::{Incarnation, SiteId, SiteIncarnation, Time};

use crate::durable::{Folder, Observation, Seen, Shown};

pub type What = crate::durable::What<Seen>;

pub fn history(what: impl IntoIterator<Item = What>) -> Vec<Observation<Seen>> {
    what.into_iter().map(|what| Observation { at: Time::ZERO, what }).collect()
}

fn attempt(number: u64) -> (ClientId, u64) {
    (ClientId([number as u8; 16]), 1)
}

/// Request and attempt of this number, of user 1 or of somebody outside.
pub fn asked(number: u64, command: Command) -> What {
    let id = Some(RequestId([number as u8; 16]));
    let by = match command {
        Command::Deliver(_) => Principal::Outside,
        _ => Principal::User(UserId(1)),
    };
    let entry = match command.carries_letter() {
        true => Entry::with_letter(by, id, command, Bytes::copy_from_slice(&number.to_be_bytes())),
        false => Entry::new(by, id, command),
    };
    What::Asked(attempt(number), entry.expect("a good entry").encode())
}

pub fn told(number: u64, outcome: &Outcome) -> What {
    let answer = [&[0; 8][..], &wire::codec::encode(outcome)].concat();
    What::Answered(attempt(number), answer.into())
}

/// Somebody sends letter `number` to user 1.
pub fn sends(number: u64) -> What {
    let to = Address::parse("ann@x.org").expect("a good address");
    asked(number, Command::Deliver(Deliver { sender: "".into(), recipients: vec![to] }))
}

pub fn delivered(number: u64) -> What {
    told(number, &Outcome::Delivered(vec![Receipt::Delivered]))
}

/// User 1 removes a letter of INBOX by request `number`.
pub fn expunges(number: u64, uid: u32) -> What {
    let uids = UidSet::of([uid]);
    asked(number, Command::Expunge(Expunge { mailbox: MailboxId(1), uids, only_deleted: false }))
}

pub fn expunged(number: u64, uid: u32) -> What {
    told(number, &Outcome::Expunged { modseq: 9, uids: UidSet::of([uid]) })
}

/// INBOX at a MODSEQ, with these letters by UID.
pub fn inbox(modseq: u64, letters: &[(u32, u64)]) -> Seen {
    let shown = |(uid, letter): &(u32, u64)| Shown { uid: *uid, letter: *letter, flags: 0, modseq: 2 };
    let folder = Folder {
        id: MailboxId(1),
        name: "INBOX".to_owned(),
        validity: 1,
        uid_next: 100,
        modseq,
        letters: letters.iter().map(shown).collect(),
    };
    Seen { user: UserId(1), folders: vec![folder], changes: None }
}

pub fn life(site: u32) -> SiteIncarnation {
    SiteIncarnation { site: SiteId(site), incarnation: Incarnation(1) }
}

pub fn looked(site: u32, seen: Seen) -> What {
    What::Looked(life(site), seen)
}

pub fn left(seen: Seen) -> What {
    What::Left(life(1), vec![seen])
}

pub fn read(number: u64, seen: Seen) -> [What; 2] {
    [What::ReadAsked(number), What::ReadDone { number, position: 0, seen }]
}
