//! How a site that is certified by name alone gets its number when it first starts: it asks the peers of its
//! configuration over connections that are no links, with `detect::site_id`, and writes it down.
//!
//! The number is on disk before it is announced, and the site does not start under it before more than half of the
//! founders have it on theirs. Killed in between, it announces the same number again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use detect::site_id::{Acquisition, Config, Event, Method, Responder, Station, To};
use minicbor::{Decode, Encode};
use net::bids::{BidConnection, BidError};
use net::cert::Identity;
use net::{DiskError, Kept, PeerAddress, Refusal, Trust};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use wire::SiteId;

use crate::config::SiteConfig;
use crate::directory::configured;
use crate::roster::station;
use crate::run::StartError;

/// The file's name in the data directory.
const FILE: &str = "number";
/// What may wait to be said to one peer; the machine repeats itself.
const QUEUE: usize = 8;
/// Between two attempts to reach a peer.
const PAUSE: Duration = Duration::from_millis(500);
/// How often it is said who is waited for.
const SAY_EVERY: Duration = Duration::from_secs(10);
/// How long the peers are given to hear that a number is given up.
const FAREWELL: Duration = Duration::from_secs(2);

/// The number that a site has acquired, or is about to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
struct Own {
    #[n(0)]
    site: SiteId,
    /// More than half of the founders have it.
    #[n(1)]
    confirmed: bool,
}

/// The number that a site has acquired, for whoever has its data directory to himself.
pub(crate) fn number_on_disk(data: &Path) -> Result<Option<SiteId>, DiskError> {
    Ok(open(data)?.1.filter(|own| own.confirmed).map(|own| own.site))
}

fn open(data: &Path) -> Result<(Kept, Option<Own>), DiskError> {
    let (kept, content, mended) = Kept::open(data, FILE)?;
    for path in &mended {
        tracing::warn!(path = %path.display(), "a damaged copy of the site's number was mended");
    }
    let content = content.filter(|content| !content.is_empty());
    let own = content.map(|content| minicbor::decode(&content)).transpose();
    Ok((kept, own.map_err(|_| DiskError::Damaged(data.join(FILE)))?))
}

/// The number of a site whose configuration has none; it has its data directory to itself. Waits for a majority of the
/// founders for as long as it takes.
pub(crate) async fn number(
    config: &SiteConfig,
    identity: &Arc<Identity>,
    trust: &Arc<Trust>,
    seed: u64,
) -> Result<SiteId, StartError> {
    let (mut kept, own) = open(&config.site.data)?;
    let mut method = match own {
        Some(Own { site, confirmed: true }) => return Ok(site),
        Some(Own { site, confirmed: false }) => Method::Fixed(site),
        None => Method::Network,
    };
    for attempt in 0u64.. {
        let mut asking = Asking::start(config, identity, trust);
        asking.until_majority().await?;
        let seed = seed ^ attempt.rotate_left(48);
        if let Some(site) = asking.acquire(method, seed, &mut kept).await? {
            tracing::info!(number = site.0, "this site's number from now on");
            return Ok(site);
        }
        method = Method::Network;
    }
    unreachable!("an attempt is made until one succeeds")
}

/// One attempt, on connections of its own: no answer of an earlier one is mistaken for an answer to it.
struct Asking {
    name: String,
    voters: BTreeMap<SiteId, Station>,
    to: BTreeMap<SiteId, mpsc::Sender<Bytes>>,
    names: BTreeMap<SiteId, String>,
    heard: mpsc::Receiver<(SiteId, Heard)>,
    up: BTreeSet<SiteId>,
    tasks: JoinSet<()>,
}

/// What a peer's task says.
enum Heard {
    Up,
    Down,
    Said(Bytes),
    Refused(Refusal),
}

impl Asking {
    fn start(config: &SiteConfig, identity: &Arc<Identity>, trust: &Arc<Trust>) -> Asking {
        let (say, heard) = mpsc::channel(QUEUE);
        let mut tasks = JoinSet::new();
        let mut to = BTreeMap::new();
        let mut names = BTreeMap::new();
        for peer in configured(config) {
            let (sender, bids) = mpsc::channel(QUEUE);
            to.insert(peer.site, sender);
            names.insert(peer.site, peer.name.clone());
            tasks.spawn(ask(Arc::clone(identity), Arc::clone(trust), peer, bids, say.clone()));
        }
        let founders = config.founder_ids().into_iter();
        let voters = founders.filter_map(|site| Some((site, station(names.get(&site)?)))).collect();
        Asking { name: config.site.name.clone(), voters, to, names, heard, up: BTreeSet::new(), tasks }
    }

    /// Waits for connections to more than half of the founders.
    async fn until_majority(&mut self) -> Result<(), StartError> {
        let mut say = tokio::time::interval(SAY_EVERY);
        while 2 * self.voters.keys().filter(|site| self.up.contains(site)).count() <= self.voters.len() {
            tokio::select! {
                heard = self.heard.recv() => drop(self.hear(heard)?),
                _ = say.tick() => self.say_who_is_missing(),
            }
        }
        Ok(())
    }

    fn say_who_is_missing(&self) {
        let missing = self.voters.keys().filter(|site| !self.up.contains(site));
        let missing: Vec<&str> = missing.filter_map(|site| Some(self.names.get(site)?.as_str())).collect();
        tracing::info!(
            missing = missing.join(", "),
            "asking for a number; it takes an answer of more than half of the founders"
        );
    }

    /// Until the number is this site's, or lost: then it is forgotten on disk.
    async fn acquire(
        mut self,
        method: Method,
        seed: u64,
        kept: &mut Kept,
    ) -> Result<Option<SiteId>, StartError> {
        let clock = net::Clock::start();
        let voters = self.voters.values().copied().collect();
        let config = Config { method, voters, ..Config::default() };
        let mut machine = Acquisition::new(config, station(&self.name), Responder::new(), seed);
        machine.start(clock.now());
        let mut say = tokio::time::interval_at(tokio::time::Instant::now() + SAY_EVERY, SAY_EVERY);
        loop {
            let mut over = false;
            // On disk before the announcement, which is among what is to be transmitted.
            while let Some(event) = machine.poll_event() {
                match event {
                    Event::Acquired(site) => keep(kept, Some(Own { site, confirmed: false }))?,
                    Event::Confirmed(site) => {
                        keep(kept, Some(Own { site, confirmed: true }))?;
                        return Ok(Some(site));
                    }
                    Event::Lost(site) | Event::FixedIdInUse(site) => {
                        tracing::info!(number = site.0, "another site has this number: trying for another");
                        keep(kept, None)?;
                        over = true;
                    }
                }
            }
            while let Some(transmit) = machine.poll_transmit() {
                let body = Bytes::from(transmit.body);
                for (site, to) in &self.to {
                    let meant = match transmit.to {
                        To::All => true,
                        To::Station(meant) => self.names.get(site).is_some_and(|name| station(name) == meant),
                    };
                    if meant {
                        // A peer that is slow or away misses it: the machine repeats itself.
                        let _ = to.try_send(body.clone());
                    }
                }
            }
            if over {
                self.finish().await;
                return Ok(None);
            }
            let timer = async {
                match machine.poll_timeout() {
                    Some(at) => clock.sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                heard = self.heard.recv() => {
                    if let Some((site, said)) = self.hear(heard)?
                        && let Some(name) = self.names.get(&site)
                        && machine.handle_message(clock.now(), station(name), &said).is_err()
                    {
                        tracing::warn!(peer = name, "an answer that makes no sense");
                    }
                }
                () = timer => machine.handle_timeout(clock.now()),
                _ = say.tick() => self.say_who_is_missing(),
            }
        }
    }

    /// Keeps account of the connections; gives what a peer has answered.
    fn hear(&mut self, heard: Option<(SiteId, Heard)>) -> Result<Option<(SiteId, Bytes)>, StartError> {
        let Some((site, heard)) = heard else { return Err(StartError::NoPeers) };
        match heard {
            Heard::Up => drop(self.up.insert(site)),
            Heard::Down => drop(self.up.remove(&site)),
            // An answer with nothing in it only says that the bid has come.
            Heard::Said(said) if said.is_empty() => {}
            Heard::Said(said) => return Ok(Some((site, said))),
            Heard::Refused(Refusal::NameTaken) => {
                return Err(StartError::NameTaken { name: self.name.clone() });
            }
            Heard::Refused(why) => {
                let peer = self.names.get(&site).map_or("", String::as_str);
                tracing::warn!(peer, %why, "a peer gives no number; trying again");
            }
        }
        Ok(None)
    }

    /// Lets what is queued be said.
    async fn finish(mut self) {
        self.to.clear();
        let told = async {
            loop {
                tokio::select! {
                    // Nobody waits for room to speak.
                    _ = self.heard.recv() => {}
                    done = self.tasks.join_next() => if done.is_none() { return },
                }
            }
        };
        // Who was not told forgets when it sees another site under the number.
        let _ = tokio::time::timeout(FAREWELL, told).await;
    }
}

/// Speaks with one peer, connecting again and again, until nobody has anything to say to it.
async fn ask(
    identity: Arc<Identity>,
    trust: Arc<Trust>,
    peer: PeerAddress,
    mut bids: mpsc::Receiver<Bytes>,
    say: mpsc::Sender<(SiteId, Heard)>,
) {
    loop {
        match BidConnection::open(&identity, &trust, &peer).await {
            Ok(connection) => {
                if say.send((peer.site, Heard::Up)).await.is_err() {
                    return;
                }
                let Some(error) = converse(connection, &peer, &mut bids, &say).await else { return };
                tell(&peer, error, &say).await;
                if say.send((peer.site, Heard::Down)).await.is_err() {
                    return;
                }
            }
            Err(error) => tell(&peer, error, &say).await,
        }
        if bids.is_closed() {
            return;
        }
        tokio::time::sleep(PAUSE).await;
        // What was to be said meanwhile is out of date.
        while bids.try_recv().is_ok() {}
    }
}

/// Passes bids on and answers back; `None` when there is nobody to speak for.
async fn converse(
    mut connection: BidConnection,
    peer: &PeerAddress,
    bids: &mut mpsc::Receiver<Bytes>,
    say: &mpsc::Sender<(SiteId, Heard)>,
) -> Option<BidError> {
    loop {
        let bid = bids.recv().await?;
        match connection.ask(&bid).await {
            Ok(said) => say.send((peer.site, Heard::Said(said))).await.ok()?,
            Err(error) => return Some(error),
        }
    }
}

async fn tell(peer: &PeerAddress, error: BidError, say: &mpsc::Sender<(SiteId, Heard)>) {
    match error {
        // If nobody listens, the attempt is over.
        BidError::Refused(why) => drop(say.send((peer.site, Heard::Refused(why))).await),
        BidError::Unreachable(error) => tracing::debug!(peer = peer.name, %error, "not reached"),
    }
}

fn keep(kept: &mut Kept, own: Option<Own>) -> Result<(), DiskError> {
    let content = own.map(|own| minicbor::to_vec(own).expect("writing to memory does not fail"));
    kept.replace(&content.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_reads_back_once_it_is_confirmed_and_can_be_given_up() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(number_on_disk(folder.path()).expect("readable"), None);
        let (mut kept, own) = open(folder.path()).expect("readable");
        assert_eq!(own, None);
        let own = Own { site: SiteId(4), confirmed: false };
        keep(&mut kept, Some(own)).expect("written");
        assert_eq!(open(folder.path()).expect("readable").1, Some(own));
        assert_eq!(number_on_disk(folder.path()).expect("readable"), None);
        keep(&mut kept, Some(Own { confirmed: true, ..own })).expect("written");
        assert_eq!(number_on_disk(folder.path()).expect("readable"), Some(SiteId(4)));
        keep(&mut kept, None).expect("written");
        assert_eq!(open(folder.path()).expect("readable").1, None);
    }
}
