//! A mail program beside the test: `client.py`, on Python's own imaplib and smtplib.

#![allow(dead_code, reason = "each test uses a part")]

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};
use unanimous::SiteConfig;
use unanimous::config::MailConfig;

use crate::sites::{Cluster, eventually, text};

pub const DOMAIN: &str = "mail.test";
pub const SECRET: &str = "correct horse battery";

/// Mail on a site of a test: in clear, on a port that the system chooses.
pub fn serve(config: &mut SiteConfig) {
    let at = SocketAddr::new(config.site.link.ip(), 0);
    config.mail = Some(MailConfig {
        imap: Some(at),
        smtp: Some(at),
        submission: Some(at),
        lmtp: Some(at),
        trial: true,
        connections: 64,
        connections_of_one: 64,
        ..MailConfig::of(DOMAIN)
    });
}

/// Runs a command until the site can do it.
pub fn done(cluster: &Cluster, site: usize, args: &[&str]) -> Value {
    let mut last = String::new();
    let found = eventually(|| {
        let output = cluster.run(site, &[&["--json"], args].concat());
        last = format!("{}{}", text(&output.stdout), text(&output.stderr));
        output.status.success().then(|| last.lines().map(parse).collect())
    });
    found.unwrap_or_else(|| panic!("{args:?} never; last:\n{last}\nlog:\n{}", cluster.log(site)))
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// Lets there be a user.
pub fn add_user(cluster: &Cluster, site: usize, name: &str) {
    done(cluster, site, &["mail", "add-user", name, "--password", SECRET]);
}

/// One of a running site's ports.
pub fn port(cluster: &Cluster, site: usize, what: &str) -> SocketAddr {
    let path = cluster.path(site, "data/running.json");
    let port = eventually(|| {
        let running: Value = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
        // A site that was killed has left what it said of itself.
        (running["pid"] == cluster.pid(site)).then_some(())?;
        u16::try_from(running["ports"][what].as_u64()?).ok()
    });
    let config = SiteConfig::read(&cluster.path(site, "site.toml")).expect("it was written");
    SocketAddr::new(config.site.link.ip(), port.expect("the site serves it"))
}

/// The mail program. It goes when this is dropped.
pub struct Imap {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Imap {
    pub fn start() -> Imap {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/imap/client.py");
        let mut child = Command::new("python3")
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is there");
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        Imap { child, input, output }
    }

    /// Lets it do something; an error is its text.
    pub fn try_ask(&mut self, asked: Value) -> Result<Value, String> {
        writeln!(self.input, "{asked}").expect("it listens");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("it answers");
        let mut told = parse(&line);
        match told.get("error") {
            Some(error) => Err(error.to_string()),
            None => Ok(told["ok"].take()),
        }
    }

    pub fn ask(&mut self, asked: Value) -> Value {
        let text = asked.to_string();
        self.try_ask(asked).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// Logs in, once the site lets it.
    pub fn connect(&mut self, name: &str, at: SocketAddr, user: &str) {
        let (host, port): (IpAddr, u16) = (at.ip(), at.port());
        let asked = json!({
            "do": "connect", "name": name, "host": host, "port": port, "user": user, "password": SECRET,
        });
        let mut last = String::new();
        let connected = eventually(|| match self.try_ask(asked.clone()) {
            Ok(_) => Some(()),
            Err(error) => {
                last = error;
                None
            }
        });
        assert!(connected.is_some(), "{name}: {last}");
    }

    /// Connects to a port for letters of a site: `smtp`, `submission` or `lmtp`; logs in, if it is said who.
    pub fn smtp(&mut self, name: &str, at: SocketAddr, what: &str, user: Option<&str>) {
        let (host, port): (IpAddr, u16) = (at.ip(), at.port());
        let asked = json!({
            "do": "smtp", "name": name, "host": host, "port": port, "lmtp": what == "lmtp",
            "user": user, "password": SECRET,
        });
        let mut last = String::new();
        let connected = eventually(|| match self.try_ask(asked.clone()) {
            Ok(told) if told.get("refused").is_none() => Some(()),
            told => {
                last = format!("{told:?}");
                None
            }
        });
        assert!(connected.is_some(), "{name}: {last}");
    }

    /// Sends a letter; gives what was said to it.
    pub fn send(&mut self, name: &str, from: &str, to: &[&str], text: &str) -> Value {
        self.ask(json!({"do": "send", "name": name, "sender": from, "to": to, "text": text}))
    }

    /// Opens INBOX, once the site has found the others: how many letters it has, and its UIDVALIDITY.
    pub fn select(&mut self, name: &str) -> (u64, u64) {
        let mut last = String::new();
        let told = eventually(|| match self.try_ask(json!({"do": "select", "name": name})) {
            Ok(told) => Some(told),
            Err(error) => {
                last = error;
                None
            }
        });
        let told = told.unwrap_or_else(|| panic!("{name}: {last}"));
        (told["count"].as_u64().expect("a number"), told["validity"].as_u64().expect("a number"))
    }

    /// Adds a letter; gives its UID.
    pub fn append(&mut self, name: &str, letter: &str) -> u64 {
        self.ask(json!({"do": "append", "name": name, "text": letter})).as_u64().expect("a UID")
    }

    /// What the opened mailbox has: UID, flags and text of each letter.
    pub fn letters(&mut self, name: &str) -> Value {
        self.ask(json!({"do": "letters", "name": name}))
    }
}

impl Drop for Imap {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A letter with a body of so many lines.
pub fn letter(number: usize, lines: usize) -> String {
    let body = "a line that is neither long nor short, and says little\n".repeat(lines);
    format!("From: ann@{DOMAIN}\nTo: bob@{DOMAIN}\nSubject: number {number}\n\n{number}\n{body}")
}
