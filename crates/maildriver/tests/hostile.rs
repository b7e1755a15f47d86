//! Bytes of a client that means harm, and a good one's bytes damaged: no panic, nothing unbounded.

mod common;

use common::{Client, Site};
use maildriver::imap::limits::{COMMANDS_BEFORE_LOGIN_MAX, IDLE_AFTER_LOGIN, KEEPALIVE, OUTPUT_BYTES_HIGH};
use proptest::prelude::*;
use wire::Time;

const GOOD: &str = "a APPEND INBOX (\\Seen $x) \"01-Feb-2024 10:00:00 +0100\" {30+}\r\nSubject: =?utf-8?q?x?=\r\n\r\nbody\r\n\r\nb SELECT INBOX (CONDSTORE)\r\n\
    c UID FETCH 1:* (FLAGS BODYSTRUCTURE ENVELOPE BODY.PEEK[1.MIME]<0.10> BODY[HEADER.FIELDS (To \"From\")] MODSEQ) (CHANGEDSINCE 0)\r\n\
    d SEARCH RETURN (MIN MAX ALL COUNT) CHARSET UTF-8 OR (SEEN 1:3) NOT SUBJECT \"x\" SINCE 1-Feb-2024\r\n\
    e STORE 1 (UNCHANGEDSINCE 9) +FLAGS.SILENT (\\Deleted)\r\nf LIST (SUBSCRIBED) \"\" (% \"*\") RETURN (STATUS (SIZE))\r\n\
    g IDLE\r\nDONE\r\nh CREATE a/b (USE (\\Sent))\r\ni COPY 1 a/b\r\nj MOVE 1 {3+}\r\na/b\r\nk RENAME a/b \"c d\"\r\nl EXPUNGE\r\nm LOGOUT\r\n";

fn all(pieces: &[&[u8]]) -> Vec<u8> {
    let mut site = Site::new();
    let mut client = Client::logged_in(&mut site);
    pieces.iter().flat_map(|piece| client.send(&mut site, piece)).collect()
}

#[test]
fn a_conversation_is_the_same_wherever_it_is_cut() {
    let good = GOOD.as_bytes();
    let whole = all(&[good]);
    let text = String::from_utf8_lossy(&whole);
    assert!(text.contains("m OK Logged out") && !text.contains(" BAD "), "{text}");
    for at in 0..good.len() {
        assert_eq!(all(&[&good[..at], &good[at..]]), whole, "cut at {at}");
    }
}

#[test]
fn output_stops_when_nobody_reads() {
    let mut site = Site::new();
    let mut client = Client::logged_in(&mut site);
    let letter = format!("Subject: x\r\n\r\n{}", "y".repeat(200_000));
    client.say(&mut site, &format!("a APPEND INBOX {{{}+}}\r\n{letter}\r\n", letter.len()));
    client.say(&mut site, "b SELECT INBOX\r\n");
    let items = vec!["BODY.PEEK[]"; 100].join(" ");
    let command = format!("c FETCH 1 ({items})\r\n");
    assert_eq!(client.session.handle_bytes(Time::ZERO, command.as_bytes()), command.len());
    client.session.advance(Time::ZERO, &site.state);
    // The first advance asks for the letter; from here on `send` reads, round by round.
    let out = client.send(&mut site, b"");
    assert!(out.len() > 20_000_000, "{}", out.len());
    let most = OUTPUT_BYTES_HIGH + letter.len() + 1_000;
    assert!(client.most_at_once <= most, "{} at once", client.most_at_once);
}

#[test]
fn who_does_not_log_in_is_sent_away() {
    let mut site = Site::new();
    let mut client = Client::new(true);
    let out = client.say(&mut site, &"a NOOP\r\n".repeat(COMMANDS_BEFORE_LOGIN_MAX as usize + 5));
    assert!(out.ends_with("* BYE Too many commands without a login\r\n") && client.session.is_closed());
    let mut client = Client::new(true);
    let out = client.say(&mut site, &"a LOGIN ann wrong\r\n".repeat(10));
    assert_eq!(out.matches("AUTHENTICATIONFAILED").count(), 4);
    assert!(client.session.is_closed());
}

#[test]
fn silence_ends_a_session_and_idle_is_told_that_it_lives() {
    let mut site = Site::new();
    let mut client = Client::logged_in(&mut site);
    client.say(&mut site, "a IDLE\r\n");
    client.now = Time::ZERO + KEEPALIVE;
    assert_eq!(client.session.poll_timeout(), Some(client.now));
    client.session.handle_timeout(client.now);
    assert_eq!(client.say(&mut site, ""), "* OK Still here\r\n");
    client.session.handle_timeout(Time::ZERO + IDLE_AFTER_LOGIN);
    assert!(client.say(&mut site, "").starts_with("* BYE") && client.session.poll_timeout().is_none());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..2_000), known in any::<bool>()) {
        let mut site = Site::new();
        let mut client = if known { Client::logged_in(&mut site) } else { Client::new(true) };
        client.send(&mut site, &bytes);
    }

    #[test]
    fn a_damaged_conversation(edits in proptest::collection::vec((any::<usize>(), any::<u8>(), 0..3u8), 1..8)) {
        let mut bytes = GOOD.as_bytes().to_vec();
        for (at, byte, kind) in edits {
            let at = at % bytes.len();
            match kind {
                0 => bytes[at] = byte,
                1 => { bytes.remove(at); }
                _ => bytes.insert(at, byte),
            }
        }
        let mut site = Site::new();
        let mut client = Client::logged_in(&mut site);
        client.send(&mut site, &bytes);
    }

    /// Letters of MIME's own characters, fetched and searched in every way.
    #[test]
    fn any_letter(letter in "(Content-Type: (multipart/mixed; boundary=b|message/rfc822|text/plain)\r\n|From: [<>@,:;\"() a]{0,20}\r\n|\r\n|--b\r\n|--b--\r\n|[a-z\\x00\u{e9}]{0,5}\n){1,30}") {
        read_in_every_way(&letter);
    }
}

fn read_in_every_way(letter: &str) {
    let mut site = Site::new();
    let mut client = Client::logged_in(&mut site);
    let append = format!("a APPEND INBOX {{{}+}}\r\n{letter}\r\nb EXAMINE INBOX\r\n", letter.len());
    client.say(&mut site, &append);
    let out = client.say(
        &mut site,
        "c FETCH 1 (FULL)\r\nd FETCH 1 (BODYSTRUCTURE ENVELOPE BODY[1.1] BODY[1.HEADER] BODY[TEXT] BODY[2.MIME] RFC822)\r\n\
         e SEARCH TEXT qqq SENTSINCE 1-Jan-2024 HEADER from a\r\n",
    );
    assert!(out.contains("d OK") && out.contains("e OK"), "{out}");
}

/// The library that reads letters asserts, in debug builds, that this cannot be: the profile switches that off.
#[test]
fn a_multipart_that_ends_within_a_letter_within_a_letter() {
    read_in_every_way(
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n\
         Content-Type: message/rfc822\r\n\n\r\n--b--\r\n",
    );
}
