//! `unanimous up` serves mail: what it prints holds, over TLS too, and is kept when it is run again.

#![allow(clippy::disallowed_methods, reason = "real processes run in real time")]

mod imap;
mod sites;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use imap::{Imap, letter};
use serde_json::{Value, json};
use sites::{eventually, text, unanimous, utf8};

/// A cluster of `up`'s; it is stopped when this is dropped.
struct Up {
    child: Child,
    dir: PathBuf,
    ready: Value,
}

impl Up {
    fn start(dir: &Path) -> Up {
        let mut child = unanimous()
            .args(["up", "--json", "--dir", utf8(dir)])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("it says something");
        let ready = serde_json::from_str(&line).unwrap_or(Value::Null);
        if ready["event"] != "ready" {
            let _ = child.kill();
            let output = child.wait_with_output().expect("it is ours");
            panic!("{line}{}", text(&output.stderr));
        }
        Up { child, dir: dir.to_owned(), ready }
    }

    fn cluster(&self) -> Value {
        let bytes = std::fs::read(self.dir.join("cluster.json")).expect("it is written");
        serde_json::from_slice(&bytes).expect("it is JSON")
    }

    fn login(&self, cluster: &Value, site: usize, what: &str, user: usize) -> Value {
        let user = &self.ready["mail"]["users"][user];
        json!({
            "do": "connect", "host": "127.0.0.1", "port": cluster["sites"][site]["ports"][what],
            "user": user["address"], "password": user["password"],
        })
    }

    fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it is ours");
        let ended = eventually(|| self.child.try_wait().expect("it is ours"));
        assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // Its sites end with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn with(mut asked: Value, name: &str, more: Value) -> Value {
    asked["name"] = name.into();
    for (key, value) in more.as_object().into_iter().flatten() {
        asked[key] = value.clone();
    }
    asked
}

fn letter_of_ann(subject: &str) -> String {
    format!("From: ann@unanimous.test\nTo: bob@unanimous.test\nSubject: {subject}\n\nBy {subject}.\n")
}

/// A command that somebody on the way puts behind STARTTLS is not the client's.
fn what_is_said_before_tls_is_not_done_inside(imap: &mut Imap, cluster: &Value) {
    let smtp = ["EHLO x\r\n", "STARTTLS\r\nMAIL FROM:<x@y.org>\r\nNOOP\r\n", "NOOP\r\nQUIT\r\n"];
    let smtp_says = "250 2.0.0 Done\r\n221 2.0.0 Until next time\r\n";
    let of_imap = ["a STARTTLS\r\nb LOGIN ann x\r\nc NOOP\r\n", "d NOOP\r\ne LOGOUT\r\n"];
    let imap_says = "d OK Done\r\n* BYE Until next time\r\ne OK Logged out\r\n";
    for (what, lines, says) in [
        ("smtp", &smtp[..], smtp_says),
        ("submission", &smtp[..], smtp_says),
        ("imap", &of_imap[..], imap_says),
    ] {
        let told = imap.ask(json!({
            "do": "injected", "name": what, "host": "127.0.0.1", "port": cluster["sites"][1]["ports"][what],
            "tls": cluster["mail_certificate"], "lines": lines,
        }));
        assert_eq!(told["inside"], says, "{what}: {told}");
        assert_eq!(told["clear"].as_str().map(|said| said.lines().count()), Some(1), "{what}: {told}");
    }
}

#[test]
fn a_trial_has_a_domain_users_and_ports_and_keeps_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let up = Up::start(dir.path());
    let cluster = up.cluster();
    assert_eq!(cluster["mail_domain"], "unanimous.test");
    let mut imap = Imap::start();
    imap.ask(with(up.login(&cluster, 0, "imap", 0), "ann", json!({})));
    assert_eq!(imap.append("ann", &letter(1, 1)), 1);
    let trust = cluster["mail_certificate"].clone();
    imap.ask(with(up.login(&cluster, 1, "imaps", 0), "tls", json!({"tls": trust})));
    assert_eq!(imap.select("tls").0, 1);
    imap.ask(with(up.login(&cluster, 2, "imap", 0), "starttls", json!({"tls": trust, "starttls": true})));
    assert_eq!(imap.select("starttls").0, 1);
    let all = imap.letters("starttls");
    let sent = unanimous()
        .args(["--dir", utf8(dir.path()), "mail", "send", "bob", "--from", "ann", "--body", "hello"])
        .output()
        .expect("runs");
    assert!(sent.status.success(), "{}", text(&sent.stderr));
    imap.ask(with(up.login(&cluster, 2, "imaps", 1), "bob", json!({"tls": trust})));
    assert_eq!(imap.select("bob").0, 1);
    // By submission, inside TLS from the first byte and by STARTTLS.
    for (site, what, starttls) in [(0, "submissions", false), (1, "submission", true)] {
        let mut asked = up.login(&cluster, site, what, 0);
        asked["do"] = "smtp".into();
        let offered = imap.ask(with(asked, what, json!({"tls": trust, "starttls": starttls})));
        assert!(offered.as_array().is_some_and(|offered| offered.contains(&json!("auth"))), "{offered}");
        let sent = imap.send(what, "ann@unanimous.test", &["bob@unanimous.test"], &letter_of_ann(what));
        assert_eq!(sent, json!({"code": 250, "against": {}}));
    }
    assert_eq!(imap.select("bob").0, 3);
    let with_tls = imap.letters("bob").to_string();
    assert!(with_tls.matches("with ESMTPSA").count() == 2, "{with_tls}");
    what_is_said_before_tls_is_not_done_inside(&mut imap, &cluster);
    let users = up.ready["mail"]["users"].clone();
    up.stop();

    let up = Up::start(dir.path());
    assert_eq!(up.ready["mail"]["users"], users, "the passwords hold");
    let again = up.cluster();
    for site in 0..3 {
        for what in ["imap", "imaps", "smtp", "submission", "submissions", "lmtp"] {
            let port = |cluster: &Value| cluster["sites"][site]["ports"][what].clone();
            assert!(port(&again).is_u64() && port(&again) == port(&cluster), "{what} of site {site}");
        }
    }
    imap.ask(with(up.login(&again, 1, "imaps", 0), "ann again", json!({"tls": trust})));
    assert_eq!(imap.select("ann again").0, 1);
    assert_eq!(imap.letters("ann again"), all);
    up.stop();
}
