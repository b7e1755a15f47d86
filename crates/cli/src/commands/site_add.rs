//! `site add`: configuration and certificate for a site that joins a cluster. Its number it gets from its peers.

mod mail;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use net::cert::Role;
use unanimous::SiteConfig;
use unanimous::config::{Limits, PeerEntry, ThisSite};

use crate::args::{Find, SiteAdd};
use crate::commands::cert::keeper::Keeper;
use crate::commands::certificates::{Founder, write_site};
use crate::commands::init::founder;
use crate::failure::Failure;
use crate::locate::default_dir;
use crate::output::{say, say_json};
use mail::Section;

/// `unanimous site add`.
pub fn run(find: &Find, args: &SiteAdd, json: bool) -> Result<(), Failure> {
    let dir = find.dir.clone().unwrap_or_else(default_dir);
    let new = founder(&args.site)?;
    let keeper = Keeper::load(&dir.join("ca"))?;
    if dir.join(&new.name).exists() {
        return Err(Failure::refused(format!(
            "{} exists; each site needs a name of its own, for good",
            dir.join(&new.name).display()
        )));
    }
    let (config, mail) = configuration(&dir, &keeper.authority().cluster().to_string(), new, args.mserver)?;
    let path = write_site(&dir, &keeper, Role::NamedSite, &config)?;
    let name = &config.site.name;
    let missing = match &mail {
        Some(mail) => mail.copy_files(&dir.join(name))?,
        None => Vec::new(),
    };
    let domain = config.mail.as_ref().map(|mail| mail.domain.as_str());
    if json {
        return say_json(&serde_json::json!({
            "name": name, "config": path, "mserver": args.mserver, "mail": domain, "missing": missing,
        }));
    }
    say(&format!("{name}: copy {} to its machine, then run", dir.join(name).display()))?;
    say(&format!("  unanimous site --config {name}/site.toml"))?;
    say("It gets its number from the cluster when it first starts; the other sites need no word of it.")?;
    say(&format!(
        "Durable groups are kept there, too; `unanimous site add {name} --stores` lets its store count."
    ))?;
    if let Some(domain) = domain {
        say(&format!(
            "It serves mail for {domain} like the others; where, says [mail] in {name}/site.toml."
        ))?;
    }
    missing.iter().try_for_each(|file| say(&format!("Put {} there first: it is not here.", file.display())))
}

/// Its configuration, and what goes with its part for mail.
fn configuration(
    dir: &Path,
    cluster: &str,
    new: Founder,
    mserver: bool,
) -> Result<(SiteConfig, Option<Section>), Failure> {
    let known = known(dir)?;
    let Some(any) = known.iter().find(|config| config.cluster == cluster) else {
        return Err(Failure::refused(format!(
            "no configuration of a site of cluster {cluster} is in {}; keep one of those that `init` wrote there",
            dir.display()
        )));
    };
    let peers = peers(&known, cluster);
    if peers.iter().any(|peer| peer.name == new.name) {
        return Err(Failure::refused(format!("a site called {} is in the cluster already", new.name)));
    }
    if let Some(founder) = any.founders.iter().find(|id| peers.iter().all(|peer| peer.id != **id)) {
        return Err(Failure::refused(format!(
            "nothing in {} says where founder {founder} is; keep the configurations that `init` wrote there",
            dir.display()
        )));
    }
    // On one machine the sites share its addresses: each listens at its own, and the ports for metrics are any.
    let own = new.address.parse::<SocketAddr>().ok().filter(|address| address.ip().is_loopback());
    let ours: Vec<SiteConfig> = known.iter().filter(|config| config.cluster == cluster).cloned().collect();
    let mail = Section::like(dir, &ours, &new, own)?;
    let config = SiteConfig {
        cluster: cluster.to_owned(),
        founders: any.founders.clone(),
        site: ThisSite {
            id: 0,
            name: new.name,
            data: "data".into(),
            certificates: "certificates".into(),
            link: own.unwrap_or(new.listen),
            addresses: vec![new.address],
            session: "session.sock".into(),
            remote_session: None,
            metrics: match own {
                Some(_) => Some(SocketAddr::from((IpAddr::V4(Ipv4Addr::LOCALHOST), 0))),
                None => new.metrics,
            },
            mserver,
            feature_level_max: None,
            users: Vec::new(),
        },
        peers,
        limits: Limits::default(),
        mail: mail.as_ref().map(|section| section.config.clone()),
    };
    Ok((config, mail))
}

/// The configurations in the folders beside the authority, by folder.
pub fn known(dir: &Path) -> Result<Vec<SiteConfig>, Failure> {
    let mut files: Vec<_> = std::fs::read_dir(dir)?
        .filter_map(|entry| Some(entry.ok()?.path().join("site.toml")))
        .filter(|path| path.exists())
        .collect();
    files.sort();
    let read = |path| SiteConfig::read(path).map_err(|error| Failure::refused(error.to_string()));
    files.iter().map(|path| read(path)).collect()
}

/// The sites that these configurations have numbers for.
fn peers(known: &[SiteConfig], cluster: &str) -> Vec<PeerEntry> {
    let mut peers = BTreeMap::new();
    let ours = || known.iter().filter(|config| config.cluster == cluster);
    for peer in ours().flat_map(|config| &config.peers) {
        peers.entry(peer.id).or_insert_with(|| peer.clone());
    }
    // A site's own configuration does not say where others reach it, unless it listens at just one address.
    for config in ours().filter(|config| config.site.id != 0 && !config.site.link.ip().is_unspecified()) {
        peers.entry(config.site.id).or_insert_with(|| PeerEntry {
            id: config.site.id,
            name: config.site.name.clone(),
            addresses: vec![config.site.link.to_string()],
            mserver: config.site.mserver,
        });
    }
    peers.into_values().collect()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;
    use crate::commands::certificates::write_cluster;

    fn site(text: &str) -> Founder {
        founder(text).map_err(|failure| failure.message).expect("a site")
    }

    fn cluster(sites: &[&str]) -> (tempfile::TempDir, String) {
        let dir = tempfile::tempdir().expect("a folder");
        let sites: Vec<Founder> = sites.iter().map(|text| site(text)).collect();
        let Ok(files) = write_cluster(dir.path(), &sites, 7) else { panic!("it is written") };
        let cluster = SiteConfig::read(&files[0]).expect("reads").cluster;
        (dir, cluster)
    }

    #[test]
    fn a_new_site_knows_the_others_and_has_no_number() {
        let (dir, cluster) = cluster(&["a=10.0.0.1:7000", "b=10.0.0.2:7000", "c=10.0.0.3:7000"]);
        let made = |text| match configuration(dir.path(), &cluster, site(text), false) {
            Ok((config, _)) => Ok(config),
            Err(failure) => Err(failure.message),
        };
        let d = made("d=10.0.0.4:7000").expect("made");
        assert_eq!((d.site.id, d.site.mserver, &d.founders[..]), (0, false, &[1, 2, 3][..]));
        assert_eq!(d.site.addresses, ["10.0.0.4:7000"]);
        assert!(d.site.link.ip().is_unspecified() && d.site.link.port() == 7000);
        let at: Vec<_> = d.peers.iter().map(|peer| (peer.id, peer.addresses[0].as_str())).collect();
        assert_eq!(at, [(1, "10.0.0.1:7000"), (2, "10.0.0.2:7000"), (3, "10.0.0.3:7000")]);
        assert!(made("b=10.0.0.5:7000").expect_err("taken").contains("already"));
        let e = made("e=[::1]:7005").expect("made");
        assert_eq!(e.site.link, SocketAddr::from((Ipv6Addr::LOCALHOST, 7005)));
        assert_eq!(e.site.metrics.map(|metrics| metrics.port()), Some(0));
        // The next one learns where the first is from the cluster, not from here.
        std::fs::create_dir(dir.path().join("d")).expect("a folder");
        std::fs::write(dir.path().join("d").join("site.toml"), d.to_toml()).expect("written");
        assert_eq!(made("f=10.0.0.6:7000").expect("made").peers.len(), 3);
    }

    #[test]
    fn what_is_missing_is_named() {
        let (dir, cluster) = cluster(&["a=10.0.0.1:7000"]);
        let new = || site("d=10.0.0.4:7000");
        let failed = |cluster: &str| {
            let made = configuration(dir.path(), cluster, new(), false);
            made.err().map(|failure| failure.message).expect("something is missing")
        };
        assert!(failed(&cluster).contains("founder 1"), "nobody says where a is");
        assert!(failed("0000000000000001").contains("no configuration"), "another");
    }
}
