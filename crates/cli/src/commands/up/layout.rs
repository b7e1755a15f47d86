//! What `up` keeps in its directory: the cluster's files, made once.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
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
        let ports = free_ports(PORTS * sites as usize)?;
        let at = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mail = mail::Files::create(dir)?;
        let founder = |(i, ports): (usize, &[u16; PORTS])| Founder {
            name: format!("site-{}", i + 1),
            address: at(ports[0]).to_string(),
            listen: at(ports[0]),
            metrics: Some(at(0)),
            mail: Some(mail.config(std::array::from_fn(|i| at(ports[1 + i])))),
        };
        let founders: Vec<Founder> = ports.as_chunks().0.iter().enumerate().map(founder).collect();
        Ok(Layout { configs: write_cluster(dir, &founders, MSERVERS)? })
    }
}

/// Ports that are free now, all at once so that they differ. The sites keep them for good: they are how they find
/// each other.
fn free_ports(n: usize) -> Result<Vec<u16>, Failure> {
    let held = (0..n).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<Vec<_>, _>>()?;
    Ok(held.iter().map(|held| held.local_addr().map(|a| a.port())).collect::<Result<_, _>>()?)
}
