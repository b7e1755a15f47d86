//! Strangers who hold connections open: users get through, and those who are logged in stay.

#![allow(clippy::disallowed_methods, reason = "real processes run in real time")]

mod imap;
mod sites;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use imap::{Imap, add_user, port, serve};
use serde_json::json;
use sites::{Cluster, GAVE_UP};

/// More than may be half open at once, by far.
const SILENT: usize = 1_000;
/// Those that are kept open here at once.
const KEPT: usize = 400;

fn cluster(of_one: usize) -> Cluster {
    let mut cluster = Cluster::new(&["a", "b", "c"], |_, config| {
        serve(config);
        let mail = config.mail.as_mut().expect("it serves mail");
        (mail.connections, mail.connections_of_one) = (4_096, of_one);
    });
    (0..3).for_each(|site| cluster.start(site));
    add_user(&cluster, 0, "ann");
    cluster
}

/// Connects, and hears the greeting.
fn greeted(at: SocketAddr) -> (TcpStream, String) {
    let stream = TcpStream::connect(at).expect("it listens");
    stream.set_read_timeout(Some(GAVE_UP)).expect("a socket");
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line).expect("a greeting");
    (stream, line)
}

/// What else comes until the server ends the connection.
fn rest(mut stream: TcpStream) -> String {
    let mut rest = Vec::new();
    // One that is cut may be reset.
    let _ = stream.read_to_end(&mut rest);
    String::from_utf8_lossy(&rest).into_owned()
}

#[test]
fn a_thousand_who_say_nothing_shut_nobody_out() {
    let cluster = cluster(2_048);
    let mut imap = Imap::start();
    imap.connect("before", port(&cluster, 0, "imap"), "ann");
    imap.smtp("before by smtp", port(&cluster, 0, "submission"), "submission", Some("ann"));
    for what in ["imap", "submission", "smtp"] {
        let at = port(&cluster, 0, what);
        let mut open = std::collections::VecDeque::new();
        for number in 0..SILENT {
            let (mut stream, greeting) = greeted(at);
            assert!(
                greeting.starts_with("* OK ") || greeting.starts_with("220 "),
                "{what} {number}: {greeting}"
            );
            if number % 2 == 0 {
                // Half a command is as good as none.
                stream.write_all(b"NOO").expect("it is open");
            }
            open.push_back(stream);
            if open.len() > KEPT {
                open.pop_front();
            }
        }
        // Whoever knows a password gets in among them.
        match what {
            "imap" => imap.connect("among them", at, "ann"),
            "submission" => imap.smtp("among them", at, what, Some("ann")),
            _ => imap.smtp("among them", at, what, None),
        }
        imap.ask(json!({"do": "close", "name": "among them"}));
        if what != "smtp" {
            // Of those who never logged in the oldest had to go.
            assert_eq!(rest(open.pop_front().expect("many are open")), "", "{what}");
        }
    }
    assert_eq!(imap.append("before", &imap::letter(1, 1)), 1, "who was logged in is there");
    let sent = imap.send("before by smtp", "ann@mail.test", &["ann@mail.test"], "From: ann@mail.test\n\nx\n");
    assert_eq!(sent["code"], 250, "{sent}");
}

#[test]
fn one_address_has_so_many_connections_and_strangers_take_none_from_users() {
    let cluster = cluster(8);
    let (smtp, imap_at) = (port(&cluster, 1, "smtp"), port(&cluster, 1, "imap"));
    let mut all: Vec<(TcpStream, String)> = (0..8).map(|_| greeted(smtp)).collect();
    assert!(all.iter().all(|(_, line)| line.starts_with("220 ")), "{all:?}");
    let (stream, line) = greeted(smtp);
    assert_eq!(line + &rest(stream), "421 4.3.2 Too many connections from your address\r\n");
    let mut imap = Imap::start();
    imap.connect("user", imap_at, "ann");
    let mut users: Vec<(TcpStream, String)> = (1..8).map(|_| greeted(imap_at)).collect();
    let (stream, line) = greeted(imap_at);
    assert_eq!(line + &rest(stream), "* BYE Too many connections from your address\r\n");
    // One that goes makes room, once the site has seen it go.
    drop((all.pop(), users.pop()));
    let room = sites::eventually(|| greeted(imap_at).1.starts_with("* OK ").then_some(()));
    assert!(room.is_some(), "the place of a connection that has ended is not free");
    assert_eq!(imap.append("user", &imap::letter(1, 1)), 1);
}

/// More of them than there are places for long letters.
#[test]
fn who_asks_for_much_and_reads_nothing_holds_up_nobody() {
    let cluster = cluster(64);
    let mut imap = Imap::start();
    imap.connect("ann", port(&cluster, 2, "imap"), "ann");
    let long = format!("Subject: long\n\n{}", "a line of some length\n".repeat(50_000));
    assert_eq!(imap.append("ann", &long), 1);
    let greedy = |_| {
        let (mut stream, _) = greeted(port(&cluster, 2, "imap"));
        let asks = "c FETCH 1 BODY.PEEK[]\r\n".repeat(50);
        let said = format!("a LOGIN ann \"{}\"\r\nb SELECT INBOX\r\n{asks}", imap::SECRET);
        stream.write_all(said.as_bytes()).expect("it fits into the socket");
        stream
    };
    let greedy: Vec<TcpStream> = (0..40).map(greedy).collect();
    // Each has asked for 55 MB.
    assert_eq!(imap.append("ann", &imap::letter(2, 1)), 2);
    assert_eq!(imap.select("ann").0, 2);
    imap.smtp("submission", port(&cluster, 2, "submission"), "submission", Some("ann"));
    let sent = imap.send("submission", "ann@mail.test", &["ann@mail.test"], "From: ann@mail.test\n\nx\n");
    assert_eq!(sent["code"], 250, "{sent}");
    drop(greedy);
}
