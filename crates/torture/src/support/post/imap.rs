//! As much of an IMAP client as the scenario needs.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::support::hosts::Loopback;

/// What a site says that has been without a majority for long: what it shows may be behind, and what it does is done elsewhere
/// when the others are back. To who asks here that is no answer.
const APART: [&str; 2] = ["[NOMODSEQ]", "when there is a majority"];

/// One letter as FETCH tells it.
pub struct Fetched {
    pub uid: u32,
    pub flags: Vec<String>,
    pub text: Vec<u8>,
}

/// An answer that was OK: its lines, and the literals in them.
pub struct Answer {
    pub lines: Vec<(String, Vec<u8>)>,
}

pub struct Imap {
    stream: BufReader<TcpStream>,
    commands: u32,
}

impl Imap {
    /// Connects and logs in.
    pub async fn open(at: &Loopback, port: u16, user: &str, password: &str) -> io::Result<Imap> {
        let stream = BufReader::new(at.connect(port).await?);
        let mut imap = Imap { stream, commands: 0 };
        imap.line().await?;
        imap.ask(&format!("LOGIN {user} {password}"), b"").await?;
        Ok(imap)
    }

    /// Opens a mailbox; gives its UIDVALIDITY.
    pub async fn select(&mut self, mailbox: &str) -> io::Result<u32> {
        self.open_by("SELECT", mailbox).await
    }

    /// The same, to read only.
    pub async fn examine(&mut self, mailbox: &str) -> io::Result<u32> {
        self.open_by("EXAMINE", mailbox).await
    }

    /// Whether the mailbox that is open has a letter with this subject.
    pub async fn has(&mut self, subject: &str) -> io::Result<bool> {
        let answer = self.ask(&format!("UID SEARCH SUBJECT \"{subject}\""), b"").await?;
        let found = answer.lines.iter().find_map(|(line, _)| line.strip_prefix("* SEARCH"));
        Ok(found.is_some_and(|uids| !uids.trim().is_empty()))
    }

    async fn open_by(&mut self, command: &str, mailbox: &str) -> io::Result<u32> {
        let answer = self.ask(&format!("{command} {mailbox}"), b"").await?;
        answer
            .numbers("UIDVALIDITY")
            .and_then(|numbers| numbers.first().copied())
            .ok_or_else(|| no("UIDVALIDITY"))
    }

    /// Adds a letter; gives UIDVALIDITY and its UID.
    pub async fn append(&mut self, mailbox: &str, letter: &str) -> io::Result<(u32, u32)> {
        let command = format!("APPEND {mailbox} {{{}+}}", letter.len());
        match self.ask(&command, letter.as_bytes()).await?.numbers("APPENDUID").as_deref() {
            Some([validity, uid]) => Ok((*validity, *uid)),
            _ => Err(no("APPENDUID")),
        }
    }

    /// Moves a letter; gives the UIDVALIDITY of where it is now, and its UID there.
    pub async fn move_to(&mut self, uid: u32, mailbox: &str) -> io::Result<(u32, u32)> {
        match self.ask(&format!("UID MOVE {uid} {mailbox}"), b"").await?.numbers("COPYUID").as_deref() {
            Some([validity, _, to]) => Ok((*validity, *to)),
            _ => Err(no("COPYUID")),
        }
    }

    /// All letters of the mailbox that is open: headers, or all of them.
    pub async fn letters(&mut self, what: &str) -> io::Result<Vec<Fetched>> {
        let answer = self.ask(&format!("UID FETCH 1:* (UID FLAGS {what})"), b"").await?;
        Ok(answer.lines.into_iter().filter_map(fetched).collect())
    }

    /// A command, and a literal behind it that is not waited for; its answer, if that is OK.
    pub async fn ask(&mut self, command: &str, literal: &[u8]) -> io::Result<Answer> {
        self.commands += 1;
        let tag = format!("t{}", self.commands);
        self.stream.write_all(format!("{tag} {command}\r\n").as_bytes()).await?;
        if !literal.is_empty() {
            self.stream.write_all(&[literal, b"\r\n"].concat()).await?;
        }
        let mut lines = Vec::new();
        loop {
            let (line, literal) = self.line().await?;
            match line.strip_prefix(&tag) {
                Some(answer) if answer.starts_with(" OK") => {
                    lines.push((line, literal));
                    let apart = lines.iter().any(|(line, _)| APART.iter().any(|said| line.contains(said)));
                    return if apart { Err(no("majority")) } else { Ok(Answer { lines }) };
                }
                Some(answer) => return Err(io::Error::other(format!("{command}:{answer}"))),
                None => lines.push((line, literal)),
            }
        }
    }

    /// A line, literals taken out of it: one may have one.
    async fn line(&mut self) -> io::Result<(String, Vec<u8>)> {
        let (mut line, mut literal) = (String::new(), Vec::new());
        loop {
            if self.stream.read_line(&mut line).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            line.truncate(line.trim_end().len());
            let length = line.rsplit_once('{').and_then(|(_, length)| length.strip_suffix('}')?.parse().ok());
            let Some(length) = length else { return Ok((line, literal)) };
            literal = vec![0; length];
            self.stream.read_exact(&mut literal).await?;
            line.push(' ');
        }
    }
}

impl Answer {
    /// The numbers of a response code.
    fn numbers(&self, code: &str) -> Option<Vec<u32>> {
        let code = format!("[{code} ");
        let rest = self.lines.iter().find_map(|(line, _)| line.split_once(&code).map(|(_, rest)| rest))?;
        rest.split_once(']')?.0.split(' ').map(|number| number.parse().ok()).collect()
    }
}

fn fetched((line, text): (String, Vec<u8>)) -> Option<Fetched> {
    let (_, items) = line.split_once(" FETCH (")?;
    let uid = items.split_once("UID ")?.1.split([' ', ')']).next()?.parse().ok()?;
    let flags = items.split_once("FLAGS (")?.1.split_once(')')?.0;
    let mut flags: Vec<String> = flags.split_whitespace().map(str::to_owned).collect();
    flags.sort_unstable();
    // A change of flags that is told by the way has no text.
    (!text.is_empty()).then_some(Fetched { uid, flags, text })
}

fn no(what: &str) -> io::Error {
    io::Error::other(format!("the answer has no {what}"))
}
