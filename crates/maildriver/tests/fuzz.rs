//! IMAP commands and letters drawn at random from what commands and letters are made of: no panic, every answer can be read, every
//! command has one, output is in proportion, and the session goes on or has said goodbye.

mod common;

use common::answers::{balanced, lines};
use common::{Client, Site};
use maildriver::imap::limits::OUTPUT_BYTES_HIGH;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::string::string_regex;

const COMMANDS: [&str; 12] = [
    r"(SELECT|EXAMINE|STATUS|CREATE|DELETE|SUBSCRIBE|UNSUBSCRIBE) (INBOX|a|a/b|[a-z%*&\\/~#]{0,6}|\x22[a-z %*&\\/.]{0,6}\x22)( \((CONDSTORE|MESSAGES UIDNEXT|SIZE|USE)?\))?",
    r"(UID )?FETCH [0-9*:,]{1,8} \(?((FLAGS|UID|ENVELOPE|BODY|BODYSTRUCTURE|FULL|MODSEQ|RFC822\.SIZE|BODY(\.PEEK)?\[[0-9.]{0,5}(HEADER|MIME|TEXT|HEADER\.FIELDS \(To Subject\))?\](<[0-9]{1,11}\.[0-9]{1,11}>)?) ?){1,5}\)?",
    r"(UID )?STORE [0-9*:,]{1,6} (\(UNCHANGEDSINCE [0-9]{1,21}\) )?[+-]?FLAGS(\.SILENT)? \(?((\\Seen|\\Deleted|\\Answered|\\Odd|[a-z]{1,3}) ?){0,4}\)?",
    r"(UID )?SEARCH (RETURN \((MIN|MAX|ALL|COUNT| ){0,4}\) )?((ALL|NOT|OR|\(|\)|SEEN|SUBJECT x|TEXT \x22[a-z]{0,3}\x22|BODY y|BEFORE 1-Feb-2024|SENTON 31-Dec-1969|HEADER from \x22\x22|UID [0-9*:]{1,4}|KEYWORD z|LARGER [0-9]{1,12}|MODSEQ [0-9]{1,3}|[0-9*:,]{1,4}|CHARSET x) ?){1,8}",
    r"(UID )?(COPY|MOVE) [0-9*:,]{1,5} (INBOX|a|\x22b c\x22)",
    r"UID EXPUNGE [0-9*:,]{1,6}",
    r"RENAME (INBOX|a|a/b) (INBOX|a|a/b|c/[a-z]{1,3})",
    r"(LIST|LSUB) \x22\x22 (\x22[a-z%*/]{0,5}\x22|\*|%)( RETURN \((SUBSCRIBED|CHILDREN|STATUS \(MESSAGES\)| ){0,3}\))?",
    r"APPEND (INBOX|a|z)( \((\\Seen|[a-z]{1,3})?\))?( \x2201-Feb-2024 10:00:00 \+0100\x22)? \{(12\+\}\r\nSubject: x\r\n|0\+\}\r\n|2000000\})",
    r"(NOOP|CHECK|EXPUNGE|CLOSE|UNSELECT|CAPABILITY|NAMESPACE|ID NIL|ENABLE CONDSTORE|GETQUOTAROOT INBOX|IDLE\r\nDONE)",
    r"(LOGOUT|[A-Z]{1,9}|STARTTLS|LOGIN a b)",
    r"[!-z][ -z]{0,20}",
];

/// What somebody may say who has not logged in.
const LOGINS: [&str; 6] = [
    r"AUTHENTICATE (PLAIN|LOGIN|SCRAM-SHA-256|X)( =| [A-Za-z0-9+/=]{0,24})?",
    r"LOGIN (ann|\x22ann\x22|[a-z\\\x22]{0,4}) (secret|\x22[ -z]{0,6}\x22|\{3\+\}\r\nabc)",
    r"[A-Za-z0-9+/=]{0,40}",
    r"\*",
    r"(STARTTLS|CAPABILITY|NOOP|ID \(\x22a\x22 NIL\)|SELECT INBOX)",
    r"[!-z][ -z]{0,20}",
];

fn any_of(commands: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    let one = select(commands).prop_flat_map(|regex| string_regex(regex).expect("a pattern"));
    proptest::collection::vec(one, 1..25)
}

/// A letter's header: fields with encoded words, addresses, parameters, well made and badly.
const HEADER: &str = "((Subject|From|To|Cc|Date|Message-ID|Content-ID|Content-Description|Content-Transfer-Encoding|Content-Disposition|content-type): ?([ -~]{0,12}|=\\?(utf-8|x|iso-8859-1|utf-7|gb18030)\\?[qQbB]\\?[ -~]{0,12}(\\?=)?|base64|quoted-printable|attachment; filename\\*0=a; filename\\*1\\*=%e9|<a@b>, \"c\\\\\" <d@e>|group: a@b;|text/plain; charset=(utf-16|shift_jis|x))\r?\n([ \t][a-z]{0,5}\r?\n)?){0,5}";

fn letter() -> impl Strategy<Value = Vec<u8>> {
    let leaf = (HEADER, "[ -~\r\n=\u{e9}]{0,60}").prop_map(|(header, body)| format!("{header}\r\n{body}"));
    let whole = leaf.prop_recursive(6, 64, 4, |inner| {
        let kind = select(&["mixed", "digest", "alternative", "signed"][..]);
        let multi = (
            HEADER,
            kind,
            "[a-c'()+_,./:=? -]{0,4}",
            proptest::collection::vec(inner.clone(), 0..4),
            any::<bool>(),
        );
        let multi = multi.prop_map(|(header, kind, boundary, parts, closed)| {
            let parts: String = parts.iter().map(|part| format!("--{boundary}\r\n{part}\r\n")).collect();
            let end = if closed { format!("--{boundary}--\r\n") } else { String::new() };
            format!("{header}Content-Type: multipart/{kind}; boundary=\"{boundary}\"\r\n\r\n{parts}{end}")
        });
        let message = (HEADER, inner)
            .prop_map(|(header, inner)| format!("{header}Content-Type: message/rfc822\r\n\r\n{inner}"));
        prop_oneof![multi, message]
    });
    let edits = proptest::collection::vec((any::<usize>(), any::<u8>(), 0..3_u8), 0..6);
    (whole, edits).prop_map(|(whole, edits)| {
        let mut bytes = whole.into_bytes();
        for (at, byte, kind) in edits {
            let at = at % (bytes.len() + 1);
            match kind {
                0 if at < bytes.len() => bytes[at] = byte,
                1 if at < bytes.len() => drop(bytes.remove(at)),
                _ => bytes.insert(at, byte),
            }
        }
        // APPEND of nothing is none.
        if bytes.is_empty() { vec![b'x'] } else { bytes }
    })
}

fn append(site: &mut Site, client: &mut Client, letter: &[u8]) {
    let command = [format!("a APPEND INBOX {{{}+}}\r\n", letter.len()).as_bytes(), letter, b"\r\n"].concat();
    let out = client.send(site, &command);
    assert!(lines(&out).iter().any(|line| line.starts_with("a OK")), "{}", String::from_utf8_lossy(&out));
}

/// How many of these lines are the answer to a command.
fn answers(said: &[String], tag: &str) -> usize {
    let is_answer = |line: &&String| {
        line.strip_prefix(tag)
            .is_some_and(|rest| [" OK ", " NO ", " BAD "].iter().any(|kind| rest.starts_with(kind)))
    };
    said.iter().filter(is_answer).count()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// While another client waits in the same mailbox.
    #[test]
    fn every_command_has_one_answer(commands in any_of(&COMMANDS)) {
        let mut site = Site::new();
        let (mut client, mut other) = (Client::logged_in(&mut site), Client::logged_in(&mut site));
        append(&mut site, &mut client, b"Subject: x\r\nFrom: a@b\r\n\r\nx y\r\n");
        append(&mut site, &mut client, b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n");
        client.say(&mut site, "s SELECT INBOX\r\n");
        other.say(&mut site, "s SELECT INBOX\r\ni IDLE\r\n");
        for (number, command) in commands.iter().enumerate() {
            let tag = format!("t{number}");
            let out = client.send(&mut site, format!("{tag} {command}\r\n").as_bytes());
            let said = lines(&out);
            prop_assert!(said.iter().all(|line| !line.starts_with("* ") || balanced(line) || !line.contains(" FETCH ")));
            prop_assert_eq!(answers(&said, &tag), 1, "{:?}: {:?}", command, said);
            lines(&other.send(&mut site, b""));
            if client.session.is_closed() {
                prop_assert!(said.iter().any(|line| line.starts_with("* BYE")), "{:?}", said);
                return Ok(());
            }
        }
        prop_assert_eq!(answers(&lines(&client.send(&mut site, b"z NOOP\r\n")), "z"), 1);
        prop_assert!(client.most_at_once <= OUTPUT_BYTES_HIGH + 10_000);
    }

    /// Answers to challenges are no commands, so only what is said is judged, and that nobody gets in by it.
    #[test]
    fn whatever_is_said_before_login(said in any_of(&LOGINS)) {
        let mut site = Site::new();
        let mut client = Client::new(true);
        for (number, line) in said.iter().enumerate() {
            let knows = line.contains("secret");
            lines(&client.send(&mut site, format!("t{number} {line}\r\n").as_bytes()));
            lines(&client.send(&mut site, format!("{line}\r\n").as_bytes()));
            if client.session.user().is_some() {
                prop_assert!(knows, "{:?} was let in", said);
                return Ok(());
            }
        }
    }

    #[test]
    fn letters_of_every_shape_are_told_and_searched(letter in letter()) {
        let mut site = Site::new();
        let mut client = Client::logged_in(&mut site);
        append(&mut site, &mut client, &letter);
        client.say(&mut site, "b EXAMINE INBOX\r\n");
        let out = client.send(
            &mut site,
            b"c FETCH 1 (FLAGS UID INTERNALDATE RFC822.SIZE ENVELOPE BODY BODYSTRUCTURE BODY[] BODY[HEADER] BODY[TEXT] BODY[1] \
              BODY[1.1] BODY[1.MIME] BODY[1.HEADER] BODY[1.TEXT] BODY[2.1.1.MIME] BODY[HEADER.FIELDS (Subject To)] \
              BODY[HEADER.FIELDS.NOT (Subject)] BODY[]<3.7>)\r\n\
              d SEARCH OR OR SUBJECT a BODY b OR TEXT \"c\" HEADER content-id \"\"\r\n\
              e SEARCH OR SENTBEFORE 1-Jan-2030 OR FROM a OR TO b CC c\r\n",
        );
        let said = lines(&out);
        prop_assert!(said.iter().all(|line| balanced(line)), "{:?}", said);
        for tag in ["c", "d", "e"] {
            prop_assert!(said.iter().any(|line| line.starts_with(&format!("{tag} OK"))), "{}: {:?}", tag, said);
        }
        prop_assert!(out.len() <= 64 * letter.len() + (16 << 10), "{} bytes of {}", out.len(), letter.len());
    }
}
