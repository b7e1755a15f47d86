//! As much of an SMTP client as a letter needs, so that the server is asked to the letter what it is to be asked.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::support::hosts::Loopback;

/// What came of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// 250: whoever sends it may forget it.
    Taken,
    /// It was not sent as far as its end, or was refused for good.
    Not,
    /// It was sent, and nobody said 250: it may have come.
    Unknown,
}

pub struct Smtp {
    stream: BufReader<TcpStream>,
}

impl Smtp {
    pub async fn open(at: &Loopback, port: u16) -> io::Result<Smtp> {
        let mut smtp = Smtp { stream: BufReader::new(at.connect(port).await?) };
        smtp.expect(220).await?;
        smtp.command("EHLO torture.example", 250).await?;
        Ok(smtp)
    }

    /// Sends a letter. After anything but [`Sent::Taken`] the connection is of no more use.
    pub async fn send(&mut self, to: &[String], letter: &str) -> Sent {
        if self.envelope(to).await.is_err() {
            return Sent::Not;
        }
        let sending = async {
            self.stream.write_all(letter.as_bytes()).await?;
            self.stream.write_all(b".\r\n").await?;
            self.reply().await
        };
        match sending.await {
            Ok(250) => Sent::Taken,
            Ok(code) if code >= 500 => Sent::Not,
            Ok(_) | Err(_) => Sent::Unknown,
        }
    }

    async fn envelope(&mut self, to: &[String]) -> io::Result<()> {
        self.command("MAIL FROM:<someone@elsewhere.example>", 250).await?;
        for to in to {
            self.command(&format!("RCPT TO:<{to}>"), 250).await?;
        }
        self.command("DATA", 354).await
    }

    async fn command(&mut self, line: &str, wanted: u16) -> io::Result<()> {
        self.stream.write_all(format!("{line}\r\n").as_bytes()).await?;
        self.expect(wanted).await
    }

    async fn expect(&mut self, wanted: u16) -> io::Result<()> {
        match self.reply().await? {
            code if code == wanted => Ok(()),
            code => Err(io::Error::other(format!("{code} and not {wanted}"))),
        }
    }

    async fn reply(&mut self) -> io::Result<u16> {
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let code = line.get(..3).and_then(|code| code.parse().ok());
            let code = code.ok_or_else(|| io::Error::other(format!("no reply: {line:?}")))?;
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(code);
            }
        }
    }
}
