//! What the tests share: short ways to say things, and commands drawn from a seed.

#![allow(dead_code, reason = "each test takes what it needs")]

pub mod compare;
pub mod draw;
pub mod model;

use bytes::Bytes;
use mail::command::{AddUser, Deliver, Quota, SetDomain};
use mail::{
    Address, Command, Domain, Entry, EntryTime, MailboxId, MailboxName, Outcome, Position, Principal,
    RequestId, State, UserId, UserName,
};

pub fn name(text: &str) -> MailboxName {
    MailboxName::parse(text).expect("a good name")
}

pub fn address(text: &str) -> Address {
    Address::parse(text).expect("a good address")
}

pub fn domain(text: &str) -> Domain {
    Domain::parse(text).expect("a good domain")
}

pub fn plain(by: Principal, command: Command) -> Entry {
    Entry::new(by, None, command).expect("a good entry")
}

pub fn letter(by: Principal, request: Option<RequestId>, command: Command, bytes: usize) -> Entry {
    Entry::with_letter(by, request, command, Bytes::from(vec![b'x'; bytes])).expect("a good entry")
}

pub fn deliver(to: &[&str]) -> Command {
    let recipients = to.iter().map(|to| address(to)).collect();
    Command::Deliver(Deliver { sender: "somebody@elsewhere.net".into(), recipients })
}

/// A state and the next position of its log.
pub struct Site {
    pub state: State,
    pub position: u64,
    pub time: u64,
}

impl Site {
    /// A site with a domain and these users, ids from 1.
    pub fn with_users(users: &[&str]) -> Site {
        let mut site =
            Site { state: State::new(mail::Limits::default()), position: 0, time: 1_000_000_000_000 };
        let set = SetDomain { domain: domain("x.org"), catch_all: None };
        assert_eq!(site.operator(Command::SetDomain(set)), Outcome::Done);
        for (at, user) in users.iter().enumerate() {
            let name = UserName::parse(user).expect("a good name");
            let add = AddUser { name, password: None, privileged: false, quota: Quota::default() };
            let added = site.operator(Command::AddUser(add));
            assert_eq!(added, Outcome::Added(UserId(at as u32 + 1)));
        }
        site
    }

    /// Applies an entry at the next position and audits what it made of the state.
    pub fn apply(&mut self, entry: &Entry) -> Outcome {
        self.position += 1;
        self.time += 1;
        let outcome = self.state.apply(Position(self.position), EntryTime(self.time), entry);
        self.state.audit().expect("a sound state");
        outcome
    }

    pub fn operator(&mut self, command: Command) -> Outcome {
        self.apply(&plain(Principal::Operator, command))
    }

    pub fn send(&mut self, to: &[&str], bytes: usize) -> Outcome {
        self.apply(&letter(Principal::Outside, None, deliver(to), bytes))
    }

    pub fn inbox(&self, user: u32) -> MailboxId {
        self.state.user(UserId(user)).expect("a user").inbox()
    }

    pub fn mailbox(&self, user: u32, named: &str) -> &mail::Mailbox {
        self.state.mailbox_named(UserId(user), &name(named)).expect("a mailbox")
    }

    pub fn uids(&self, user: u32, named: &str) -> Vec<u32> {
        self.mailbox(user, named).records().map(|record| record.uid).collect()
    }
}
