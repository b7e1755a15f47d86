//! What a new site serves of mail: what another one does, at its own addresses, with the same certificate.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use unanimous::SiteConfig;
use unanimous::config::MailConfig;

use crate::commands::certificates::Founder;
use crate::failure::Failure;

/// The new site's part, and the files that go with it.
pub struct Section {
    /// What goes into its configuration.
    pub config: MailConfig,
    /// Files of the other site's folder, and where they are to be in the new one's.
    files: Vec<(PathBuf, PathBuf)>,
}

impl Section {
    /// As the first of these sites has it that serves mail; none, if none does. `own`: the new site shares this machine with the
    /// others, and is told apart by its ports.
    pub fn like(
        dir: &Path,
        known: &[SiteConfig],
        new: &Founder,
        own: Option<SocketAddr>,
    ) -> Result<Option<Section>, Failure> {
        let found = known.iter().find_map(|config| Some((config, config.mail.clone()?)));
        let Some((other, mut config)) = found else { return Ok(None) };
        let reached = new.address.parse::<SocketAddr>().ok().map(|address| address.ip());
        let listeners = [
            &mut config.imap,
            &mut config.imaps,
            &mut config.smtp,
            &mut config.submission,
            &mut config.submissions,
            &mut config.lmtp,
        ];
        for at in listeners.into_iter().flatten() {
            *at = match own {
                Some(own) => SocketAddr::new(own.ip(), 0),
                None => SocketAddr::new(here(at.ip(), reached), at.port()),
            };
        }
        // Each site has a name of its own.
        config.host = None;
        let folder = std::path::absolute(dir.join(&other.site.name))?;
        let mut files = Vec::new();
        for path in [&mut config.certificate, &mut config.key].into_iter().flatten() {
            // What is elsewhere is a machine's own, and stays where the configuration says.
            if let Ok(within) = path.strip_prefix(&folder).map(Path::to_owned) {
                files.push((path.clone(), within.clone()));
                *path = within;
            }
        }
        Ok(Some(Section { config, files }))
    }

    /// Puts the files into the new site's folder; gives those that are not here.
    pub fn copy_files(&self, folder: &Path) -> Result<Vec<PathBuf>, Failure> {
        let mut missing = Vec::new();
        for (from, within) in &self.files {
            let to = folder.join(within);
            if !from.exists() {
                missing.push(to);
                continue;
            }
            let failed = |error| Failure::refused(format!("can't write {}: {error}", to.display()));
            // The mode goes with it: a key stays its owner's alone.
            to.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(failed)?;
            std::fs::copy(from, &to).map_err(failed)?;
        }
        Ok(missing)
    }
}

/// An address of another machine, as the new one has it.
fn here(other: IpAddr, reached: Option<IpAddr>) -> IpAddr {
    match (other, reached) {
        (other, _) if other.is_loopback() || other.is_unspecified() => other,
        (_, Some(reached)) => reached,
        (IpAddr::V4(_), None) => Ipv4Addr::UNSPECIFIED.into(),
        (IpAddr::V6(_), None) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::certificates::write_cluster;
    use crate::commands::init::founder;
    use crate::commands::site_add::known;

    fn site(text: &str) -> Founder {
        founder(text).map_err(|failure| failure.message).expect("a site")
    }

    fn at(text: &str) -> Option<SocketAddr> {
        Some(text.parse().expect("an address"))
    }

    fn section(mail: Option<MailConfig>, new: &str) -> (tempfile::TempDir, Option<Section>) {
        let dir = tempfile::tempdir().expect("a folder");
        let sites = [Founder { mail, ..site("a=10.0.0.1:7000") }];
        assert!(write_cluster(dir.path(), &sites, 7).is_ok());
        let Ok(known) = known(dir.path()) else { panic!("it reads back") };
        let new = site(new);
        let own = new.address.parse().ok().filter(|own: &SocketAddr| own.ip().is_loopback());
        let section = Section::like(dir.path(), &known, &new, own).map_err(|failure| failure.message);
        (dir, section.expect("made"))
    }

    fn mail() -> MailConfig {
        MailConfig {
            imap: at("10.0.0.1:143"),
            imaps: at("0.0.0.0:993"),
            lmtp: at("127.0.0.1:24"),
            host: Some("mail1.x.org".to_owned()),
            certificate: Some("mail/chain.pem".into()),
            key: Some("/etc/mail/key.pem".into()),
            ..MailConfig::of("x.org")
        }
    }

    #[test]
    fn on_its_own_machine_a_site_serves_the_same_at_its_own_address() {
        let (dir, section) = section(Some(mail()), "d=10.0.0.4:7000");
        let section = section.expect("there is mail");
        let wanted = MailConfig { imap: at("10.0.0.4:143"), host: None, ..mail() };
        assert_eq!(section.config, wanted);
        let new = dir.path().join("d");
        assert_eq!(section.copy_files(&new).ok(), Some(vec![new.join("mail/chain.pem")]), "it is not there");
        std::fs::create_dir(dir.path().join("a/mail")).expect("a folder");
        std::fs::write(dir.path().join("a/mail/chain.pem"), "chain").expect("written");
        assert_eq!(section.copy_files(&new).ok(), Some(Vec::new()));
        assert_eq!(std::fs::read_to_string(new.join("mail/chain.pem")).ok().as_deref(), Some("chain"));
    }

    #[test]
    fn on_a_machine_that_sites_share_the_ports_are_any_and_without_mail_there_is_none() {
        let (_dir, shared) = section(Some(mail()), "d=127.0.0.9:7000");
        let config = shared.expect("there is mail").config;
        assert_eq!([config.imap, config.imaps, config.lmtp], [at("127.0.0.9:0"); 3]);
        assert!(section(None, "d=10.0.0.4:7000").1.is_none());
        // Where a name is, only the machine itself knows.
        let config = section(Some(mail()), "d=four.x.org:7000").1.expect("there is mail").config;
        assert_eq!(config.imap, at("0.0.0.0:143"));
    }
}
