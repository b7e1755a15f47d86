//! Letters that come by SMTP, submission and LMTP on real sites: through Python's smtplib, read with its imaplib.

mod imap;
mod sites;

use imap::{DOMAIN, Imap, SECRET, add_user, done, port, serve};
use serde_json::{Value, json};
use sites::{Cluster, eventually, text};

fn cluster() -> Cluster {
    let mut cluster = Cluster::new(&["a", "b", "c"], |_, config| serve(config));
    (0..3).for_each(|site| cluster.start(site));
    add_user(&cluster, 0, "ann");
    add_user(&cluster, 0, "bob");
    cluster
}

fn letter(from: &str, number: u64) -> String {
    let id = format!("Message-ID: <{number}@{DOMAIN}>");
    format!("From: {from}\nTo: bob@{DOMAIN}\nSubject: number {number}\n{id}\n\nThis is letter {number}.\n")
}

/// The numbers of the letters in an opened INBOX, sorted.
fn numbers(imap: &mut Imap, name: &str) -> Vec<u64> {
    let letters = imap.letters(name);
    let number = |letter: &Value| {
        let text = letter[2].as_str().expect("a text");
        let (_, behind) = text.split_once("This is letter ").expect("one of ours");
        behind.split('.').next().and_then(|digits| digits.parse().ok()).expect("a number")
    };
    let mut numbers: Vec<u64> = letters.as_array().expect("a list").iter().map(number).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn a_letter_that_is_submitted_at_one_site_is_read_at_another() {
    let cluster = cluster();
    let mut imap = Imap::start();
    imap.smtp("ann", port(&cluster, 1, "submission"), "submission", Some("ann"));
    let sent = imap.send("ann", "ann@mail.test", &["bob@mail.test"], &letter("ann@mail.test", 1));
    assert_eq!(sent, json!({"code": 250, "against": {}}));
    imap.connect("bob", port(&cluster, 2, "imap"), "bob");
    assert_eq!(imap.select("bob").0, 1);
    let got = imap.letters("bob")[0][2].as_str().expect("a text").to_owned();
    assert!(got.starts_with("Return-Path: <ann@mail.test>\nReceived: from "), "{got}");
    assert!(got.contains("by b.mail.test") && got.contains("with ESMTPA"), "{got}");
    assert!(got.contains("\nDate: ") && got.ends_with("\n\nThis is letter 1.\n"), "{got}");

    // One writes as oneself, to people here, and after login.
    let forged = imap.send("ann", "ann@mail.test", &["bob@mail.test"], &letter("bob@mail.test", 2));
    assert_eq!(forged["code"], 550, "{forged}");
    let relayed = imap.send("ann", "ann@mail.test", &["x@elsewhere.example"], &letter("ann@mail.test", 3));
    let why = relayed["against"]["x@elsewhere.example"].as_str().expect("a reply");
    assert!(why.starts_with("550 5.7.1"), "{relayed}");
    imap.smtp("nobody", port(&cluster, 1, "submission"), "submission", None);
    let nobody = imap.send("nobody", "ann@mail.test", &["bob@mail.test"], &letter("ann@mail.test", 4));
    assert_eq!(nobody["code"], 530, "{nobody}");
    assert_eq!(imap.select("bob").0, 1);
}

#[test]
fn strangers_and_servers_of_ours_bring_letters_for_people_here_and_for_nobody_else() {
    let cluster = cluster();
    let mut imap = Imap::start();
    imap.smtp("stranger", port(&cluster, 0, "smtp"), "smtp", None);
    let from = "someone@elsewhere.example";
    // That a letter was verified, only this site says; and so far it says that nothing was found out.
    let forged = format!("Authentication-Results: a.mail.test; dkim=pass\n{}", letter(from, 1));
    let to = ["bob@mail.test", "nobody@mail.test", "x@elsewhere.example"];
    let sent = imap.send("stranger", from, &to, &forged);
    assert_eq!(sent["code"], 250, "{sent}");
    let against = |to: &str| sent["against"][to].as_str().unwrap_or_default().to_owned();
    assert!(against("nobody@mail.test").starts_with("550 5.1.1"), "{sent}");
    assert!(against("x@elsewhere.example").starts_with("550 5.7.1"), "{sent}");
    imap.connect("bob", port(&cluster, 1, "imap"), "bob");
    assert_eq!(imap.select("bob").0, 1);
    let got = imap.letters("bob")[0][2].as_str().expect("a text").to_owned();
    assert!(got.contains("\nAuthentication-Results: a.mail.test;\n\tnone\n"), "{got}");
    assert_eq!(got.matches("Authentication-Results:").count(), 1, "{got}");
    let asked = json!({"do": "smtp", "name": "x", "host": port(&cluster, 0, "smtp").ip(),
        "port": port(&cluster, 0, "smtp").port()});
    let offered = imap.ask(asked);
    assert!(!offered.as_array().expect("a list").contains(&json!("auth")), "{offered}");

    imap.smtp("server", port(&cluster, 2, "lmtp"), "lmtp", None);
    let to = ["ann@mail.test", "nobody@mail.test", "bob@mail.test"];
    let asked = json!({
        "do": "hand_over", "name": "server", "sender": from, "to": to, "text": letter(from, 2),
    });
    let replies = imap.ask(asked);
    let codes: Vec<&str> =
        replies.as_array().expect("a list").iter().filter_map(|reply| reply.as_str()?.get(..9)).collect();
    assert_eq!(codes, ["250 2.0.0", "550 5.1.1", "250 2.0.0"], "{replies}");
    assert_eq!(imap.select("bob").0, 2);
}

#[test]
fn what_was_acknowledged_is_there_when_sites_are_killed_and_a_repeat_comes_once() {
    let mut cluster = cluster();
    let mut imap = Imap::start();
    imap.smtp("a", port(&cluster, 0, "smtp"), "smtp", None);
    let from = "someone@elsewhere.example";
    for number in 1..=20 {
        let sent = imap.send("a", from, &["bob@mail.test"], &letter(from, number));
        assert_eq!(sent["code"], 250, "{sent}");
    }
    cluster.kill(0);
    // Whoever did not hear the answer sends it again, to the next site.
    imap.smtp("b", port(&cluster, 1, "smtp"), "smtp", None);
    let mut last = Value::Null;
    for number in 20..=25 {
        // Until the others have agreed that a is gone, one is told to try again.
        let taken = eventually(|| {
            last = imap.send("b", from, &["bob@mail.test"], &letter(from, number));
            (last["code"] == 250).then_some(())
        });
        assert!(taken.is_some(), "{last}");
    }
    imap.connect("c", port(&cluster, 2, "imap"), "bob");
    imap.select("c");
    let all: Vec<u64> = (1..=25).collect();
    assert_eq!(numbers(&mut imap, "c"), all);

    (1..3).for_each(|site| cluster.kill(site));
    (0..3).for_each(|site| cluster.start(site));
    imap.connect("a again", port(&cluster, 0, "imap"), "bob");
    imap.select("a again");
    assert_eq!(numbers(&mut imap, "a again"), all);
}

#[test]
fn a_site_without_the_others_takes_no_letters_and_says_that_one_may_try_again() {
    let mut cluster = cluster();
    let mut imap = Imap::start();
    imap.smtp("a", port(&cluster, 0, "smtp"), "smtp", None);
    let from = "someone@elsewhere.example";
    let sent = imap.send("a", from, &["bob@mail.test"], &letter(from, 1));
    assert_eq!(sent["code"], 250, "{sent}");
    (1..3).for_each(|site| cluster.kill(site));
    let refused = imap.send("a", from, &["bob@mail.test"], &letter(from, 2));
    assert_eq!(refused["code"], 451, "{refused}");
    (1..3).for_each(|site| cluster.start(site));
    let mut last = Value::Null;
    let taken = eventually(|| {
        imap.smtp("again", port(&cluster, 0, "smtp"), "smtp", None);
        last = imap.send("again", from, &["bob@mail.test"], &letter(from, 2));
        imap.ask(json!({"do": "close", "name": "again"}));
        (last["code"] == 250).then_some(())
    });
    assert!(taken.is_some(), "{last}");
    imap.connect("b", port(&cluster, 1, "imap"), "bob");
    imap.select("b");
    assert_eq!(numbers(&mut imap, "b"), [1, 2]);
}

#[test]
fn another_password_counts_at_every_site_at_once_and_guesses_are_held_up() {
    let cluster = cluster();
    let mut imap = Imap::start();
    let log_in = |imap: &mut Imap, site, password: &str| {
        let at = port(&cluster, site, "submission");
        let asked = json!({
            "do": "smtp", "name": "x", "host": at.ip(), "port": at.port(), "user": "ann@mail.test",
            "password": password,
        });
        imap.ask(asked)["refused"].clone()
    };
    imap.smtp("ann", port(&cluster, 2, "submission"), "submission", Some("ann"));
    // It is remembered there; and forgotten when it is not the password any more.
    assert_eq!(log_in(&mut imap, 2, SECRET), Value::Null);
    done(&cluster, 0, &["mail", "set-password", "ann", "--password", "another one"]);
    assert_eq!(log_in(&mut imap, 1, "another one"), Value::Null);
    assert_eq!(log_in(&mut imap, 2, "another one"), Value::Null);
    assert_eq!(log_in(&mut imap, 2, SECRET), 535);
    // The wait grows beyond whatever this machine takes for a guess.
    let held_up = eventually(|| (log_in(&mut imap, 0, "wrong") == 454).then_some(()));
    assert!(held_up.is_some(), "guesses go on and on; log:\n{}", text(cluster.log(0).as_bytes()));
}

#[test]
fn who_sends_too_much_in_an_hour_is_told_to_come_again_and_others_are_not() {
    let mut cluster = Cluster::new(&["a", "b", "c"], |_, config| {
        serve(config);
        if let Some(mail) = &mut config.mail {
            mail.recipients_per_hour = 3;
        }
    });
    (0..3).for_each(|site| cluster.start(site));
    for user in ["ann", "bob"] {
        add_user(&cluster, 0, user);
    }
    let mut imap = Imap::start();
    imap.smtp("ann", port(&cluster, 0, "submission"), "submission", Some("ann"));
    let both = ["ann@mail.test", "bob@mail.test"];
    assert_eq!(imap.send("ann", "ann@mail.test", &both, &letter("ann@mail.test", 1))["code"], 250);
    // Two were counted, and one is left.
    let refused = imap.send("ann", "ann@mail.test", &both, &letter("ann@mail.test", 2));
    assert_eq!(refused["code"], 451, "{refused}");
    assert_eq!(imap.send("ann", "ann@mail.test", &both[1..], &letter("ann@mail.test", 3))["code"], 250);
    assert_eq!(imap.send("ann", "ann@mail.test", &both[1..], &letter("ann@mail.test", 4))["code"], 451);
    // Others are others, and so are a user's own letters that it puts away.
    imap.smtp("bob", port(&cluster, 0, "submission"), "submission", Some("bob"));
    assert_eq!(imap.send("bob", "bob@mail.test", &both, &letter("bob@mail.test", 5))["code"], 250);
    imap.connect("ann's", port(&cluster, 0, "imap"), "ann");
    imap.append("ann's", &letter("ann@mail.test", 6));
    imap.select("ann's");
    assert_eq!(numbers(&mut imap, "ann's"), [1, 5, 6]);
    imap.connect("bob's", port(&cluster, 1, "imap"), "bob");
    imap.select("bob's");
    assert_eq!(numbers(&mut imap, "bob's"), [1, 3, 5]);
}
