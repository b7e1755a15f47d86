//! Letters over SMTP and LMTP, each when the one before is answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::lines::Lines;
use super::load::Worker;
use super::servers::Protocol;
use crate::commands::bench::clock::now;
use crate::failure::Failure;

/// Bytes of a line of a letter, without its end.
const LINE_BYTES: usize = 70;

/// Who may send.
#[derive(Clone, Debug)]
pub struct Login {
    pub user: String,
    pub password: String,
}

/// What all senders of a load share.
#[derive(Clone, Debug)]
pub struct Post {
    pub to: SocketAddr,
    pub protocol: Protocol,
    /// Bytes of a letter.
    pub size: usize,
    pub domain: String,
    /// Names that get letters in turn, one each.
    pub recipients: Arc<[String]>,
    /// How many recipients each letter has.
    pub recipients_each: usize,
    /// Letters of a connection; then it is ended, and another made.
    pub per_connection: u32,
    /// Letters so far, of all loads.
    pub next: Arc<AtomicU64>,
}

/// One connection's sender.
pub struct Sender {
    post: Post,
    login: Option<Login>,
    lines: Option<(Lines, u32)>,
    text: Vec<u8>,
}

impl Sender {
    pub fn new(post: &Post, login: Option<Login>) -> Sender {
        Sender { post: post.clone(), login, lines: None, text: Vec::new() }
    }

    /// A connection that can take a letter, and how many it has taken.
    async fn ready(&mut self) -> Result<(Lines, u32), Failure> {
        match self.lines.take() {
            Some((lines, sent)) if sent < self.post.per_connection => Ok((lines, sent)),
            ended => {
                if let Some((mut lines, _)) = ended {
                    say(&mut lines, "QUIT", 221).await?;
                }
                Ok((self.connect().await?, 0))
            }
        }
    }

    async fn connect(&self) -> Result<Lines, Failure> {
        let mut lines = Lines::connect(self.post.to).await?;
        reply(&mut lines, 220).await?;
        let hello = if self.post.protocol == Protocol::Lmtp { "LHLO" } else { "EHLO" };
        say(&mut lines, &format!("{hello} load.test"), 250).await?;
        if let Some(login) = &self.login {
            let secret = BASE64.encode(format!("\0{}\0{}", login.user, login.password));
            say(&mut lines, &format!("AUTH PLAIN {secret}"), 235).await?;
        }
        Ok(lines)
    }

    /// Whom a letter is from: outsiders write from elsewhere.
    fn sender(&self) -> String {
        match &self.login {
            Some(login) => format!("{}@{}", login.user, self.post.domain),
            None => "sender@elsewhere.test".to_owned(),
        }
    }

    /// Sends the letter of a number.
    async fn send(&mut self, lines: &mut Lines, number: u64) -> Result<(), Failure> {
        let (from, domain) = (self.sender(), self.post.domain.clone());
        let count = self.post.recipients.len();
        let first = number as usize * self.post.recipients_each;
        say(lines, &format!("MAIL FROM:<{from}>"), 250).await?;
        for n in first..first + self.post.recipients_each {
            say(lines, &format!("RCPT TO:<{}@{domain}>", self.post.recipients[n % count]), 250).await?;
        }
        say(lines, "DATA", 354).await?;
        self.text.clear();
        let to = format!("{}@{domain}", self.post.recipients[first % count]);
        write_letter(&mut self.text, number, &from, &to, self.post.size);
        self.text.extend_from_slice(b".\r\n");
        lines.say(&self.text).await?;
        let replies = if self.post.protocol == Protocol::Lmtp { self.post.recipients_each } else { 1 };
        for _ in 0..replies {
            reply(lines, 250).await?;
        }
        Ok(())
    }
}

impl Worker for Sender {
    /// From MAIL to the last reply; connecting counts for the rate only.
    async fn once(&mut self) -> Result<Duration, Failure> {
        let number = self.post.next.fetch_add(1, Ordering::Relaxed);
        let (mut lines, sent) = self.ready().await?;
        let began = now();
        self.send(&mut lines, number).await?;
        let took = now().saturating_sub(began);
        self.lines = Some((lines, sent + 1));
        Ok(took)
    }
}

/// A letter of about so many bytes, with a Message-ID of its own and lines that need no stuffing.
pub fn write_letter(into: &mut Vec<u8>, number: u64, from: &str, to: &str, size: usize) {
    let start = into.len();
    let head = format!(
        "From: <{from}>\r\nTo: <{to}>\r\nDate: Sun, 22 Nov 2026 12:00:00 +0000\r\n\
         Message-ID: <{number}.{}@load.test>\r\nSubject: load\r\n\r\n",
        std::process::id()
    );
    into.extend_from_slice(head.as_bytes());
    loop {
        let left = (start + size).saturating_sub(into.len() + 2).min(LINE_BYTES);
        into.extend(std::iter::repeat_n(b'x', left));
        into.extend_from_slice(b"\r\n");
        if into.len() + 2 >= start + size {
            return;
        }
    }
}

/// Says a command, and expects a reply of this code.
async fn say(lines: &mut Lines, command: &str, code: u16) -> Result<(), Failure> {
    lines.say(format!("{command}\r\n").as_bytes()).await?;
    reply(lines, code).await.map_err(|failure| Failure::refused(format!("{command}: {failure}")))
}

async fn reply(lines: &mut Lines, code: u16) -> Result<(), Failure> {
    loop {
        let line = lines.line().await?;
        let (said, more) = (line.get(..3).and_then(|code| code.parse().ok()), line.as_bytes().get(3));
        if said != Some(code) {
            return Err(Failure::refused(format!("the server said: {line}")));
        }
        if more != Some(&b'-') {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_has_about_its_size_and_ends_with_a_line() {
        for size in [0, 200, 300, 4_096, 1 << 20] {
            let mut text = b"before".to_vec();
            write_letter(&mut text, 7, "a@x.test", "b@y.test", size);
            let letter = &text[6..];
            assert!(
                letter.ends_with(b"\r\n") && letter.starts_with(b"From: <a@x.test>\r\nTo: <b@y.test>\r\n")
            );
            // One that is to be shorter than its header is that and a line.
            let bytes = letter.len();
            assert!(bytes.abs_diff(size) <= 4 || (size < bytes && bytes < 250), "{size}: {bytes}");
            assert!(letter.split(|b| *b == b'\n').all(|line| line.len() <= LINE_BYTES + 1));
        }
    }
}
