//! Bytes of a client that means harm, and a good one's bytes damaged: no panic, nothing unbounded, no letter in
//! somebody else's name.

mod common;

use std::time::Duration;

use common::smtp::{ANN, BOB, Client, Mail, codes};
use maildriver::login::limits::{ACCOUNT_FAILURES_FREE, ADDRESS_FAILURES_FREE};
use maildriver::login::{Logins, hash_password};
use maildriver::smtp::limits::{
    ANSWER_TIME, ERRORS_MAX, IDLE_COMMANDS_MAX, LETTER_TIME, LOGIN_FAILURES_MAX, OUTPUT_BYTES_HIGH, SILENCE,
    SILENCE_BEFORE_LOGIN, SKIPPED_BYTES_MAX, TEXT_LINE_BYTES_MAX,
};
use maildriver::smtp::{Mode, Request};
use proptest::prelude::*;
use wire::Time;

const INBOUND: &str = "EHLO y.org\r\nMAIL FROM:<eve@y.org> SIZE=50 BODY=8BITMIME\r\nRCPT TO:<ann@x.org>\r\n\
    RCPT TO:<nobody@x.org>\r\nRCPT TO:<a@elsewhere.net>\r\nDATA\r\nSubject: a\r\n\r\n..\r\n.b\r\n.\r\n\
    MAIL FROM:<eve@y.org>\r\nRCPT TO:<both@x.org>\r\nBDAT 14\r\nSubject: x\r\n\r\nBDAT 4\r\nabcdBDAT 2 LAST\r\n\r\n\
    RSET\r\nNOOP\r\nVRFY ann\r\nMAIL FROM:<>\r\nRCPT TO:<bob@x.org>\r\nDATA\r\nMessage-ID: <1@y>\r\n\r\n\r\n.\r\nQUIT\r\n";

const SUBMISSION: &str = "EHLO l\r\nAUTH PLAIN\r\nAGFubgBzZWNyZXQ=\r\nMAIL FROM:<ann@x.org>\r\nRCPT TO:<users@x.org>\r\n\
    DATA\r\nFrom: ann@x.org\r\nBcc: bob@x.org\r\n\r\n.\r\n.\r\nQUIT\r\n";

fn conversation(mode: Mode, pieces: &[&[u8]]) -> (Vec<u8>, Vec<bytes::Bytes>) {
    let mut mail = Mail::new();
    let mut client = Client::new(mode, true);
    let out = pieces.iter().flat_map(|piece| client.send(&mut mail, piece)).collect();
    (out, [mail.letters(ANN), mail.letters(BOB)].concat())
}

#[test]
fn a_conversation_is_the_same_wherever_it_is_cut() {
    let lmtp = INBOUND.replace("EHLO", "LHLO");
    for (mode, good, letters) in
        [(Mode::Inbound, INBOUND, 4), (Mode::Submission, SUBMISSION, 2), (Mode::Lmtp, &lmtp, 4)]
    {
        let good = good.as_bytes();
        let whole = conversation(mode, &[good]);
        let text = String::from_utf8_lossy(&whole.0);
        assert!(text.ends_with("221 2.0.0 Until next time\r\n") && whole.1.len() == letters, "{text}");
        for at in 0..good.len() {
            assert_eq!(conversation(mode, &[&good[..at], &good[at..]]), whole, "{mode:?} cut at {at}");
        }
        let bytes: Vec<&[u8]> = good.chunks(1).collect();
        assert_eq!(conversation(mode, &bytes), whole, "{mode:?} byte by byte");
    }
}

/// The published ways to make two servers disagree about where a letter ends.
#[test]
fn nothing_is_smuggled() {
    for end in [
        "\n.\n",
        "\n.\r\n",
        "\r\n.\n",
        "\r.\r",
        "\r.\r\n",
        "\r\n.\r",
        "\n.\r",
        "\r.\n",
        "\r\n.\r\r\n",
        "\r\r\n.\r\n",
        "\r\n\0.\r\n",
        "\r\n.\0\r\n",
        "\n\r\n.\n\r\n",
    ] {
        let mut mail = Mail::new();
        let mut client = Client::ready(Mode::Inbound, &mut mail);
        let second =
            "MAIL FROM:<boss@x.org>\r\nRCPT TO:<ann@x.org>\r\nDATA\r\nFrom: boss@x.org\r\n\r\npay\r\n.\r\n";
        let text = format!("From: eve@y.org\r\n\r\nhello{end}{second}");
        client.say(&mut mail, "MAIL FROM:<eve@y.org>\r\nRCPT TO:<ann@x.org>\r\nDATA\r\n");
        let out = client.say(&mut mail, &text);
        if end == "\r\r\n.\r\n" {
            // This is an end, behind a CR that is refused: with it the connection ends.
            assert!(out.starts_with("554 5.6.0"), "{out}");
        } else {
            assert_eq!(codes(&out)[0], "554 5.6.0", "{end:?}: {out}");
        }
        assert!(client.session.is_closed() || end.contains('\0'), "{end:?}: {out}");
        assert_eq!(mail.letters(ANN).len(), 0, "{end:?}");
    }
}

#[test]
fn commands_end_with_both() {
    for bare in ["NOOP\n", "NOOP\rNOOP\r\n", "MAIL FROM:<a@b>\nRCPT TO:<ann@x.org>\r\n"] {
        let mut mail = Mail::new();
        let mut client = Client::ready(Mode::Inbound, &mut mail);
        assert_eq!(codes(&client.say(&mut mail, bare)), ["500 5.5.2"], "{bare:?}");
        assert!(client.session.is_closed());
    }
}

#[test]
fn a_thousand_recipients() {
    let mut mail = Mail::new();
    let mut client = Client::ready(Mode::Inbound, &mut mail);
    let rcpts: String = (0..1_000).map(|n| format!("RCPT TO:<ann+{n}@x.org>\r\n")).collect();
    let out = client.say(&mut mail, &format!("MAIL FROM:<eve@y.org>\r\n{rcpts}DATA\r\n\r\nx\r\n.\r\n"));
    let codes = codes(&out);
    assert_eq!(codes.iter().filter(|code| *code == "250 2.1.5").count(), 150);
    assert_eq!(codes.iter().filter(|code| *code == "452 4.5.3").count(), 850);
    assert_eq!(codes.last().expect("a reply"), "250 2.0.0");
    assert_eq!(mail.letters(ANN).len(), 1, "one mailbox, one copy");
    assert!(client.most_at_once < OUTPUT_BYTES_HIGH + 1_000, "{}", client.most_at_once);
    let out = client.say(&mut mail, &format!("MAIL FROM:<eve@y.org>\r\n{}", rcpts.repeat(2)));
    assert!(out.ends_with("421 4.7.0 Far too many recipients\r\n"));
}

#[test]
fn dictionaries_relays_and_idlers_are_sent_away() {
    let most = ERRORS_MAX as usize;
    for (line, count) in
        [("RCPT TO:<u@elsewhere.net>\r\n", most), ("RCPT TO:<nobody@x.org>\r\n", most), ("XYZ\r\n", most)]
    {
        let mut mail = Mail::new();
        let mut client = Client::ready(Mode::Inbound, &mut mail);
        let out = client.say(&mut mail, &format!("MAIL FROM:<eve@y.org>\r\n{}", line.repeat(200)));
        assert_eq!(codes(&out).len(), 1 + count + 1 + 1, "{line}");
        assert!(out.ends_with("421 4.7.0 Too much went wrong\r\n"), "{line}");
        let barriers = mail.asked.iter().filter(|asked| **asked == Request::Barrier).count();
        assert!(barriers <= 1, "{barriers} barriers");
    }
    let mut mail = Mail::new();
    let mut client = Client::ready(Mode::Inbound, &mut mail);
    let out = client.say(&mut mail, &"RSET\r\n".repeat(200));
    assert_eq!(codes(&out).len(), IDLE_COMMANDS_MAX as usize);
    assert!(out.ends_with("421 4.7.0 Too many commands without a letter\r\n"));
}

#[test]
fn whoever_guesses_is_sent_away() {
    let mut mail = Mail::new();
    let mut client = Client::new(Mode::Submission, true);
    let out = client.say(&mut mail, &format!("EHLO l\r\n{}", "AUTH PLAIN AGFubgB3cm9uZw==\r\n".repeat(20)));
    assert_eq!(out.matches("535 5.7.8").count(), LOGIN_FAILURES_MAX as usize);
    assert!(client.session.is_closed());
}

/// On one connection after the other.
#[test]
fn guessing_is_throttled() {
    let mut mail = Mail::new();
    let password = Some(hash_password(b"secret", [1; 16]).expect("a hash").into());
    mail.apply(mail::Command::SetPassword(mail::command::SetPassword { user: ANN, password }));
    mail.logins = Some(Logins::new([7; 32]));
    let mut guess = |message: &str| {
        let mut client = Client::new(Mode::Submission, true);
        let out = client.say(&mut mail, &format!("EHLO l\r\nAUTH PLAIN {message}\r\n"));
        codes(&out).pop().expect("a reply")
    };
    let (wrong, right, nobody) = ("AGFubgB3cm9uZw==", "AGFubgBzZWNyZXQ=", "AHplZABzZWNyZXQ=");
    for _ in 0..ACCOUNT_FAILURES_FREE {
        assert_eq!(guess(right), "235 2.7.0");
        assert_eq!((guess(wrong), guess(nobody)), ("535 5.7.8".to_owned(), "535 5.7.8".to_owned()));
    }
    // Whoever logged in from here before may go on, and nobody may go on with names that nobody has.
    assert_eq!((guess(nobody), guess(right)), ("454 4.7.0".to_owned(), "235 2.7.0".to_owned()));
    let refused = (0..ADDRESS_FAILURES_FREE).filter(|_| guess(wrong) == "454 4.7.0").count();
    assert_eq!(refused, 2 * ACCOUNT_FAILURES_FREE as usize);
    assert_eq!(guess(right), "454 4.7.0", "not from this address");
}

#[test]
fn what_is_too_long_is_not_kept() {
    let mut mail = Mail::new();
    let mut client = Client::ready(Mode::Inbound, &mut mail);
    assert_eq!(
        codes(&client.say(&mut mail, &format!("NOOP {}\r\nNOOP\r\n", "x".repeat(1 << 20)))),
        ["500 5.5.6", "250 2.0.0"]
    );
    let line = "x".repeat(TEXT_LINE_BYTES_MAX + 1);
    assert_eq!(
        client.letter(&mut mail, "eve@y.org", &["ann@x.org"], &format!("a: b\r\n\r\n{line}")),
        "554 5.6.0"
    );
    let long = "x\r\n".repeat(1 << 20);
    assert_eq!(client.letter(&mut mail, "eve@y.org", &["ann@x.org"], &long), "552 5.3.4");
    assert!(client.most_memory < 300_000, "{} bytes", client.most_memory);
    let announced = "MAIL FROM:<eve@y.org>\r\nRCPT TO:<ann@x.org>\r\n";
    let chunk = format!("BDAT 200000\r\n{}BDAT 1 LAST\r\nx", "xxx\r\n".repeat(40_000));
    assert_eq!(
        codes(&client.say(&mut mail, &format!("{announced}{chunk}RSET\r\n")))[2..],
        ["552 5.3.4", "503 5.5.1", "250 2.0.0"]
    );
    let far = client.say(&mut mail, &format!("{announced}BDAT {}\r\n", SKIPPED_BYTES_MAX + 1));
    assert!(far.ends_with("552 5.3.4 The letter is too long\r\n") && client.session.is_closed());
    // Nobody is logged in: less is read.
    let mut client = Client::new(Mode::Submission, true);
    client.say(&mut mail, "EHLO l\r\nBDAT 70000\r\n");
    assert!(client.session.is_closed());
    assert_eq!(mail.letters(ANN).len(), 0);
}

#[test]
fn endless_data_ends() {
    let mut mail = Mail::new();
    let mut client = Client::ready(Mode::Inbound, &mut mail);
    client.say(&mut mail, "MAIL FROM:<eve@y.org>\r\nRCPT TO:<ann@x.org>\r\nDATA\r\n");
    let piece = "x\r\n".repeat(1 << 18);
    let sent = (0..200).take_while(|_| {
        client.say(&mut mail, &piece);
        !client.session.is_closed()
    });
    assert!(sent.count() <= SKIPPED_BYTES_MAX / piece.len() + 1);
}

#[test]
fn time_ends_what_does_not_move() {
    let mut mail = Mail::new();
    let at = |time: Duration| Time::ZERO + time;
    let mut client = Client::new(Mode::Submission, true);
    assert_eq!(client.session.poll_timeout(), Some(at(SILENCE_BEFORE_LOGIN)));
    // Byte by byte is as good as silence.
    client.now = at(Duration::from_secs(50));
    client.say(&mut mail, "EHL");
    client.session.handle_timeout(at(SILENCE_BEFORE_LOGIN));
    assert!(client.say(&mut mail, "").ends_with("421 4.4.2 Nothing was heard for too long\r\n"));
    assert_eq!(client.session.poll_timeout(), None);

    let mut client = Client::ready(Mode::Inbound, &mut mail);
    client.say(&mut mail, "MAIL FROM:<eve@y.org>\r\nRCPT TO:<ann@x.org>\r\nDATA\r\n");
    let mut ended = Duration::ZERO;
    for minute in 1..60 {
        client.now = at(Duration::from_secs(60 * minute));
        client.session.handle_timeout(client.now);
        client.say(&mut mail, "x\r\n");
        if client.session.is_closed() {
            ended = Duration::from_secs(60 * minute);
            break;
        }
    }
    assert_eq!(ended, LETTER_TIME);
    let mut client = Client::ready(Mode::Inbound, &mut mail);
    client.session.handle_timeout(at(SILENCE));
    assert!(client.session.is_closed());
}

#[test]
fn an_answer_that_does_not_come_is_told_as_such() {
    let mut mail = Mail::new();
    let mut client = Client::ready(Mode::Lmtp, &mut mail);
    client.say(&mut mail, "MAIL FROM:<eve@y.org>\r\nRCPT TO:<ann@x.org>\r\n");
    assert_eq!(client.session.handle_bytes(Time::ZERO, b"DATA\r\n"), 6);
    let clock = mail::EntryTime(1);
    client.session.advance(Time::ZERO, clock, &mail.site.state);
    client.session.handle_bytes(Time::ZERO, b"x\r\n.\r\n");
    client.session.advance(Time::ZERO, clock, &mail.site.state);
    let (ticket, request) = client.session.poll_request().expect("the letter is proposed");
    assert!(matches!(request, Request::Propose(_)) && !client.session.takes_bytes());
    assert_eq!(client.session.poll_timeout(), Some(Time::ZERO + ANSWER_TIME));
    client.session.handle_timeout(Time::ZERO + ANSWER_TIME);
    client.session.handle_answer(Time::ZERO, ticket, maildriver::smtp::Answer::Applied(mail::Outcome::Done));
    assert!(client.say(&mut mail, "").ends_with("451 4.3.2 That cannot be done now; try again later\r\n"));
    assert_eq!(codes(&client.say(&mut mail, "NOOP\r\n")), ["250 2.0.0"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..2_000), mode in 0..3usize) {
        let mode = [Mode::Submission, Mode::Lmtp, Mode::Inbound][mode];
        let mut mail = Mail::new();
        Client::ready(mode, &mut mail).send(&mut mail, &bytes);
    }

    /// Whatever is damaged: no panic, and every reply is a reply.
    #[test]
    fn a_damaged_conversation(edits in proptest::collection::vec((any::<usize>(), any::<u8>(), 0..3u8), 1..8), mode in 0..3usize) {
        let lmtp = INBOUND.replace("EHLO", "LHLO");
        let (mode, good) =
            [(Mode::Submission, SUBMISSION), (Mode::Lmtp, &lmtp), (Mode::Inbound, INBOUND)][mode];
        let mut bytes = good.as_bytes().to_vec();
        for (at, byte, kind) in edits {
            let at = at % bytes.len();
            match kind {
                0 => bytes[at] = byte,
                1 => { bytes.remove(at); }
                _ => bytes.insert(at, byte),
            }
        }
        let (out, _) = conversation(mode, &[&bytes]);
        let text = String::from_utf8(out).expect("replies are ASCII");
        for line in text.split_terminator("\r\n") {
            let code = line.get(..3).and_then(|code| code.parse::<u16>().ok());
            prop_assert!(code.is_some_and(|code| (200..600).contains(&code)) && line.is_ascii(), "{line:?}");
        }
    }

    /// Commands made of what commands are made of: every one has a reply, or the connection has ended with one.
    #[test]
    fn every_command_has_a_reply(
        commands in proptest::collection::vec("(MAIL FROM:|mail from: ?|RCPT TO:|BDAT |AUTH |EHLO |VRFY |NOOP |RSET|HELP|XYZ|)(<[a-z0-9@.+:,\"\\\\ ()]{0,16}>|<ann@x.org>|<>|[0-9]{1,3}|PLAIN|LOGIN|SCRAM-SHA-256)?( (SIZE=[0-9]{1,20}|BODY=(7BIT|8BITMIME|X)|SMTPUTF8|RET=FULL|AUTH=<>|LAST|[ -~]{0,8}))?", 1..20),
        mode in 0..3usize,
    ) {
        let mode = [Mode::Submission, Mode::Lmtp, Mode::Inbound][mode];
        let mut mail = Mail::new();
        let mut client = Client::ready(mode, &mut mail);
        for command in commands {
            let out = client.say(&mut mail, &format!("{command}\r\n"));
            // A chunk or an answer to a challenge may still be wanted: it is given. Then the client starts anew.
            let more = client.say(&mut mail, &format!("{}\r\nRSET\r\nNOOP\r\n", "x".repeat(1_000)));
            let all = codes(&format!("{out}{more}"));
            prop_assert!(all.iter().all(|code| code.as_bytes()[0].is_ascii_digit()), "{:?}", all);
            if client.session.is_closed() {
                prop_assert!(all.iter().any(|code| code.starts_with('4') || code.starts_with('5')), "{command}: {:?}", all);
                return Ok(());
            }
            prop_assert_eq!(all.last().map(String::as_str), Some("250 2.0.0"), "{}: {:?}", command, all);
        }
        prop_assert!(client.most_memory < 300_000 && mail.letters(BOB).is_empty());
    }

    /// However a stranger writes it: that a letter was verified, only this server says.
    #[test]
    fn no_stranger_vouches_for_itself(field in "(A|a)uthentication-(R|r)esults ?:[ \t]?(\r\n[ \t])?(\\([a-z]{0,3}\\) ?)?(mx|MX|Mx)\\.x\\.(org|ORG)( 1)? ?; ?(dkim|spf)=pass", before in "(X: y\r\n){0,2}") {
        let mut mail = Mail::new();
        let mut client = Client::ready(Mode::Inbound, &mut mail);
        let text = format!("{before}{field}\r\nFrom: boss@x.org\r\n\r\npay\r\n");
        if client.letter(&mut mail, "eve@y.org", &["ann@x.org"], &text) == "250 2.0.0" {
            let letter = mail.newest(ANN).to_ascii_lowercase();
            let (header, _) = letter.split_once("\r\n\r\n").expect("a header");
            let unfolded = header.replace("\r\n ", " ").replace("\r\n\t", " ");
            let results = unfolded.lines().filter(|line| line.starts_with("authentication-results"));
            let ours: Vec<&str> = results.filter(|line| line.contains("mx.x.org")).collect();
            prop_assert!(ours.len() == 1 && !ours[0].contains("dkim=pass"), "{}", letter);
        }
    }

    /// Letters of what headers are made of: they come with one trace, and never in somebody else's name.
    #[test]
    fn any_header(text in "((From|Sender|from |Bcc|Return-Path|Received|Authentication-Results|x): ?[<>@,:;\"() =?ab.]{0,16}(ann@x.org|bob@x.org|mx.x.org)?[>, ;]{0,2}\r\n|[ \tx]{0,2}\r\n){0,8}") {
        let mut mail = Mail::new();
        let mut client = Client::ready(Mode::Submission, &mut mail);
        let stuffed = text.replace("\r\n.", "\r\n..");
        let code = client.letter(&mut mail, "ann@x.org", &["ann@x.org"], &stuffed);
        if code == "250 2.0.0" {
            let letter = mail.newest(ANN);
            let header = letter.split("\r\n\r\n").next().unwrap_or_default().to_ascii_lowercase();
            prop_assert!(header.starts_with("return-path: <ann@x.org>\r\nreceived: from y.org"));
            prop_assert_eq!(header.matches("return-path:").count() - header.matches(" return-path:").count(), 1);
            let parsed = mail_parser::MessageParser::default().parse(letter.as_bytes()).expect("a letter");
            let authors: Vec<_> = parsed.from().expect("an author").iter().filter_map(|a| a.address()).collect();
            prop_assert!(authors.iter().all(|a| a.eq_ignore_ascii_case("ann@x.org")), "{:?} {}", authors, letter);
        }
    }
}
