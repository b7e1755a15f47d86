//! One scenario for each promise of `docs/mail.md`, readable as the schedule that it runs.

mod common;

use common::{Site, address, deliver, letter, name, plain};
use mail::command::{
    AddAppPassword, AddUser, Append, CreateMailbox, Expunge, NamedMailbox, Posting, Quota, RenameMailbox,
    Scram, SetAlias, SetDomain, SetList, SetPassword, SetPrivileged, SetQuota, SetUse, SpecialUse, Store,
    Transfer,
};
use mail::{
    Change, Command, EntryTime, FlagNames, FlagOp, Flags, Keyword, MailboxId, Outcome, Position, Principal,
    Receipt, Refusal, RequestId, UidSet, UserId, UserName,
};
use wire::StoreId;

const ANN: UserId = UserId(1);
const BOB: UserId = UserId(2);

fn create(user: UserId, named: &str) -> Command {
    Command::CreateMailbox(CreateMailbox { user, name: name(named), special_use: None })
}

fn delete(user: UserId, named: &str) -> Command {
    Command::DeleteMailbox(NamedMailbox { user, name: name(named) })
}

fn rename(user: UserId, from: &str, to: &str) -> Command {
    Command::RenameMailbox(RenameMailbox { user, from: name(from), to: name(to) })
}

fn store(mailbox: MailboxId, uids: UidSet, op: FlagOp, flags: Flags) -> Store {
    Store { mailbox, uids, op, flags: FlagNames::from(flags), unchanged_since: None }
}

fn expunge(mailbox: MailboxId, uids: UidSet) -> Expunge {
    Expunge { mailbox, uids, only_deleted: false }
}

fn created(outcome: Outcome) -> (MailboxId, u32) {
    match outcome {
        Outcome::Created { mailbox, validity } => (mailbox, validity),
        other => panic!("{other:?}"),
    }
}

fn alias(at: &str, targets: &[&str]) -> Command {
    let targets = targets.iter().map(|target| address(target)).collect();
    Command::SetAlias(SetAlias { address: address(at), targets })
}

const DELIVERED: Receipt = Receipt::Delivered;

fn refused(refusal: Refusal) -> Outcome {
    Outcome::Refused(refusal)
}

// Delivery.

#[test]
fn a_letter_for_many_is_one_letter() {
    let users: Vec<String> = (0..500).map(|n| format!("user{n}")).collect();
    let names: Vec<&str> = users.iter().map(String::as_str).collect();
    let mut site = Site::with_users(&names);
    let to: Vec<String> = users.iter().map(|user| format!("{user}@x.org")).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    let outcome = site.send(&to, 1 << 20);
    assert_eq!(outcome, Outcome::Delivered(vec![DELIVERED; 500]));
    assert_eq!((site.state.storage().live_letters, site.state.storage().live_bytes), (1, 1 << 20));
    let position = Position(site.position);
    assert_eq!(site.state.letter(position).unwrap().references, 500);
    for user in 1..500 {
        site.operator(Command::Expunge(expunge(site.inbox(user), UidSet::all())));
        assert!(site.state.is_live(position));
    }
    site.operator(Command::Expunge(expunge(site.inbox(500), UidSet::all())));
    assert!(!site.state.is_live(position));
    assert_eq!(site.state.storage().freed_bytes, 1 << 20);
    assert_eq!(site.state.user(ANN).unwrap().usage().freed_bytes, 1 << 20);
}

#[test]
fn an_address_that_is_reached_twice_gets_one_letter() {
    let mut site = Site::with_users(&["ann", "bob"]);
    site.operator(alias("al@x.org", &["ann@x.org", "bob@x.org", "al@x.org"]));
    site.send(&["ann@x.org", "al@x.org", "ann+nothing@x.org"], 10);
    assert_eq!((site.uids(1, "INBOX"), site.uids(2, "INBOX")), (vec![1], vec![1]));
}

#[test]
fn a_detail_is_a_mailbox_if_there_is_one() {
    let mut site = Site::with_users(&["ann"]);
    created(site.operator(create(ANN, "Work/2026")));
    site.send(&["ann+work/2026@x.org"], 10);
    site.send(&["ann+play@x.org"], 10);
    assert_eq!((site.uids(1, "Work/2026").len(), site.uids(1, "INBOX").len()), (1, 1));
}

#[test]
fn aliases_in_a_circle_are_refused_and_do_not_hinder_others() {
    let mut site = Site::with_users(&["ann"]);
    site.operator(alias("a@x.org", &["b@x.org"]));
    site.operator(alias("b@x.org", &["a@x.org"]));
    let outcome = site.send(&["a@x.org", "ann@x.org"], 10);
    assert_eq!(outcome, Outcome::Delivered(vec![Receipt::Refused(Refusal::AliasLoop), DELIVERED]));
    for n in 0..20 {
        site.operator(alias(&format!("deep{n}@x.org"), &[&format!("deep{}@x.org", n + 1)]));
    }
    site.operator(alias("deep20@x.org", &["ann@x.org"]));
    let outcome = site.send(&["deep0@x.org", "deep8@x.org"], 10);
    assert_eq!(outcome, Outcome::Delivered(vec![Receipt::Refused(Refusal::AliasLoop), DELIVERED]));
}

#[test]
fn what_one_letter_makes_of_aliases_is_bounded() {
    let mut site = Site::with_users(&["ann"]);
    // Each level leads to all of the next: every address is followed once.
    let level = |n: u32| (0..40).map(move |k| format!("l{n}k{k}@x.org")).collect::<Vec<_>>();
    for n in 0..8 {
        let next = level(n + 1);
        let next: Vec<&str> = next.iter().map(String::as_str).collect();
        level(n).iter().for_each(|at| assert_eq!(site.operator(alias(at, &next)), Outcome::Done));
    }
    let last = level(8);
    last.iter().for_each(|at| assert_eq!(site.operator(alias(at, &["ann@x.org"])), Outcome::Done));
    let to: Vec<String> = std::iter::repeat_n("l0k0@x.org".to_owned(), 400).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    let Outcome::Delivered(receipts) = site.send(&to, 10) else { panic!("not delivered") };
    assert_eq!(receipts.first(), Some(&DELIVERED));
    assert_eq!(receipts.last(), Some(&Receipt::Refused(Refusal::TooManyTargets)));
    assert_eq!(site.uids(1, "INBOX"), [1]);
}

#[test]
fn a_list_takes_letters_from_whom_it_may() {
    let mut site = Site::with_users(&["ann", "bob", "cid"]);
    let list = |posting| {
        let members = vec![address("ann@x.org"), address("bob@x.org")];
        Command::SetList(SetList { address: address("li@x.org"), members, owners: vec![UserId(3)], posting })
    };
    let mut post = |posting, by| {
        site.operator(list(posting));
        let Outcome::Delivered(receipts) = site.apply(&letter(by, None, deliver(&["li@x.org"]), 5)) else {
            panic!("not delivered")
        };
        receipts[0] == DELIVERED
    };
    let (ann, cid) = (Principal::User(ANN), Principal::User(UserId(3)));
    assert!(post(Posting::Anyone, Principal::Outside));
    assert!(!post(Posting::Users, Principal::Outside) && post(Posting::Users, cid));
    assert!(post(Posting::Members, ann) && post(Posting::Members, cid));
    assert!(!post(Posting::Members, Principal::Outside));
    assert!(!post(Posting::Owners, ann) && post(Posting::Owners, cid));
}

#[test]
fn a_user_writes_from_its_own_addresses() {
    let mut site = Site::with_users(&["ann", "bob"]);
    site.operator(alias("sales@x.org", &["ann@x.org"]));
    let may = |from: &str| site.state.may_send_as(ANN, &address(from));
    assert!(may("ann@x.org") && may("ann+news@x.org") && may("sales@x.org"));
    assert!(!may("bob@x.org") && !may("ann@y.org") && !may("nobody@x.org"));
}

#[test]
fn a_quota_refuses_one_recipient_and_not_the_others() {
    let mut site = Site::with_users(&["ann", "bob"]);
    let quota = Quota { bytes_max: Some(100), letters_max: None };
    site.operator(Command::SetQuota(SetQuota { user: ANN, quota }));
    site.operator(alias("both@x.org", &["ann@x.org", "bob@x.org"]));
    assert_eq!(site.send(&["ann@x.org"], 100), Outcome::Delivered(vec![DELIVERED]));
    let outcome = site.send(&["ann@x.org", "bob@x.org", "both@x.org"], 1);
    let over = Receipt::Refused(Refusal::OverQuota);
    assert_eq!(outcome, Outcome::Delivered(vec![over, DELIVERED, Receipt::Partly(vec![ANN])]));
    let copy = Transfer { from: site.inbox(1), uids: UidSet::all(), to: site.inbox(1) };
    assert_eq!(site.operator(Command::Copy(copy)), refused(Refusal::OverQuota));
    assert_eq!(site.state.takes(site.inbox(1), 1), Err(Refusal::OverQuota));
}

#[test]
fn a_mailbox_cannot_be_copied_into_itself_for_ever() {
    let mut site = Site::with_users(&["ann"]);
    site.state = mail::State::new(mail::Limits { letters_max: 100, ..mail::Limits::default() });
    let domain = SetDomain { domain: common::domain("x.org"), catch_all: None };
    site.operator(Command::SetDomain(domain));
    let name = UserName::parse("ann").unwrap();
    let add = AddUser { name, password: None, privileged: false, quota: Quota::default() };
    site.operator(Command::AddUser(add));
    site.send(&["ann@x.org"], 1);
    let inbox = site.inbox(1);
    let copy = || Command::Copy(Transfer { from: inbox, uids: UidSet::all(), to: inbox });
    for doubled in 1..=6 {
        assert!(!site.operator(copy()).is_refusal());
        assert_eq!(site.mailbox(1, "INBOX").status().exists, 1 << doubled);
    }
    assert_eq!(site.operator(copy()), refused(Refusal::Full));
}

// UIDs and MODSEQs.

#[test]
fn a_mailbox_that_is_made_again_has_a_higher_uidvalidity() {
    let mut site = Site::with_users(&["ann"]);
    let (_, first) = created(site.operator(create(ANN, "a")));
    site.operator(delete(ANN, "a"));
    let (_, second) = created(site.operator(create(ANN, "a")));
    assert!(second > first);
    site.operator(rename(ANN, "a", "b"));
    assert_eq!(site.mailbox(1, "b").status().uid_validity, second, "a rename keeps it");
    let (_, third) = created(site.operator(create(ANN, "a")));
    assert!(third > second);
}

#[test]
fn a_user_that_is_added_again_shares_nothing_with_the_old_one() {
    let mut site = Site::with_users(&["ann", "bob"]);
    site.send(&["ann@x.org"], 10);
    let old = site.mailbox(1, "INBOX").status().uid_validity;
    assert_eq!(site.operator(Command::DeleteUser(ANN)), Outcome::Done);
    assert_eq!(site.state.storage().live_letters, 0);
    let add = AddUser {
        name: UserName::parse("ann").unwrap(),
        password: None,
        privileged: false,
        quota: Quota::default(),
    };
    assert_eq!(site.operator(Command::AddUser(add)), Outcome::Added(UserId(3)));
    assert!(site.mailbox(3, "INBOX").status().uid_validity > old);
    let by_old = plain(Principal::User(ANN), create(UserId(3), "x"));
    assert_eq!(site.apply(&by_old), refused(Refusal::NotPermitted));
}

#[test]
fn a_conditional_store_passes_over_what_has_changed() {
    let mut site = Site::with_users(&["ann"]);
    let inbox = site.inbox(1);
    (0..3).for_each(|_| drop(site.send(&["ann@x.org"], 1)));
    let known = site.mailbox(1, "INBOX").status().modseq;
    site.operator(Command::Store(store(inbox, UidSet::of([2]), FlagOp::Add, Flags::SEEN)));
    let mut conditional = store(inbox, UidSet::all(), FlagOp::Add, Flags::FLAGGED);
    conditional.unchanged_since = Some(known);
    let outcome = site.operator(Command::Store(conditional.clone()));
    let modseq = known + 2;
    let (changed, modified) = (UidSet::of([1, 3]), UidSet::of([2]));
    assert_eq!(outcome, Outcome::Stored { modseq, changed, modified });
    // What is as it should be already keeps its MODSEQ.
    conditional.unchanged_since = None;
    let outcome = site.operator(Command::Store(conditional));
    let modseq = known + 3;
    assert_eq!(outcome, Outcome::Stored { modseq, changed: UidSet::of([2]), modified: UidSet::default() });
    let uids = site.mailbox(1, "INBOX").changed_since(known + 2).map(|r| r.uid).collect::<Vec<_>>();
    assert_eq!(uids, [2]);
}

#[test]
fn what_vanished_is_told_exactly_while_it_is_remembered_and_wholly_after() {
    let mut site = Site::with_users(&["ann"]);
    let inbox = site.inbox(1);
    for _ in 0..700 {
        site.send(&["ann@x.org"], 1);
    }
    let start = site.mailbox(1, "INBOX").status().modseq;
    for uid in (1..=600).step_by(2) {
        site.operator(Command::Expunge(expunge(inbox, UidSet::of([uid]))));
    }
    let mailbox = site.mailbox(1, "INBOX");
    let late = mailbox.vanished_since(start + 290);
    assert_eq!(late.iter().collect::<Vec<_>>(), (581..=600).step_by(2).collect::<Vec<u32>>());
    let all = mailbox.vanished_since(start);
    assert_eq!(all.iter().collect::<Vec<_>>(), (1..=600).step_by(2).collect::<Vec<u32>>());
    let before_some_came = mailbox.vanished_since(1);
    assert_eq!(before_some_came, all);
}

#[test]
fn a_letter_is_recent_to_one_session() {
    let mut site = Site::with_users(&["ann"]);
    let inbox = site.inbox(1);
    (0..3).for_each(|_| drop(site.send(&["ann@x.org"], 1)));
    assert_eq!(site.mailbox(1, "INBOX").status().recent, 3);
    assert_eq!(site.operator(Command::ClaimRecent(inbox)), Outcome::Claimed { from: 1, to: 4 });
    assert_eq!(site.operator(Command::ClaimRecent(inbox)), Outcome::Claimed { from: 4, to: 4 });
    site.send(&["ann@x.org"], 1);
    assert_eq!(site.mailbox(1, "INBOX").status().recent, 1);
}

#[test]
fn keywords_are_bounded_and_letters_come_without_those_that_find_no_room() {
    let mut site = Site::with_users(&["ann"]);
    let inbox = site.inbox(1);
    let keywords = |range: std::ops::Range<u32>| FlagNames {
        system: Flags::SEEN,
        keywords: range.map(|n| Keyword::normal(&format!("k{n}")).unwrap()).collect(),
    };
    let append = |flags| Command::Append(Append { mailbox: inbox, flags, date: Some(EntryTime(77)) });
    site.apply(&letter(Principal::User(ANN), None, append(keywords(0..27)), 9));
    site.apply(&letter(Principal::User(ANN), None, append(keywords(20..40)), 9));
    let mailbox = site.mailbox(1, "INBOX");
    let second = mailbox.by_uid(2).unwrap();
    assert_eq!(mailbox.flag_names(second.flags).keywords, keywords(20..27).keywords);
    assert_eq!(site.state.letter(second.letter).unwrap().date, EntryTime(77));
    let one_more = Store { flags: keywords(30..31), ..store(inbox, UidSet::all(), FlagOp::Add, Flags::NONE) };
    assert_eq!(site.operator(Command::Store(one_more.clone())), refused(Refusal::KeywordsFull));
    site.operator(Command::Store(store(inbox, UidSet::of([1]), FlagOp::Replace, Flags::SEEN)));
    assert!(!site.operator(Command::Store(one_more)).is_refusal(), "there is room again");
}

// Folders.

#[test]
fn a_name_with_others_below_it_stays_as_noselect() {
    let mut site = Site::with_users(&["ann"]);
    created(site.operator(create(ANN, "a/b/c")));
    created(site.operator(create(ANN, "a")));
    site.operator(Command::Subscribe(NamedMailbox { user: ANN, name: name("a/b/c") }));
    assert_eq!(site.operator(delete(ANN, "a")), Outcome::Done);
    assert_eq!(site.operator(delete(ANN, "a")), refused(Refusal::InUse));
    assert_eq!(site.operator(delete(ANN, "a/b")), refused(Refusal::InUse));
    assert_eq!(site.operator(delete(ANN, "x")), refused(Refusal::NoMailbox));
    let listed: Vec<_> = site
        .state
        .names_of(ANN)
        .into_iter()
        .map(|l| (l.name.to_string(), l.mailbox.is_some(), l.has_children, l.subscribed))
        .collect();
    let line = |name: &str, real, children, subscribed| (name.to_owned(), real, children, subscribed);
    let wanted = [
        line("INBOX", true, false, true),
        line("a", false, true, false),
        line("a/b", false, true, false),
        line("a/b/c", true, false, true),
    ];
    assert_eq!(listed, wanted);
    assert_eq!(site.operator(rename(ANN, "a", "z")), Outcome::Done);
    assert!(site.state.user(ANN).unwrap().subscriptions().any(|name| name.as_str() == "z/b/c"));
}

#[test]
fn renames_take_what_is_below_and_never_overwrite() {
    let mut site = Site::with_users(&["ann"]);
    for named in ["a", "a/b", "ab", "c/b"] {
        created(site.operator(create(ANN, named)));
    }
    assert_eq!(site.operator(rename(ANN, "a", "c")), refused(Refusal::Exists));
    assert_eq!(site.operator(rename(ANN, "a", "a/b/c")), refused(Refusal::BadName));
    assert_eq!(site.operator(rename(ANN, "a", "Held/x")), refused(Refusal::Reserved));
    assert_eq!(site.operator(rename(ANN, "a", &format!("{}/x", "d".repeat(252)))), refused(Refusal::BadName));
    assert_eq!(site.operator(rename(ANN, "a", "d")), Outcome::Done);
    let names: Vec<_> = site.state.user(ANN).unwrap().mailboxes().map(|(name, _)| name.to_string()).collect();
    assert_eq!(names, ["INBOX", "ab", "c/b", "d", "d/b"]);
}

#[test]
fn inbox_gives_its_letters_away_and_stays() {
    let mut site = Site::with_users(&["ann"]);
    created(site.operator(create(ANN, "INBOX/sub")));
    (0..3).for_each(|_| drop(site.send(&["ann@x.org"], 1)));
    let inbox = site.inbox(1);
    created(site.operator(rename(ANN, "INBOX", "old")));
    assert_eq!((site.uids(1, "INBOX"), site.uids(1, "old")), (vec![], vec![1, 2, 3]));
    assert_eq!((site.inbox(1), site.mailbox(1, "INBOX").status().uid_next), (inbox, 4));
    assert!(site.uids(1, "INBOX/sub").is_empty());
    assert_eq!(site.operator(delete(ANN, "INBOX")), refused(Refusal::Reserved));
    assert_eq!(site.operator(create(ANN, "Held")), refused(Refusal::Reserved));
}

#[test]
fn there_is_one_folder_for_each_use() {
    let mut site = Site::with_users(&["ann"]);
    let make = |named: &str| {
        let special_use = Some(SpecialUse::Sent);
        Command::CreateMailbox(CreateMailbox { user: ANN, name: name(named), special_use })
    };
    let (first, _) = created(site.operator(make("Sent")));
    assert_eq!(site.operator(make("Sent Items")), refused(Refusal::Exists));
    let (second, _) = created(site.operator(create(ANN, "Sent Items")));
    let give = |mailbox, special_use| Command::SetUse(SetUse { mailbox, special_use });
    assert_eq!(site.operator(give(second, Some(SpecialUse::Sent))), refused(Refusal::Exists));
    site.operator(give(first, None));
    assert_eq!(site.operator(give(second, Some(SpecialUse::Sent))), Outcome::Done);
}

// Who may.

#[test]
fn users_have_their_own_mail_and_administrators_administer() {
    let mut site = Site::with_users(&["ann", "bob"]);
    site.operator(Command::SetPrivileged(SetPrivileged { user: BOB, privileged: true }));
    let (ann, bob) = (Principal::User(ANN), Principal::User(BOB));
    let outside = [Principal::Outside, Principal::Site];
    let read = |by, site: &mut Site| {
        let inbox = site.inbox(1);
        site.apply(&plain(by, Command::Expunge(expunge(inbox, UidSet::all()))))
    };
    assert!(!read(ann, &mut site).is_refusal());
    for by in [bob, outside[0], outside[1]] {
        assert_eq!(read(by, &mut site), refused(Refusal::NotPermitted), "{by:?}");
    }
    let password = |user| Command::SetPassword(SetPassword { user, password: Some("$argon2id$…".into()) });
    assert_eq!(site.apply(&plain(ann, password(BOB))), refused(Refusal::NotPermitted));
    assert_eq!(site.apply(&plain(ann, password(ANN))), Outcome::Done);
    let changed = site.state.user(ANN).unwrap().credentials_changed();
    assert_eq!(site.apply(&plain(bob, password(ANN))), Outcome::Done);
    assert!(site.state.user(ANN).unwrap().credentials_changed() > changed);
    for by in [ann, outside[0], outside[1]] {
        let domain = SetDomain { domain: common::domain("y.org"), catch_all: None };
        assert_eq!(site.apply(&plain(by, Command::SetDomain(domain))), refused(Refusal::NotPermitted));
        assert_eq!(site.apply(&plain(by, Command::DeleteUser(BOB))), refused(Refusal::NotPermitted));
    }
    assert_eq!(site.apply(&plain(ann, Command::EnrolStore(StoreId(1)))), refused(Refusal::NotPermitted));
    assert_eq!(
        site.apply(&letter(Principal::Site, None, deliver(&["ann@x.org"]), 1)),
        refused(Refusal::NotPermitted)
    );
}

#[test]
fn application_passwords_are_bounded_and_replaced_by_label() {
    let mut site = Site::with_users(&["ann"]);
    let add = |label: &str, iterations| {
        let scram = Scram { salt: vec![1; 16], iterations, stored_key: [2; 32], server_key: [3; 32] };
        Command::AddAppPassword(AddAppPassword { user: ANN, label: label.into(), scram })
    };
    for n in 0..mail::limits::APP_PASSWORDS_MAX {
        assert_eq!(site.operator(add(&format!("phone {n}"), 4096)), Outcome::Done);
    }
    assert_eq!(site.operator(add("one more", 4096)), refused(Refusal::Full));
    assert_eq!(site.operator(add("phone 3", 10_000)), Outcome::Done);
    assert_eq!(site.state.user(ANN).unwrap().app_passwords()[3].scram.iterations, 10_000);
}

// Repeats.

#[test]
fn a_repeat_is_told_what_became_of_the_first_for_a_day() {
    let mut site = Site::with_users(&["ann"]);
    let request =
        RequestId::of_letter(Principal::Outside, "s@y.org", &[address("ann@x.org")], b"Message-ID: <1>");
    let entry = letter(Principal::Outside, Some(request), deliver(&["ann@x.org", "no@x.org"]), 5);
    let first = site.apply(&entry);
    let at = Position(site.position);
    let again = site.apply(&entry);
    assert_eq!(again, Outcome::Repeated { first: at, answer: Box::new(first) });
    assert_eq!(site.uids(1, "INBOX"), [1]);
    site.time += 24 * 3600 * 1000 + 10;
    assert!(matches!(site.apply(&entry), Outcome::Delivered(_)), "a day later it is another letter");
    // What was refused is tried anew.
    let request = RequestId::of_session(Principal::Operator, [9; 16], 1);
    let early = letter(Principal::Outside, Some(request), deliver(&["bob@x.org"]), 5);
    assert_eq!(site.apply(&early), Outcome::Delivered(vec![Receipt::Refused(Refusal::NoAddress)]));
    site.operator(alias("bob@x.org", &["ann@x.org"]));
    assert_eq!(site.apply(&early), Outcome::Delivered(vec![DELIVERED]));
}

#[test]
fn the_request_of_a_letter_is_its_envelope_and_its_bytes() {
    let of = |by, sender: &str, to: &[&str], bytes: &[u8]| {
        let to: Vec<_> = to.iter().map(|to| address(to)).collect();
        RequestId::of_letter(by, sender, &to, bytes)
    };
    let base = of(Principal::Outside, "s@y.org", &["a@x.org", "b@x.org"], b"letter");
    assert_eq!(base, of(Principal::Outside, "s@y.org", &["a@x.org", "b@x.org"], b"letter"));
    for other in [
        of(Principal::User(ANN), "s@y.org", &["a@x.org", "b@x.org"], b"letter"),
        of(Principal::Outside, "", &["a@x.org", "b@x.org"], b"letter"),
        of(Principal::Outside, "s@y.org", &["a@x.org"], b"letter"),
        of(Principal::Outside, "s@y.org", &["a@x.org", "b@x.org"], b"letter\n"),
    ] {
        assert_ne!(other, base);
    }
}

// The feed.

#[test]
fn the_feed_tells_what_happened_and_says_when_it_could_not() {
    let mut site = Site::with_users(&["ann"]);
    site.state.watch(true);
    let mailbox = site.inbox(1);
    site.send(&["ann@x.org"], 1);
    site.operator(Command::Store(store(mailbox, UidSet::all(), FlagOp::Add, Flags::SEEN)));
    site.operator(Command::Expunge(expunge(mailbox, UidSet::all())));
    let told: Vec<Change> = std::iter::from_fn(|| site.state.poll_change()).collect();
    let uids = UidSet::of([1]);
    let wanted = [
        Change::Came { mailbox, first: 1, last: 1, modseq: 2 },
        Change::Flags { mailbox, uids: uids.clone(), modseq: 3 },
        Change::Went { mailbox, uids, modseq: 4 },
    ];
    assert_eq!(told, wanted);
    for _ in 0..mail::limits::FEED_CHANGES_MAX + 5 {
        site.position += 1;
        let entry = letter(Principal::Outside, None, deliver(&["ann@x.org"]), 1);
        site.state.apply(Position(site.position), EntryTime(site.time), &entry);
    }
    let told: Vec<Change> = std::iter::from_fn(|| site.state.poll_change()).collect();
    assert_eq!(told, [Change::Lost]);
    site.send(&["ann@x.org"], 1);
    assert!(matches!(site.state.poll_change(), Some(Change::Came { .. })));
}
