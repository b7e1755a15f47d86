//! The state of a cluster's mail, and what entries do to it.

mod accounts;
mod audit;
mod deliver;
mod directory;
mod folders;
mod letters;
mod listing;
mod merge;
mod query;

use std::sync::Arc;

use bytes::Bytes;

pub use audit::Digest;
pub use query::Listed;

use crate::bugs::{Bug, Bugs};
use crate::command::{Command, Principal};
use crate::directory::Directory;
use crate::entry::{Entry, Head};
use crate::feed::{Change, Feed};
use crate::ids::{EntryTime, MailboxId, Position, UserId};
use crate::letters::{Letters, Storage};
use crate::limits::Limits;
use crate::mailbox::Mailbox;
use crate::merged::Merged;
use crate::outcome::{Outcome, Receipt, Refusal};
use crate::requests::{Answer, Done, Requests};
use crate::tree::Tree;

/// All of a cluster's mail but the letters' bodies, which are in the group's log.
///
/// Give it every entry of the log with [`apply`](State::apply), in order; what it then is, and what each entry
/// came to, is the same at every site. Between entries ask it whatever you like; queries change nothing. Then
/// [`poll_change`](State::poll_change) until it has nothing more, if [`watch`](State::watch) was turned on.
///
/// A clone shares with the original whatever neither changes afterwards, and is cheap; a checkpoint is written from one
/// while the original goes on.
#[derive(Clone, Debug)]
pub struct State {
    pub(crate) limits: Limits,
    pub(crate) position: Position,
    pub(crate) now: EntryTime,
    /// Numbers that were given out; none is given twice [Mail 5].
    pub(crate) last_user: UserId,
    pub(crate) last_mailbox: MailboxId,
    pub(crate) last_validity: u32,
    pub(crate) directory: Directory,
    pub(crate) mailboxes: Tree<MailboxId, Arc<Mailbox>>,
    pub(crate) letters: Letters,
    pub(crate) requests: Requests,
    pub(crate) merged: Merged,
    pub(crate) bugs: Bugs,
    feed: Feed,
}

/// The feed is no part of what sites have in common.
impl PartialEq for State {
    fn eq(&self, other: &State) -> bool {
        let State {
            limits,
            position,
            now,
            last_user,
            last_mailbox,
            last_validity,
            directory,
            mailboxes,
            letters,
            requests,
            merged,
            bugs: _,
            feed: _,
        } = self;
        *limits == other.limits
            && *position == other.position
            && *now == other.now
            && (*last_user, *last_mailbox) == (other.last_user, other.last_mailbox)
            && *last_validity == other.last_validity
            && *directory == other.directory
            && *mailboxes == other.mailboxes
            && *letters == other.letters
            && *requests == other.requests
            && *merged == other.merged
    }
}

impl Eq for State {}

/// What an entry's command is applied with.
#[derive(Clone, Copy)]
struct Context {
    position: Position,
    time: EntryTime,
    by: Principal,
    letter_bytes: u32,
}

impl State {
    /// A cluster without users. Every site must start with the same limits.
    pub fn new(limits: Limits) -> State {
        State {
            limits,
            position: Position(0),
            now: EntryTime(0),
            last_user: UserId(0),
            last_mailbox: MailboxId(0),
            last_validity: 0,
            directory: Directory::default(),
            mailboxes: Tree::default(),
            letters: Letters::default(),
            requests: Requests::default(),
            merged: Merged::default(),
            bugs: Bugs::NONE,
            feed: Feed::default(),
        }
    }

    /// The same with bugs; none in the shipped program.
    pub fn with_bugs(self, bugs: Bugs) -> State {
        State { bugs, ..self }
    }

    /// Applies the entry at a position of the log, stamped with a time by the site that proposed it. Positions
    /// ascend; an entry at or below the last one's position changes nothing [Mail 1].
    pub fn apply(&mut self, position: Position, entry_time: EntryTime, entry: &Entry) -> Outcome {
        match self.advance(position, entry_time) {
            Ok(()) => self.perform(position, entry_time, entry.head()),
            Err(refusal) => Outcome::Refused(refusal),
        }
    }

    /// Applies an entry as the log gives it. Bytes that are no entry take their position and do nothing, at
    /// every site alike.
    pub fn apply_bytes(&mut self, position: Position, entry_time: EntryTime, bytes: &Bytes) -> Outcome {
        match Entry::decode(bytes) {
            Ok(entry) => self.apply(position, entry_time, &entry),
            Err(_) => {
                let moved = self.advance(position, entry_time);
                Outcome::Refused(moved.err().unwrap_or(Refusal::Unreadable))
            }
        }
    }

    fn advance(&mut self, position: Position, time: EntryTime) -> Result<(), Refusal> {
        if position <= self.position {
            return Err(Refusal::AlreadyApplied);
        }
        self.position = position;
        // Clocks of two sites differ: the state's time never goes back.
        self.now = self.now.max(time);
        self.requests.expire(self.now);
        Ok(())
    }

    fn perform(&mut self, position: Position, time: EntryTime, head: &Head) -> Outcome {
        let context = Context { position, time, by: head.by, letter_bytes: head.letter_bytes };
        let request = head.request.filter(|_| !self.bugs.has(Bug::RepeatTakenAsNew));
        if let Some(done) = request.as_ref().and_then(|id| self.requests.get(id)) {
            let (first, answer) = (done.position, Box::new(done.answer.outcome()));
            if let Command::Merge(merge) = &head.command {
                self.merge_repeated(&context, merge, first);
            }
            return Outcome::Repeated { first, answer };
        }
        let outcome = self.execute(&context, &head.command).unwrap_or_else(Outcome::Refused);
        if let Some(id) = request
            && changed_something(&outcome)
        {
            let done = Done { id, position, time: self.now, answer: Answer::of(&outcome) };
            self.requests.remember(done, self.limits.requests_max);
        }
        outcome
    }

    fn execute(&mut self, context: &Context, command: &Command) -> Result<Outcome, Refusal> {
        match command {
            Command::Tick => Ok(Outcome::Done),
            Command::Deliver(deliver) => self.deliver(context, deliver),
            Command::Append(append) => self.append(context, append),
            Command::Store(store) => self.store(context, store),
            Command::Expunge(expunge) => self.expunge(context, expunge),
            Command::Copy(transfer) => self.copy(context, transfer),
            Command::Move(transfer) => self.relocate(context, transfer),
            Command::CreateMailbox(create) => self.create_mailbox(context, create),
            Command::DeleteMailbox(named) => self.delete_mailbox(context, named),
            Command::RenameMailbox(rename) => self.rename_mailbox(context, rename),
            Command::Subscribe(named) => self.subscribe(context, named),
            Command::Unsubscribe(named) => self.unsubscribe(context, named),
            Command::SetUse(set) => self.set_use(context, set),
            Command::ClaimRecent(mailbox) => self.claim_recent(context, *mailbox),
            Command::AddUser(add) => self.add_user(context, add),
            Command::DeleteUser(user) => self.delete_user(context, *user),
            Command::SetPassword(set) => self.set_password(context, set),
            Command::AddAppPassword(add) => self.add_app_password(context, add),
            Command::RemoveAppPassword(remove) => self.remove_app_password(context, remove),
            Command::SetPrivileged(set) => self.set_privileged(context, set),
            Command::SetQuota(set) => self.set_quota(context, set),
            Command::SetDomain(set) => self.set_domain(context, set),
            Command::RemoveDomain(domain) => self.remove_domain(context, domain),
            Command::SetAlias(set) => self.set_alias(context, set),
            Command::SetList(set) => self.set_list(context, set),
            Command::RemoveList(address) => self.remove_list(context, address),
            Command::EnrolStore(store) => self.enrol_store(context, *store),
            Command::Merge(merge) => self.merge(context, merge),
        }
    }

    /// Turns the feed of changes on or off; either way it begins empty.
    pub fn watch(&mut self, on: bool) {
        self.feed.turn(on);
    }

    /// The next change since the feed was turned on.
    pub fn poll_change(&mut self) -> Option<Change> {
        self.feed.poll()
    }

    /// The position of the last entry.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The latest time of any entry.
    pub fn now(&self) -> EntryTime {
        self.now
    }

    /// The bounds that all sites started with.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Bodies that are wanted and bodies that are not.
    pub fn storage(&self) -> Storage {
        self.letters.storage()
    }

    // Who may [Mail 4].

    /// A user's own things: the user's, and the operator's, who owns the machine. Privileged users administer;
    /// they do not read other people's mail.
    fn may_use(&self, context: &Context, user: UserId) -> Result<(), Refusal> {
        match context.by {
            Principal::Operator => Ok(()),
            Principal::User(id) if id == user && self.directory.user(id).is_some() => Ok(()),
            Principal::User(_) | Principal::Site | Principal::Outside => Err(Refusal::NotPermitted),
        }
    }

    fn may_administer(&self, context: &Context) -> Result<(), Refusal> {
        match context.by {
            Principal::Operator => Ok(()),
            Principal::User(id) if self.directory.user(id).is_some_and(|user| user.privileged) => Ok(()),
            Principal::User(_) | Principal::Site | Principal::Outside => Err(Refusal::NotPermitted),
        }
    }

    fn may_serve(&self, context: &Context) -> Result<(), Refusal> {
        match context.by {
            Principal::Site | Principal::Operator => Ok(()),
            Principal::User(_) | Principal::Outside => Err(Refusal::NotPermitted),
        }
    }

    /// The mailbox, if the principal may use it.
    fn usable(&self, context: &Context, mailbox: MailboxId) -> Result<&Mailbox, Refusal> {
        let found = self.mailboxes.get(&mailbox).ok_or(Refusal::NoMailbox)?;
        self.may_use(context, found.owner)?;
        Ok(found)
    }

    /// A mailbox that is known to be there.
    fn mailbox_mut(&mut self, id: MailboxId) -> &mut Mailbox {
        Arc::make_mut(self.mailboxes.get_mut(&id).expect("the mailbox was found before"))
    }
}

/// Whether there is something in an outcome for a repeat to be told: what was refused is tried again instead.
fn changed_something(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Refused(_) => false,
        Outcome::Delivered(receipts) => receipts.iter().any(|r| !matches!(r, Receipt::Refused(_))),
        Outcome::Done
        | Outcome::Appended { .. }
        | Outcome::Stored { .. }
        | Outcome::Expunged { .. }
        | Outcome::Copied { .. }
        | Outcome::Created { .. }
        | Outcome::Added(_)
        | Outcome::Claimed { .. }
        | Outcome::Enrolled { .. }
        | Outcome::Repeated { .. } => true,
    }
}
