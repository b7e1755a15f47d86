//! Where a process comes from.

use client::Address;

use crate::error::Error;
use crate::process::{Backend, Process};
use crate::remote::Remote;

/// Where a process comes from: a site beside the program.
#[derive(Debug)]
pub struct Site;

impl Site {
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
    /// [`Error::Unreachable`] with the last site's reason, or [`Error::Refused`].
    pub async fn connect_any(
        addresses: impl IntoIterator<Item = Address>,
        program: &str,
    ) -> Result<Process, Error> {
        let remote = Remote::connect(addresses.into_iter().collect(), program).await?;
        Ok(Process::new(Backend::Remote(remote)))
    }
}
