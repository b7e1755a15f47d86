//! Where processes come from: a site inside the program, or sessions with sites beside it.

use client::Address;
use site::{Handle, RunningSite, SiteConfig, StartError, Stopped};

use crate::error::Error;
use crate::local::Local;
use crate::process::{Backend, Process};
use crate::remote::Remote;

/// A site inside this program. The program is a machine of the cluster then: it takes part in agreement, and its
/// processes cast without a line between. [`Site::connect`] needs no such site.
#[derive(Debug)]
pub struct Site {
    running: RunningSite,
    name: String,
}

impl Site {
    /// Starts a site from its configuration, as `unanimous init` writes one. When this returns the site listens
    /// and is on its way into the cluster: a join may be refused as not admitted for a moment.
    pub async fn start(config: SiteConfig) -> Result<Site, StartError> {
        let name = config.site.name.clone();
        Ok(Site { running: site::start(config).await?, name })
    }

    /// A new process of this site. When the site stops, the process is over.
    pub async fn process(&self) -> Result<Process, Error> {
        Ok(Process::new(Backend::Local(Local::open(self.running.handle(), &self.name).await?)))
    }

    /// The site's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The site below the library: status, and requests without streams.
    pub fn handle(&self) -> Handle {
        self.running.handle()
    }

    /// Leaves the cluster in order and stops.
    pub async fn stop(self) -> Stopped {
        self.running.stop().await
    }

    /// Waits until the site has stopped by itself. Call it again only if it was dropped before it returned.
    pub async fn wait(&mut self) -> Stopped {
        self.running.wait().await
    }

    /// A process over a session with the site at this address. `program` names the program, for people.
    ///
    /// If the site dies, it is waited for: see [`Site::connect_any`].
    pub async fn connect(address: &Address, program: &str) -> Result<Process, Error> {
        Site::connect_any([address.clone()], program).await
    }

    /// A process over a session with the first of these sites that answers. When that site dies, the next ones
    /// are tried in turn, for five minutes; memberships say [`Event::SiteLost`](crate::Event::SiteLost) and then
    /// [`Event::Rejoined`](crate::Event::Rejoined) or [`Event::Left`](crate::Event::Left).
    ///
    /// # Errors
    ///
    /// [`Error::Unreachable`] with the last site's reason.
    pub async fn connect_any(
        addresses: impl IntoIterator<Item = Address>,
        program: &str,
    ) -> Result<Process, Error> {
        let remote = Remote::connect(addresses.into_iter().collect(), program).await?;
        Ok(Process::new(Backend::Remote(remote)))
    }
}
