//! IMAP operations, each when the one before is answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::letters::{Login, write_letter};
use super::lines::Lines;
use super::load::Worker;
use crate::commands::bench::clock::now;
use crate::failure::Failure;

/// Letters that a reader's INBOX has at least.
const LETTERS: u32 = 50;

/// What is done again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Connect, LOGIN, LOGOUT.
    Login,
    /// SELECT INBOX.
    Select,
    /// FETCH of a whole letter, any of the mailbox, without marking it as seen.
    Fetch,
    /// STORE: a letter, any of the mailbox, is marked as seen, or not.
    Store,
    /// APPEND, NOOP, STORE \Deleted, EXPUNGE.
    Expunge,
    /// APPEND.
    Append,
}

impl Operation {
    /// In the order in which they are measured: APPEND, which fills the mailbox, is last.
    pub const ALL: [Operation; 6] = [
        Operation::Login,
        Operation::Select,
        Operation::Fetch,
        Operation::Store,
        Operation::Expunge,
        Operation::Append,
    ];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Login => "LOGIN",
            Operation::Select => "SELECT",
            Operation::Fetch => "FETCH",
            Operation::Store => "STORE",
            Operation::Expunge => "APPEND+EXPUNGE",
            Operation::Append => "APPEND",
        }
    }
}

/// One user's program.
pub struct Reader {
    at: SocketAddr,
    login: Login,
    operation: Operation,
    letter: Arc<[u8]>,
    session: Option<Session>,
    dice: u64,
}

impl Reader {
    /// A program that is logged in, with a mailbox that is open and has some letters; for LOGIN one that was logged in, so
    /// that its password is known to be right.
    pub async fn ready(
        at: SocketAddr,
        login: Login,
        operation: Operation,
        size: usize,
    ) -> Result<Reader, Failure> {
        let mut session = Session::connect(at, &login).await?;
        session.command("SELECT INBOX").await?;
        let mut letter = Vec::new();
        write_letter(&mut letter, 0, "sender@elsewhere.test", "reader@elsewhere.test", size);
        while session.exists < LETTERS {
            let before = session.exists;
            session.append(&letter).await?;
            session.exists = before + 1;
        }
        session.command("SELECT INBOX").await?;
        let session = match operation {
            Operation::Login => {
                session.command("LOGOUT").await?;
                None
            }
            _ => Some(session),
        };
        let dice = 0x9e37_79b9 ^ u64::from(at.port());
        Ok(Reader { at, login, operation, letter: letter.into(), session, dice })
    }

    fn roll(&mut self) -> u64 {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.dice >> 33
    }

    async fn run(&mut self) -> Result<(), Failure> {
        let rolled = self.roll();
        let Some(session) = &mut self.session else {
            let mut session = Session::connect(self.at, &self.login).await?;
            return session.command("LOGOUT").await;
        };
        let any = 1 + rolled % u64::from(session.exists.max(1));
        match self.operation {
            Operation::Login => Ok(()),
            Operation::Select => session.command("SELECT INBOX").await,
            Operation::Fetch => session.command(&format!("FETCH {any} (UID FLAGS BODY.PEEK[])")).await,
            Operation::Store => {
                let sign = if rolled >> 16 & 1 == 0 { '+' } else { '-' };
                session.command(&format!("STORE {any} {sign}FLAGS (\\Seen)")).await
            }
            Operation::Append => session.append(&self.letter).await,
            Operation::Expunge => {
                session.append(&self.letter).await?;
                session.command("NOOP").await?;
                let last = session.exists;
                session.command(&format!("STORE {last} +FLAGS (\\Deleted)")).await?;
                session.command("EXPUNGE").await?;
                match session.exists < last {
                    true => Ok(()),
                    false => Err(Failure::refused("the server has expunged nothing")),
                }
            }
        }
    }
}

impl Worker for Reader {
    async fn once(&mut self) -> Result<Duration, Failure> {
        let began = now();
        self.run().await?;
        Ok(now().saturating_sub(began))
    }
}

/// A connection that is logged in.
pub struct Session {
    lines: Lines,
    tag: u32,
    /// Letters of the open mailbox.
    pub exists: u32,
}

impl Session {
    /// Connects and logs in.
    pub async fn connect(at: SocketAddr, login: &Login) -> Result<Session, Failure> {
        let mut session = Session { lines: Lines::connect(at).await?, tag: 0, exists: 0 };
        session.lines.line().await?;
        session.command(&format!("LOGIN {} {}", login.user, login.password)).await?;
        Ok(session)
    }

    /// Does a command; anything but OK is a failure.
    pub async fn command(&mut self, text: &str) -> Result<(), Failure> {
        self.tag += 1;
        self.lines.say(format!("t{} {text}\r\n", self.tag).as_bytes()).await?;
        self.done(text).await
    }

    /// Appends a letter to INBOX; its bytes go when the server asks for them.
    pub async fn append(&mut self, letter: &[u8]) -> Result<(), Failure> {
        self.tag += 1;
        self.lines.say(format!("t{} APPEND INBOX {{{}}}\r\n", self.tag, letter.len()).as_bytes()).await?;
        loop {
            let line = self.lines.line().await?;
            if line.starts_with('+') {
                break;
            }
            if !line.starts_with('*') {
                return Err(Failure::refused(format!("APPEND: the server said: {line}")));
            }
        }
        self.lines.say(letter).await?;
        self.lines.say(b"\r\n").await?;
        self.done("APPEND").await
    }

    async fn done(&mut self, what: &str) -> Result<(), Failure> {
        let tag = format!("t{} ", self.tag);
        loop {
            let line = self.lines.line().await?;
            if let Some(said) = line.strip_prefix(&tag) {
                return match said.starts_with("OK") {
                    true => Ok(()),
                    false => Err(Failure::refused(format!("{what}: the server said: {said}"))),
                };
            }
            let untagged = line.strip_prefix("* ").and_then(|rest| rest.split_once(' '));
            match untagged.map(|(number, what)| (number.parse::<u32>(), what)) {
                Some((Ok(count), "EXISTS")) => self.exists = count,
                Some((Ok(_), "EXPUNGE")) => self.exists = self.exists.saturating_sub(1),
                _ => {}
            }
            if let Some(bytes) = literal(line) {
                self.lines.skip(bytes).await?;
            }
        }
    }
}

/// The bytes that follow a line.
fn literal(line: &str) -> Option<usize> {
    let (_, count) = line.strip_suffix('}')?.rsplit_once('{')?;
    count.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_follows_it() {
        assert_eq!(literal("* 3 FETCH (UID 3 BODY[] {4096}"), Some(4_096));
        assert_eq!(literal("* 3 FETCH (UID 3 BODY[] NIL)"), None);
        assert_eq!(literal("* OK {x}"), None);
    }
}
