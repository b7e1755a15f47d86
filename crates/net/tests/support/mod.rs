//! A cluster of sites on the loopback, for tests and benches.

#![allow(dead_code, clippy::disallowed_methods, reason = "each test uses its part, and tests have a clock")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use net::cert::{Authority, Identity, Principal, Role, Validity};
use net::links::StartError;
use net::{
    Config, Hello, HelloRefused, Input, InputSender, Inputs, Links, Metrics, PeerAddress, Shown, Trust,
};
use rustls::pki_types::ServerName;
use wire::{ClusterId, Incarnation, SiteId};

/// Nothing here takes longer unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// An authority, and trust in it.
pub struct Cluster {
    pub authority: Authority,
    pub trust: Arc<Trust>,
}

impl Cluster {
    pub fn new() -> Cluster {
        let authority = Authority::generate(ClusterId(7), Validity::days(1)).expect("an authority");
        let trust = Trust::new(ClusterId(7), &[authority.certificate()]).expect("trust");
        Cluster { authority, trust }
    }

    pub fn site(&self, site: u32) -> Identity {
        let name = format!("site-{site}");
        self.authority.issue(Role::Site(SiteId(site)), &name, Validity::days(1)).expect("issued")
    }

    pub fn config() -> Config {
        Config::new("127.0.0.1:0".parse().expect("an address"))
    }

    /// A site's links in its first life.
    pub async fn start(&self, site: u32) -> Site {
        self.start_with(site, 1, Cluster::config()).await
    }

    pub async fn start_with(&self, site: u32, incarnation: u64, config: Config) -> Site {
        let hello = Says { site, incarnation };
        Site::start(&self.site(site), self.trust.clone(), hello, config).await.expect("started")
    }
}

/// A hello of two numbers.
pub struct Says {
    pub site: u32,
    pub incarnation: u64,
}

impl Hello for Says {
    fn ours(&self) -> Bytes {
        [&self.site.to_le_bytes()[..], &self.incarnation.to_le_bytes()].concat().into()
    }

    fn check(&self, _: &Principal, theirs: &Bytes) -> Result<(SiteId, Incarnation), HelloRefused> {
        let bad = || HelloRefused::new("twelve bytes, please");
        let (site, incarnation) = theirs.split_first_chunk::<4>().ok_or_else(bad)?;
        let incarnation = incarnation.try_into().map_err(|_| bad())?;
        Ok((SiteId(u32::from_le_bytes(*site)), Incarnation(u64::from_le_bytes(incarnation))))
    }
}

/// One site's links and what they say.
pub struct Site {
    pub site: SiteId,
    pub links: Links,
    pub inputs: Inputs,
    pub sender: InputSender,
    pub metrics: Arc<Metrics>,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.links.close();
    }
}

impl Site {
    pub async fn start(
        identity: &Identity,
        trust: Arc<Trust>,
        hello: Says,
        config: Config,
    ) -> Result<Site, StartError> {
        Site::start_as(&Shown::new(identity)?, trust, hello, config).await
    }

    pub async fn start_as(
        shown: &Arc<Shown>,
        trust: Arc<Trust>,
        hello: Says,
        config: Config,
    ) -> Result<Site, StartError> {
        let metrics = Arc::new(Metrics::default());
        let (sender, inputs) = net::inputs();
        let site = SiteId(hello.site);
        let hello = Arc::new(hello);
        let links =
            Links::start(config, (site, shown), trust, hello, sender.clone(), metrics.clone()).await?;
        Ok(Site { site, links, inputs, sender, metrics })
    }

    pub fn at(&self) -> PeerAddress {
        PeerAddress { site: self.site, name: self.site.to_string(), addresses: vec![self.links.address()] }
    }

    pub async fn next(&mut self) -> Input {
        let next = tokio::time::timeout(PATIENCE, self.inputs.recv()).await;
        next.expect("an input in time").expect("the queue is open")
    }

    /// Drops inputs until one fits.
    pub async fn until<T>(&mut self, mut fits: impl FnMut(Input) -> Option<T>) -> T {
        loop {
            if let Some(found) = fits(self.next().await) {
                return found;
            }
        }
    }

    pub async fn until_up(&mut self, wanted: SiteId) -> Incarnation {
        self.until(|input| match input {
            Input::Up { site, incarnation, .. } if site == wanted => Some(incarnation),
            _ => None,
        })
        .await
    }
}

/// Sites 1 and 2, connected.
pub async fn pair(cluster: &Cluster) -> (Site, Site) {
    let (mut a, mut b) = (cluster.start(1).await, cluster.start(2).await);
    a.links.set_peers(vec![b.at()]);
    b.links.set_peers(vec![a.at()]);
    a.until_up(SiteId(2)).await;
    b.until_up(SiteId(1)).await;
    (a, b)
}

/// Waits until something holds, without sleeping.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "in vain: {what}");
        tokio::task::yield_now().await;
    }
}

pub fn any_name() -> ServerName<'static> {
    ServerName::try_from("any").expect("a name")
}
