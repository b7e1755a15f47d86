//! Connections on which a site that has no number yet asks its peers for one. They are mutually certified like links,
//! and no links: nothing but bids crosses them, and the node knows nothing of them.
//!
//! ```text
//!  bidder → length, "unanimous bids 1"
//!  peer   → length, 0                      or length, 2, reason
//!  bidder → length, bid                    one at a time
//!  peer   → length, 0, answer or nothing   or length, 2, reason
//! ```
//!
//! The peer keeps one connection a name and [`BIDDERS_MAX`] in all, reads [`BID_BYTES_MAX`] at a time, answers at most
//! every [`BID_PAUSE`], waits [`BID_IDLE`] for the next bid, and ends every connection after [`BIDS_MAX`] of them.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rustls::pki_types::{IpAddr, Ipv4Addr, ServerName};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, TlsStream};

use crate::cert::{Certificate, Identity, Role};
use crate::links::connection::Stream;
use crate::links::handshake::{HELLO_BYTES_MAX, REFUSED, WELCOME, read, write};
use crate::links::{Bid, PeerAddress, Shared};
use crate::trust::{Expect, Trust};
use crate::{Refusal, Socket, tls};

/// What a bidder says instead of a hello, with the version of what follows.
pub(crate) const OPENING: &[u8] = b"unanimous bids 1";

/// The longest bid, and the longest answer to one.
pub const BID_BYTES_MAX: usize = 256;
/// Bidders that are listened to at once.
pub const BIDDERS_MAX: usize = 64;
/// Bids on one connection.
pub const BIDS_MAX: usize = 100_000;
/// The shortest time between two bids of one name.
pub const BID_PAUSE: Duration = Duration::from_millis(5);
/// A bidder that says nothing for so long is gone.
pub const BID_IDLE: Duration = Duration::from_secs(10);

/// How long a bidder waits for a connection, or for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The names that bid now.
#[derive(Debug, Default)]
pub(crate) struct Bidders(Mutex<BTreeSet<String>>);

/// A name's place among the bidders; given back when dropped.
struct Place {
    bidders: Arc<Bidders>,
    name: String,
}

impl Bidders {
    fn enter(self: &Arc<Bidders>, name: &str) -> Result<Place, Refusal> {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if names.contains(name) {
            return Err(Refusal::BidUnderWay);
        }
        if names.len() >= BIDDERS_MAX {
            return Err(Refusal::TooManyBids);
        }
        names.insert(name.to_owned());
        Ok(Place { bidders: self.clone(), name: name.to_owned() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.bidders.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}

/// Tells that a bidder is gone, however its connection ended, before its name may bid again.
struct Told {
    shared: Arc<Shared>,
    place: Place,
}

impl Told {
    /// Asks in a place where the disk may be waited for.
    async fn ask(&self, bid: Bid) -> Result<Option<Bytes>, Refusal> {
        let (hello, name) = (self.shared.hello.clone(), self.place.name.clone());
        let asked = tokio::task::spawn_blocking(move || hello.bid(&name, bid));
        asked.await.unwrap_or(Err(Refusal::Abandoned))
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        // Nothing is written for this: it does not block, and there is nobody to answer.
        let _ = self.shared.hello.bid(&self.place.name, Bid::Closed);
    }
}

/// Listens to a bidder until it goes or does what it must not.
pub(crate) async fn serve(shared: Arc<Shared>, mut stream: Stream, certificate: Certificate) {
    let refused = match converse(&shared, &mut stream, &certificate).await {
        Ok(()) | Err(Refusal::Abandoned) => return,
        Err(why) => why,
    };
    shared.metrics.refuse(refused);
    tracing::warn!(name = certificate.principal().name, why = %refused, "refused a site that asks for a number");
    if write(&mut stream, &[&[REFUSED], refused.label().as_bytes()]).await.is_ok() {
        let _ = stream.shutdown().await;
    }
}

async fn converse(
    shared: &Arc<Shared>,
    stream: &mut Stream,
    certificate: &Certificate,
) -> Result<(), Refusal> {
    let who = certificate.principal();
    if who.role != Role::NamedSite {
        // Its number stands in its certificate.
        return Err(Refusal::WrongRole);
    }
    let told = Told { shared: shared.clone(), place: shared.bidders.enter(&who.name)? };
    told.ask(Bid::Opened).await?;
    write(stream, &[&[WELCOME]]).await?;
    for _ in 0..BIDS_MAX {
        let bid = tokio::time::timeout(BID_IDLE, read(stream, BID_BYTES_MAX)).await;
        let bid = match bid.unwrap_or(Err(Refusal::Abandoned)) {
            Err(Refusal::BadHello) => return Err(Refusal::BadBid),
            bid => bid?,
        };
        shared.trust.still_trusts(certificate)?;
        let answer = told.ask(Bid::Said(bid)).await?.unwrap_or_default();
        write(stream, &[&[WELCOME], &answer]).await?;
        tokio::time::sleep(BID_PAUSE).await;
    }
    Err(Refusal::BadBid)
}

/// Why a peer does not answer a bidder.
#[derive(Debug, thiserror::Error)]
pub enum BidError {
    /// It says why, or its certificate is not its own.
    #[error("{0}")]
    Refused(Refusal),
    /// It can't be reached, or does not answer.
    #[error("{0}")]
    Unreachable(io::Error),
}

impl From<io::Error> for BidError {
    fn from(error: io::Error) -> BidError {
        match Refusal::of_io(&error) {
            // A word of TLS that it does not like us, or nothing: it may be starting, or stopping.
            Refusal::Abandoned | Refusal::ByPeer => BidError::Unreachable(error),
            why => BidError::Refused(why),
        }
    }
}

/// A bidder's connection to one peer.
pub struct BidConnection {
    stream: Stream,
}

impl BidConnection {
    /// Connects to a peer at one of its addresses. Waits for each five seconds at most.
    pub async fn open(
        identity: &Identity,
        trust: &Arc<Trust>,
        peer: &PeerAddress,
    ) -> Result<BidConnection, BidError> {
        let mut last = BidError::Unreachable(io::ErrorKind::AddrNotAvailable.into());
        for address in &peer.addresses {
            let open = BidConnection::open_at(identity, trust, peer, *address);
            match tokio::time::timeout(PATIENCE, open).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => last = error,
                Err(_) => last = BidError::Unreachable(io::ErrorKind::TimedOut.into()),
            }
        }
        Err(last)
    }

    async fn open_at(
        identity: &Identity,
        trust: &Arc<Trust>,
        peer: &PeerAddress,
        address: SocketAddr,
    ) -> Result<BidConnection, BidError> {
        let unusable = |error: crate::cert::CertError| BidError::Unreachable(io::Error::other(error));
        let expect = Expect::Site(peer.site);
        let connector = TlsConnector::from(tls::client_config(identity, trust, expect).map_err(unusable)?);
        let tcp = TcpStream::connect(address).await?;
        // Sites are named by the URI in their certificate; the name here only fills the argument.
        let name = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::from([0, 0, 0, 0])));
        let mut stream = TlsStream::from(connector.connect(name, Socket::new(tcp, Some(PATIENCE))).await?);
        let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let certificate = certificate.ok_or(BidError::Refused(Refusal::NoCertificate))?;
        let certificate = trust.check(certificate, expect).map_err(BidError::Refused)?;
        let principal = certificate.principal();
        if principal.role == Role::NamedSite && principal.name != peer.name {
            return Err(BidError::Refused(Refusal::WrongSite));
        }
        write(&mut stream, &[OPENING]).await.map_err(lost)?;
        let mut connection = BidConnection { stream };
        connection.answer().await?;
        Ok(connection)
    }

    /// Says a bid and gives the answer, which may be empty. After an error the connection is of no use; not
    /// cancel-safe.
    pub async fn ask(&mut self, bid: &[u8]) -> Result<Bytes, BidError> {
        let asked = async {
            write(&mut self.stream, &[bid]).await.map_err(lost)?;
            self.answer().await
        };
        let timed_out = |_| BidError::Unreachable(io::ErrorKind::TimedOut.into());
        tokio::time::timeout(PATIENCE, asked).await.map_err(timed_out)?
    }

    async fn answer(&mut self) -> Result<Bytes, BidError> {
        let mut answer = read(&mut self.stream, HELLO_BYTES_MAX).await.map_err(lost)?;
        match answer.first() {
            Some(&WELCOME) => Ok(answer.split_off(1)),
            Some(&REFUSED) => {
                let why = std::str::from_utf8(&answer[1..]).ok().and_then(Refusal::labelled);
                Err(BidError::Refused(why.unwrap_or(Refusal::ByPeer)))
            }
            Some(_) | None => Err(BidError::Refused(Refusal::BadBid)),
        }
    }
}

fn lost(why: Refusal) -> BidError {
    match why {
        Refusal::Abandoned => BidError::Unreachable(io::ErrorKind::ConnectionAborted.into()),
        why => BidError::Refused(why),
    }
}
