//! A site's configuration file, as `unanimous init` and `unanimous up` write it.

mod senders;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use net::disk::Held;
use serde::{Deserialize, Serialize};
use wire::version::{FEATURE_LEVEL_MAX, FEATURE_LEVEL_MIN, Hello};
use wire::{ClusterId, SiteId};

pub use senders::{NameServers, Verification};

/// The whole file (TOML). Relative paths are relative to the file's folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteConfig {
    /// The cluster's id: 16 hexadecimal digits.
    pub cluster: String,
    /// The founders' site numbers, in order of seniority; the same at every site.
    pub founders: Vec<u32>,
    /// This site.
    pub site: ThisSite,
    /// The others, as far as they are known when the file is written.
    #[serde(default, rename = "peer")]
    pub peers: Vec<PeerEntry>,
    /// Limits and time-outs.
    #[serde(default)]
    pub limits: Limits,
    /// Mail, if the site serves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mail: Option<MailConfig>,
}

/// What a site serves of mail (`docs/maildriver.md`). A listener that is left out is not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MailConfig {
    /// The domain whose mail it is; the same at every site.
    pub domain: String,
    /// Where IMAP is spoken, with STARTTLS if there is a certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imap: Option<SocketAddr>,
    /// Where IMAP is spoken inside TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imaps: Option<SocketAddr>,
    /// Where other mail servers bring letters for the domain, with STARTTLS if there is a certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smtp: Option<SocketAddr>,
    /// Where users' programs send letters after login, with STARTTLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submission: Option<SocketAddr>,
    /// The same inside TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submissions: Option<SocketAddr>,
    /// Where a mail server of this machine hands over letters: a loopback address, since whoever gets there is believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lmtp: Option<SocketAddr>,
    /// What the site calls itself in SMTP; by default its name in the domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// What becomes of letters from strangers and servers while this side of a partition has no majority.
    #[serde(default, skip_serializing_if = "Minority::is_default")]
    pub minority: Minority,
    /// The certificate that mail programs are shown, and those behind it (PEM).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// Its key (PEM).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// A trial: passwords are taken from this machine without TLS.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub trial: bool,
    /// SCRAM-SHA-256 is offered, which only application passwords can be used with.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub scram: bool,
    /// Connections of mail programs at once.
    #[serde(default = "connections")]
    pub connections: usize,
    /// And from one address.
    #[serde(default = "connections_of_one")]
    pub connections_of_one: usize,
    /// Recipients of letters that a user may send in an hour at this site; 0: any.
    #[serde(default = "recipients_per_hour")]
    pub recipients_per_hour: u32,
    /// Letters that may come from one address outside in an hour; 0: any.
    #[serde(default = "letters_per_hour_of_one")]
    pub letters_per_hour_of_one: u32,
    /// What is done about the senders of letters from outside; by default [`Verification::Record`], in a trial nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verification>,
    /// The name servers that are asked about them; by default those of this machine.
    #[serde(default, skip_serializing_if = "NameServers::is_empty")]
    pub resolver: NameServers,
}

impl MailConfig {
    /// Mail of a domain, served nowhere yet.
    pub fn of(domain: &str) -> MailConfig {
        MailConfig {
            domain: domain.to_owned(),
            imap: None,
            imaps: None,
            smtp: None,
            submission: None,
            submissions: None,
            lmtp: None,
            host: None,
            minority: Minority::Refuse,
            certificate: None,
            key: None,
            trial: false,
            scram: false,
            connections: connections(),
            connections_of_one: connections_of_one(),
            recipients_per_hour: recipients_per_hour(),
            letters_per_hour_of_one: letters_per_hour_of_one(),
            verify: None,
            resolver: NameServers::default(),
        }
    }

    fn check(&self) -> Result<(), String> {
        if self.certificate.is_some() != self.key.is_some() {
            return Err("mail.certificate and mail.key go together".to_owned());
        }
        // Without TLS nobody can log in, except in a trial.
        let wants = [
            ("mail.imaps", self.imaps.is_some()),
            ("mail.submissions", self.submissions.is_some()),
            ("mail.submission", self.submission.is_some() && !self.trial),
        ];
        if let Some((what, _)) = wants.iter().find(|(_, wants)| *wants && self.certificate.is_none()) {
            return Err(format!("{what} needs mail.certificate and mail.key"));
        }
        if let Some(lmtp) = self.lmtp
            && !lmtp.ip().is_loopback()
        {
            return Err(format!(
                "mail.lmtp = {lmtp} must be a loopback address: whoever gets there is believed"
            ));
        }
        Ok(())
    }
}

/// What becomes of letters from strangers and servers at a site without a majority. Those of users are held in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Minority {
    /// Their servers are told to try again, there or at another site.
    #[default]
    Refuse,
    /// They are held like those of users.
    Spool,
}

impl Minority {
    fn is_default(&self) -> bool {
        *self == Minority::default()
    }
}

fn connections() -> usize {
    4_096
}

fn connections_of_one() -> usize {
    256
}

fn recipients_per_hour() -> u32 {
    2_000
}

fn letters_per_hour_of_one() -> u32 {
    20_000
}

/// This site's own part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThisSite {
    /// Its number, from 1; 0, or nothing: it gets one from its peers when it first starts.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Where it keeps its state.
    pub data: PathBuf,
    /// Certificate, key and trust roots.
    pub certificates: PathBuf,
    /// The address on which it listens for other sites.
    pub link: SocketAddr,
    /// Where other sites reach it, `HOST:PORT`, if their configurations do not say; by default `link`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// The Unix socket for sessions.
    pub session: PathBuf,
    /// The address for remote sessions over mutual TLS, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_session: Option<SocketAddr>,
    /// The loopback address for metrics, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<SocketAddr>,
    /// Whether it takes part in agreement; a site that does not attaches to one that does.
    #[serde(default = "yes")]
    pub mserver: bool,
    /// For tests of a cluster that is being upgraded: the site behaves as one of a release that has no higher feature level.
    /// It only lowers, so it can't put anything in force that the program does not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feature_level_max: Option<u32>,
    /// Unix users, besides the site's own, and what they may do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<UserEntry>,
}

/// A Unix user that may open sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserEntry {
    /// The numeric user id.
    pub uid: u32,
    /// What the user may do.
    pub may: wire::session::Principal,
}

/// Another site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerEntry {
    /// Its number.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Where it listens: `HOST:PORT`, several if it has several.
    pub addresses: Vec<String>,
    /// Whether it has an mserver, which others may attach to.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub mserver: bool,
}

/// Limits and time-outs; what is left out has its default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of one sender's messages that may be unstable before it must wait.
    pub window_bytes: usize,
    /// Seconds for which a member may hold others back before it is asked to leave.
    pub slow_member_s: u64,
    /// The longest that detection of a silent site should take, in milliseconds.
    pub detection_ms: u64,
    /// Sessions at once.
    pub sessions: usize,
    /// Bytes of a durable group's entries between two checkpoints of it, at least.
    pub checkpoint_bytes: u64,
    /// Entries before its last checkpoint that stay in its log, for sites that were away for a while.
    pub retain_entries: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        let durable = durable::Settings::default();
        Limits {
            window_bytes: 8 << 20,
            slow_member_s: 30,
            detection_ms: 1_000,
            sessions: 1_024,
            checkpoint_bytes: durable.checkpoint_bytes,
            retain_entries: durable.retain_entries,
        }
    }
}

/// Why a configuration can't be used. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("can't read {path}: {cause}; `unanimous init` writes one")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why not.
        cause: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("{path}: {cause}")]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        cause: Box<toml::de::Error>,
    },
    /// The file contradicts itself.
    #[error("{path}: {problem}")]
    Contradiction {
        /// Which file.
        path: PathBuf,
        /// What is wrong and what to do.
        problem: String,
    },
}

impl SiteConfig {
    /// Reads and checks a file; relative paths become absolute.
    pub fn read(path: &Path) -> Result<SiteConfig, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|cause| ConfigError::Unreadable { path: path.to_owned(), cause })?;
        let mut config: SiteConfig = toml::from_str(&text)
            .map_err(|cause| ConfigError::Malformed { path: path.to_owned(), cause: Box::new(cause) })?;
        if let Err(problem) = config.check() {
            return Err(ConfigError::Contradiction { path: path.to_owned(), problem });
        }
        let folder = std::path::absolute(path)
            .map_err(|cause| ConfigError::Unreadable { path: path.to_owned(), cause })?;
        let folder = folder.parent().unwrap_or(Path::new("/"));
        for relative in [&mut config.site.data, &mut config.site.certificates, &mut config.site.session] {
            *relative = folder.join(&*relative);
        }
        if let Some(mail) = &mut config.mail {
            for relative in [&mut mail.certificate, &mut mail.key].into_iter().flatten() {
                *relative = folder.join(&*relative);
            }
        }
        Ok(config)
    }

    /// Puts in what the stopped site has on disk: its number, if it acquired one (else it stays 0), and the sites that
    /// it has learned of.
    ///
    /// # Errors
    ///
    /// The data can't be read, or the site runs. Nothing was put in.
    pub fn complete(&mut self) -> Result<(), net::DiskError> {
        // Nobody writes there meanwhile.
        let _held = Held::open(&self.site.data)?;
        let id = match self.site.id {
            0 => crate::acquire::number_on_disk(&self.site.data)?.map_or(0, |site| site.0),
            id => id,
        };
        let learned = crate::directory::learned_on_disk(self, SiteId(id))?;
        self.site.id = id;
        self.peers.extend(learned);
        Ok(())
    }

    /// The file's text.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a configuration is plain data")
    }

    /// The cluster's id.
    ///
    /// # Panics
    ///
    /// If the configuration did not come from [`SiteConfig::read`] and is wrong.
    pub fn cluster_id(&self) -> ClusterId {
        ClusterId(u64::from_str_radix(&self.cluster, 16).expect("checked when it was read"))
    }

    /// The founders, in order of seniority.
    pub fn founder_ids(&self) -> Vec<SiteId> {
        self.founders.iter().map(|&id| SiteId(id)).collect()
    }

    fn check(&self) -> Result<(), String> {
        if self.cluster.len() != 16 || u64::from_str_radix(&self.cluster, 16).is_err() {
            return Err(format!("cluster = {:?} must be 16 hexadecimal digits", self.cluster));
        }
        if self.founders.is_empty() {
            return Err("founders must list at least one site, the same at every site".to_owned());
        }
        let own = (self.site.id != 0).then_some(self.site.id);
        let mut ids: Vec<u32> = self.peers.iter().map(|peer| peer.id).chain(own).collect();
        if ids.contains(&0) || self.founders.contains(&0) {
            return Err("site numbers begin with 1; only the site itself may be without one yet".to_owned());
        }
        if self.site.id == 0 && self.site.addresses.is_empty() && self.site.link.ip().is_unspecified() {
            return Err("site.addresses must say where others reach a site that has no site.id".to_owned());
        }
        if self.site.addresses.len() > Hello::ADDRESSES_MAX
            || self.site.addresses.iter().any(|address| address.len() > Hello::ADDRESS_BYTES_MAX)
        {
            return Err(format!(
                "site.addresses has at most {} of at most {} bytes",
                Hello::ADDRESSES_MAX,
                Hello::ADDRESS_BYTES_MAX
            ));
        }
        ids.sort_unstable();
        if let Some(twice) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("site number {} is used twice", twice[0]));
        }
        if let Some(unknown) = self.founders.iter().find(|founder| !ids.contains(founder)) {
            return Err(format!("founder {unknown} is neither this site nor a [[peer]]"));
        }
        let lacks = |peer: &&PeerEntry| !peer.mserver && self.founders.contains(&peer.id);
        let without = self.peers.iter().find(lacks).map(|peer| peer.id);
        let without =
            without.or((!self.site.mserver && self.founders.contains(&self.site.id)).then_some(self.site.id));
        if let Some(founder) = without {
            return Err(format!("founder {founder} must have an mserver"));
        }
        let levels = FEATURE_LEVEL_MIN..=FEATURE_LEVEL_MAX;
        if self.site.feature_level_max.is_some_and(|level| !levels.contains(&level)) {
            return Err(format!("site.feature_level_max is for tests, and one of {levels:?}"));
        }
        if self.site.name.is_empty() || self.site.name.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(format!("site.name = {:?} must be a word", self.site.name));
        }
        if let Some(mail) = &self.mail {
            mail.check()?;
        }
        if let Some(metrics) = self.site.metrics
            && !metrics.ip().is_loopback()
        {
            return Err(format!("metrics = {metrics} must be a loopback address"));
        }
        Ok(())
    }
}

fn yes() -> bool {
    true
}

fn is_yes(yes: &bool) -> bool {
    *yes
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> SiteConfig {
        SiteConfig {
            cluster: "00000000deadbeef".to_owned(),
            founders: vec![1, 2],
            site: ThisSite {
                id: 1,
                name: "site-1".to_owned(),
                data: "data".into(),
                certificates: "certificates".into(),
                link: "127.0.0.1:7000".parse().expect("an address"),
                addresses: Vec::new(),
                session: "session.sock".into(),
                remote_session: None,
                metrics: None,
                mserver: true,
                feature_level_max: None,
                users: Vec::new(),
            },
            peers: vec![PeerEntry {
                mserver: true,
                id: 2,
                name: "site-2".to_owned(),
                addresses: vec!["127.0.0.1:7001".into()],
            }],
            limits: Limits::default(),
            mail: None,
        }
    }

    #[test]
    fn a_written_file_reads_back_with_absolute_paths() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("site.toml");
        std::fs::write(&path, sample().to_toml()).expect("written");
        let read = SiteConfig::read(&path).expect("reads back");
        assert_eq!(read.site.data, folder.path().join("data"));
        assert_eq!(read.peers, sample().peers);
        assert_eq!(read.cluster_id(), ClusterId(0xdead_beef));
    }

    #[test]
    fn contradictions_of_mail_are_named_and_the_rest_reads_back() {
        let problem = |change: fn(&mut MailConfig)| {
            let mut mail = MailConfig::of("x.org");
            change(&mut mail);
            SiteConfig { mail: Some(mail), ..sample() }.check().err().unwrap_or_default()
        };
        let at = |text: &str| Some(text.parse::<SocketAddr>().expect("an address"));
        assert!(problem(|m| m.key = Some("key.pem".into())).contains("go together"));
        assert!(problem(|m| m.imaps = "[::]:993".parse().ok()).contains("mail.imaps needs"));
        assert!(problem(|m| m.submissions = "[::]:465".parse().ok()).contains("mail.submissions needs"));
        assert!(problem(|m| m.submission = "[::]:587".parse().ok()).contains("mail.submission needs"));
        assert!(problem(|m| m.lmtp = "10.0.0.1:24".parse().ok()).contains("loopback"));
        let mail = MailConfig {
            smtp: at("0.0.0.0:25"),
            lmtp: at("127.0.0.1:24"),
            minority: Minority::Spool,
            ..MailConfig::of("x.org")
        };
        let config = SiteConfig { mail: Some(mail.clone()), ..sample() };
        assert_eq!(config.check(), Ok(()));
        let read: SiteConfig = toml::from_str(&config.to_toml()).expect("it reads back");
        assert_eq!(read.mail, Some(mail));
    }

    #[test]
    fn contradictions_are_named() {
        let problem = |change: fn(&mut SiteConfig)| {
            let mut config = sample();
            change(&mut config);
            config.check().expect_err("a contradiction")
        };
        assert!(problem(|c| c.cluster = "x".into()).contains("hexadecimal"));
        assert!(problem(|c| c.founders.clear()).contains("founders"));
        assert!(problem(|c| c.founders.push(9)).contains("founder 9"));
        assert!(problem(|c| c.peers[0].mserver = false).contains("founder 2 must have an mserver"));
        assert!(problem(|c| c.site.mserver = false).contains("founder 1 must have an mserver"));
        assert!(problem(|c| c.peers[0].id = 1).contains("twice"));
        assert!(problem(|c| c.peers[0].id = 0).contains("begin with 1"));
        assert!(problem(|c| c.site.id = 0).contains("founder 1"));
        assert!(
            problem(|c| {
                c.site.id = 0;
                c.site.link = "0.0.0.0:7000".parse().expect("an address");
            })
            .contains("where others reach")
        );
        assert!(problem(|c| c.site.addresses = vec![String::new(); 5]).contains("at most 4"));
        assert!(problem(|c| c.site.name = "a b".into()).contains("word"));
        let lonely = |c: &mut SiteConfig| {
            c.mail = toml::from_str("domain = 'a.test'\ncertificate = 'cert.pem'").ok();
        };
        assert!(problem(lonely).contains("go together"));
        assert!(problem(|c| c.site.metrics = "10.0.0.1:1".parse().ok()).contains("loopback"));
    }

    #[test]
    fn a_file_with_an_unknown_key_is_refused() {
        let text = format!("typo = 1\n{}", sample().to_toml());
        assert!(toml::from_str::<SiteConfig>(&text).is_err());
    }
}
