//! The files of a cluster: one authority, and for each site a folder with its certificate and configuration.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use net::cert::{Role, Validity, random_cluster_id};
use unanimous::SiteConfig;
use unanimous::config::{Limits, MailConfig, PeerEntry, ThisSite};
use wire::SiteId;

use crate::commands::cert::keeper::Keeper;
use crate::failure::Failure;

/// Certificates of sites are valid for so long; renew them before.
pub const SITE_DAYS: u32 = 825;

/// So many of a cluster's sites have an mserver, if nothing else is said: any four of seven go on, and a view change
/// costs no more than that, however many sites are attached to them.
pub const MSERVERS: usize = 7;

/// A site to be.
pub struct Founder {
    /// Its name.
    pub name: String,
    /// `HOST:PORT` where the others reach it.
    pub address: String,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where its metrics are served, if anywhere.
    pub metrics: Option<SocketAddr>,
    /// What it serves of mail, if anything.
    pub mail: Option<MailConfig>,
}

/// Writes `dir/ca` and `dir/NAME` for every site. The first `mservers` of them, in order of seniority, have an mserver
/// and found the cluster. Gives the configuration files.
pub fn write_cluster(dir: &Path, sites: &[Founder], mservers: usize) -> Result<Vec<PathBuf>, Failure> {
    let failed = |error: net::cert::CertError| Failure::refused(error.to_string());
    let cluster = random_cluster_id().map_err(failed)?;
    let ca = dir.join("ca");
    make_dir(&ca)?;
    let keeper = Keeper::create(&ca, cluster)?;
    let mut written = Vec::new();
    for i in 0..sites.len() {
        let id = number(i);
        let config = config(&cluster.to_string(), sites, mservers, i);
        written.push(write_site(dir, &keeper, Role::Site(SiteId(id)), &config)?);
    }
    Ok(written)
}

/// Writes `dir/NAME` for one site, with a certificate of this role. Gives the configuration file.
pub fn write_site(dir: &Path, keeper: &Keeper, role: Role, config: &SiteConfig) -> Result<PathBuf, Failure> {
    let failed = |error: net::cert::CertError| Failure::refused(error.to_string());
    let folder = dir.join(&config.site.name);
    let certificates = folder.join("certificates");
    make_dir(&certificates)?;
    let validity = Validity::days(SITE_DAYS);
    let identity = keeper.authority().issue(role, &config.site.name, validity).map_err(failed)?;
    identity.save(&certificates.join("site.pem"), &certificates.join("site.key")).map_err(failed)?;
    write(&certificates.join("ca.pem"), &keeper.trusted_pem())?;
    let path = folder.join("site.toml");
    write(&path, &config.to_toml())?;
    Ok(path)
}

fn config(cluster: &str, sites: &[Founder], mservers: usize, me: usize) -> SiteConfig {
    let others = sites.iter().enumerate().filter(|(i, _)| *i != me);
    SiteConfig {
        cluster: cluster.to_owned(),
        founders: (0..mservers.min(sites.len())).map(number).collect(),
        site: ThisSite {
            id: number(me),
            name: sites[me].name.clone(),
            data: "data".into(),
            certificates: "certificates".into(),
            link: sites[me].listen,
            addresses: Vec::new(),
            session: "session.sock".into(),
            remote_session: None,
            metrics: sites[me].metrics,
            mserver: me < mservers,
            feature_level_max: None,
            users: Vec::new(),
        },
        peers: others
            .map(|(i, founder)| PeerEntry {
                id: number(i),
                name: founder.name.clone(),
                addresses: vec![founder.address.clone()],
                mserver: i < mservers,
            })
            .collect(),
        limits: Limits::default(),
        mail: sites[me].mail.clone(),
    }
}

fn number(i: usize) -> u32 {
    u32::try_from(i + 1).expect("a cluster is founded by a few sites")
}

fn make_dir(path: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(path)
        .map_err(|error| Failure::refused(format!("can't make {}: {error}", path.display())))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text)
        .map_err(|error| Failure::refused(format!("can't write {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_sites_the_first_few_have_an_mserver_and_all_say_the_same() {
        let folder = tempfile::tempdir().expect("a folder");
        let site = |n: u16| Founder {
            name: format!("s{n}"),
            address: format!("127.0.0.1:{}", 7_000 + n),
            listen: SocketAddr::from(([127, 0, 0, 1], 7_000 + n)),
            metrics: None,
            mail: None,
        };
        let sites: Vec<Founder> = (1..=9).map(site).collect();
        let Ok(files) = write_cluster(folder.path(), &sites, MSERVERS) else { panic!("it is written") };
        for (file, id) in files.iter().zip(1..) {
            let config = SiteConfig::read(file).expect("it reads back");
            assert_eq!(config.founders, (1..=7).collect::<Vec<u32>>());
            assert_eq!((config.site.id, config.site.mserver), (id, id <= 7));
            assert!(config.peers.iter().all(|peer| peer.mserver == (peer.id <= 7)));
            assert_eq!(config.peers.len(), 8);
        }
    }
}
