//! Mail programs that people have, against three real sites: what one sends at a site, another reads at the next. With a
//! `main` of its own, which says which programs are not installed here; with `UNANIMOUS_TESTS_MAY_SKIP=0` that is a failure.
//! Arguments name programs.

#![allow(clippy::disallowed_methods, reason = "real processes run in real time")]

mod imap;
mod sites;

use std::io::Write;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, ExitCode, Output, Stdio};

use imap::{DOMAIN, Imap, SECRET, add_user, port, serve};
use sites::{Cluster, text, utf8};

/// A program, and what it does.
type Scene = (&'static str, fn(&Stage));

const SCENES: [Scene; 6] = [
    ("curl", curl),
    ("swaks", swaks),
    ("msmtp", msmtp),
    ("mutt", mutt),
    ("mbsync", mbsync),
    ("offlineimap", offlineimap),
];

/// Three sites, and a folder for the programs.
struct Stage {
    cluster: Cluster,
    home: tempfile::TempDir,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--list") {
        SCENES.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let wanted: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    if !wanted.is_empty() && !SCENES.iter().any(|(name, _)| wanted.iter().any(|wanted| wanted == name)) {
        // A filter of `cargo test` may mean other tests than these.
        println!("\nmail clients: none is asked for; there are: {}", SCENES.map(|(name, _)| name).join(", "));
        return ExitCode::SUCCESS;
    }
    let stage = Stage::new();
    let (mut passed, mut failed, mut skipped) = (0, Vec::new(), Vec::new());
    for (name, scene) in
        SCENES.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|w| w == name))
    {
        if !is_installed(name) {
            skipped.push(*name);
            continue;
        }
        match catch_unwind(AssertUnwindSafe(|| scene(&stage))) {
            Ok(()) => passed += 1,
            Err(_) => failed.push(*name),
        }
        println!("mail client {name} ... {}", if failed.last() == Some(name) { "FAILED" } else { "ok" });
    }
    println!("\nmail clients: {passed} passed, {} failed, {} skipped", failed.len(), skipped.len());
    failed.iter().for_each(|name| println!("  failed: {name}"));
    // The last thing printed: what a reader must not take for tested.
    skipped.iter().for_each(|name| println!("  skipped: {name}: it is not installed"));
    let may_skip = std::env::var("UNANIMOUS_TESTS_MAY_SKIP").map_or(true, |value| value != "0");
    if failed.is_empty() && (may_skip || skipped.is_empty()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn is_installed(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    // What its status is, is its own business.
    found.is_ok()
}

impl Stage {
    fn new() -> Stage {
        let mut cluster = Cluster::new(&["a", "b", "c"], |_, config| serve(config));
        (0..3).for_each(|site| cluster.start(site));
        add_user(&cluster, 0, "ann");
        // Each program has a reader of its own.
        SCENES.iter().for_each(|(name, _)| add_user(&cluster, 0, name));
        Stage { cluster, home: tempfile::tempdir().expect("a folder") }
    }

    fn at(&self, site: usize, what: &str) -> SocketAddr {
        port(&self.cluster, site, what)
    }

    /// Writes a file for a program.
    fn file(&self, name: &str, content: &str) -> String {
        let path = self.home.path().join(name);
        std::fs::write(&path, content).expect("it can be written");
        utf8(&path).to_owned()
    }

    /// Runs a program with some input.
    fn run(&self, program: &str, args: &[&str], input: &str) -> Output {
        let mut child = Command::new(program)
            .args(args)
            .env("HOME", self.home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it is installed");
        // It may end before it has read all.
        let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
        child.wait_with_output().expect("it is ours")
    }

    fn succeeds(&self, program: &str, args: &[&str], input: &str) -> String {
        let output = self.run(program, args, input);
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{program} {args:?}: {said}");
        said
    }

    /// What a user has in INBOX, as imaplib reads it at a site.
    fn inbox(&self, site: usize, user: &str) -> Vec<String> {
        let mut imap = Imap::start();
        imap.connect("reader", self.at(site, "imap"), user);
        if imap.select("reader").0 == 0 {
            return Vec::new();
        }
        let letters = imap.letters("reader");
        let letters = letters.as_array().expect("a list");
        letters.iter().map(|letter| letter[2].as_str().expect("a text").to_owned()).collect()
    }
}

fn letter(to: &str, subject: &str) -> String {
    format!("From: ann@{DOMAIN}\r\nTo: {to}@{DOMAIN}\r\nSubject: {subject}\r\n\r\nIt is about {subject}.\r\n")
}

/// Sends at a, reads at b; brings a letter by LMTP's neighbour, SMTP, to c, and reads that at a.
fn curl(stage: &Stage) {
    let file = stage.file("curl.eml", &letter("curl", "lunch"));
    let (ann, curl) = (format!("ann:{SECRET}"), format!("curl:{SECRET}"));
    let to = format!("curl@{DOMAIN}");
    let from = format!("ann@{DOMAIN}");
    let submission = format!("smtp://{}", stage.at(0, "submission"));
    let sends = ["-sS", "--url", &submission, "--user", &ann, "--mail-from", &from, "--mail-rcpt", &to];
    stage.succeeds("curl", &[&sends[..], &["--upload-file", &file]].concat(), "");
    let reads = |site: usize, number: u32| {
        let url = format!("imap://{}/INBOX;MAILINDEX={number}", stage.at(site, "imap"));
        stage.succeeds("curl", &["-sS", "--user", &curl, &url], "")
    };
    let got = reads(1, 1);
    assert!(got.starts_with("Return-Path: <ann@") && got.ends_with("It is about lunch.\r\n"), "{got}");
    let smtp = format!("smtp://{}", stage.at(2, "smtp"));
    let stranger = ["-sS", "--url", &smtp, "--mail-from", "x@elsewhere.example", "--mail-rcpt", &to];
    stage.succeeds("curl", &[&stranger[..], &["--upload-file", &file]].concat(), "");
    let got = reads(0, 2);
    assert!(got.contains("\r\nAuthentication-Results: c.mail.test;\r\n\tnone\r\n"), "{got}");
    let wrong =
        stage.run("curl", &["-sS", "--url", &submission, "--user", "ann:wrong", "--mail-from", &from], "");
    assert!(!wrong.status.success(), "{wrong:?}");
}

/// Submission, mail from outside and LMTP.
fn swaks(stage: &Stage) {
    let (to, from) = (format!("swaks@{DOMAIN}"), format!("ann@{DOMAIN}"));
    let submission = stage.at(1, "submission").to_string();
    let ann = ["--auth", "PLAIN", "--auth-user", "ann", "--auth-password", SECRET];
    let head = ["--server", &submission, "--from", &from, "--to", &to, "--body", "by submission"];
    stage.succeeds("swaks", &[&head[..], &ann].concat(), "");
    for (site, what, extra) in [(2, "smtp", &[][..]), (0, "lmtp", &["--protocol", "LMTP"][..])] {
        let server = stage.at(site, what).to_string();
        let body = format!("by {what}");
        let head = ["--server", &server, "--from", "x@elsewhere.example", "--to", &to, "--body", &body];
        stage.succeeds("swaks", &[&head[..], extra].concat(), "");
    }
    let inbox = stage.inbox(0, "swaks");
    for what in ["submission", "smtp", "lmtp"] {
        assert!(inbox.iter().any(|letter| letter.contains(&format!("by {what}"))), "{what}: {inbox:?}");
    }
    let relays = ["--server", &submission, "--from", &from, "--to", "x@elsewhere.example"];
    let refused = stage.run("swaks", &[&relays[..], &ann].concat(), "");
    assert!(text(&refused.stdout).contains("550 5.7.1") && !refused.status.success(), "{refused:?}");
}

fn msmtp(stage: &Stage) {
    let at = stage.at(2, "submission");
    let (host, port) = (format!("--host={}", at.ip()), format!("--port={}", at.port()));
    let from = format!("--from=ann@{DOMAIN}");
    let password = format!("--passwordeval=echo {SECRET}");
    let to = format!("msmtp@{DOMAIN}");
    // Which way to log in is the program's choice among those that are offered and need no TLS.
    let args = [&host, &port, &from, "--auth=plain", "--user=ann", &password, "--tls=off", &to];
    stage.succeeds("msmtp", &args, &letter("msmtp", "tea").replace("\r\n", "\n"));
    let inbox = stage.inbox(0, "msmtp");
    assert!(inbox.len() == 1 && inbox[0].ends_with("It is about tea.\n"), "{inbox:?}");
}

/// Sends by submission, and keeps a copy by IMAP, at different sites.
fn mutt(stage: &Stage) {
    let (sends, keeps) = (stage.at(0, "submission"), stage.at(1, "imap"));
    let rc = stage.file(
        "muttrc",
        &format!(
            "set from = \"ann@{DOMAIN}\"\nset smtp_url = \"smtp://ann@{sends}\"\nset smtp_pass = \"{SECRET}\"\n\
             set smtp_authenticators = \"plain:login\"\nset ssl_starttls = no\nset ssl_force_tls = no\n\
             set imap_user = \"mutt\"\nset imap_pass = \"{SECRET}\"\nset imap_authenticators = \"plain:login\"\n\
             set copy = yes\nset record = \"imap://mutt@{keeps}/INBOX\"\n"
        ),
    );
    let to = format!("mutt@{DOMAIN}");
    stage.succeeds("mutt", &["-n", "-F", &rc, "-s", "cake", &to], "There is cake.\n");
    let inbox = stage.inbox(2, "mutt");
    assert_eq!(inbox.len(), 2, "the letter and its copy: {inbox:?}");
    assert!(inbox.iter().all(|letter| letter.contains("Subject: cake") && letter.contains("There is cake.")));
}

/// A folder of letters that is kept the same as INBOX: what is new on either side comes to the other.
fn mbsync(stage: &Stage) {
    let letters = stage.home.path().join("letters");
    for folder in ["cur", "new", "tmp"] {
        std::fs::create_dir_all(letters.join(folder)).expect("a folder");
    }
    let mut imap = Imap::start();
    imap.connect("writer", stage.at(0, "imap"), "mbsync");
    for number in 1..=3 {
        assert_eq!(imap.append("writer", &imap::letter(number, 2)), number as u64);
    }
    let sync = |site: usize| {
        let at = stage.at(site, "imap");
        let rc = stage.file(
            "mbsyncrc",
            &format!(
                "IMAPAccount here\nHost {}\nPort {}\nUser mbsync\nPass \"{SECRET}\"\nSSLType None\nAuthMechs LOGIN\n\n\
                 IMAPStore far\nAccount here\n\nMaildirStore near\nInbox {}\n\n\
                 Channel all\nFar :far:\nNear :near:\nPatterns INBOX\nCreate Near\nExpunge Both\nSyncState *\n",
                at.ip(),
                at.port(),
                utf8(&letters)
            ),
        );
        stage.succeeds("mbsync", &["-c", &rc, "-a"], "");
    };
    sync(1);
    let count = |folder: &str| files(&letters.join(folder)).len();
    assert_eq!(count("new") + count("cur"), 3);
    // One goes here, one comes here.
    let first = files(&letters.join("new")).into_iter().next().expect("a letter");
    std::fs::rename(letters.join("new").join(&first), letters.join("cur").join(format!("{first}:2,ST")))
        .or_else(|_| {
            let (name, _) = first.split_once(":2,").expect("flags");
            std::fs::rename(
                letters.join("new").join(&first),
                letters.join("cur").join(format!("{name}:2,ST")),
            )
        })
        .expect("it is marked as deleted");
    std::fs::write(letters.join("new/1.here.host"), letter("mbsync", "here").replace("\r\n", "\n"))
        .expect("a letter");
    sync(2);
    let inbox = stage.inbox(0, "mbsync");
    assert_eq!(inbox.len(), 3, "{inbox:?}");
    assert!(inbox.iter().any(|letter| letter.contains("It is about here.")), "{inbox:?}");
}

/// The same, by a program that has a status of its own for each folder: what it learnt from one site must hold at the next.
fn offlineimap(stage: &Stage) {
    let home = stage.home.path().join("offlineimap");
    let near = home.join("near");
    std::fs::create_dir_all(&near).expect("a folder");
    let mut imap = Imap::start();
    imap.connect("writer", stage.at(0, "imap"), "offlineimap");
    for number in 1..=3 {
        assert_eq!(imap.append("writer", &imap::letter(number, 2)), number as u64);
    }
    let sync = |site: usize| {
        let at = stage.at(site, "imap");
        let rc = stage.file(
            "offlineimaprc",
            &format!(
                "[general]\naccounts = all\nmetadata = {home}/meta\nsocktimeout = 60\n\n\
                 [Account all]\nlocalrepository = near\nremoterepository = far\n\n\
                 [Repository near]\ntype = Maildir\nlocalfolders = {near}\n\n\
                 [Repository far]\ntype = IMAP\nremotehost = {}\nremoteport = {}\nremoteuser = offlineimap\n\
                 remotepass = {SECRET}\nssl = no\nstarttls = no\nauth_mechanisms = LOGIN\ncreatefolders = no\n\
                 folderfilter = lambda folder: folder == 'INBOX'\n",
                at.ip(),
                at.port(),
                home = utf8(&home),
                near = utf8(&near),
            ),
        );
        stage.succeeds("offlineimap", &["-c", &rc, "-o", "-u", "basic"], "");
    };
    let inbox = near.join("INBOX");
    let near_subjects = || {
        let all = ["new", "cur"].into_iter().flat_map(|folder| {
            let folder = inbox.join(folder);
            files(&folder)
                .into_iter()
                .map(move |name| std::fs::read_to_string(folder.join(name)).expect("a letter"))
        });
        subjects(all.collect())
    };
    sync(1);
    assert_eq!(near_subjects(), ["number 1", "number 2", "number 3"]);
    // Here one letter goes, one is read and one comes; there one comes.
    let new = files(&inbox.join("new"));
    let of = |uid: u32| new.iter().find(|name| name.contains(&format!(",U={uid},"))).expect("it has come");
    std::fs::remove_file(inbox.join("new").join(of(1))).expect("it was there");
    let read = format!("{}S", of(2));
    std::fs::rename(inbox.join("new").join(of(2)), inbox.join("cur").join(read)).expect("it is read");
    std::fs::write(inbox.join("new/1.here.host"), letter("offlineimap", "here").replace("\r\n", "\n"))
        .expect("a letter");
    assert_eq!(imap.append("writer", &imap::letter(4, 2)), 4);
    let all = ["here", "number 2", "number 3", "number 4"];
    // What there is to do is done at c; after that nothing is, at any site.
    for site in [2, 0, 1] {
        sync(site);
        assert_eq!(near_subjects(), all, "after {site}");
        assert_eq!(subjects(stage.inbox(site, "offlineimap")), all, "at {site}");
    }
    imap.select("writer");
    let seen =
        |letter: &&serde_json::Value| letter[1].as_array().is_some_and(|f| f.contains(&"\\Seen".into()));
    let letters = imap.letters("writer");
    let seen: Vec<&serde_json::Value> = letters.as_array().expect("a list").iter().filter(seen).collect();
    assert!(seen.len() == 1 && seen[0][0] == 2, "{letters}");
}

/// The subjects of letters, sorted.
fn subjects(letters: Vec<String>) -> Vec<String> {
    let subject = |letter: &String| {
        let line = letter.lines().find_map(|line| line.strip_prefix("Subject: ")).expect("a subject");
        line.to_owned()
    };
    let mut subjects: Vec<String> = letters.iter().map(subject).collect();
    subjects.sort_unstable();
    subjects
}

fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder").flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names
}
