//! What clients write into entries.

use ::mail::command::{AddUser, Deliver, Posting, Quota, SetDomain, SetList};
use ::mail::{Address, Command, Domain, Entry, Principal, RequestId, UserId, UserName};
use bytes::Bytes;
use durable::ClientId;
use wire::StoreId;

use super::letter::letter_of;

/// The users, whose ids are from 1.
pub const USERS: [&str; 3] = ["ann", "bob", "cid"];
/// The domain.
pub const DOMAIN: &str = "x.org";
/// The list of all users, without its domain.
pub const LIST: &str = "all";

/// An address of the domain.
pub fn address(local: &str) -> Address {
    Address::parse(&format!("{local}@{DOMAIN}")).expect("a good address")
}

/// What makes the cluster's users, one after another: the domain, the users, the list, and the stores that may hold mail for
/// a minority.
pub fn founding(stores: impl IntoIterator<Item = StoreId>) -> Vec<Command> {
    let domain = Domain::parse(DOMAIN).expect("a good domain");
    let user = |name: &&str| {
        let name = UserName::parse(name).expect("a good name");
        Command::AddUser(AddUser { name, password: None, privileged: false, quota: Quota::default() })
    };
    let list = SetList {
        address: address(LIST),
        members: USERS.iter().map(|user| address(user)).collect(),
        owners: vec![UserId(1)],
        posting: Posting::Anyone,
    };
    let start = [Command::SetDomain(SetDomain { domain, catch_all: None })];
    let enrolling = stores.into_iter().map(Command::EnrolStore);
    start.into_iter().chain(USERS.iter().map(user)).chain([Command::SetList(list)]).chain(enrolling).collect()
}

/// The `number`th request of a client.
pub fn request_id(by: Principal, client: ClientId, number: u64) -> RequestId {
    RequestId::of_session(by, client.0, number)
}

/// A request without a letter.
pub fn plain(by: Principal, id: RequestId, command: Command) -> Bytes {
    Entry::new(by, Some(id), command).expect("a good entry").encode()
}

/// A request with a letter.
pub fn with_letter(by: Principal, id: RequestId, command: Command, letter: u64) -> Bytes {
    Entry::with_letter(by, Some(id), command, letter_of(letter)).expect("a good entry").encode()
}

/// A letter to these.
pub fn deliver(to: &[&str]) -> Deliver {
    let recipients = to.iter().map(|to| address(to)).collect();
    Deliver { sender: "somebody@elsewhere.net".into(), recipients }
}
