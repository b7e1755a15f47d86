//! Entries drawn from a seed: few users, few names, few addresses, so that they meet.

use mail::command::{
    AddUser, Append, CreateMailbox, Deliver, Expunge, NamedMailbox, Posting, Quota, RenameMailbox, SetAlias,
    SetDomain, SetList, SetPrivileged, SetQuota, SetUse, SpecialUse, Store, Transfer,
};
use mail::{
    Address, Command, Entry, EntryTime, FlagNames, FlagOp, Flags, Keyword, MailboxId, MailboxName, Principal,
    RequestId, State, UidSet, UserId, UserName,
};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

const USERS: &[&str] = &["ann", "bob", "cid", "dan"];
const FOLDERS: &[&str] = &["INBOX", "a", "a/b", "a/b/c", "b", "A", "INBOX/x", "Held"];
const ADDRESSES: &[&str] = &[
    "ann@x.org",
    "bob@x.org",
    "cid@x.org",
    "dan@x.org",
    "ann+a@x.org",
    "bob+a/b@x.org",
    "al@x.org",
    "al+b@x.org",
    "be@x.org",
    "li@x.org",
    "lo@x.org",
    "postmaster@x.org",
    "nobody@x.org",
    "who@y.org",
    "ann@z.org",
];

pub struct Draw {
    pub random: ChaCha8Rng,
    /// Keywords to choose from.
    keywords: u32,
}

impl Draw {
    pub fn of(seed: u64) -> Draw {
        Draw {
            random: ChaCha8Rng::seed_from_u64(seed),
            keywords: if seed.is_multiple_of(4) { 40 } else { 4 },
        }
    }

    pub fn below(&mut self, bound: u32) -> u32 {
        self.random.next_u32() % bound.max(1)
    }

    pub fn chance(&mut self, percent: u32) -> bool {
        self.below(100) < percent
    }

    pub fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len() as u32) as usize]
    }

    pub fn address(&mut self) -> Address {
        super::address(self.pick(ADDRESSES))
    }

    fn addresses(&mut self, most: u32) -> Vec<Address> {
        (0..self.below(most + 1)).map(|_| self.address()).collect()
    }

    fn folder(&mut self) -> MailboxName {
        super::name(self.pick(FOLDERS))
    }

    fn user(&mut self, state: &State) -> UserId {
        let users: Vec<UserId> = state.users().map(|user| user.id()).collect();
        match users.is_empty() || self.chance(3) {
            true => UserId(self.below(20)),
            false => users[self.below(users.len() as u32) as usize],
        }
    }

    pub fn mailbox(&mut self, state: &State, user: UserId) -> MailboxId {
        let all: Vec<MailboxId> =
            state.user(user).into_iter().flat_map(|user| user.mailboxes()).map(|(_, id)| id).collect();
        match all.is_empty() || self.chance(2) {
            true => MailboxId(self.below(40)),
            false => all[self.below(all.len() as u32) as usize],
        }
    }

    pub fn uids(&mut self, state: &State, mailbox: MailboxId) -> UidSet {
        let next = state.mailbox(mailbox).map_or(5, |mailbox| mailbox.status().uid_next);
        match self.below(6) {
            0 => UidSet::all(),
            1 => UidSet::of((0..self.below(6)).map(|_| 1 + self.below(next))),
            _ => {
                let first = 1 + self.below(next);
                UidSet::of_runs([(first, first + self.below(4))])
            }
        }
    }

    pub fn flags(&mut self) -> FlagNames {
        let system = Flags(self.random.next_u32() & self.random.next_u32()).and(Flags::SYSTEM);
        let count = if self.keywords > 10 { self.below(6) } else { self.below(3) };
        let keyword =
            |n: u32| Keyword::normal(&format!("{}{n}", if n.is_multiple_of(2) { "k" } else { "K" }));
        let keywords = (0..count).map(|_| keyword(self.below(self.keywords)).unwrap()).collect();
        FlagNames { system, keywords }
    }

    fn special_use(&mut self) -> Option<SpecialUse> {
        match self.below(6) {
            0 => Some(SpecialUse::Sent),
            1 => Some(SpecialUse::Trash),
            _ => None,
        }
    }

    fn quota(&mut self) -> Quota {
        // No user has two copies of one letter refused and delivered: a quota has room or has none.
        let letters_max = self.chance(20).then_some(0);
        Quota { bytes_max: self.chance(20).then_some(0), letters_max }
    }

    /// The cluster's beginning: domains, users, an alias, a list.
    pub fn founding(&mut self) -> Vec<Entry> {
        let mut commands = Vec::new();
        for domain in ["x.org", "y.org"] {
            let catch_all = (domain == "y.org").then(|| super::address("bob@x.org"));
            commands.push(Command::SetDomain(SetDomain { domain: super::domain(domain), catch_all }));
        }
        for user in &USERS[..3] {
            commands.push(Command::AddUser(self.add_user(user)));
        }
        let entry = |command| super::plain(Principal::Operator, command);
        commands.into_iter().map(entry).collect()
    }

    fn add_user(&mut self, name: &str) -> AddUser {
        let privileged = self.chance(20);
        AddUser { name: UserName::parse(name).unwrap(), password: None, privileged, quota: self.quota() }
    }

    fn request(&mut self) -> Option<RequestId> {
        let number = u64::from(self.below(60));
        self.chance(40).then(|| RequestId::of_session(Principal::Operator, [7; 16], number))
    }

    /// Any entry that the model knows.
    pub fn entry(&mut self, state: &State, now: u64) -> Entry {
        let user = self.user(state);
        let by = match self.below(10) {
            0 => Principal::User(self.user(state)),
            1..5 => Principal::User(user),
            _ => Principal::Operator,
        };
        let request = self.request();
        let command = self.command(state, user, now);
        let by = match &command {
            Command::Deliver(_) if self.chance(40) => Principal::Outside,
            _ if self.chance(2) => Principal::Site,
            _ => by,
        };
        if command.carries_letter() {
            let bytes = 1 + self.below(2_000) as usize;
            super::letter(by, request, command, bytes)
        } else {
            Entry::new(by, request, command).unwrap()
        }
    }

    fn command(&mut self, state: &State, user: UserId, now: u64) -> Command {
        let mailbox = self.mailbox(state, user);
        let uids = self.uids(state, mailbox);
        match self.below(100) {
            0..22 => {
                let recipients = self.addresses(4);
                Command::Deliver(Deliver { sender: "s@elsewhere.net".into(), recipients })
            }
            22..34 => {
                let date = self.chance(50).then_some(EntryTime(now / 2));
                Command::Append(Append { mailbox, flags: self.flags(), date })
            }
            34..52 => {
                let op = [FlagOp::Add, FlagOp::Remove, FlagOp::Replace][self.below(3) as usize];
                let newest = state.mailbox(mailbox).map_or(1, |mailbox| mailbox.status().modseq);
                let unchanged_since = self.chance(20).then(|| u64::from(self.below(newest as u32 + 1)));
                Command::Store(Store { mailbox, uids, op, flags: self.flags(), unchanged_since })
            }
            52..60 => Command::Expunge(Expunge { mailbox, uids, only_deleted: self.chance(60) }),
            60..66 => Command::Copy(Transfer { from: mailbox, uids, to: self.mailbox(state, user) }),
            66..72 => Command::Move(Transfer { from: mailbox, uids, to: self.mailbox(state, user) }),
            72..78 => {
                let (name, special_use) = (self.folder(), self.special_use());
                Command::CreateMailbox(CreateMailbox { user, name, special_use })
            }
            78..80 => Command::DeleteMailbox(NamedMailbox { user, name: self.folder() }),
            80..84 => Command::RenameMailbox(RenameMailbox { user, from: self.folder(), to: self.folder() }),
            84 => Command::Subscribe(NamedMailbox { user, name: self.folder() }),
            85 => Command::Unsubscribe(NamedMailbox { user, name: self.folder() }),
            86 => Command::SetUse(SetUse { mailbox, special_use: self.special_use() }),
            87..89 => Command::ClaimRecent(mailbox),
            89..91 => {
                let name = self.pick(USERS);
                Command::AddUser(self.add_user(name))
            }
            91 => Command::DeleteUser(user),
            92 => Command::SetPrivileged(SetPrivileged { user, privileged: self.chance(50) }),
            93 => Command::SetQuota(SetQuota { user, quota: self.quota() }),
            94..96 => {
                let address = super::address(self.pick(&["al@x.org", "be@x.org", "ann@x.org", "li@x.org"]));
                Command::SetAlias(SetAlias { address, targets: self.addresses(3) })
            }
            96..98 => {
                let posting = [Posting::Anyone, Posting::Users, Posting::Members, Posting::Owners];
                let posting = posting[self.below(4) as usize];
                let address = super::address(self.pick(&["li@x.org", "lo@x.org", "al@x.org"]));
                let owners = if self.chance(70) { vec![user] } else { Vec::new() };
                Command::SetList(SetList { address, members: self.addresses(4), owners, posting })
            }
            98 => {
                let catch_all = self.chance(60).then(|| self.address());
                Command::SetDomain(SetDomain { domain: super::domain("x.org"), catch_all })
            }
            _ => Command::Tick,
        }
    }
}
