//! A connection to a mail server: lines each way, and bytes of a stated length.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::failure::Failure;

/// A server that says this much in one line is none of mail.
const LINE_BYTES_MAX: usize = 64 << 10;

/// A connection, without TLS.
pub struct Lines {
    stream: BufReader<TcpStream>,
    line: Vec<u8>,
}

impl Lines {
    /// Connects.
    pub async fn connect(to: SocketAddr) -> Result<Lines, Failure> {
        let refused = |error| Failure::unreachable(format!("{to}: {error}"));
        let stream = TcpStream::connect(to).await.map_err(refused)?;
        stream.set_nodelay(true)?;
        Ok(Lines { stream: BufReader::with_capacity(16 << 10, stream), line: Vec::new() })
    }

    /// Says something.
    pub async fn say(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        Ok(self.stream.write_all(bytes).await?)
    }

    /// The next line, without its end.
    pub async fn line(&mut self) -> Result<&str, Failure> {
        self.line.clear();
        let limited = &mut (&mut self.stream).take(LINE_BYTES_MAX as u64);
        limited.read_until(b'\n', &mut self.line).await?;
        let Some(line) = self.line.strip_suffix(b"\n") else {
            return Err(Failure::refused("the server has ended the connection"));
        };
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        std::str::from_utf8(line).map_err(|_| Failure::refused("the server's line is no text"))
    }

    /// Reads so many bytes that nobody looks at.
    pub async fn skip(&mut self, mut bytes: usize) -> Result<(), Failure> {
        while bytes > 0 {
            let there = self.stream.fill_buf().await?.len().min(bytes);
            if there == 0 {
                return Err(Failure::refused("the server has ended the connection"));
            }
            self.stream.consume(there);
            bytes -= there;
        }
        Ok(())
    }
}
