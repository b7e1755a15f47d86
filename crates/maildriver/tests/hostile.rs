//! Bytes of a client that means harm, and a good one's bytes damaged: no panic, nothing unbounded.

mod common;

use common::answers::{balanced, lines};
use common::{Client, Site};
use maildriver::imap::limits::{
    COMMANDS_BEFORE_LOGIN_MAX, DEPTH_MAX, IDLE_AFTER_LOGIN, ITEMS_MAX, KEEPALIVE, LINE_BYTES_MAX,
    LITERALS_MAX, OUTPUT_BYTES_HIGH, RANGES_MAX, SEARCH_TERMS_MAX,
};
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

/// Letters that are small and stand for much, or are deep, or have very many of something: told and searched, and what is told of
/// their structure is in proportion.
#[test]
fn mime_bombs_are_taken_apart_only_so_far() {
    const BYTES: usize = 300_000;
    let fill = |piece: &dyn Fn(usize) -> String| -> String {
        let mut out = String::new();
        let mut number = 0;
        while out.len() < BYTES {
            out.push_str(&piece(number));
            number += 1;
        }
        out
    };
    let nested = fill(&|n| format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n"));
    let one_boundary = fill(&|_| "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n".to_owned());
    let messages = fill(&|_| "Content-Type: message/rfc822\r\n\r\n".to_owned());
    let encoded =
        fill(&|_| "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n".to_owned());
    let parts = fill(&|_| "--b\r\n\r\n".to_owned());
    let parts = format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{parts}--b--\r\n");
    let digest = fill(&|n| format!("--b\r\n\r\nSubject: {n}\r\n\r\n"));
    let digest = format!("Content-Type: multipart/digest; boundary=b\r\n\r\n{digest}--b--\r\n");
    let fields = fill(&|n| format!("X-{n}: y\r\n"));
    let parameters = format!("Content-Type: text/plain{}\r\n", fill(&|n| format!("; a{n}=b")));
    let addresses = format!("To: a@b{}\r\n", fill(&|n| format!(",\r\n c{n}@d")));
    let groups = format!("To: {}\r\n", fill(&|_| "a:b@c;".to_owned()));
    let comments = format!("From: {}a@b\r\n", fill(&|_| "(".to_owned()));
    let words = format!("Subject: {}\r\n", fill(&|_| "=?utf-8?b?4oKs?= ".to_owned()));
    let line = format!("Subject: {}\r\n\r\n{}", "x".repeat(BYTES / 2), "y".repeat(BYTES / 2));
    let all = [
        nested,
        one_boundary,
        messages,
        encoded,
        parts,
        digest,
        fields,
        parameters,
        addresses,
        groups,
        comments,
        words,
        line,
    ];
    for letter in all {
        let mut site = Site::new();
        let mut client = Client::logged_in(&mut site);
        let append = format!("a APPEND INBOX {{{}+}}\r\n{letter}\r\nb EXAMINE INBOX\r\n", letter.len());
        let began = &letter[..60];
        assert!(client.say(&mut site, &append).contains("a OK"), "{began}");
        let told = client.send(&mut site, b"c FETCH 1 (ENVELOPE BODYSTRUCTURE BODY[1.1.1.1.MIME])\r\n");
        let said = lines(&told);
        assert!(
            said.iter().all(|line| balanced(line))
                && said.last().is_some_and(|line| line.starts_with("c OK")),
            "{began}"
        );
        assert!(told.len() <= 4 * letter.len(), "{} bytes: {began}", told.len());
        let searched = client.say(&mut site, "d SEARCH OR OR TEXT qqq SUBJECT qqq OR TO qqq BODY qqq\r\n");
        assert_eq!(searched, "* SEARCH\r\nd OK Done\r\n", "{began}");
    }
}

/// Sets, terms and items at their bounds and one beyond.
#[test]
fn sets_and_searches_have_their_bounds() {
    let mut site = Site::new();
    let mut client = Client::logged_in(&mut site);
    client.say(&mut site, "a APPEND INBOX {1+}\r\nx\r\nb SELECT INBOX\r\n");
    let set = |count: usize| (1..=count).map(|n| (2 * n).to_string()).collect::<Vec<_>>().join(",");
    let terms = |count: usize| vec!["SEEN"; count].join(" ");
    let items = |count: usize| vec!["FLAGS"; count].join(" ");
    let deep = |depth: usize| format!("{}SEEN", "NOT ".repeat(depth));
    for (good, bad) in [
        (format!("UID FETCH {} FLAGS", set(RANGES_MAX)), format!("UID FETCH {} FLAGS", set(RANGES_MAX + 1))),
        (format!("SEARCH {}", terms(SEARCH_TERMS_MAX)), format!("SEARCH {}", terms(SEARCH_TERMS_MAX + 1))),
        (format!("FETCH 1 ({})", items(ITEMS_MAX)), format!("FETCH 1 ({})", items(ITEMS_MAX + 1))),
        (format!("SEARCH {}", deep(DEPTH_MAX - 1)), format!("SEARCH {}", deep(DEPTH_MAX + 1))),
        ("UID FETCH 1:4294967295,4294967295:1,* FLAGS".to_owned(), "UID FETCH 4294967296 FLAGS".to_owned()),
        ("UID STORE 1:* FLAGS ()".to_owned(), "UID STORE 0:* FLAGS ()".to_owned()),
    ] {
        let said = client.say(&mut site, &format!("g {good}\r\n"));
        assert!(said.contains("g OK"), "{}: {said}", &good[..20]);
        let said = client.say(&mut site, &format!("b {bad}\r\n"));
        assert!(said.starts_with("b BAD") || said.contains("[TOOBIG]"), "{}: {said}", &bad[..20]);
    }
    assert!(!client.session.is_closed());
}

/// A line, a literal and many literals without end.
#[test]
fn what_has_no_end_is_not_kept() {
    let mut site = Site::new();
    let mut client = Client::logged_in(&mut site);
    let endless = format!("a NOOP {}", "x".repeat(10 * LINE_BYTES_MAX));
    assert_eq!(client.say(&mut site, &endless), "");
    assert!(client.session.memory_bytes() <= 2 * LINE_BYTES_MAX, "{}", client.session.memory_bytes());
    assert_eq!(client.say(&mut site, "\r\n"), "a BAD [TOOBIG] That is too long\r\n");
    let literal = format!("b LOGIN {{{}+}}\r\n{}\r\n", 20 * LINE_BYTES_MAX, "x".repeat(20 * LINE_BYTES_MAX));
    assert!(client.say(&mut site, &literal).starts_with("b BAD [TOOBIG]"));
    assert!(client.session.memory_bytes() <= 2 * LINE_BYTES_MAX, "{}", client.session.memory_bytes());
    let many = format!("c LIST {}\r\n", "{1+}\r\nx ".repeat(LITERALS_MAX + 1));
    assert!(client.say(&mut site, &many).contains("BAD"));
    let waited = client.say(&mut site, "d LOGIN {99999999}\r\n");
    assert!(waited.starts_with("d BAD [TOOBIG]"), "it is refused before it is sent: {waited}");
    let far = client.say(&mut site, "e LOGIN {99999999999+}\r\n");
    assert!(far.starts_with("* BYE") && client.session.is_closed(), "{far}");
}

/// One waits and does not read, while another changes everything again and again.
#[test]
fn news_for_who_does_not_read_does_not_pile_up() {
    let mut site = Site::new();
    let (mut busy, mut idle) = (Client::logged_in(&mut site), Client::logged_in(&mut site));
    (0..500).for_each(|_| drop(busy.say(&mut site, "a APPEND INBOX {1+}\r\nx\r\n")));
    busy.say(&mut site, "s SELECT INBOX\r\n");
    idle.say(&mut site, "s SELECT INBOX\r\n");
    idle.say(&mut site, "i IDLE\r\n");
    for round in 0..200 {
        let op = if round % 2 == 0 { "+" } else { "-" };
        busy.say(&mut site, &format!("b STORE 1:* {op}FLAGS.SILENT (\\Flagged)\r\n"));
        idle.session.advance(idle.now, &site.state);
    }
    let waits: usize = std::iter::from_fn(|| idle.session.poll_output()).map(|bytes| bytes.len()).sum();
    assert!(waits > 0 && waits <= OUTPUT_BYTES_HIGH + (64 << 10), "{waits} bytes wait");
    // It is told how things are when it reads again.
    busy.say(&mut site, "b STORE 7 +FLAGS.SILENT (\\Answered)\r\n");
    let said = idle.say(&mut site, "DONE\r\n");
    assert!(said.contains("* 7 FETCH (") && said.contains("\\Answered") && said.contains("i OK"), "{said}");
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
