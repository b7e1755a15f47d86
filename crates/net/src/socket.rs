//! A TCP connection under TLS: while the peer is a stranger it costs little, and is read where strangers are (the
//! [`Lobby`](crate::Lobby)); when it has been let in it moves to the site's own runtime and is read in large pieces.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::runtime::Handle;

/// What is asked of the kernel at a time before the peer is known: a TLS hello with a certificate fits.
const STRANGER_READ_BYTES: usize = 4 * 1024;

/// A TCP connection with a read buffer: rustls by itself asks for 4 KiB at a time.
#[derive(Debug)]
pub struct Socket {
    /// None after a move that failed.
    tcp: Option<TcpStream>,
    buffer: Box<[u8]>,
    /// What of the buffer has been read and not taken.
    from: usize,
    to: usize,
}

impl Socket {
    /// A connection whose peer is not known yet. A write that makes no progress for `stuck`, if that is given, breaks it.
    pub fn new(tcp: TcpStream, stuck: Option<Duration>) -> Socket {
        // Both are refinements; a connection works without them.
        let _ = tcp.set_nodelay(true);
        if stuck.is_some() {
            let _ = SockRef::from(&tcp).set_tcp_user_timeout(stuck);
        }
        Socket { tcp: Some(tcp), buffer: vec![0; STRANGER_READ_BYTES].into(), from: 0, to: 0 }
    }

    /// Moves it to a runtime, where it is polled from now on, and reads so much at a time there.
    ///
    /// # Errors
    ///
    /// The system has no room for it, or the runtime is gone; the connection is closed.
    pub fn let_in(&mut self, runtime: &Handle, read_bytes: usize) -> io::Result<()> {
        let tcp = self.tcp.take().ok_or(io::ErrorKind::NotConnected)?.into_std()?;
        let _entered = runtime.enter();
        self.tcp = Some(TcpStream::from_std(tcp)?);
        let mut buffer = vec![0; read_bytes.max(self.to - self.from)].into_boxed_slice();
        let waiting = &self.buffer[self.from..self.to];
        buffer[..waiting.len()].copy_from_slice(waiting);
        (self.from, self.to) = (0, waiting.len());
        self.buffer = buffer;
        Ok(())
    }

    /// Who is at the other end.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.as_ref().ok_or(io::ErrorKind::NotConnected)?.peer_addr()
    }

    fn tcp(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        self.tcp.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.from == this.to {
            if into.remaining() >= this.buffer.len() {
                return this.tcp()?.poll_read(cx, into);
            }
            let mut read = ReadBuf::new(&mut this.buffer);
            let tcp = this.tcp.as_mut().ok_or(io::ErrorKind::NotConnected)?;
            ready!(Pin::new(tcp).poll_read(cx, &mut read))?;
            (this.from, this.to) = (0, read.filled().len());
        }
        let taken = into.remaining().min(this.to - this.from);
        into.put_slice(&this.buffer[this.from..this.from + taken]);
        this.from += taken;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().tcp()?.poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().tcp()?.poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().tcp()?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().tcp()?.poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::Lobby;

    #[tokio::test]
    async fn nothing_is_lost_or_doubled_when_a_connection_is_let_in() {
        const BYTES: usize = 300_000;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let sent: Vec<u8> = (0..BYTES).map(|n| (n % 251) as u8).collect();
        let writer = tokio::spawn(async move {
            let mut tcp = TcpStream::connect(address).await.expect("it listens");
            for piece in sent.chunks(7_001) {
                tcp.write_all(piece).await.expect("it reads");
            }
            sent
        });
        let (tcp, _) = listener.accept().await.expect("somebody connects");
        let main = Handle::current();
        let lobby = Lobby::start().expect("a thread");
        // A part is read in the lobby, so that some of what its buffer holds is left.
        let tcp = tcp.into_std().expect("it lives");
        let moved = lobby.spawn(async move {
            let tcp = TcpStream::from_std(tcp).expect("it lives");
            let mut socket = Socket::new(tcp, Some(Duration::from_secs(10)));
            let mut first = vec![0; 1_001];
            socket.read_exact(&mut first).await.expect("they were sent");
            socket.let_in(&main, 1 << 16).expect("the runtime runs");
            (socket, first)
        });
        let (mut socket, mut received) = moved.await.expect("the lobby works");
        // It does not need the lobby any more.
        drop(lobby);
        socket.read_to_end(&mut received).await.expect("the rest comes");
        assert_eq!(received, writer.await.expect("the writer works"));
    }

    #[tokio::test]
    async fn who_cannot_be_let_in_is_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let other = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("it listens");
        let mut socket = Socket { tcp: None, ..Socket::new(other, None) };
        let error = socket.let_in(&Handle::current(), 1).expect_err("there is no connection");
        assert_eq!(error.kind(), io::ErrorKind::NotConnected);
        assert!(socket.read_u8().await.is_err() && socket.write_u8(1).await.is_err());
    }
}
