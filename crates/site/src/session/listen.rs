//! Accepting sessions: over a Unix socket from this machine, over mutual TLS from others.

use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use wire::session::Principal;

use super::connection::{Connection, Entrant, Site};

/// Socket paths longer than this are bound through a descriptor of their folder.
const PATH_BYTES_MAX: usize = 100;

/// What is asked of the kernel at a time for a remote session.
const SESSION_READ_BYTES: usize = 16 * 1024;

/// Binds the Unix socket, replacing one that a killed site left. Only the site's own user may connect unless the
/// configuration names `others`.
pub fn bind(path: &Path, others: bool) -> io::Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt;
    let (short, _folder) = reachable(path)?;
    if std::os::unix::net::UnixStream::connect(&short).is_ok() {
        let text = format!("another site listens at {}", path.display());
        return Err(io::Error::new(io::ErrorKind::AddrInUse, text));
    }
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(short)?;
    let mode = if others { 0o666 } else { 0o600 };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(listener)
}

/// A path short enough for a socket's address; valid while the folder is open.
fn reachable(path: &Path) -> io::Result<(PathBuf, Option<std::fs::File>)> {
    if path.as_os_str().len() <= PATH_BYTES_MAX {
        return Ok((path.to_owned(), None));
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a socket's path"));
    };
    let folder = std::fs::File::open(folder)?;
    let short = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
    Ok((short, Some(folder)))
}

/// Serves sessions from this machine until the listener fails: as many at once as there are `places`; more wait to be
/// accepted.
pub async fn serve(listener: UnixListener, site: Arc<Site>, places: Arc<Semaphore>) -> io::Result<()> {
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return Ok(()) };
        match listener.accept().await {
            Ok((stream, _)) => {
                let site = Arc::clone(&site);
                tokio::spawn(async move {
                    let entrant = Entrant { principal: unix_principal(&stream, &site), certificate: None };
                    let (read, write) = stream.into_split();
                    Connection::new(site, entrant).run(read, write).await;
                    drop(place);
                });
            }
            Err(error) => pause_after(error).await?,
        }
    }
}

/// Serves sessions from elsewhere until the listener fails. It runs where strangers wait; a session runs on `main`, and
/// only then takes a place.
pub async fn serve_remote(
    listener: TcpListener,
    acceptor: tokio_rustls::TlsAcceptor,
    site: Arc<Site>,
    places: Arc<Semaphore>,
    main: Handle,
) -> io::Result<()> {
    loop {
        // While all places are taken nobody is seen through a handshake for nothing.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return Ok(()) };
        drop(place);
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                pause_after(error).await?;
                continue;
            }
        };
        let (acceptor, site, places, main) =
            (acceptor.clone(), Arc::clone(&site), Arc::clone(&places), main.clone());
        tokio::spawn(async move {
            let Some((mut stream, entrant)) = site.shake_hands(acceptor, stream, peer).await else { return };
            let Ok(place) = places.acquire_owned().await else { return };
            if stream.get_mut().0.let_in(&main, SESSION_READ_BYTES).is_err() {
                return;
            }
            main.spawn(async move {
                let (read, write) = tokio::io::split(stream);
                Connection::new(site, entrant).run(read, write).await;
                drop(place);
            });
        });
    }
}

/// Running out of descriptors passes; anything else ends the listener.
async fn pause_after(error: io::Error) -> io::Result<()> {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    match (error.kind(), error.raw_os_error()) {
        (io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted, _) => Ok(()),
        (_, Some(EMFILE | ENFILE)) => {
            tracing::warn!("no descriptors left for sessions; raise the limit (`ulimit -n`)");
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            Ok(())
        }
        _ => Err(error),
    }
}

/// By default the site's own user, and root, administer, and nobody else enters.
fn unix_principal(stream: &UnixStream, site: &Site) -> Option<Principal> {
    let uid = stream.peer_cred().ok()?.uid();
    if uid == site.own_uid || uid == 0 {
        return Some(Principal::Administer);
    }
    site.users.iter().find(|(listed, _)| *listed == uid).map(|(_, principal)| *principal)
}
