//! A slow and obvious mail store: maps of lists of sets, everything recounted whenever it is asked for.

use std::collections::{BTreeMap, BTreeSet};

use mail::command::{Posting, Quota, SpecialUse};
use mail::{
    Address, Command, Entry, FlagNames, FlagOp, Flags, MailboxId, Outcome, Principal, Receipt, Refusal,
    RequestId, UidSet, UserId,
};

const DAY_MS: u64 = 24 * 3600 * 1000;
const KEYWORDS: usize = 27;

#[derive(Clone, Debug)]
pub struct Letter {
    pub uid: u32,
    pub flags: BTreeSet<String>,
    pub modseq: u64,
    pub body: u64,
}

#[derive(Clone, Debug)]
pub struct Folder {
    pub id: u32,
    pub validity: u32,
    pub next: u32,
    pub modseq: u64,
    pub recent_from: u32,
    pub special_use: Option<SpecialUse>,
    pub letters: Vec<Letter>,
    pub gone: Vec<(u64, u32)>,
}

#[derive(Clone, Debug, Default)]
pub struct User {
    pub name: String,
    pub privileged: bool,
    pub quota: Quota,
    pub folders: BTreeMap<String, Folder>,
    pub subscriptions: BTreeSet<String>,
}

#[derive(Clone, Debug, Default)]
pub struct Model {
    pub users: BTreeMap<u32, User>,
    pub domains: BTreeMap<String, Option<String>>,
    pub aliases: BTreeMap<String, Vec<String>>,
    pub lists: BTreeMap<String, (Vec<String>, Vec<u32>, Posting)>,
    /// Length and date of every body that ever was.
    pub bodies: BTreeMap<u64, (u32, u64)>,
    requests: Vec<(RequestId, u64, u64, Outcome)>,
    now: u64,
    last_user: u32,
    last_folder: u32,
    last_validity: u32,
}

type Done = Result<Outcome, Refusal>;

impl Model {
    pub fn apply(&mut self, position: u64, time: u64, entry: &Entry) -> Outcome {
        self.now = self.now.max(time);
        let head = entry.head();
        let fresh = |r: &&(RequestId, u64, u64, Outcome)| r.1 + DAY_MS >= self.now;
        let known = self.requests.iter().filter(fresh).find(|r| Some(r.0) == head.request);
        if let Some((_, _, first, answer)) = known {
            let (first, answer) = (mail::Position(*first), Box::new(answer.clone()));
            return Outcome::Repeated { first, answer };
        }
        let done = self.execute(position, time, head.by, head.letter_bytes, &head.command);
        let outcome = done.unwrap_or_else(Outcome::Refused);
        let nothing = match &outcome {
            Outcome::Refused(_) => true,
            Outcome::Delivered(all) => all.iter().all(|r| matches!(r, Receipt::Refused(_))),
            _ => false,
        };
        if let (Some(id), false) = (head.request, nothing) {
            self.requests.retain(|r| r.0 != id);
            let mut brief = outcome.clone();
            if let Outcome::Delivered(all) = &mut brief {
                for receipt in all {
                    if let Receipt::Partly(names) = receipt {
                        names.clear();
                    }
                }
            }
            self.requests.push((id, self.now, position, brief));
        }
        outcome
    }

    fn execute(&mut self, at: u64, time: u64, by: Principal, bytes: u32, command: &Command) -> Done {
        match command {
            Command::Deliver(deliver) => self.deliver(at, time, by, bytes, &deliver.recipients),
            Command::Append(append) => {
                let (user, folder) = self.folder(by, append.mailbox)?;
                self.room(user, u64::from(bytes), 1)?;
                let folder = self.at(user, &folder);
                let flags = what_fits(folder, &append.flags);
                let uid = put(folder, at, flags);
                let validity = folder.validity;
                self.bodies.insert(at, (bytes, append.date.map_or(time, |date| date.0)));
                Ok(Outcome::Appended { validity, uid })
            }
            Command::Store(store) => {
                let (user, folder) = self.folder(by, store.mailbox)?;
                let folder = self.at(user, &folder);
                let named = set(&store.flags);
                let all: BTreeSet<String> = in_use(folder).union(&keywords(&named)).cloned().collect();
                if store.op != FlagOp::Remove && all.len() > KEYWORDS {
                    return Err(Refusal::KeywordsFull);
                }
                let (mut changed, mut modified) = (Vec::new(), Vec::new());
                let next = folder.modseq + 1;
                for letter in folder.letters.iter_mut().filter(|l| store.uids.contains(l.uid)) {
                    if store.unchanged_since.is_some_and(|since| letter.modseq > since) {
                        modified.push(letter.uid);
                        continue;
                    }
                    let new: BTreeSet<String> = match store.op {
                        FlagOp::Add => letter.flags.union(&named).cloned().collect(),
                        FlagOp::Remove => letter.flags.difference(&named).cloned().collect(),
                        FlagOp::Replace => named.clone(),
                    };
                    if new != letter.flags {
                        letter.flags = new;
                        letter.modseq = next;
                        changed.push(letter.uid);
                    }
                }
                if !changed.is_empty() {
                    folder.modseq = next;
                }
                let (changed, modified) = (UidSet::of(changed), UidSet::of(modified));
                Ok(Outcome::Stored { modseq: folder.modseq, changed, modified })
            }
            Command::Expunge(expunge) => {
                let (user, folder) = self.folder(by, expunge.mailbox)?;
                let folder = self.at(user, &folder);
                let deleted = |l: &Letter| !expunge.only_deleted || l.flags.contains("\\deleted");
                let uids = remove(folder, |l| expunge.uids.contains(l.uid) && deleted(l));
                let uids = uids.iter().map(|l| l.uid).collect();
                Ok(Outcome::Expunged { modseq: folder.modseq, uids })
            }
            Command::Copy(transfer) => self.transfer(by, transfer, false),
            Command::Move(transfer) if transfer.from == transfer.to => Err(Refusal::WrongMailbox),
            Command::Move(transfer) => self.transfer(by, transfer, true),
            Command::CreateMailbox(create) => {
                self.own(by, create.user)?;
                let user = self.users.get(&create.user.0).ok_or(Refusal::NoUser)?;
                if create.name.is_held() {
                    return Err(Refusal::Reserved);
                }
                let taken = |f: &Folder| create.special_use.is_some() && f.special_use == create.special_use;
                if user.folders.contains_key(create.name.as_str()) || user.folders.values().any(taken) {
                    return Err(Refusal::Exists);
                }
                let made = self.make(create.user.0, create.name.as_str());
                self.at(create.user.0, create.name.as_str()).special_use = create.special_use;
                Ok(made)
            }
            Command::DeleteMailbox(named) => {
                self.own(by, named.user)?;
                if named.name.is_inbox() {
                    return Err(Refusal::Reserved);
                }
                let user = self.users.get_mut(&named.user.0).ok_or(Refusal::NoUser)?;
                let below = format!("{}/", named.name);
                match user.folders.remove(named.name.as_str()) {
                    Some(_) => Ok(Outcome::Done),
                    None if user.folders.keys().any(|f| f.starts_with(&below)) => Err(Refusal::InUse),
                    None => Err(Refusal::NoMailbox),
                }
            }
            Command::RenameMailbox(rename) => {
                self.own(by, rename.user)?;
                self.rename(rename.user.0, rename.from.as_str(), rename.to.as_str())
            }
            Command::Subscribe(named) => {
                self.own(by, named.user)?;
                let user = self.users.get_mut(&named.user.0).ok_or(Refusal::NoUser)?;
                user.subscriptions.insert(named.name.to_string());
                Ok(Outcome::Done)
            }
            Command::Unsubscribe(named) => {
                self.own(by, named.user)?;
                let user = self.users.get_mut(&named.user.0).ok_or(Refusal::NoUser)?;
                user.subscriptions.remove(named.name.as_str());
                Ok(Outcome::Done)
            }
            Command::SetUse(set) => {
                let (user, name) = self.folder(by, set.mailbox)?;
                let others = self.users[&user].folders.iter().filter(|(other, _)| **other != name);
                if set.special_use.is_some()
                    && others.into_iter().any(|(_, f)| f.special_use == set.special_use)
                {
                    return Err(Refusal::Exists);
                }
                self.at(user, &name).special_use = set.special_use;
                Ok(Outcome::Done)
            }
            Command::ClaimRecent(mailbox) => {
                let (user, name) = self.folder(by, *mailbox)?;
                let folder = self.at(user, &name);
                let (from, to) = (folder.recent_from, folder.next);
                folder.recent_from = to;
                Ok(Outcome::Claimed { from, to })
            }
            Command::AddUser(add) => {
                self.administer(by)?;
                if self.users.values().any(|user| user.name == add.name.as_str()) {
                    return Err(Refusal::Exists);
                }
                self.last_user += 1;
                let id = self.last_user;
                let user = User {
                    name: add.name.to_string(),
                    privileged: add.privileged,
                    quota: add.quota,
                    subscriptions: BTreeSet::from(["INBOX".to_owned()]),
                    ..User::default()
                };
                self.users.insert(id, user);
                self.make(id, "INBOX");
                Ok(Outcome::Added(UserId(id)))
            }
            Command::DeleteUser(id) => {
                self.administer(by)?;
                self.users.remove(&id.0).ok_or(Refusal::NoUser)?;
                self.lists.values_mut().for_each(|list| list.1.retain(|owner| *owner != id.0));
                Ok(Outcome::Done)
            }
            Command::SetPrivileged(set) => {
                self.administer(by)?;
                self.users.get_mut(&set.user.0).ok_or(Refusal::NoUser)?.privileged = set.privileged;
                Ok(Outcome::Done)
            }
            Command::SetQuota(set) => {
                self.administer(by)?;
                self.users.get_mut(&set.user.0).ok_or(Refusal::NoUser)?.quota = set.quota;
                Ok(Outcome::Done)
            }
            Command::SetDomain(set) => {
                self.administer(by)?;
                let target = set.catch_all.as_ref().map(Address::to_string);
                let own = |t: &Address| t.domain() == set.domain || self.local(t.as_str());
                if set.catch_all.as_ref().is_some_and(|t| !own(t)) {
                    return Err(Refusal::NotLocal);
                }
                self.domains.insert(set.domain.to_string(), target);
                Ok(Outcome::Done)
            }
            Command::SetAlias(set) => {
                self.administer(by)?;
                let address = set.address.to_string();
                if set.targets.is_empty() {
                    self.aliases.remove(&address);
                    return Ok(Outcome::Done);
                }
                self.all_local(&set.address, &set.targets)?;
                if self.lists.contains_key(&address) {
                    return Err(Refusal::Exists);
                }
                self.aliases.insert(address, sorted(&set.targets));
                Ok(Outcome::Done)
            }
            Command::SetList(set) => {
                let address = set.address.to_string();
                let mine = |id: UserId| self.lists.get(&address).is_some_and(|l| l.1.contains(&id.0));
                if !matches!(by, Principal::User(id) if mine(id)) {
                    self.administer(by)?;
                }
                self.all_local(&set.address, &set.members)?;
                if set.owners.iter().any(|owner| !self.users.contains_key(&owner.0)) {
                    return Err(Refusal::NoUser);
                }
                if self.aliases.contains_key(&address) {
                    return Err(Refusal::Exists);
                }
                let owners = set.owners.iter().map(|owner| owner.0).collect();
                self.lists.insert(address, (sorted(&set.members), owners, set.posting));
                Ok(Outcome::Done)
            }
            Command::Tick => Ok(Outcome::Done),
            other => panic!("the model does not know {other:?}"),
        }
    }

    fn deliver(&mut self, at: u64, time: u64, by: Principal, bytes: u32, to: &[Address]) -> Done {
        match by {
            Principal::Site => return Err(Refusal::NotPermitted),
            Principal::User(id) if !self.users.contains_key(&id.0) => return Err(Refusal::NoUser),
            Principal::User(_) | Principal::Operator | Principal::Outside => {}
        }
        let resolved: Vec<_> = to.iter().map(|to| self.resolve(to.as_str(), by)).collect();
        let mut folders: Vec<(u32, u32, String)> = Vec::new();
        for (user, name) in resolved.iter().flatten().flatten() {
            folders.push((self.users[user].folders[name].id, *user, name.clone()));
        }
        folders.sort();
        folders.dedup();
        let mut full = BTreeSet::new();
        self.bodies.insert(at, (bytes, time));
        for (_, user, name) in folders {
            match self.room(user, u64::from(bytes), 1) {
                Ok(()) => {
                    put(self.at(user, &name), at, BTreeSet::new());
                }
                Err(_) => {
                    full.insert(user);
                }
            }
        }
        let receipt = |found: Result<BTreeSet<(u32, String)>, Refusal>| match found {
            Err(refusal) => Receipt::Refused(refusal),
            Ok(found) => {
                let users: Vec<UserId> = self.in_folder_order(&found, &full);
                if users.is_empty() {
                    Receipt::Delivered
                } else if users.len() == found.len() {
                    Receipt::Refused(Refusal::OverQuota)
                } else {
                    Receipt::Partly(users)
                }
            }
        };
        Ok(Outcome::Delivered(resolved.into_iter().map(receipt).collect()))
    }

    /// The users among these that got nothing. A user with room for one of two copies is told of neither
    /// here, so quotas of the tests leave room for all or none.
    fn in_folder_order(&self, found: &BTreeSet<(u32, String)>, full: &BTreeSet<u32>) -> Vec<UserId> {
        let mut users: Vec<(u32, u32)> = found
            .iter()
            .filter(|(user, _)| full.contains(user))
            .map(|(user, name)| (self.users[user].folders[name].id, *user))
            .collect();
        users.sort();
        users.into_iter().map(|(_, user)| UserId(user)).collect()
    }

    fn resolve(&self, to: &str, by: Principal) -> Result<BTreeSet<(u32, String)>, Refusal> {
        let (mut found, mut failed) = (BTreeSet::new(), Vec::new());
        self.follow(to, by, false, 0, &mut BTreeSet::new(), &mut found, &mut failed);
        match failed.first() {
            _ if !found.is_empty() => Ok(found),
            Some(refusal) => Err(*refusal),
            None => Err(Refusal::NoAddress),
        }
    }

    #[allow(clippy::too_many_arguments, reason = "a recursion that carries all it knows")]
    fn follow(
        &self,
        to: &str,
        by: Principal,
        listed: bool,
        depth: usize,
        seen: &mut BTreeSet<String>,
        found: &mut BTreeSet<(u32, String)>,
        failed: &mut Vec<Refusal>,
    ) {
        if depth > 16 || !seen.insert(to.to_owned()) {
            return failed.push(Refusal::AliasLoop);
        }
        let (local, domain) = to.split_once('@').unwrap();
        let Some(catch_all) = self.domains.get(domain) else { return failed.push(Refusal::NotLocal) };
        let (base, detail) = local.split_once('+').map_or((local, None), |(b, d)| (b, Some(d)));
        let plain = format!("{base}@{domain}");
        if let Some((members, owners, posting)) = self.lists.get(to) {
            let me = match by {
                Principal::User(id) => self.users.get(&id.0).map(|user| (id.0, &user.name)),
                _ => None,
            };
            let owner = me.is_some_and(|(id, _)| owners.contains(&id));
            let is_me = |m: &String| me.is_some_and(|(_, n)| m.split(['+', '@']).next() == Some(n));
            let may = listed
                || by == Principal::Operator
                || match posting {
                    Posting::Anyone => true,
                    Posting::Users => me.is_some(),
                    Posting::Members => owner || members.iter().any(is_me),
                    Posting::Owners => owner,
                };
            if !may {
                return failed.push(Refusal::NotAllowedToPost);
            }
            return members.iter().for_each(|m| self.follow(m, by, true, depth + 1, seen, found, failed));
        }
        let user = |name: &str| self.users.iter().find(|(_, user)| user.name == name);
        if let Some(targets) = self.aliases.get(to) {
            targets.iter().for_each(|t| self.follow(t, by, listed, depth + 1, seen, found, failed));
        } else if let Some((id, _)) = user(local) {
            found.insert((*id, "INBOX".to_owned()));
        } else if let (Some(targets), Some(_)) = (self.aliases.get(&plain), detail) {
            targets.iter().for_each(|t| self.follow(t, by, listed, depth + 1, seen, found, failed));
        } else if let (Some((id, user)), Some(detail)) = (user(base), detail) {
            let exact = user.folders.keys().find(|name| *name == detail);
            let alike = user.folders.keys().find(|name| name.eq_ignore_ascii_case(detail));
            found.insert((*id, exact.or(alike).cloned().unwrap_or("INBOX".to_owned())));
        } else if local == "postmaster" && self.users.values().any(|user| user.privileged) {
            let all = self.users.iter().filter(|(_, user)| user.privileged);
            found.extend(all.map(|(id, _)| (*id, "INBOX".to_owned())));
        } else if let Some(target) = catch_all {
            self.follow(target, by, listed, depth + 1, seen, found, failed);
        } else {
            failed.push(Refusal::NoAddress);
        }
    }

    fn transfer(&mut self, by: Principal, transfer: &mail::command::Transfer, moves: bool) -> Done {
        let (user, from) = self.folder(by, transfer.from)?;
        let (other, to) = self.folder(by, transfer.to)?;
        if user != other {
            return Err(Refusal::WrongMailbox);
        }
        let wanted = |l: &Letter| transfer.uids.contains(l.uid);
        let letters: Vec<Letter> =
            self.at(user, &from).letters.iter().filter(|l| wanted(l)).cloned().collect();
        let bytes = letters.iter().map(|l| u64::from(self.bodies[&l.body].0)).sum();
        if !moves {
            self.room(user, bytes, letters.len() as u32)?;
        } else {
            remove(self.at(user, &from), wanted);
        }
        let target = self.at(user, &to);
        let modseq = target.modseq + 1;
        let mut uids = Vec::new();
        for letter in &letters {
            let names = FlagNames {
                system: Flags::NONE,
                keywords: keywords(&letter.flags).iter().map(|k| mail::Keyword::normal(k).unwrap()).collect(),
            };
            let mut flags = what_fits(target, &names);
            flags.extend(letter.flags.iter().filter(|f| f.starts_with('\\')).cloned());
            target.modseq = modseq - 1;
            uids.push(put(target, letter.body, flags));
        }
        let validity = target.validity;
        Ok(Outcome::Copied { validity, from: letters.iter().map(|l| l.uid).collect(), to: UidSet::of(uids) })
    }

    fn rename(&mut self, id: u32, from: &str, to: &str) -> Done {
        let user = self.users.get_mut(&id).ok_or(Refusal::NoUser)?;
        let held = |name: &str| name == "Held" || name.starts_with("Held/");
        if from == "INBOX" {
            if held(to) {
                return Err(Refusal::Reserved);
            }
            if user.folders.contains_key(to) {
                return Err(Refusal::Exists);
            }
            let made = self.make(id, to);
            let (was, new) = (self.folder_id(id, "INBOX"), self.folder_id(id, to));
            let transfer = mail::command::Transfer { from: was, uids: UidSet::all(), to: new };
            self.transfer(Principal::Operator, &transfer, true)?;
            return Ok(made);
        }
        if held(to) {
            return Err(Refusal::Reserved);
        }
        let below = format!("{from}/");
        if to == from || to.starts_with(&below) {
            return Err(Refusal::BadName);
        }
        let moves = |name: &str| name == from || name.starts_with(&below);
        let (moved, mut kept): (BTreeMap<_, _>, BTreeMap<_, _>) =
            user.folders.clone().into_iter().partition(|(name, _)| moves(name));
        if moved.is_empty() {
            return Err(Refusal::NoMailbox);
        }
        for (name, folder) in moved {
            if kept.insert(name.replacen(from, to, 1), folder).is_some() {
                return Err(Refusal::Exists);
            }
        }
        user.folders = kept;
        user.subscriptions = std::mem::take(&mut user.subscriptions)
            .into_iter()
            .map(|name| if moves(&name) { name.replacen(from, to, 1) } else { name })
            .collect();
        Ok(Outcome::Done)
    }

    fn make(&mut self, user: u32, name: &str) -> Outcome {
        self.last_folder += 1;
        self.last_validity += 1;
        let folder = Folder {
            id: self.last_folder,
            validity: self.last_validity,
            next: 1,
            modseq: 1,
            recent_from: 1,
            special_use: None,
            letters: Vec::new(),
            gone: Vec::new(),
        };
        self.users.get_mut(&user).unwrap().folders.insert(name.to_owned(), folder);
        Outcome::Created { mailbox: MailboxId(self.last_folder), validity: self.last_validity }
    }

    fn folder_id(&self, user: u32, name: &str) -> MailboxId {
        MailboxId(self.users[&user].folders[name].id)
    }

    fn at(&mut self, user: u32, name: &str) -> &mut Folder {
        self.users.get_mut(&user).unwrap().folders.get_mut(name).unwrap()
    }

    fn folder(&self, by: Principal, id: MailboxId) -> Result<(u32, String), Refusal> {
        let all =
            self.users.iter().flat_map(|(user, u)| u.folders.iter().map(move |(n, f)| (*user, n, f.id)));
        let found = all.into_iter().find(|(_, _, folder)| *folder == id.0);
        let (user, name, _) = found.ok_or(Refusal::NoMailbox)?;
        self.own(by, UserId(user))?;
        Ok((user, name.clone()))
    }

    fn own(&self, by: Principal, user: UserId) -> Result<(), Refusal> {
        let me = matches!(by, Principal::User(id) if id == user && self.users.contains_key(&id.0));
        if me || by == Principal::Operator { Ok(()) } else { Err(Refusal::NotPermitted) }
    }

    fn administer(&self, by: Principal) -> Result<(), Refusal> {
        let privileged = |id: UserId| self.users.get(&id.0).is_some_and(|user| user.privileged);
        let may = by == Principal::Operator || matches!(by, Principal::User(id) if privileged(id));
        if may { Ok(()) } else { Err(Refusal::NotPermitted) }
    }

    pub fn usage(&self, user: u32) -> (u64, u32) {
        let letters = self.users[&user].folders.values().flat_map(|f| &f.letters);
        letters.fold((0, 0), |(bytes, count), l| (bytes + u64::from(self.bodies[&l.body].0), count + 1))
    }

    fn room(&self, user: u32, bytes: u64, letters: u32) -> Result<(), Refusal> {
        let (used_bytes, used_letters) = self.usage(user);
        let quota = self.users[&user].quota;
        let fits = quota.bytes_max.is_none_or(|max| used_bytes + bytes <= max)
            && quota.letters_max.is_none_or(|max| used_letters + letters <= max);
        if fits { Ok(()) } else { Err(Refusal::OverQuota) }
    }

    fn local(&self, address: &str) -> bool {
        self.domains.contains_key(address.split_once('@').unwrap().1)
    }

    fn all_local(&self, address: &Address, others: &[Address]) -> Result<(), Refusal> {
        let all = self.local(address.as_str()) && others.iter().all(|o| self.local(o.as_str()));
        if all { Ok(()) } else { Err(Refusal::NotLocal) }
    }
}

fn sorted(addresses: &[Address]) -> Vec<String> {
    addresses.iter().map(Address::to_string).collect::<BTreeSet<_>>().into_iter().collect()
}

fn put(folder: &mut Folder, body: u64, flags: BTreeSet<String>) -> u32 {
    folder.modseq += 1;
    folder.letters.push(Letter { uid: folder.next, flags, modseq: folder.modseq, body });
    folder.next += 1;
    folder.next - 1
}

fn remove(folder: &mut Folder, wanted: impl Fn(&Letter) -> bool) -> Vec<Letter> {
    let (gone, kept): (Vec<Letter>, Vec<Letter>) = folder.letters.drain(..).partition(|l| wanted(l));
    folder.letters = kept;
    if !gone.is_empty() {
        folder.modseq += 1;
        folder.gone.extend(gone.iter().map(|l| (folder.modseq, l.uid)));
    }
    gone
}

/// Flags by name in lower case.
pub fn set(names: &FlagNames) -> BTreeSet<String> {
    let system = [
        (Flags::ANSWERED, "\\answered"),
        (Flags::FLAGGED, "\\flagged"),
        (Flags::DELETED, "\\deleted"),
        (Flags::SEEN, "\\seen"),
        (Flags::DRAFT, "\\draft"),
    ];
    let bits = system.into_iter().filter(|(flag, _)| names.system.has(*flag)).map(|(_, n)| n.to_owned());
    bits.chain(names.keywords.iter().map(|k| k.as_str().to_ascii_lowercase())).collect()
}

fn keywords(flags: &BTreeSet<String>) -> BTreeSet<String> {
    flags.iter().filter(|flag| !flag.starts_with('\\')).cloned().collect()
}

fn in_use(folder: &Folder) -> BTreeSet<String> {
    folder.letters.iter().flat_map(|l| keywords(&l.flags)).collect()
}

fn what_fits(folder: &Folder, names: &FlagNames) -> BTreeSet<String> {
    let mut busy = in_use(folder);
    let mut flags = set(&FlagNames::from(names.system));
    for keyword in &names.keywords {
        let keyword = keyword.as_str().to_ascii_lowercase();
        if busy.contains(&keyword) || busy.len() < KEYWORDS {
            busy.insert(keyword.clone());
            flags.insert(keyword);
        }
    }
    flags
}
