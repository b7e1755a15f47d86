//! Mail at a real site that has lost the others: it is read, letters and changes are held, and all of it is merged when the
//! others are back.

mod imap;
mod sites;

use imap::{DOMAIN, Imap, add_user, done, letter, port, serve};
use serde_json::{Value, json};
use sites::Cluster;
use unanimous::config::Minority;

fn cluster(minority: Minority) -> Cluster {
    let mut cluster = Cluster::new(&["a", "b", "c"], |_, config| {
        serve(config);
        config.mail.as_mut().expect("it serves mail").minority = minority;
    });
    (0..3).for_each(|site| cluster.start(site));
    add_user(&cluster, 0, "ann");
    add_user(&cluster, 0, "bob");
    cluster
}

fn written(number: u64) -> String {
    let id = format!("Message-ID: <{number}@{DOMAIN}>");
    format!("From: ann@{DOMAIN}\nSubject: number {number}\n{id}\n\nThis is letter {number}.\n")
}

/// Kills the others, once a site may hold letters.
fn leave_alone(cluster: &mut Cluster, imap: &mut Imap, site: usize, user: &str) {
    cluster.until(site, "its store is enrolled", |status| status["mail"]["held"]["enrolled"] == true);
    for other in (0..3).filter(|other| *other != site) {
        cluster.kill(other);
    }
    imap.connect("alone", port(cluster, site, "imap"), user);
    imap.select("alone");
}

fn send(imap: &mut Imap, at: std::net::SocketAddr, to: &[&str], number: u64) -> Value {
    imap.smtp("sender", at, "submission", Some("ann"));
    let sent = imap.send("sender", &format!("ann@{DOMAIN}"), to, &written(number));
    imap.ask(json!({"do": "close", "name": "sender"}));
    sent
}

fn select_held(imap: &mut Imap, name: &str) -> Value {
    imap.ask(json!({"do": "select", "name": name, "mailbox": "Held"}))
}

/// UIDs and flags of an opened mailbox.
fn flags(imap: &mut Imap, name: &str) -> Value {
    let letters = imap.letters(name);
    letters.as_array().expect("a list").iter().map(|letter| json!([letter[0], letter[1]])).collect()
}

fn until_merged(cluster: &Cluster, site: usize) {
    cluster.until(site, "all is merged", |status| {
        let held = &status["mail"]["held"];
        (&held["letters"], &held["changes"], &held["enrolled"]) == (&json!(0), &json!(0), &json!(true))
            && status["durable"].as_array().is_some_and(|groups| {
                groups.iter().any(|group| group["group"] == "unanimous.mail" && group["state"] == "active")
            })
    });
}

#[test]
fn what_a_site_alone_has_taken_in_is_merged_once_when_the_others_are_back() {
    let mut cluster = cluster(Minority::Refuse);
    let mut imap = Imap::start();
    imap.connect("bob", port(&cluster, 2, "imap"), "bob");
    for number in 1..=3 {
        imap.append("bob", &letter(number, 1));
    }
    leave_alone(&mut cluster, &mut imap, 2, "bob");

    // All that it has is there, and what is changed shows.
    assert_eq!(flags(&mut imap, "alone"), json!([[1, []], [2, []], [3, []]]));
    imap.ask(json!({"do": "store", "name": "alone", "uid": 1, "op": "+FLAGS", "flags": "\\Flagged"}));
    imap.ask(json!({"do": "store", "name": "alone", "uid": 2, "op": "+FLAGS", "flags": "\\Deleted"}));
    imap.ask(json!({"do": "expunge", "name": "alone"}));
    assert_eq!(flags(&mut imap, "alone"), json!([[1, ["\\Flagged"]], [3, []]]));
    let refused = imap.try_ask(json!({"do": "append", "name": "alone", "text": letter(9, 1)}));
    assert!(refused.as_ref().is_err_and(|why| why.contains("only the primary can do this")), "{refused:?}");

    // Letters of users are held, and those of servers are not.
    let bob = format!("bob@{DOMAIN}");
    for number in [4, 5] {
        let sent = send(&mut imap, port(&cluster, 2, "submission"), &[&bob], number);
        assert_eq!(sent, json!({"code": 250, "against": {}}));
    }
    imap.smtp("server", port(&cluster, 2, "lmtp"), "lmtp", None);
    let asked = json!({
        "do": "hand_over", "name": "server", "sender": "x@elsewhere.example", "to": [bob], "text": written(6),
    });
    let replies = imap.ask(asked);
    assert!(replies[0].as_str().is_some_and(|reply| reply.starts_with("451")), "{replies}");
    let held = select_held(&mut imap, "alone");
    assert_eq!(held["count"], 2, "{held}");
    let texts = imap.letters("alone").to_string();
    assert!(texts.contains("This is letter 4.") && texts.contains("This is letter 5."), "{texts}");
    let before = flags(&mut imap, "alone");
    cluster.until(2, "three changes and two letters wait", |status| {
        status["mail"]["held"]["letters"] == 2 && status["mail"]["held"]["changes"] == 3
    });
    let listed = done(&cluster, 2, &["mail", "list", "bob", "--mailbox", "Held", "--local"]);
    assert_eq!(listed.as_array().map(Vec::len), Some(2), "{listed}");

    // One of the letters is taken back.
    let (first, last) = (&before[0], &before[1][0]);
    imap.ask(json!({"do": "store", "name": "alone", "uid": last, "op": "+FLAGS", "flags": "\\Deleted"}));
    imap.ask(json!({"do": "expunge", "name": "alone"}));
    assert_eq!(flags(&mut imap, "alone"), json!([first]));
    // All of it is on the disk, also when the site has started alone once more.
    cluster.kill(2);
    cluster.start(2);
    port(&cluster, 2, "imap");
    cluster.kill(2);

    // The other two are a majority, of which the client of a letter asks the same again; somebody reads another.
    (0..2).for_each(|site| cluster.start(site));
    imap.connect("majority", port(&cluster, 0, "imap"), "bob");
    assert_eq!(imap.select("majority").0, 3);
    imap.ask(json!({"do": "store", "name": "majority", "uid": 3, "op": "+FLAGS", "flags": "\\Seen"}));
    let sent = send(&mut imap, port(&cluster, 0, "submission"), &[&bob], 4);
    assert_eq!(sent, json!({"code": 250, "against": {}}));

    cluster.start(2);
    until_merged(&cluster, 2);
    for (site, name) in ["at a", "at b", "at c"].into_iter().enumerate() {
        imap.connect(name, port(&cluster, site, "imap"), "bob");
        imap.select(name);
        let seen = flags(&mut imap, name);
        assert_eq!(seen, json!([[1, ["\\Flagged"]], [3, ["\\Seen"]], [4, []]]), "{name}");
        assert!(imap.letters(name)[2][2].as_str().is_some_and(|text| text.ends_with("This is letter 4.\n")));
        assert!(imap.try_ask(json!({"do": "select", "name": name, "mailbox": "Held"})).is_err());
    }
    // Nothing of it is left to come again.
    cluster.kill(2);
    cluster.start(2);
    until_merged(&cluster, 2);
    imap.connect("last", port(&cluster, 2, "imap"), "bob");
    assert_eq!(imap.select("last").0, 3);
}

/// Sends all of these sites a signal, at once.
fn signal(cluster: &Cluster, sites: &[usize], which: &str) {
    let pids = sites.iter().map(|site| cluster.pid(*site).to_string());
    let sent = std::process::Command::new("kill").arg(which).args(pids).status();
    assert!(sent.is_ok_and(|status| status.success()), "{which}");
}

/// How many letters and changes a site holds.
fn held(status: &Value) -> (Value, Value) {
    let held = &status["mail"]["held"];
    (held["letters"].clone(), held["changes"].clone())
}

#[test]
fn two_sites_without_the_others_hold_the_same_and_nothing_goes_with_the_disk_of_one() {
    let mut cluster = Cluster::new(&["a", "b", "c", "d", "e"], |_, config| serve(config));
    (0..5).for_each(|site| cluster.start(site));
    add_user(&cluster, 0, "ann");
    add_user(&cluster, 0, "bob");
    let mut imap = Imap::start();
    imap.connect("first", port(&cluster, 0, "imap"), "bob");
    imap.append("first", &letter(1, 1));
    for site in [0, 1] {
        cluster.until(site, "it is enrolled, and shares with four", |status| {
            status["mail"]["held"]["enrolled"] == true && status["mail"]["sharing"]["others"] == 4
        });
    }
    // All at once: if the five removed one after the other, the last view would be of these two, and without the disk of the
    // one that is lost below the other could not go on.
    signal(&cluster, &[2, 3, 4], "-STOP");
    (2..5).for_each(|site| cluster.kill(site));
    for (site, name) in [(0, "at a"), (1, "at b")] {
        imap.connect(name, port(&cluster, site, "imap"), "bob");
        assert_eq!(imap.select(name).0, 1);
        cluster.until(site, "one is left", |status| status["mail"]["sharing"]["others"] == 1);
    }

    // What was acknowledged at one is shown, and on the disk, at the other at once.
    let bob = format!("bob@{DOMAIN}");
    for number in [2, 3] {
        let sent = send(&mut imap, port(&cluster, 0, "submission"), &[&bob], number);
        assert_eq!(sent, json!({"code": 250, "against": {}}));
    }
    imap.ask(json!({"do": "store", "name": "at a", "uid": 1, "op": "+FLAGS", "flags": "\\Flagged"}));
    assert_eq!(imap.select("at b").0, 1);
    assert_eq!(flags(&mut imap, "at b"), json!([[1, ["\\Flagged"]]]));
    assert_eq!(select_held(&mut imap, "at b")["count"], 2);
    let texts = imap.letters("at b").to_string();
    assert!(texts.contains("This is letter 2.") && texts.contains("This is letter 3."), "{texts}");
    // One of them is taken back at the other site.
    let first = flags(&mut imap, "at b")[0][0].clone();
    imap.ask(json!({"do": "store", "name": "at b", "uid": first, "op": "+FLAGS", "flags": "\\Deleted"}));
    imap.ask(json!({"do": "expunge", "name": "at b"}));
    assert_eq!(select_held(&mut imap, "at a")["count"], 1);
    assert!(imap.letters("at a").to_string().contains("This is letter 3."));

    // What came while a site did not answer it gets when it is back.
    signal(&cluster, &[1], "-STOP");
    cluster.until(0, "nobody is left", |status| status["mail"]["sharing"]["others"] == 0);
    let sent = send(&mut imap, port(&cluster, 0, "submission"), &[&bob], 4);
    assert_eq!(sent, json!({"code": 250, "against": {}}));
    signal(&cluster, &[1], "-CONT");
    for site in [0, 1] {
        cluster.until(site, "it holds all", |status| held(status) == (json!(3), json!(2)));
    }

    // The disk of the site that took the letters is lost, and the others are back.
    cluster.kill(0);
    cluster.wipe(0);
    (2..5).for_each(|site| cluster.start(site));
    until_merged(&cluster, 1);
    for (site, name) in [(1, "b"), (2, "c"), (3, "d"), (4, "e")] {
        imap.connect(name, port(&cluster, site, "imap"), "bob");
        assert_eq!(imap.select(name).0, 3, "{name}");
        let (texts, seen) = (imap.letters(name).to_string(), flags(&mut imap, name));
        assert!(texts.contains("This is letter 3.") && texts.contains("This is letter 4."), "{texts}");
        assert!(!texts.contains("This is letter 2."), "it was taken back: {texts}");
        assert_eq!(seen[0], json!([1, ["\\Flagged"]]), "{name}");
    }
}

#[test]
fn letters_of_servers_are_held_if_it_is_configured_and_senders_are_told_whom_they_do_not_reach() {
    let mut cluster = cluster(Minority::Spool);
    add_user(&cluster, 0, "cid");
    let mut imap = Imap::start();
    leave_alone(&mut cluster, &mut imap, 1, "bob");
    imap.smtp("server", port(&cluster, 1, "lmtp"), "lmtp", None);
    let (bob, cid) = (format!("bob@{DOMAIN}"), format!("cid@{DOMAIN}"));
    let asked = json!({
        "do": "hand_over", "name": "server", "sender": "x@elsewhere.example", "to": [bob], "text": written(1),
    });
    let replies = imap.ask(asked);
    assert!(replies[0].as_str().is_some_and(|reply| reply.starts_with("250 2.0.0 Held")), "{replies}");
    let sent = send(&mut imap, port(&cluster, 1, "submission"), &[&bob, &cid], 2);
    assert_eq!(sent, json!({"code": 250, "against": {}}));
    let told = done(&cluster, 1, &["mail", "send", "bob", "--from", "ann", "--body", "This is letter 3."]);
    assert_eq!((&told[0]["held"], &told[0]["delivered"]), (&json!(true), &json!(true)), "{told}");
    assert_eq!(select_held(&mut imap, "alone")["count"], 3);
    cluster.kill(1);

    [0, 2].into_iter().for_each(|site| cluster.start(site));
    done(&cluster, 0, &["mail", "delete-user", "cid"]);
    cluster.start(1);
    until_merged(&cluster, 1);
    imap.connect("bob", port(&cluster, 2, "imap"), "bob");
    assert_eq!(imap.select("bob").0, 3);
    let texts = imap.letters("bob").to_string();
    assert!((1..=3).all(|number| texts.contains(&format!("This is letter {number}."))), "{texts}");
    imap.connect("ann", port(&cluster, 2, "imap"), "ann");
    assert_eq!(imap.select("ann").0, 1, "one notice");
    let notice = imap.letters("ann")[0][2].as_str().expect("a text").to_owned();
    assert!(
        notice.contains("Subject: A letter that did not reach everybody") && notice.contains(&cid),
        "{notice}"
    );
}
