//! Mail on real sites: through Python's imaplib, and the program's own commands.

mod imap;
mod sites;

use imap::{Imap, add_user, done, letter, port, serve};
use serde_json::{Value, json};
use sites::{Cluster, eventually, text, utf8};

fn cluster() -> Cluster {
    let mut cluster = Cluster::new(&["a", "b", "c"], |_, config| serve(config));
    (0..3).for_each(|site| cluster.start(site));
    cluster
}

#[test]
fn what_is_done_at_one_site_is_seen_at_the_others_and_pushed_to_who_waits() {
    let cluster = cluster();
    add_user(&cluster, 0, "ann");
    let mut imap = Imap::start();
    for (site, name) in ["a", "b", "c"].into_iter().enumerate() {
        imap.connect(name, port(&cluster, site, "imap"), "ann");
    }
    assert_eq!(imap.append("a", &letter(1, 3)), 1);
    assert_eq!(imap.select("b").0, 1, "what was acknowledged at a is seen at b");
    let first = json!([[1, [], letter(1, 3)]]);
    assert_eq!(imap.letters("b"), first);
    imap.select("a");
    imap.ask(json!({"do": "store", "name": "b", "uid": 1, "op": "+FLAGS", "flags": "\\Seen lunch"}));
    imap.select("c");
    assert_eq!(imap.letters("c"), json!([[1, ["\\Seen", "lunch"], letter(1, 3)]]));

    // One waits at c; letters come at a, and one goes at b.
    imap.ask(json!({"do": "idle", "name": "c"}));
    assert_eq!(imap.append("a", &letter(2, 1)), 2);
    imap.ask(json!({"do": "pushed", "name": "c", "wanted": "2 EXISTS"}));
    imap.ask(json!({"do": "idle", "name": "c"}));
    imap.ask(json!({"do": "store", "name": "b", "uid": 1, "op": "+FLAGS", "flags": "\\Deleted"}));
    imap.ask(json!({"do": "pushed", "name": "c", "wanted": "\\Deleted"}));
    imap.ask(json!({"do": "idle", "name": "c"}));
    imap.ask(json!({"do": "expunge", "name": "b"}));
    imap.ask(json!({"do": "pushed", "name": "c", "wanted": "1 EXPUNGE"}));
    for name in ["a", "b", "c"] {
        assert_eq!(imap.select(name).0, 1);
        assert_eq!(imap.letters(name), json!([[2, [], letter(2, 1)]]), "{name}");
    }
    let refused = imap.ask(json!({
        "do": "refused", "name": "x", "host": port(&cluster, 1, "imap").ip(),
        "port": port(&cluster, 1, "imap").port(), "user": "ann", "password": "wrong",
    }));
    assert!(refused.as_str().is_some_and(|why| why.contains("AUTHENTICATIONFAILED")), "{refused}");
}

#[test]
fn letters_uids_and_flags_outlive_a_site_and_then_all_of_them() {
    let mut cluster = cluster();
    add_user(&cluster, 0, "ann");
    let mut imap = Imap::start();
    for (site, name) in ["a", "b"].into_iter().enumerate() {
        imap.connect(name, port(&cluster, site, "imap"), "ann");
    }
    for number in 1..=5 {
        imap.append("a", &letter(number, number));
    }
    let (_, validity) = imap.select("b");
    imap.ask(json!({"do": "store", "name": "b", "uid": 2, "op": "+FLAGS", "flags": "\\Flagged"}));
    imap.ask(json!({"do": "store", "name": "b", "uid": 3, "op": "+FLAGS", "flags": "\\Deleted"}));
    imap.ask(json!({"do": "expunge", "name": "b"}));
    cluster.kill(0);
    // The others go on, with all that was acknowledged.
    assert_eq!(imap.select("b"), (4, validity));
    assert_eq!(imap.append("b", &letter(6, 6)), 6);
    assert_eq!(imap.select("b"), (5, validity));
    let all = imap.letters("b");
    let uids = |letters: &Value| -> Vec<u64> {
        letters.as_array().expect("a list").iter().filter_map(|letter| letter[0].as_u64()).collect()
    };
    assert_eq!(uids(&all), [1, 2, 4, 5, 6]);
    cluster.start(0);
    imap.connect("a again", port(&cluster, 0, "imap"), "ann");
    assert_eq!(imap.select("a again"), (5, validity), "it has caught up");
    assert_eq!(imap.letters("a again"), all);

    (0..3).for_each(|site| cluster.kill(site));
    (0..3).for_each(|site| cluster.start(site));
    for (site, name) in ["a once more", "b once more", "c once more"].into_iter().enumerate() {
        imap.connect(name, port(&cluster, site, "imap"), "ann");
        assert_eq!(imap.select(name), (5, validity), "{name}");
        assert_eq!(imap.letters(name), all, "{name}");
    }
    assert_eq!(imap.append("c once more", &letter(7, 7)), 7);
}

#[test]
fn letters_stay_when_the_log_lets_them_go_and_are_fetched_by_a_site_that_lost_its_disk() {
    // The log is shortened again and again.
    let mut cluster = Cluster::new(&["a", "b", "c"], |_, config| {
        serve(config);
        config.limits.checkpoint_bytes = 64 << 10;
        config.limits.retain_entries = 4;
    });
    (0..3).for_each(|site| cluster.start(site));
    add_user(&cluster, 0, "ann");
    let mut imap = Imap::start();
    imap.connect("a", port(&cluster, 0, "imap"), "ann");
    for number in 1..=120 {
        imap.append("a", &letter(number, 60));
    }
    imap.select("a");
    for uid in (3..=120).step_by(3) {
        imap.ask(json!({"do": "store", "name": "a", "uid": uid, "op": "+FLAGS", "flags": "\\Deleted"}));
    }
    imap.ask(json!({"do": "expunge", "name": "a"}));
    for number in 121..=160 {
        imap.append("a", &letter(number, 60));
    }
    imap.select("a");
    let all = imap.letters("a");
    assert_eq!(all.as_array().map(Vec::len), Some(120));

    cluster.kill(2);
    cluster.wipe(2);
    cluster.start(2);
    cluster.until(2, "all letters are here", |status| {
        let groups = status["durable"].as_array().map_or(&[][..], Vec::as_slice);
        groups.iter().any(|group| {
            group["group"] == "unanimous.mail"
                && group["state"] == "active"
                && group["catching_up"].is_null()
                && group["payloads_missing"].is_null()
        })
    });
    imap.connect("c", port(&cluster, 2, "imap"), "ann");
    assert_eq!(imap.select("c").0, 120);
    assert_eq!(imap.letters("c"), all, "bodies were fetched");
    // After a restart they are where they were.
    cluster.kill(2);
    cluster.start(2);
    imap.connect("c again", port(&cluster, 2, "imap"), "ann");
    assert_eq!(imap.select("c again").0, 120);
    assert_eq!(imap.letters("c again"), all);
}

#[test]
fn a_site_that_is_added_serves_mail_and_status_says_where() {
    let mut cluster = cluster();
    add_user(&cluster, 0, "ann");
    let mut imap = Imap::start();
    imap.connect("a", port(&cluster, 0, "imap"), "ann");
    (1..=3).for_each(|number| assert_eq!(imap.append("a", &letter(number, 2)), number as u64));
    let d = cluster.add("d", &[]);
    cluster.start(d);
    imap.connect("d", port(&cluster, d, "imap"), "ann");
    imap.select("a");
    assert_eq!(imap.select("d").0, 3);
    assert_eq!(imap.letters("d"), imap.letters("a"));
    assert_eq!(imap.append("d", &letter(4, 2)), 4);
    assert_eq!(imap.select("a").0, 4);
    let status = cluster.until(d, "mail is there", |status| status["mail"]["ready"] == true);
    assert_eq!(
        (&status["mail"]["domain"], &status["mail"]["group"]),
        (&json!("mail.test"), &json!("unanimous.mail"))
    );
    assert_eq!(status["mail"]["listeners"]["imap"], port(&cluster, d, "imap").to_string());
    let said = text(&cluster.run(d, &["status"]).stdout);
    let smtp = port(&cluster, d, "smtp");
    assert!(said.contains("mail for mail.test at d: ") && said.contains(&format!("smtp {smtp}")), "{said}");
    assert!(said.contains("unanimous.mail: active; 3 stores count, and 2 of them are needed"), "{said}");
}

#[test]
fn a_backup_says_that_it_has_no_mail() {
    let cluster = cluster();
    add_user(&cluster, 0, "ann");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("b");
    let file = utf8(&file);
    let refused = cluster.run(1, &["backup", file]);
    assert!(
        text(&refused.stderr).contains("no mail") && text(&refused.stderr).contains("--without-mail"),
        "{refused:?}"
    );
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0, "there is no file");
    assert_eq!(done(&cluster, 1, &["backup", "--without-mail", file])[0]["without_mail"], true);
    assert_eq!(done(&cluster, 1, &["backup", "--verify", file])[0]["without_mail"], true);
}

#[test]
fn the_operators_commands_send_receive_and_delete_letters_and_change_the_master() {
    let cluster = cluster();
    add_user(&cluster, 0, "ann");
    add_user(&cluster, 1, "bob");
    let again = cluster.run(2, &["mail", "add-user", "bob", "--password", "x"]);
    assert!(!again.status.success() && text(&again.stderr).contains("one already"), "{again:?}");
    let sent =
        ["mail", "send", "bob", "ann@mail.test", "--from", "ann", "--subject", "lunch", "--body", "At noon?"];
    let receipts = done(&cluster, 0, &sent);
    assert_eq!(receipts[0]["delivered"], true, "{receipts}");
    let nobody = cluster.run(0, &["mail", "send", "nobody", "--body", "x", "--json"]);
    assert_eq!(nobody.status.code(), Some(1), "{nobody:?}");
    assert!(text(&nobody.stdout).contains("no such address"), "{nobody:?}");

    assert_eq!(done(&cluster, 2, &["mail", "list", "bob"])[0]["subject"], "lunch");
    let received = done(&cluster, 1, &["mail", "receive", "bob", "--unseen"]);
    let letter = received[0]["letter"].as_str().expect("a letter");
    assert!(
        letter.contains("From: ann@mail.test\r\n") && letter.ends_with("\r\n\r\nAt noon?\r\n"),
        "{letter}"
    );
    let unseen = |site| done(&cluster, site, &["mail", "poll", "bob"])[0]["unseen"].clone();
    assert_eq!(unseen(1), 1);
    assert_eq!(done(&cluster, 2, &["mail", "delete", "bob", "1"])[0]["deleted"], json!([1]));
    assert_eq!(done(&cluster, 0, &["mail", "list", "bob"]), json!([]));

    assert_eq!(done(&cluster, 0, &["mail", "change-master", "c"])[0]["master"], "c");
    let master =
        || Some(done(&cluster, 1, &["mail", "storage"])).filter(|storage| storage[0]["master"] == "c");
    let storage = eventually(master).expect("all hear of it");
    assert_eq!((&storage[0]["letters"], &storage[0]["users"]), (&json!(1), &json!(2)), "{storage}");
    done(&cluster, 1, &["mail", "delete-user", "bob"]);
    let gone = cluster.run(0, &["mail", "list", "bob"]);
    assert!(text(&gone.stderr).contains("no user bob"), "{gone:?}");
}
