//! What becomes of letters: acknowledged once, told to everybody who has to know, in minorities too.

mod common;

use common::Site;
use common::smtp::{ANN, BOB, Client, Mail, codes};
use mail::command::{AddUser, Quota, SetDomain, SetQuota};
use mail::{Command, Domain, UserName};
use maildriver::smtp::limits::RECEIVED_MAX;
use maildriver::smtp::{Config, Mode, Request, Verified};

const LETTER: &str = "Message-ID: <1@y.org>\r\nFrom: ann@x.org\r\n\r\nhello";

fn quota(user: mail::UserId, bytes: u64) -> Command {
    Command::SetQuota(SetQuota { user, quota: Quota { bytes_max: Some(bytes), letters_max: None } })
}

#[test]
fn a_letter_that_is_sent_again_comes_once() {
    for mode in [Mode::Submission, Mode::Lmtp, Mode::Inbound] {
        let mut mail = Mail::new();
        for _ in 0..3 {
            let mut client = Client::ready(mode, &mut mail);
            assert_eq!(client.letter(&mut mail, "ann@x.org", &["bob@x.org"], LETTER), "250 2.0.0");
        }
        assert_eq!(mail.letters(BOB).len(), 1);
        let mut client = Client::ready(mode, &mut mail);
        // Without a Message-ID, and to others, it is another letter.
        let other = LETTER.replace("Message-ID", "X-ID");
        client.letter(&mut mail, "ann@x.org", &["bob@x.org"], &other);
        client.letter(&mut mail, "ann@x.org", &["bob@x.org"], &other);
        client.letter(&mut mail, "ann@x.org", &["both@x.org"], LETTER);
        assert_eq!(mail.letters(BOB).len(), 4);
    }
}

#[test]
fn while_nobody_has_said_which_domains_are_taken_one_may_try_again() {
    for mode in [Mode::Lmtp, Mode::Inbound] {
        let mut mail = Mail::new();
        mail.site = Site::new();
        let mut client = Client::ready(mode, &mut mail);
        let out = client.say(&mut mail, "MAIL FROM:<ann@y.org>\r\nRCPT TO:<ann@x.org>\r\n");
        assert_eq!(codes(&out), ["250 2.1.0", "451 4.3.2"]);
    }
}

#[test]
fn a_mailbox_that_is_full_is_told_of_at_once_and_at_the_end() {
    let mut mail = Mail::new();
    let big = format!("From: ann@x.org\r\n\r\n{}", "x\r\n".repeat(1_000));
    let mut client = Client::ready(Mode::Lmtp, &mut mail);
    let out = client.say(
        &mut mail,
        "MAIL FROM:<a@y> SIZE=3000\r\nRCPT TO:<bob@x.org>\r\nRCPT TO:<both@x.org>\r\nRSET\r\n",
    );
    assert_eq!(codes(&out), ["250 2.1.0", "552 5.2.2", "250 2.1.5", "250 2.0.0"]);
    let out = client.say(
        &mut mail,
        &format!("MAIL FROM:<a@y>\r\nRCPT TO:<bob@x.org>\r\nRCPT TO:<ann@x.org>\r\nDATA\r\n{big}\r\n.\r\n"),
    );
    assert_eq!(codes(&out)[3..], ["354 Go", "552 5.2.2", "250 2.0.0"]);
    let mut client = Client::ready(Mode::Inbound, &mut mail);
    assert_eq!(client.letter(&mut mail, "a@y.org", &["bob@x.org"], &big), "552 5.2.2");
    assert_eq!(
        (mail.letters(ANN).len(), mail.letters(BOB).len()),
        (1, 0),
        "nobody is told by letter of a refusal"
    );
}

#[test]
fn a_sender_is_told_who_did_not_get_a_letter() {
    let mut mail = Mail::new();
    let big =
        format!("Message-ID: <2@y>\r\nFrom: ann@x.org\r\nSubject: Much\r\n\r\n{}", "x\r\n".repeat(1_000));
    let mut client = Client::ready(Mode::Submission, &mut mail);
    for _ in 0..2 {
        assert_eq!(client.letter(&mut mail, "ann+a@x.org", &["bob@x.org", "ann@x.org"], &big), "250 2.0.0");
    }
    assert_eq!(mail.letters(ANN).len(), 2, "the letter and one notice");
    let notice = mail.newest(ANN);
    for text in [
        "Return-Path: <>\r\n",
        "To: ann@x.org\r\n",
        "    bob@x.org: The mailbox is full\r\n",
        "Final-Recipient: rfc822; bob@x.org\r\nAction: failed\r\nStatus: 5.2.2\r\n",
        "Subject: Much\r\n",
    ] {
        assert!(notice.contains(text), "{text:?} in {notice}");
    }
    let parsed = mail_parser::MessageParser::default().parse(notice.as_bytes()).expect("a letter");
    assert_eq!(parsed.parts.len(), 4, "a report of three parts");
    // The null reverse path is never told anything.
    assert_eq!(
        client.letter(&mut mail, "", &["bob@x.org", "ann@x.org"], &big.replace("<2@", "<3@")),
        "250 2.0.0"
    );
    assert_eq!(mail.letters(ANN).len(), 3);
}

#[test]
fn members_of_a_list_who_have_no_room_are_told_to_its_owner() {
    for (mode, from) in [(Mode::Submission, "ann@x.org"), (Mode::Lmtp, "eve@y.org")] {
        let mut mail = Mail::new();
        let set = mail::command::SetList {
            address: common::smtp::address("users@x.org"),
            members: vec![common::smtp::address("both@x.org")],
            owners: vec![ANN],
            posting: mail::command::Posting::Anyone,
        };
        mail.apply(Command::SetList(set));
        let big = format!("From: {from}\r\n\r\n{}", "x\r\n".repeat(1_000));
        let mut client = Client::ready(mode, &mut mail);
        assert_eq!(client.letter(&mut mail, from, &["users@x.org"], &big), "250 2.0.0");
        assert!(mail.newest(ANN).contains("    users@x.org: No room for bob\r\n"));
    }
}

/// A client of LMTP that may name as many recipients as there can be.
fn server_of_ours(mail: &mut Mail) -> Client {
    let recipients_max = mail::limits::RECIPIENTS_MAX;
    let config = Config { letter_bytes_max: 100_000, recipients_max, ..Config::new(Mode::Lmtp, "mx.x.org") };
    let mut client = Client::with(config, true);
    assert!(client.say(mail, "LHLO y.org\r\n").ends_with("250 SIZE 100000\r\n"));
    client
}

/// Everybody of a large organisation: as recipients whom a server of ours names, and as members of a list.
#[test]
fn a_letter_to_five_thousand_is_stored_once() {
    let mut mail = Mail::new();
    let users = 3..5_003u32;
    for id in users.clone() {
        let name = UserName::parse(&format!("user-{id}")).expect("a name");
        mail.apply(Command::AddUser(AddUser {
            name,
            password: None,
            privileged: false,
            quota: Quota::default(),
        }));
    }
    let names: Vec<String> = users.clone().map(|id| format!("user-{id}@x.org")).collect();
    let set = mail::command::SetList {
        address: common::smtp::address("all@x.org"),
        members: names.iter().map(|name| common::smtp::address(name)).collect(),
        owners: vec![ANN],
        posting: mail::command::Posting::Anyone,
    };
    mail.apply(Command::SetList(set));
    let (mut client, text) = (server_of_ours(&mut mail), "From: eve@y.org\r\n\r\nhello\r\n");
    let rcpts: String = names.iter().map(|name| format!("RCPT TO:<{name}>\r\n")).collect();
    let out = client.say(&mut mail, &format!("MAIL FROM:<eve@y.org>\r\n{rcpts}DATA\r\n{text}.\r\n"));
    let delivered = codes(&out).iter().filter(|code| *code == "250 2.0.0").count();
    assert_eq!(delivered, 5_000, "one reply for each");
    assert_eq!(client.letter(&mut mail, "eve@y.org", &["all@x.org"], text), "250 2.0.0");
    assert!(users.map(mail::UserId).all(|user| mail.letters(user).len() == 2));
    assert_eq!(mail.site.state.storage().live_letters, 2);
}

/// However few recipients have however long addresses, a letter and all of them fit into an entry.
#[test]
fn recipients_with_long_addresses_are_fewer() {
    let mut mail = Mail::new();
    let domain = format!("{}.org", vec!["d".repeat(48); 2].join("."));
    let ann = common::smtp::address("ann@x.org");
    let set = SetDomain { domain: Domain::parse(&domain).expect("a domain"), catch_all: Some(ann) };
    mail.apply(Command::SetDomain(set));
    let mut client = server_of_ours(&mut mail);
    let rcpts: String = (0..2_000).map(|n| format!("RCPT TO:<{n:060}@{domain}>\r\n")).collect();
    let out = client.say(&mut mail, &format!("MAIL FROM:<eve@y.org>\r\n{rcpts}DATA\r\nx\r\n.\r\n"));
    let taken = codes(&out).iter().filter(|code| *code == "250 2.1.5").count();
    assert_eq!(taken, codes(&out).iter().filter(|code| *code == "250 2.0.0").count());
    assert!((1_900..2_000).contains(&taken), "{taken}");
}

#[test]
fn who_cannot_be_told_now_is_told_by_the_repeat() {
    let mut mail = Mail::new();
    let big = format!("Message-ID: <2@y>\r\nFrom: ann@x.org\r\n\r\n{}", "x\r\n".repeat(1_000));
    let mut client = Client::ready(Mode::Submission, &mut mail);
    mail.no_notices = true;
    let to = ["bob@x.org", "ann@x.org"];
    assert_eq!(client.letter(&mut mail, "ann@x.org", &to, &big), "451 4.3.2");
    mail.no_notices = false;
    assert_eq!(client.letter(&mut mail, "ann@x.org", &to, &big), "250 2.0.0");
    assert_eq!(mail.letters(ANN).len(), 2);
}

#[test]
fn letters_of_strangers_are_told_to_the_postmaster() {
    let mut mail = Mail::new();
    let name = UserName::parse("root").expect("a name");
    let add = AddUser { name, password: None, privileged: true, quota: Quota::default() };
    mail.apply(Command::AddUser(add));
    let big = format!("From: eve@y.org\r\n\r\n{}", "x\r\n".repeat(1_000));
    let mut client = Client::ready(Mode::Inbound, &mut mail);
    assert_eq!(client.letter(&mut mail, "eve@y.org", &["bob@x.org", "ann@x.org"], &big), "250 2.0.0");
    assert!(mail.newest(mail::UserId(3)).contains("    bob@x.org: The mailbox is full\r\n"));
}

#[test]
fn nobody_is_refused_who_was_added_at_another_site() {
    let mut mail = Mail::new();
    let name = UserName::parse("carl").expect("a name");
    let add = AddUser { name, password: None, privileged: false, quota: Quota::default() };
    mail.lagging = vec![Command::AddUser(add)];
    let mut client = Client::ready(Mode::Inbound, &mut mail);
    assert_eq!(client.letter(&mut mail, "eve@y.org", &["carl@x.org"], "x: y"), "250 2.0.0");
    // Nor for the quota of before.
    let mut client = Client::ready(Mode::Lmtp, &mut mail);
    mail.lagging = vec![quota(BOB, 1 << 20)];
    let out = client.say(&mut mail, "MAIL FROM:<a@y> SIZE=3000\r\nRCPT TO:<bob@x.org>\r\n");
    assert_eq!(codes(&out), ["250 2.1.0", "250 2.1.5"]);
    // Nor a sender whose alias is new.
    let mut client = Client::ready(Mode::Submission, &mut mail);
    let alias = mail::command::SetAlias {
        address: common::smtp::address("boss@x.org"),
        targets: vec![common::smtp::address("ann@x.org")],
    };
    mail.lagging = vec![Command::SetAlias(alias.clone())];
    let out = client.say(&mut mail, "MAIL FROM:<boss@x.org>\r\nRSET\r\n");
    assert_eq!(codes(&out), ["250 2.1.0", "250 2.0.0"]);
    mail.apply(Command::SetAlias(mail::command::SetAlias { targets: Vec::new(), ..alias.clone() }));
    mail.lagging = vec![Command::SetAlias(alias)];
    assert_eq!(
        client.letter(&mut mail, "ann@x.org", &["bob@x.org"], "From: boss@x.org\r\n\r\nx"),
        "250 2.0.0"
    );
}

#[test]
fn a_minority_holds_letters_of_users_if_it_is_configured_so() {
    let mut mail = Mail::new();
    mail.minority = Some(true);
    let mut client = Client::ready(Mode::Submission, &mut mail);
    for _ in 0..2 {
        let out = client.say(
            &mut mail,
            &format!("MAIL FROM:<ann@x.org>\r\nRCPT TO:<bob@x.org>\r\nDATA\r\n{LETTER}\r\n.\r\n"),
        );
        assert!(
            out.ends_with("250 2.0.0 Held: this site is cut off and will deliver when it is back\r\n"),
            "{out}"
        );
    }
    assert_eq!(mail.spool.held(&mail.site.state, BOB).len(), 1, "a repeat is held once");
    let out = client.say(&mut mail, "MAIL FROM:<ann@x.org>\r\nRCPT TO:<nobody@x.org>\r\nRSET\r\n");
    assert_eq!(
        codes(&out),
        ["250 2.1.0", "451 4.3.2", "250 2.0.0"],
        "a minority does not know who is not there"
    );
    let mut client = Client::ready(Mode::Inbound, &mut mail);
    assert_eq!(client.letter(&mut mail, "eve@y.org", &["bob@x.org"], LETTER), "451 4.3.2");
    let mut client = Client::ready(Mode::Lmtp, &mut mail);
    let out = client.say(
        &mut mail,
        &format!(
            "MAIL FROM:<eve@y.org>\r\nRCPT TO:<bob@x.org>\r\nRCPT TO:<ann@x.org>\r\nDATA\r\n{LETTER}\r\n.\r\n"
        ),
    );
    assert_eq!(codes(&out)[4..], ["451 4.3.2", "451 4.3.2"]);
    mail.minority = Some(false);
    let mut client = Client::ready(Mode::Submission, &mut mail);
    assert_eq!(client.letter(&mut mail, "ann@x.org", &["bob@x.org"], LETTER), "451 4.3.2");
}

#[test]
fn a_letter_in_circles_is_refused() {
    let mut mail = Mail::new();
    let mut client = Client::ready(Mode::Inbound, &mut mail);
    let hops = |count: usize| format!("{}\r\nx", "Received: from a by b; x\r\n".repeat(count));
    assert_eq!(client.letter(&mut mail, "eve@y.org", &["ann@x.org"], &hops(RECEIVED_MAX)), "554 5.4.6");
    assert_eq!(client.letter(&mut mail, "eve@y.org", &["ann@x.org"], &hops(RECEIVED_MAX - 1)), "250 2.0.0");
}

#[test]
fn a_sender_that_its_domain_disowns_is_refused() {
    let mut mail = Mail::new();
    mail.verified = Verified { results: "dmarc=fail header.from=y.org".to_owned(), refuse: true };
    let mut client = Client::ready(Mode::Inbound, &mut mail);
    assert_eq!(client.letter(&mut mail, "eve@y.org", &["ann@x.org"], LETTER), "550 5.7.26");
    let asked = mail
        .asked
        .iter()
        .find_map(|asked| if let Request::Verify(verify) = asked { Some(verify) } else { None });
    let verify = asked.expect("it was verified");
    assert_eq!((verify.helo.as_str(), verify.sender.as_str()), ("y.org", "eve@y.org"));
    assert_eq!(verify.letter, format!("{LETTER}\r\n"), "as it was received");
    // Those whom we know by other means are not asked about.
    for mode in [Mode::Submission, Mode::Lmtp] {
        let mut client = Client::ready(mode, &mut mail);
        assert_eq!(client.letter(&mut mail, "ann@x.org", &["ann@x.org"], LETTER), "250 2.0.0");
    }
}

#[test]
fn a_user_that_is_removed_is_logged_out() {
    let mut mail = Mail::new();
    let mut client = Client::ready(Mode::Submission, &mut mail);
    mail.apply(Command::DeleteUser(ANN));
    assert!(client.say(&mut mail, "NOOP\r\n").starts_with("421 4.7.0"));
    assert!(client.session.is_closed());
}
