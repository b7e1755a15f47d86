//! What an operator does to mail on real sites: users' room and rights, aliases, domains, mailing lists, and who is logged in. And
//! that nobody else does.

mod imap;
mod sites;

use std::net::SocketAddr;

use imap::{Imap, add_user, done, port, serve};
use serde_json::{Value, json};
use sites::{Cluster, eventually, text, unanimous, utf8};
use unanimous::{Running, SiteConfig};

fn cluster() -> Cluster {
    let mut cluster = Cluster::new(&["a", "b", "c"], |_, config| serve(config));
    (0..3).for_each(|site| cluster.start(site));
    add_user(&cluster, 0, "ann");
    add_user(&cluster, 0, "bob");
    // Each serves mail before a test asks it once and no more.
    (0..3).for_each(|site| drop(done(&cluster, site, &["mail", "users"])));
    cluster
}

/// The one line that a command says when it is refused.
fn refused(cluster: &Cluster, args: &[&str], status: i32) -> String {
    let output = cluster.run(0, args);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{args:?}: {said}");
    assert!(status != 1 || said.lines().count() == 1, "{args:?}: {said}");
    said
}

fn say(cluster: &Cluster, site: usize, args: &[&str]) -> String {
    let output = cluster.run(site, args);
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn send(cluster: &Cluster, args: &[&str]) -> Value {
    let output = cluster.run(1, &[&["--json", "mail", "send"], args, &["--body", "x"]].concat());
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output.stderr)))
}

/// How many letters a user has in INBOX.
fn letters(cluster: &Cluster, user: &str) -> usize {
    done(cluster, 2, &["mail", "list", user]).as_array().map_or(0, Vec::len)
}

#[test]
fn users_are_listed_with_their_room_and_rights_and_both_can_be_changed() {
    let cluster = cluster();
    done(&cluster, 0, &["mail", "rights", "ann", "--privileged"]);
    let quota = done(&cluster, 0, &["mail", "quota", "bob", "--bytes", "2KiB", "--letters", "5"]);
    assert_eq!((&quota[0]["bytes_max"], &quota[0]["letters_max"]), (&json!(2_048), &json!(5)), "{quota}");
    let users = done(&cluster, 2, &["mail", "users"]);
    assert_eq!(users[0]["user"], "ann");
    assert_eq!((&users[0]["privileged"], &users[0]["bytes_max"]), (&json!(true), &Value::Null), "{users}");
    assert_eq!(
        (&users[1]["address"], &users[1]["bytes_max"]),
        (&json!("bob@mail.test"), &json!(2_048)),
        "{users}"
    );
    assert_eq!(users.as_array().map(Vec::len), Some(2));
    let table = say(&cluster, 1, &["mail", "users"]);
    let rows: Vec<&str> = table.lines().collect();
    assert!(rows.len() == 3 && rows[1].contains("privileged") && rows[2].contains("2048"), "{table}");
    assert_eq!(
        rows[0].find("RIGHTS"),
        rows[1].find("privileged"),
        "the columns are below each other: {table}"
    );

    let long = "x".repeat(3_000);
    let over = cluster.run(1, &["mail", "send", "bob", "--body", &long]);
    assert!(text(&over.stdout).contains("bob: not delivered: over quota"), "{over:?}");
    done(&cluster, 0, &["mail", "quota", "bob", "--none"]);
    done(&cluster, 1, &["mail", "send", "bob", "--body", &long]);
    done(&cluster, 1, &["mail", "rights", "ann", "--not"]);
    let users = done(&cluster, 0, &["mail", "users"]);
    assert_eq!((&users[0]["privileged"], &users[1]["letters"]), (&json!(false), &json!(1)), "{users}");

    let nobody = refused(&cluster, &["mail", "quota", "nobody", "--none"], 1);
    assert!(nobody.contains("no user nobody; add one with `unanimous mail add-user nobody`"), "{nobody}");
    refused(&cluster, &["mail", "quota", "bob"], 2);
    refused(&cluster, &["mail", "quota", "bob", "--bytes", "1GB"], 2);
    refused(&cluster, &["mail", "rights", "bob"], 2);
}

#[test]
fn aliases_and_domains_are_made_listed_and_removed() {
    let cluster = cluster();
    let alias = |args: &[&str]| done(&cluster, 1, &[&["mail", "alias"], args].concat());
    let domain = |args: &[&str]| done(&cluster, 2, &[&["mail", "domain"], args].concat());
    assert_eq!(alias(&["set", "info", "bob", "ann"])[0]["alias"], "info@mail.test");
    assert_eq!(send(&cluster, &["info"])["delivered"], true);
    assert_eq!((letters(&cluster, "ann"), letters(&cluster, "bob")), (1, 1));

    domain(&["add", "example.net", "--catch-all", "ann"]);
    assert_eq!(send(&cluster, &["anything@example.net"])["delivered"], true);
    assert_eq!((letters(&cluster, "ann"), letters(&cluster, "bob")), (2, 1));
    let domains = json!([
        {"domain": "example.net", "catch_all": "ann@mail.test"}, {"domain": "mail.test", "catch_all": null},
    ]);
    assert_eq!(domain(&["list"]), domains);
    // Once more without it: nobody gets what is for nobody.
    domain(&["add", "example.net"]);
    assert_eq!(send(&cluster, &["anything@example.net"])["delivered"], false);

    alias(&["set", "sales@example.net", "info"]);
    let aliases = json!([
        {"alias": "info@mail.test", "targets": ["ann@mail.test", "bob@mail.test"]},
        {"alias": "sales@example.net", "targets": ["info@mail.test"]},
    ]);
    assert_eq!(alias(&["list"]), aliases);
    assert!(
        say(&cluster, 0, &["mail", "alias", "list"])
            .contains("info@mail.test     ann@mail.test bob@mail.test\n")
    );
    let used = refused(&cluster, &["mail", "domain", "remove", "example.net"], 1);
    assert!(used.contains("still in use; see `unanimous mail alias list`"), "{used}");
    alias(&["remove", "sales@example.net"]);
    domain(&["remove", "example.net"]);
    assert_eq!(domain(&["list"]), json!([{"domain": "mail.test", "catch_all": null}]));

    for (args, why) in [
        (
            &["mail", "alias", "remove", "sales"][..],
            "no alias sales@mail.test; see `unanimous mail alias list`",
        ),
        (
            &["mail", "alias", "set", "x", "a@elsewhere.example"],
            "other domains is not taken; `unanimous mail domain list`",
        ),
        (&["mail", "alias", "set", "x y", "ann"], "alias: \"x y\""),
        (&["mail", "domain", "remove", "mail.test"], "the domain of this site's configuration"),
        (&["mail", "domain", "remove", "elsewhere.example"], "see `unanimous mail domain list`"),
    ] {
        let said = refused(&cluster, args, 1);
        assert!(said.contains(why), "{args:?}: {said}");
    }
}

#[test]
fn mailing_lists_have_members_owners_and_those_who_may_write() {
    let cluster = cluster();
    add_user(&cluster, 0, "carol");
    let list = |args: &[&str]| done(&cluster, 1, &[&["mail", "mailing-list"], args].concat());
    let made = list(&["create", "team", "--member", "ann", "--owner", "ann", "--posting", "owners"]);
    assert_eq!(made[0], json!({"list": "team@mail.test", "members": 1, "owners": 1}));
    let added = list(&["add", "team", "bob", "bob@mail.test", "carol"]);
    assert_eq!((&added[0]["changed"], &added[0]["members"]), (&json!(2), &json!(3)), "{added}");
    let lists = json!([{"list": "team@mail.test", "members": 3, "owners": ["ann"], "posting": "owners"}]);
    assert_eq!(list(&["list"]), lists);
    assert_eq!(send(&cluster, &["team", "--from", "bob"])["delivered"], false);
    assert_eq!(send(&cluster, &["team", "--from", "ann"])["delivered"], true);
    assert_eq!(list(&["drop", "team", "bob", "nobody"])[0]["changed"], 1);
    assert_eq!(list(&["members", "team"]), json!(["ann@mail.test", "carol@mail.test"]));
    list(&["set", "team", "--posting", "members", "--owner", "bob"]);
    assert_eq!(send(&cluster, &["team", "--from", "carol"])["delivered"], true);
    list(&["set", "team", "--no-owner"]);
    assert_eq!(list(&["list"])[0]["owners"], json!([]));
    assert_eq!((letters(&cluster, "ann"), letters(&cluster, "bob"), letters(&cluster, "carol")), (2, 1, 2));

    // More than a request has room for.
    let many: Vec<String> = (0..500).map(|number| format!("ann+{number}")).collect();
    let args: Vec<&str> = ["add", "team"].into_iter().chain(many.iter().map(String::as_str)).collect();
    assert_eq!(
        list(&args)[0],
        json!({"changed": 500, "list": "team@mail.test", "members": 502, "owners": 0})
    );
    assert_eq!(say(&cluster, 2, &["mail", "mailing-list", "members", "team"]).lines().count(), 502);
    let twice = refused(&cluster, &["mail", "mailing-list", "create", "team"], 1);
    assert!(twice.contains("there is a mailing list team@mail.test already"), "{twice}");
    assert_eq!(list(&["remove", "team"])[0]["members"], 502);
    let args = many.iter().flat_map(|member| ["--member", member.as_str()]);
    let args: Vec<&str> = ["create", "all"].into_iter().chain(args).collect();
    assert_eq!(list(&args)[0], json!({"list": "all@mail.test", "members": 500, "owners": 0}));
    let gone = refused(&cluster, &["mail", "mailing-list", "add", "team", "ann"], 1);
    assert!(
        gone.contains("no mailing list team@mail.test; see `unanimous mail mailing-list list`"),
        "{gone}"
    );
}

#[test]
fn a_letter_has_as_many_recipients_as_the_machine_allows() {
    let cluster = cluster();
    let many = |count: usize| (0..count).map(|number| format!("ann+{number}@mail.test")).collect::<Vec<_>>();
    let send = |to: &[String]| {
        let to: Vec<&str> = to.iter().map(String::as_str).collect();
        cluster.run(0, &[&["--json", "mail", "send", "--body", "x"], &to[..]].concat())
    };
    let told = |output: &std::process::Output| -> Value {
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", text(&output.stderr)))
    };
    let all = many(9_999);
    let told = told(&send(&all));
    assert_eq!(told["delivered"], true);
    let receipts = told["receipts"].as_array().expect("a list");
    assert!(
        receipts.len() == all.len() && receipts.iter().zip(&all).all(|(receipt, to)| receipt["to"] == **to)
    );
    assert_eq!(letters(&cluster, "ann"), 1, "one mailbox, one copy");
    let refused = send(&many(10_001));
    assert!(text(&refused.stderr).contains("at most 10000 recipients, and this one 10001"), "{refused:?}");
}

#[test]
fn who_is_logged_in_is_seen_at_each_site_and_at_all_that_are_known() {
    let mut cluster = cluster();
    let mut imap = Imap::start();
    imap.connect("ann", port(&cluster, 1, "imap"), "ann");
    imap.smtp("bob", port(&cluster, 2, "submission"), "submission", Some("bob"));
    let logins = |site: usize| done(&cluster, site, &["mail", "who"])[0]["logins"].take();
    assert_eq!(logins(0), json!([]));
    let at_b = logins(1);
    let one = json!([{"user": "ann", "site": "b", "protocol": "imap", "tls": false,
        "from": at_b[0]["from"], "since_ms": at_b[0]["since_ms"]}]);
    assert_eq!(at_b, one);
    assert_eq!((&logins(2)[0]["user"], &logins(2)[0]["protocol"]), (&json!("bob"), &json!("submission")));
    let last = |site: usize| done(&cluster, site, &["mail", "users"])[0]["last_login_ms"].clone();
    assert_eq!((last(0), last(1)), (Value::Null, at_b[0]["since_ms"].clone()));

    // As `unanimous up` leaves it: whoever finds all sites asks all.
    let dir = tempfile::tempdir().expect("a folder");
    let site = |site: usize| {
        json!({"name": "x", "pid": 1, "ports": {},
        "session": format!("unix:{}", cluster.path(site, "session.sock").display())})
    };
    // Connections to it are taken, and nothing is said.
    let hung = dir.path().join("hung.sock");
    let _hung = std::os::unix::net::UnixListener::bind(&hung).expect("bound");
    let hung = json!({"name": "x", "pid": 1, "ports": {}, "session": format!("unix:{}", hung.display())});
    let file = json!({"sites": [site(0), hung, site(1), site(2)]});
    std::fs::write(dir.path().join("cluster.json"), file.to_string()).expect("written");
    let who =
        || text(&unanimous().args(["--dir", utf8(dir.path()), "mail", "who"]).output().expect("runs").stdout);
    let table = who();
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        (&rows[1][..4], &rows[2][..4]),
        (&["ann", "b", "imap", "no"][..], &["bob", "c", "submission", "no"][..])
    );
    assert!(table.contains("seen at a, b, c;") && table.contains("hung.sock has not answered"), "{table}");

    // Whoever has gone is not there any more, and a site that has gone is named.
    imap.ask(json!({"do": "close", "name": "ann"}));
    let gone = eventually(|| (logins(1) == json!([])).then_some(()));
    assert!(gone.is_some(), "{}", logins(1));
    cluster.kill(2);
    let table = who();
    assert!(table.contains("seen at a, b;") && table.contains("c/session.sock"), "{table}");
}

#[test]
fn who_may_not_administer_the_cluster_does_not_administer_mail() {
    let mut cluster = Cluster::new(&["a"], |_, config| {
        serve(config);
        config.site.remote_session = Some(SocketAddr::new(config.site.link.ip(), 0));
    });
    cluster.start(0);
    add_user(&cluster, 0, "ann");
    let running = Running::read(&cluster.path(0, "data")).expect("it runs");
    let config = SiteConfig::read(&cluster.path(0, "site.toml")).expect("readable");
    let address = format!("tls:{}:{}", config.site.link.ip(), running.ports["session"]);
    let run = |role: &str, args: &[&str]| {
        let (out, authority) = (cluster.dir().join(role), cluster.dir().join("ca"));
        if !out.exists() {
            let issued = unanimous()
                .args(["cert", "issue", "--name", role, "--role", role])
                .args(["--authority", utf8(&authority), "--out", utf8(&out)])
                .output()
                .expect("runs");
            assert!(issued.status.success(), "{}", text(&issued.stderr));
        }
        unanimous().args(["--site", &address, "--cert", utf8(&out)]).args(args).output().expect("runs")
    };
    for args in [
        &["mail", "users", "--local"][..],
        &["mail", "quota", "ann", "--none"],
        &["mail", "rights", "ann", "--privileged"],
        &["mail", "app-password", "add", "ann"],
        &["mail", "app-password", "list", "ann"],
        &["mail", "alias", "set", "bob", "ann"],
        &["mail", "domain", "add", "example.net"],
        &["mail", "mailing-list", "create", "all"],
        &["mail", "who"],
        &["mail", "list", "ann", "--local"],
    ] {
        let refused = run("client", args);
        let said = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{args:?}: {said}");
        assert!(said.contains("needs the principal `administer`"), "{args:?}: {said}");
    }
    let users = run("administrator", &["--json", "mail", "users"]);
    let line: Value = serde_json::from_slice(&users.stdout).expect("one user");
    assert_eq!(
        (&line["user"], &line["privileged"], &line["app_passwords"], &line["bytes_max"]),
        (&json!("ann"), &json!(false), &json!(0), &Value::Null),
        "nothing has changed: {line}"
    );
}
