//! Golden transcripts: `tests/smtp/*.txt`, one conversation each. `C>` is what the client says, `C<` what the session
//! answers, all of it; `C-` is a client that waits without saying anything. `M> ann` looks at ann's newest letter, and
//! `M<` is a line of it. The first line begins with the mode, `!submission`, `!lmtp` or `!inbound`, and `tls` if the
//! connection begins so. `\r` and `\n` in a line are written out.

mod common;

use std::path::Path;

use common::smtp::{ANN, BOB, Client, Mail};
use maildriver::smtp::Mode;

fn run(path: &Path) {
    let text = std::fs::read_to_string(path).expect("a transcript is readable");
    let first = text.lines().next().unwrap_or_default();
    let mode = match first.split(' ').next() {
        Some("!submission") => Mode::Submission,
        Some("!lmtp") => Mode::Lmtp,
        Some("!inbound") => Mode::Inbound,
        other => panic!("{}: what is {other:?}?", path.display()),
    };
    let mut mail = Mail::new();
    let mut client = Client::new(mode, first.contains(" tls"));
    let mut answers = String::new();
    for (number, line) in text.lines().enumerate() {
        let place = format!("{}:{}", path.display(), number + 1);
        let content = line.get(3..).unwrap_or_default();
        match line.get(..2) {
            Some("C<" | "M<") => {
                let (first, rest) = answers.split_once("\r\n").unwrap_or((&answers, ""));
                assert_eq!(first, content, "{place}; then {rest}");
                answers = rest.to_owned();
            }
            Some("C-") => answers += &client.say(&mut mail, ""),
            Some("C>") => {
                assert_eq!(answers, "", "{place}: an answer that nobody expected");
                answers = client
                    .say(&mut mail, &format!("{content}\r\n").replace("\\r", "\r").replace("\\n", "\n"));
            }
            Some("M>") => {
                assert_eq!(answers, "", "{place}: an answer that nobody expected");
                answers = mail.newest(if content == "ann" { ANN } else { BOB });
            }
            _ => {}
        }
    }
    assert_eq!(answers, "", "{}: at the end", path.display());
}

#[test]
fn transcripts_hold() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/smtp");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("there are transcripts") {
        run(&entry.expect("an entry").path());
        count += 1;
    }
    assert!(count >= 4, "{count} transcripts");
}
