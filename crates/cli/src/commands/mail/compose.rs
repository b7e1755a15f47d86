//! A letter from what the command line says.

use std::time::SystemTime;

use crate::args::MailSend;
use crate::output::rfc5322;

/// A letter with a head.
#[allow(clippy::disallowed_methods, reason = "the program's edge has a clock")]
pub fn letter(args: &MailSend, said: &[u8], domain: &str) -> Vec<u8> {
    let address = |name: &str| match name.contains('@') {
        true => name.to_owned(),
        false => format!("{name}@{domain}"),
    };
    let from = address(args.from.as_deref().unwrap_or("postmaster"));
    let to = args.to.iter().map(|to| address(to)).collect::<Vec<_>>().join(",\r\n\t");
    let subject: String = args.subject.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let ascii = said.is_ascii();
    let date = rfc5322(SystemTime::now());
    let id = format!("{:032x}", net::random());
    let mut letter = format!(
        "From: {from}\r\nTo: {to}\r\nDate: {date}\r\nMessage-ID: <{id}@{domain}>\r\nSubject: {}\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset={}\r\nContent-Transfer-Encoding: {}\r\n\r\n",
        encoded(&subject),
        if ascii { "us-ascii" } else { "utf-8" },
        if ascii { "7bit" } else { "8bit" },
    )
    .into_bytes();
    letter.extend_from_slice(&line_ends(said));
    letter
}

/// The same lines, each ended by CR and LF.
pub fn line_ends(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + text.len() / 32 + 2);
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        out.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// A subject as a head may have it: words that are not ASCII as encoded words (RFC 2047), each short.
fn encoded(subject: &str) -> String {
    if subject.is_ascii() {
        return subject.to_owned();
    }
    let mut words = Vec::new();
    let mut word = String::new();
    for c in subject.chars() {
        let mut bytes = [0; 4];
        let quoted: String = c.encode_utf8(&mut bytes).bytes().map(|byte| format!("={byte:02X}")).collect();
        let next = if c.is_ascii_alphanumeric() { c.to_string() } else { quoted };
        if word.len() + next.len() > 60 {
            words.push(std::mem::take(&mut word));
        }
        word.push_str(&next);
    }
    words.push(word);
    words.iter().map(|word| format!("=?utf-8?Q?{word}?=")).collect::<Vec<_>>().join("\r\n ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_as_letters_want_them() {
        assert_eq!(line_ends(b"a\nb\r\n\nc"), b"a\r\nb\r\n\r\nc\r\n");
        assert_eq!(line_ends(b""), b"");
    }

    #[test]
    fn a_subject_keeps_its_meaning_and_no_line_is_long() {
        assert_eq!(encoded("lunch"), "lunch");
        assert_eq!(encoded("M\u{fc}h"), "=?utf-8?Q?M=C3=BCh?=");
        let long = encoded(&"\u{fc}".repeat(100));
        assert!(long.split("\r\n ").all(|line| line.len() <= 75));
    }
}
