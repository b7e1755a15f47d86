//! Where strangers wait: a thread of its own, with a small runtime, for connections that are accepted and not let in yet,
//! and for whoever only asks for metrics.
//!
//! A site's loop and its links share one worker thread where there are few processors, and tasks of one runtime take their
//! turns one after another. A thousand connections at once, or as many TLS hellos, each a millisecond's work at most,
//! would keep the site silent for long enough to be taken for dead. Between threads the kernel sees to it that each gets
//! its share. Who is let in moves to the site's runtime ([`Socket::let_in`](crate::Socket::let_in)).

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use socket2::{Domain, Protocol, Type};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Connections that the kernel may hold for a listener.
const BACKLOG: i32 = 1024;

/// The strangers' runtime. A clone is the same one; it ends, with all its tasks, when the last is dropped.
#[derive(Clone, Debug)]
pub struct Lobby {
    handle: Handle,
    _open: Arc<oneshot::Sender<()>>,
}

impl Lobby {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// The system has no room for a thread, or no descriptors.
    pub fn start() -> io::Result<Lobby> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (open, closed) = oneshot::channel::<()>();
        thread::Builder::new().name("lobby".to_owned()).spawn(move || {
            // An error is how it hears that the last is gone.
            let _ = runtime.block_on(closed);
            runtime.shutdown_background();
        })?;
        Ok(Lobby { handle, _open: Arc::new(open) })
    }

    /// Runs a task there.
    pub fn spawn<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.handle.spawn(task)
    }

    /// Listens, to accept there; a port that a killed process had can be had again at once.
    ///
    /// # Errors
    ///
    /// The address is taken, or not this machine's.
    pub fn listen(&self, address: SocketAddr) -> io::Result<TcpListener> {
        let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let _entered = self.handle.enter();
        TcpListener::from_std(socket.into())
    }
}
