//! What `up` keeps in its directory: the cluster's files, made once.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::mail;
use crate::commands::certificates::{Founder, MSERVERS, write_cluster};
use crate::failure::Failure;

/// The sites of a trial cluster.
pub struct Layout {
    /// Their configuration files, by number.
    pub configs: Vec<PathBuf>,
}

impl Layout {
    /// Reads what an earlier `up` has made, or makes it. `sites` is what was asked for; an earlier cluster keeps
    /// its own number of sites.
    pub fn open_or_create(dir: &Path, sites: u32) -> Result<Layout, Failure> {
        let configs: Vec<PathBuf> = (1..=255)
            .map(|i| dir.join(format!("site-{i}")).join("site.toml"))
            .take_while(|path| path.exists())
            .collect();
        if !configs.is_empty() {
            return Ok(Layout { configs });
        }
        const PORTS: usize = 1 + mail::LISTENERS;
        // They are how the sites find each other, for good.
        let free = net::ports::free_addresses(PORTS * sites as usize)?;
        let metrics = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mail = mail::Files::create(dir)?;
        let founder = |(i, at): (usize, &[SocketAddr; PORTS])| Founder {
            name: format!("site-{}", i + 1),
            address: at[0].to_string(),
            listen: at[0],
            metrics: Some(metrics),
            mail: Some(mail.config(std::array::from_fn(|i| at[1 + i]))),
        };
        let founders: Vec<Founder> = free.as_chunks().0.iter().enumerate().map(founder).collect();
        Ok(Layout { configs: write_cluster(dir, &founders, MSERVERS)? })
    }
}
