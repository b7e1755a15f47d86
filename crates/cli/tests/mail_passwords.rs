//! Application passwords on real sites, by PLAIN and by SCRAM-SHA-256: Python's imaplib and smtplib speak, and the client's side of
//! SCRAM is in `client.py`, after RFC 7677.

mod imap;
mod sites;

use imap::{DOMAIN, Imap, SECRET, add_user, done, port, serve};
use serde_json::{Value, json};
use sites::{Cluster, text};

/// Three sites that offer SCRAM, or do not.
fn cluster(scram: bool) -> Cluster {
    let mut cluster = Cluster::new(&["a", "b", "c"], |_, config| {
        serve(config);
        config.mail.as_mut().expect("it serves mail").scram = scram;
    });
    (0..3).for_each(|site| cluster.start(site));
    add_user(&cluster, 0, "ann");
    // Each serves mail before a test logs in there once and no more.
    (0..3).for_each(|site| drop(done(&cluster, site, &["mail", "users"])));
    cluster
}

/// Logs in by SCRAM at a site's `imap` or `submission`. Gives what was offered, and why it was refused, if it was.
fn scram(imap: &mut Imap, cluster: &Cluster, site: usize, what: &str, user: &str, password: &str) -> Value {
    let at = port(cluster, site, what);
    let how = if what == "imap" { "scram_imap" } else { "scram_smtp" };
    imap.ask(json!({
        "do": how, "name": what, "host": at.ip(), "port": at.port(), "user": user, "password": password,
    }))
}

/// Logs in at a site's `submission` by PLAIN: none, or the reply that refused it.
fn plain(imap: &mut Imap, cluster: &Cluster, site: usize, password: &str) -> Value {
    let at = port(cluster, site, "submission");
    let asked = json!({
        "do": "smtp", "name": "plain", "host": at.ip(), "port": at.port(), "user": "ann", "password": password,
    });
    imap.ask(asked)["refused"].clone()
}

fn app_password(cluster: &Cluster, site: usize, args: &[&str]) -> Value {
    done(cluster, site, &[&["mail", "app-password"], args].concat())[0].take()
}

#[test]
fn an_application_password_logs_in_by_scram_and_plain_at_every_site_until_it_is_revoked() {
    let cluster = cluster(true);
    let mut imap = Imap::start();
    let made = app_password(&cluster, 0, &["add", "ann", "--label", "phone"]);
    let phone = made["password"].as_str().expect("a password").to_owned();
    assert!(phone.len() == 26 && made["label"] == "phone" && made["replaced"] == false, "{made}");
    let tablet = app_password(&cluster, 2, &["add", "ann"]);
    assert_eq!(tablet["label"], "app-1", "a label of its own");
    let tablet = tablet["password"].as_str().expect("a password").to_owned();
    assert_eq!(app_password(&cluster, 1, &["list", "ann"])["labels"], json!(["phone", "app-1"]));

    let by_imap = scram(&mut imap, &cluster, 1, "imap", "ann", &phone);
    assert!(by_imap["refused"].is_null(), "{by_imap}");
    assert!(
        by_imap["offered"].as_array().expect("a list").contains(&json!("AUTH=SCRAM-SHA-256")),
        "{by_imap}"
    );
    assert_eq!(imap.append("imap", &imap::letter(1, 2)), 1);
    let by_smtp = scram(&mut imap, &cluster, 2, "submission", &format!("Ann@{DOMAIN}"), &phone);
    assert!(by_smtp["refused"].is_null(), "{by_smtp}");
    assert_eq!(by_smtp["offered"], json!(["PLAIN", "LOGIN", "SCRAM-SHA-256"]));
    let letter = format!("From: ann@{DOMAIN}\nTo: ann@{DOMAIN}\n\nx\n");
    let sent = imap.send("submission", &format!("ann@{DOMAIN}"), &[&format!("ann@{DOMAIN}")], &letter);
    assert_eq!(sent["code"], 250, "{sent}");
    // The second of a user's has the salt of the first: either proves itself.
    assert!(scram(&mut imap, &cluster, 0, "imap", "ann", &tablet)["refused"].is_null());
    assert_eq!(plain(&mut imap, &cluster, 0, &phone), Value::Null);
    // What somebody chose can't be used so, and goes on to log in by PLAIN.
    let chosen = scram(&mut imap, &cluster, 1, "imap", "ann", SECRET);
    assert!(chosen["refused"].as_str().is_some_and(|why| why.contains("AUTHENTICATIONFAILED")), "{chosen}");
    assert_eq!(scram(&mut imap, &cluster, 1, "submission", "nobody", &phone)["refused"], 535);
    assert_eq!(plain(&mut imap, &cluster, 1, SECRET), Value::Null);

    app_password(&cluster, 1, &["revoke", "ann", "phone"]);
    assert_eq!(plain(&mut imap, &cluster, 2, &phone), 535);
    assert_eq!(scram(&mut imap, &cluster, 2, "submission", "ann", &phone)["refused"], 535);
    assert!(scram(&mut imap, &cluster, 2, "imap", "ann", &tablet)["refused"].is_null(), "the other stays");
    let twice = cluster.run(0, &["mail", "app-password", "revoke", "ann", "phone"]);
    let why = "ann has no application password \"phone\"; see `unanimous mail app-password list ann`";
    assert!(text(&twice.stderr).contains(why), "{twice:?}");
}

#[test]
fn a_label_is_one_password_and_there_are_at_most_32() {
    let cluster = cluster(true);
    let mut imap = Imap::start();
    let add = |label: &str| app_password(&cluster, 0, &["add", "ann", "--label", label]);
    let (first, second) = (add("phone"), add("phone"));
    assert_eq!((&first["replaced"], &second["replaced"]), (&json!(false), &json!(true)));
    let of = |made: &Value| made["password"].as_str().expect("a password").to_owned();
    assert!(scram(&mut imap, &cluster, 1, "imap", "ann", &of(&second))["refused"].is_null());
    assert!(
        !scram(&mut imap, &cluster, 1, "imap", "ann", &of(&first))["refused"].is_null(),
        "it was replaced"
    );
    (2..=32).for_each(|number| drop(add(&number.to_string())));
    let full = cluster.run(0, &["mail", "app-password", "add", "ann", "--label", "33"]);
    let said = text(&full.stderr);
    assert!(
        said.contains("32 application passwords") && said.contains("app-password revoke ann LABEL"),
        "{said}"
    );
    let printed = cluster.run(1, &["mail", "app-password", "add", "ann", "--label", "phone"]);
    assert_eq!(
        text(&printed.stdout).trim_end().len(),
        26,
        "the password alone, for a program to read: {printed:?}"
    );
    let labels = app_password(&cluster, 2, &["list", "ann"])["labels"].take();
    assert!(labels.as_array().is_some_and(|labels| labels.len() == 32 && labels[0] == "phone"), "{labels}");
}

#[test]
fn scram_is_offered_only_where_it_is_configured_and_application_passwords_work_without_it() {
    let cluster = cluster(false);
    let mut imap = Imap::start();
    let made = app_password(&cluster, 0, &["add", "ann"]);
    let password = made["password"].as_str().expect("a password");
    let by_imap = scram(&mut imap, &cluster, 1, "imap", "ann", password);
    assert!(by_imap["refused"].as_str().is_some_and(|why| why.contains("no such mechanism")), "{by_imap}");
    assert!(
        !by_imap["offered"].as_array().expect("a list").contains(&json!("AUTH=SCRAM-SHA-256")),
        "{by_imap}"
    );
    let by_smtp = scram(&mut imap, &cluster, 1, "submission", "ann", password);
    assert_eq!((&by_smtp["refused"], &by_smtp["offered"]), (&json!(504), &json!(["PLAIN", "LOGIN"])));
    assert_eq!(plain(&mut imap, &cluster, 2, password), Value::Null);
}
