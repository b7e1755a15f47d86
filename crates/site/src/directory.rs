//! The site's [`Roster`] at work: asked by every handshake, on disk, and told to the other sites.
//!
//! What a bidder announces is on disk before it is answered. What a hello or a peer tells is written down soon after:
//! it is on the disks of most founders already. A site tells each peer all it has learned when a link comes up, and
//! from then on what is new; so what one site knows, all know that it is linked with, and so on.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use net::cert::Principal;
use net::{Bid, Kept, Links, PeerAddress, Refusal};
use tokio::sync::Notify;
use wire::frame::{self, Kind};
use wire::version::Hello;
use wire::{Incarnation, SiteId};

use crate::config::{PeerEntry, SiteConfig};
use crate::levels::Levels;
use crate::roster::{Entry, Roster};
use crate::starts::Starts;

/// The file's name in the data directory.
const FILE: &str = "sites";
/// Sites in one packet: an entry has at most some 700 bytes.
const TOLD_AT_ONCE: usize = 64;
/// After a full link or disk, it is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The sites that the site `me` has learned of, for whoever has its data directory to himself.
pub(crate) fn learned_on_disk(config: &SiteConfig, me: SiteId) -> Result<Vec<PeerEntry>, net::DiskError> {
    let (_, roster) = read(config, me)?;
    let entry = |entry: &Entry| PeerEntry {
        id: entry.site.0,
        name: entry.name.clone(),
        addresses: entry.addresses.clone(),
        mserver: entry.mserver,
    };
    Ok(roster.learned().map(entry).collect())
}

fn read(config: &SiteConfig, me: SiteId) -> Result<(Kept, Roster), net::DiskError> {
    let data = &config.site.data;
    let (kept, content, mended) = Kept::open(data, FILE)?;
    for path in &mended {
        tracing::warn!(path = %path.display(), "a damaged copy of the table of sites was mended");
    }
    let own = (me, config.site.name.clone());
    let fixed = config.peers.iter().map(|peer| (SiteId(peer.id), peer.name.clone())).chain([own]);
    let roster = Roster::new(me, fixed.collect(), content.as_deref());
    Ok((kept, roster.map_err(|_| net::DiskError::Damaged(data.join(FILE)))?))
}

/// A site that a packet told of: for the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Learned {
    pub(crate) site: SiteId,
    pub(crate) name: String,
    pub(crate) mserver: bool,
}

pub(crate) struct Directory {
    known: Mutex<Known>,
    /// Taken before `known` if both are.
    file: Mutex<File>,
    changed: Notify,
}

struct Known {
    roster: Roster,
    /// Up to which version of the roster each linked site has been told.
    told: BTreeMap<SiteId, u64>,
}

struct File {
    kept: Kept,
    version: u64,
}

impl Directory {
    /// Reads what the site `me`, which has its data directory to itself, has kept.
    pub(crate) fn open(config: &SiteConfig, me: SiteId) -> Result<Directory, net::DiskError> {
        let (kept, roster) = read(config, me)?;
        Ok(Directory {
            known: Mutex::new(Known { roster, told: BTreeMap::new() }),
            file: Mutex::new(File { kept, version: 0 }),
            changed: Notify::new(),
        })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sites that the configuration does not know.
    pub(crate) fn learned(&self) -> Vec<Learned> {
        self.known().roster.learned().map(Learned::from).collect()
    }

    /// Whether a site may speak so.
    pub(crate) fn check(&self, certified: &Principal, site: SiteId) -> Result<(), Refusal> {
        self.known().roster.check(certified, site)
    }

    /// A site that may speak has said hello.
    pub(crate) fn heard(&self, certified: &Principal, hello: &Hello) -> Result<(), Refusal> {
        if self.known().roster.heard(certified, hello)? {
            tracing::info!(site = %hello.site.site, name = certified.name, "a site that is new here");
            self.changed.notify_one();
        }
        Ok(())
    }

    /// A link has come up. Gives what to know of the site, if the configuration does not say.
    pub(crate) fn linked(&self, site: SiteId) -> Option<Learned> {
        let mut known = self.known();
        known.told.insert(site, 0);
        self.changed.notify_one();
        known.roster.learned().find(|entry| entry.site == site).map(Learned::from)
    }

    /// A link has gone.
    pub(crate) fn unlinked(&self, site: SiteId) {
        self.known().told.remove(&site);
    }

    /// What a peer tells of other sites, as the body of a frame. Gives what is new.
    pub(crate) fn told(&self, from: SiteId, body: &[u8]) -> Result<Vec<Learned>, Refusal> {
        let entries: Vec<Entry> = minicbor::decode(body).map_err(|_| Refusal::BadBid)?;
        if entries.len() > TOLD_AT_ONCE {
            return Err(Refusal::BadBid);
        }
        let mut news = Vec::new();
        let mut result = Ok(());
        let mut known = self.known();
        for entry in entries {
            let learned = Learned::from(&entry);
            match known.roster.told(entry) {
                Ok(true) => news.push(learned),
                Ok(false) => {}
                Err(why) => {
                    tracing::warn!(%from, site = %learned.site, name = learned.name, %why, "told of a site");
                    result = Err(why);
                }
            }
        }
        drop(known);
        if !news.is_empty() {
            self.changed.notify_one();
            return Ok(news);
        }
        result.map(|()| news)
    }

    /// Answers a site that has no number yet. Blocks for the disk.
    pub(crate) fn bid(&self, name: &str, bid: Bid) -> Result<Option<Bytes>, Refusal> {
        match bid {
            Bid::Opened => self.known().roster.bidder(name).map(|()| None),
            Bid::Closed => {
                self.known().roster.bidder_gone(name);
                Ok(None)
            }
            Bid::Said(body) => {
                let (answer, keep) = self.known().roster.bid(name, &body)?;
                if keep && let Err(error) = self.save() {
                    tracing::error!(%error, "can't write down who has which number");
                    // Not promised: the bidder asks again.
                    return Ok(None);
                }
                Ok(answer.map(Bytes::from))
            }
        }
    }

    /// Returns when all that is known now is on disk.
    fn save(&self) -> Result<(), net::DiskError> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let (version, bytes) = {
            let known = self.known();
            (known.roster.version(), known.roster.encode())
        };
        if version > file.version {
            file.kept.replace(&bytes)?;
            file.version = version;
        }
        Ok(())
    }

    /// Keeps the disk, the links' table of peers and the other sites up to date, for ever.
    pub(crate) async fn keep(self: Arc<Directory>, links: Links, configured: Vec<PeerAddress>) {
        let mut listed = 0;
        loop {
            let this = Arc::clone(&self);
            let saved = tokio::task::spawn_blocking(move || this.save()).await;
            let mut again = match saved {
                Ok(Ok(())) => false,
                Ok(Err(error)) => {
                    tracing::error!(%error, "can't write down who has which number");
                    true
                }
                Err(_) => true,
            };
            let version = self.known().roster.version();
            if version > listed {
                links.set_peers(self.peers(configured.clone()).await);
                listed = version;
            }
            again |= !self.tell(&links);
            if again {
                tokio::time::sleep(AGAIN_AFTER).await;
            } else {
                self.changed.notified().await;
            }
        }
    }

    /// The sites of the configuration and the others.
    async fn peers(&self, mut peers: Vec<PeerAddress>) -> Vec<PeerAddress> {
        let learned: Vec<Entry> = self.known().roster.learned().cloned().collect();
        let resolve = move || {
            let peer = |entry: Entry| PeerAddress {
                site: entry.site,
                addresses: resolve(&entry.addresses),
                name: entry.name,
            };
            learned.into_iter().map(peer).collect::<Vec<_>>()
        };
        peers.extend(tokio::task::spawn_blocking(resolve).await.unwrap_or_default());
        peers
    }

    /// Tells the linked sites what each has not been told. False if a link was full.
    fn tell(&self, links: &Links) -> bool {
        let mut all = true;
        let mut known = self.known();
        let Known { roster, told } = &mut *known;
        let version = roster.version();
        for (site, told) in told.iter_mut().filter(|(_, told)| **told < version) {
            let news: Vec<&Entry> = roster.learned_since(*told).filter(|entry| entry.site != *site).collect();
            let sent = news.chunks(TOLD_AT_ONCE).try_for_each(|some| {
                let body = minicbor::to_vec(some).expect("writing to memory does not fail");
                match links.send(*site, &[], frame::join(Kind::Acquire, 0, &body)) {
                    // If it is down, it is told all when it is up again.
                    Ok(()) | Err(net::SendError::Filled | net::SendError::Down) => Ok(()),
                    Err(error) => Err(error),
                }
            });
            match sent {
                Ok(()) => *told = version,
                Err(_) => all = false,
            }
        }
        all
    }
}

impl From<&Entry> for Learned {
    fn from(entry: &Entry) -> Learned {
        Learned { site: entry.site, name: entry.name.clone(), mserver: entry.mserver }
    }
}

/// The hello of a link: who this is, and whether the other may be spoken to.
pub(crate) struct Greeting {
    hello: Mutex<Hello>,
    directory: Arc<Directory>,
    levels: Arc<Levels>,
    starts: Starts,
}

impl Greeting {
    pub(crate) fn new(hello: Hello, directory: Arc<Directory>, levels: Arc<Levels>) -> Greeting {
        Greeting { hello: Mutex::new(hello), directory, levels, starts: Starts::default() }
    }

    fn hello(&self) -> MutexGuard<'_, Hello> {
        self.hello.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where this site is reached, if its peers' configurations don't say.
    pub(crate) fn set_addresses(&self, addresses: Vec<String>, mserver: bool) {
        let mut hello = self.hello();
        (hello.addresses, hello.mserver) = (Some(addresses), Some(mserver));
    }
}

impl net::Hello for Greeting {
    fn ours(&self) -> Bytes {
        self.hello().encode()
    }

    fn check(
        &self,
        certified: &Principal,
        theirs: &Bytes,
    ) -> Result<(SiteId, Incarnation), net::HelloRefused> {
        let theirs = Hello::decode(theirs).map_err(net::HelloRefused::new)?;
        let refused = |why: Refusal| net::HelloRefused {
            why,
            text: format!("{} speaks as {}: {why}", certified.name, theirs.site.site),
        };
        self.directory.check(certified, theirs.site.site).map_err(refused)?;
        self.hello().agree(&theirs).map_err(net::HelloRefused::new)?;
        self.directory.heard(certified, &theirs).map_err(refused)?;
        if !self.starts.heard(&theirs) {
            return Err(refused(Refusal::CopiedStore));
        }
        self.levels.heard(&theirs);
        Ok((theirs.site.site, theirs.site.incarnation))
    }

    fn bid(&self, name: &str, bid: Bid) -> Result<Option<Bytes>, Refusal> {
        self.directory.bid(name, bid)
    }
}

/// The peers of the configuration with what their addresses stand for. Blocks for the resolver.
pub(crate) fn configured(config: &SiteConfig) -> Vec<PeerAddress> {
    let peer = |peer: &PeerEntry| PeerAddress {
        site: SiteId(peer.id),
        name: peer.name.clone(),
        addresses: resolve(&peer.addresses),
    };
    config.peers.iter().map(peer).collect()
}

fn resolve(addresses: &[String]) -> Vec<SocketAddr> {
    let resolve = |address: &String| match address.to_socket_addrs() {
        Ok(found) => found.collect(),
        Err(error) => {
            tracing::warn!(address, %error, "an address of a peer can't be resolved");
            Vec::new()
        }
    };
    addresses.iter().flat_map(resolve).collect()
}
