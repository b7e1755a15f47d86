//! Golden transcripts: `tests/transcripts/*.txt`, one conversation each. `A>` and `B>` are lines of two clients
//! of one user, `A<` and `B<` what the session answers, all of it; `A-` is a client that is polled without
//! saying anything. `!tls` at the top begins without TLS and LOGIN. `\` at the end of a line leaves the line end
//! to the text: `\r\n` is written out.

mod common;

use std::path::Path;

use common::{Client, Site};

fn run(path: &Path) {
    let text = std::fs::read_to_string(path).expect("a transcript is readable");
    let mut site = Site::new();
    let plain = text.starts_with("!plain");
    let mut clients: Vec<Client> =
        (0..2).map(|_| if plain { Client::new(false) } else { Client::logged_in(&mut site) }).collect();
    let mut answers = [String::new(), String::new()];
    for (number, line) in text.lines().enumerate() {
        let at = match line.as_bytes() {
            [b'A', b'>' | b'<' | b'-', ..] => 0,
            [b'B', b'>' | b'<' | b'-', ..] => 1,
            _ => continue,
        };
        let content = line.get(3..).unwrap_or_default();
        let place = format!("{}:{}", path.display(), number + 1);
        match line.as_bytes()[1] {
            b'<' => {
                let (first, rest) = answers[at].split_once("\r\n").unwrap_or((&answers[at], ""));
                assert_eq!(first, content, "{place}");
                answers[at] = rest.to_owned();
            }
            b'-' => answers[at] += &clients[at].say(&mut site, ""),
            _ => {
                assert_eq!(answers[at], "", "{place}: an answer that nobody expected");
                let line = format!("{content}\r\n");
                answers[at] = clients[at].say(&mut site, &line.replace("\\r\\n", "\r\n"));
            }
        }
    }
    assert_eq!(answers, ["", ""], "{}: at the end", path.display());
}

#[test]
fn transcripts_hold() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("there are transcripts") {
        run(&entry.expect("an entry").path());
        count += 1;
    }
    assert!(count >= 5, "{count} transcripts");
}
