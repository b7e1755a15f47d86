//! Every flag, defined once: the parser, the man pages and the completions come from here.

mod bench;
mod mail;
mod mail_admin;
mod site;
mod torture;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use mail::{Mail, MailOf, MailSend, Password};
pub use mail_admin::{Alias, AppPassword, MailDomain, MailQuota, MailRights, MailingList};
pub use site::{Site, SiteAdd, SiteChange, SiteMove, SiteRemove, SiteReplace};
pub use torture::Torture;

use crate::commands::certificates::SITE_DAYS;

pub use bench::{
    Bench, BenchCast, BenchFailover, BenchKv, BenchMail, BenchMailbox, BenchMember, BenchSink, BenchStartup,
    BenchStream, BenchTransfer, Fault, MailLoad,
};

/// Process groups with agreed views and ordered multicast, for software that has to go on working when
/// machines do not.
#[derive(Debug, Parser)]
#[command(name = "unanimous", version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    #[command(flatten)]
    pub find: Find,

    /// Print JSON, for programs
    #[arg(long, global = true)]
    pub json: bool,

    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "Examples:
  unanimous up                      three sites on this machine, ready in a moment
  unanimous status                  who is up
  unanimous join chat               join a group from this terminal; lines typed are cast
  unanimous cast chat hello         cast from outside
  unanimous view chat --watch       follow the group's views
  unanimous kv put notes a hello    a durable map; `kv get notes a` reads it at any site
  unanimous mail send bob --subject lunch --body 'At noon?'
  unanimous sim --seeds 1..2000     simulate 2,000 disasters

Exit status: 0 done, 1 the cluster refused or a check failed, 2 usage, 3 no site reachable.";

/// How to find a site: `--site`, else `--dir`, else the environment, else the directory that `up` uses.
#[derive(Clone, Debug, Args)]
pub struct Find {
    /// Speak to this site: unix:PATH or tls:HOST:PORT
    #[arg(long, global = true, value_name = "ADDR")]
    pub site: Option<String>,

    /// The cluster's directory on this machine
    #[arg(long, global = true, value_name = "DIR")]
    pub dir: Option<PathBuf>,

    /// For a tls: address: the certificate, or the directory that `cert issue` wrote
    #[arg(long, global = true, value_name = "FILE", env = "UNANIMOUS_CERT")]
    pub cert: Option<PathBuf>,

    /// Its key, if it is not key.pem beside it
    #[arg(long, global = true, value_name = "FILE", env = "UNANIMOUS_KEY")]
    pub key: Option<PathBuf>,

    /// The cluster's authority, if it is not ca.pem beside it
    #[arg(long, global = true, value_name = "FILE", env = "UNANIMOUS_CA")]
    pub ca: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a cluster on this machine: each site a process of its own on loopback
    Up(Up),
    /// Write configuration and certificates for real machines
    Init(Init),
    /// Run one site
    Site(Site),
    /// Who is up, and what the cluster waits for
    Status,
    /// The groups and their members
    Groups,
    /// A group's view
    View(View),
    /// Join a group in this terminal: prints views and messages, casts the lines you type
    Join(Join),
    /// Cast a message from outside and print the replies
    Cast(Cast),
    /// A durable key-value map: what was acknowledged is on most machines' disks
    #[command(subcommand)]
    Kv(Kv),
    /// Mail: letters and users
    #[command(subcommand)]
    Mail(Mail),
    /// Split, merge and reorder groups
    #[command(subcommand)]
    Group(Group),
    /// Certificates of sites and programs, and the authority they are of
    #[command(subcommand)]
    Cert(Cert),
    /// Write all durable groups into a file, as they are at one moment
    Backup(Backup),
    /// Write what is in a backup into a running cluster
    Restore(Restore),
    /// Which feature levels the sites' programs have, and the raising of the one in force
    Upgrade(Upgrade),
    /// Force a cluster that has lost a majority for good to go on with the survivors
    Recover(Recover),
    /// Measure
    #[command(subcommand)]
    Bench(Bench),
    /// Simulate clusters under seeded disasters and check every guarantee
    Sim(Sim),
    /// Do clusters of this program harm, and judge what they acknowledged and lost
    Torture(Torture),
    /// Print shell completions
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
    /// Write the man pages into a directory
    Man {
        /// Where to
        dir: PathBuf,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  unanimous up
  unanimous up --sites 5 --dir /tmp/five --respawn

The cluster runs until you press Ctrl-C or this command is ended. A site that is killed stays down, \
and what restarts it is printed. Started again on the same directory, the cluster continues.")]
pub struct Up {
    /// How many sites
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=255))]
    pub sites: u32,
    /// Restart a site that dies
    #[arg(long)]
    pub respawn: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  unanimous init --out cluster a=10.0.0.1:7000 b=10.0.0.2:7000 c=10.0.0.3:7000

Copy cluster/a to machine a, and so on; keep cluster/ca on none of them. Then, on each machine:
  unanimous site --config a/site.toml")]
pub struct Init {
    /// The folder to write; must not exist
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// How many of the sites, the first, have an mserver and found the cluster; the others attach to them. By
    /// default all of up to seven, and seven of more
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub mservers: Option<u32>,
    /// The sites, in order of seniority: NAME=HOST:PORT
    #[arg(required = true, value_name = "NAME=HOST:PORT")]
    pub founders: Vec<String>,
}

#[derive(Clone, Debug, Subcommand)]
#[command(after_help = "Examples:
  unanimous kv put notes greeting hello
  unanimous kv get notes greeting
  unanimous kv put notes lock me --if-absent --ttl 30
  unanimous kv list notes --prefix gr
  unanimous kv watch notes

A map is made with its first put, or by `create`, and kept by every site. A get sees whatever was \
acknowledged anywhere before; with --local this site answers alone, also in a minority or behind.")]
pub enum Kv {
    /// Let there be a map
    Create {
        /// Its name
        map: String,
    },
    /// Give a key a value
    Put {
        /// The map
        map: String,
        /// The key
        #[arg(id = "of", value_name = "KEY")]
        key: String,
        /// The value; - reads it from standard input
        value: String,
        /// After so many seconds the key is gone
        #[arg(long, value_name = "SECONDS")]
        ttl: Option<u64>,
        #[command(flatten)]
        only: OnlyIf,
    },
    /// Print a key's value
    Get {
        /// The map
        map: String,
        /// The key
        #[arg(id = "of", value_name = "KEY")]
        key: String,
        /// As it is at this site
        #[arg(long)]
        local: bool,
    },
    /// Take a key away
    Del {
        /// The map
        map: String,
        /// The key
        #[arg(id = "of", value_name = "KEY")]
        key: String,
        #[command(flatten)]
        only: OnlyIf,
    },
    /// Print keys and values, in the order of keys
    List {
        /// The map
        map: String,
        /// Only keys that begin with this
        #[arg(long, default_value = "")]
        prefix: String,
        /// At most so many
        #[arg(long)]
        limit: Option<usize>,
        /// As they are at this site
        #[arg(long)]
        local: bool,
    },
    /// Print what changes, from now on
    Watch {
        /// The map
        map: String,
        /// Only keys that begin with this
        #[arg(long, default_value = "")]
        prefix: String,
        /// What has changed behind this revision, too
        #[arg(long, value_name = "REVISION")]
        since: Option<u64>,
    },
}

/// A condition of a write.
#[derive(Clone, Debug, Args)]
pub struct OnlyIf {
    /// Only if there is no such key
    #[arg(long, conflicts_with_all = ["if_present", "if_revision"])]
    pub if_absent: bool,
    /// Only if there is one
    #[arg(long, conflicts_with = "if_revision")]
    pub if_present: bool,
    /// Only if it was changed last at this revision
    #[arg(long, value_name = "REVISION")]
    pub if_revision: Option<u64>,
}

#[derive(Clone, Debug, Subcommand)]
pub enum Group {
    /// Make some members of a group a group of their own
    Split {
        /// The group
        group: String,
        /// The new group's name
        into: String,
        /// Who goes, as `view` prints them: s1.3/7#2
        #[arg(required = true, value_name = "MEMBER")]
        members: Vec<String>,
    },
    /// Let all members of a group enter another
    Merge {
        /// The group that ends
        from: String,
        /// The group that goes on
        into: String,
    },
    /// Move a member to rank 0 of its group
    Reorder {
        /// The group
        group: String,
        /// The member, as `view` prints it: s1.3/7#2
        member: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum Cert {
    /// Make a certificate with which a program on another machine opens sessions
    Issue(CertIssue),
    /// Make new certificates for sites; those that run take them into use without a stop
    Renew(CertRenew),
    /// Write a certificate into the sites' lists of those that must not be believed any longer
    Revoke(CertRevoke),
    /// Replace the cluster's authority: both are trusted in between
    #[command(subcommand)]
    Root(CertRoot),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  unanimous cert renew --all --dir cluster           in the folders that `init` and `site add` wrote
  unanimous cert renew a b --dir cluster --out new   in new/a and new/b, to be carried to machines

A running site takes the three files in its folder of certificates into use within three seconds, \
if they go together, and says so in its log. Its links are replaced one by one; none is down.")]
pub struct CertRenew {
    /// The sites
    #[arg(value_name = "NAME", required_unless_present = "all", conflicts_with = "all")]
    pub names: Vec<String>,
    /// All sites that have a folder there
    #[arg(long)]
    pub all: bool,
    /// For how long the certificates are valid
    #[arg(long, default_value_t = SITE_DAYS, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub days: u32,
    /// Write them into folders in this one, which must not exist, and leave those of the sites alone
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(
    group = clap::ArgGroup::new("which").required(true),
    after_help = "Examples:
  unanimous cert revoke d --dir cluster                     the site d's
  unanimous cert revoke --file alice/cert.pem --dir cluster"
)]
pub struct CertRevoke {
    /// The site whose certificate it is
    #[arg(group = "which")]
    pub name: Option<String>,
    /// The certificate
    #[arg(long = "file", value_name = "FILE", group = "which")]
    pub cert_file: Option<PathBuf>,
    /// Its serial number
    #[arg(long, value_name = "HEX", group = "which")]
    pub serial: Option<String>,
}

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  unanimous cert root add --dir cluster
  unanimous cert renew --all --dir cluster
  unanimous cert root retire --dir cluster --site unix:cluster/a/session.sock")]
pub enum CertRoot {
    /// Make a new authority that issues from now on; the old one is trusted beside it
    Add,
    /// Trust the old authority no longer; refused while a site is seen to show a certificate of it
    Retire {
        /// Even if sites that show such a certificate are shut out
        #[arg(long)]
        force: bool,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  unanimous cert issue --authority cluster/ca --name alice --out alice
  unanimous --site tls:10.0.0.1:7100 --cert alice status

The directory is all that the program needs; its key must not be read by others.")]
pub struct CertIssue {
    /// The directory of the cluster's authority, as `init` wrote it
    #[arg(long, value_name = "DIR")]
    pub authority: PathBuf,
    /// The directory to write; must not exist
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Whose it is: letters, digits, '.', '_' and '-'
    #[arg(long)]
    pub name: String,
    /// What the owner may do
    #[arg(long, default_value = "client")]
    pub role: CertRole,
    /// For how long it is valid
    #[arg(long, default_value_t = 397, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub days: u32,
}

/// The role in a program's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CertRole {
    /// Join groups and cast
    Client,
    /// And everything else
    Administrator,
}

#[derive(Debug, Args)]
#[command(
    group = clap::ArgGroup::new("what").required(true),
    after_help = "Examples:
  unanimous recover --config a/site.toml --survivors a,c            what would be lost
  unanimous recover --config a/site.toml --survivors a,c --force    on a, and the same on c
  unanimous recover --config b/site.toml --join 1.3f2a --force      should b come back after all
  unanimous recover --config a/site.toml --survivors a,d --groups   durable groups alone are stuck

The site must be stopped. Name the same survivors on each of their machines; all of them must \
start before the cluster, or the durable group, goes on. Whoever is not named is shut out for \
good, with what it alone knew."
)]
pub struct Recover {
    /// The stopped site's configuration
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// All sites that are left, by name or number, this one among them
    #[arg(long, value_delimiter = ',', value_name = "SITE,SITE", group = "what")]
    pub survivors: Vec<String>,
    /// Only durable groups have lost too many of their stores: leave the cluster's own line alone
    #[arg(long, requires = "survivors")]
    pub groups: bool,
    /// Give up this site's data and join the cluster that was recovered to this epoch
    #[arg(long, value_name = "EPOCH", group = "what")]
    pub join: Option<String>,
    /// Do it; without this, only say what would be done and lost
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  unanimous backup monday.backup
  unanimous backup - | age -r age1... > monday.age
  unanimous backup --verify monday.backup

Each group is in the file with whatever was acknowledged anywhere before the command began. \
Writers go on. The file appears under its name when it is whole and on disk. --verify reads a file \
from end to end, without a cluster.")]
pub struct Backup {
    /// The file to write; - is standard output
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Check a file, and say what is in it
    #[arg(long)]
    pub verify: bool,
    /// Leave mail out, which backups cannot have yet; without it a cluster that has mail refuses
    #[arg(long, conflicts_with = "verify")]
    pub without_mail: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  unanimous restore monday.backup --site unix:/run/new/session.sock

The cluster must run; its durable groups get the names that they have in the file, and those that \
are there already must be empty, or have nothing that the backup does not have. If the command is \
interrupted, say it again: what was restored is compared and left as it is.")]
pub struct Restore {
    /// The backup
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Make groups what they are in the backup even if they have something else, which is lost
    #[arg(long)]
    pub overwrite: bool,
    /// Restore into the cluster that the backup is of
    #[arg(long)]
    pub same_cluster: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  unanimous upgrade            which site runs what, and which is to be started with the new release
  unanimous upgrade --finish   when all have it: the new level is in force from now on

Stop a site, start it with the new release, wait until it is up and has caught up (`unanimous \
status`), and go to the next. What is new for the whole cluster begins with --finish, which cannot \
be taken back.")]
pub struct Upgrade {
    /// Put the highest level in force that a site has, if all have it
    #[arg(long)]
    pub finish: bool,
    /// With --finish: pass over sites that are not there; one whose program lacks the level will not serve
    #[arg(long, requires = "finish")]
    pub force: bool,
}

#[derive(Debug, Args)]
pub struct View {
    /// The group
    pub group: String,
    /// Follow its views
    #[arg(long)]
    pub watch: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  unanimous join chat --lives all")]
pub struct Join {
    /// The group
    pub group: String,
    /// The role to play in it
    #[arg(long)]
    pub role: Option<String>,
    /// Which side of a partition lives: primary, all, at-least:N or role:R (if this join creates the group)
    #[arg(long)]
    pub lives: Option<String>,
    /// Which sides merge again: same-name, never or role:R (if this join creates the group)
    #[arg(long)]
    pub merges: Option<String>,
    /// A member whose program does not take its events within so many milliseconds has failed; 0: it may take its
    /// time (if this join creates the group)
    #[arg(long, default_value_t = 0, value_name = "MS")]
    pub probe_ms: u32,
    /// The order of the lines you type
    #[arg(long, default_value = "abcast")]
    pub order: Order,
    /// Answer each message that asks for a reply with this text
    #[arg(long, value_name = "TEXT")]
    pub answer: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  unanimous cast chat hello
  unanimous cast printers 'who is idle?' --replies all --timeout-ms 2000")]
pub struct Cast {
    /// The group
    pub group: String,
    /// The message
    pub text: String,
    /// In which order
    #[arg(long, default_value = "abcast")]
    pub order: Order,
    /// Replies to wait for: none, all, majority or a number
    #[arg(long, default_value = "none")]
    pub replies: String,
    /// How long to wait for replies
    #[arg(long, default_value_t = 10_000, value_name = "MS")]
    pub timeout_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Order {
    /// Transport only
    Mbcast,
    /// In each sender's order
    Fbcast,
    /// In causal order
    Cbcast,
    /// In one total order
    Abcast,
    /// Ordered against everything, views included
    Gbcast,
}

impl Order {
    pub fn name(self) -> &'static str {
        match self {
            Order::Mbcast => "mbcast",
            Order::Fbcast => "fbcast",
            Order::Cbcast => "cbcast",
            Order::Abcast => "abcast",
            Order::Gbcast => "gbcast",
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  unanimous sim --seeds 1..2000      a table of what was reached, then `N passed, M failed`
  unanimous sim --seed 42 --trace    one seed, event by event
  unanimous sim --durable            durable groups on faulty disks
  unanimous sim --mail               the same, which serve mail")]
pub struct Sim {
    /// One seed
    #[arg(long, conflicts_with = "seeds")]
    pub seed: Option<u64>,
    /// Seeds A up to, but without, B
    #[arg(long, value_name = "A..B")]
    pub seeds: Option<String>,
    /// Leave these seeds out: those that are known to fail, by number, separated by commas
    #[arg(long, value_name = "SEEDS", value_delimiter = ',', requires = "seeds")]
    pub except: Vec<u64>,
    /// Print every event of the run
    #[arg(long)]
    pub trace: bool,
    /// Durable groups, their stores on faulty disks, instead of the ordinary workload; the seeds are others
    #[arg(long, conflicts_with = "scale")]
    pub durable: bool,
    /// The same with mail as what the group serves: letters, flags, mailboxes, what a minority holds
    #[arg(long, conflicts_with_all = ["scale", "durable"])]
    pub mail: bool,
    /// Measure one large cluster without chance faults instead: what a view change costs
    #[arg(long, conflicts_with_all = ["seeds", "trace"])]
    pub scale: bool,
    /// With --scale: how many sites
    #[arg(long, default_value_t = 255, value_parser = clap::value_parser!(u32).range(5..=512), requires = "scale")]
    pub sites: u32,
    /// With --scale: at how many sites the group has a member [default: half of them]
    #[arg(long, value_parser = clap::value_parser!(u32).range(4..=511), requires = "scale")]
    pub group: Option<u32>,
    /// With --scale: how many of the sites have an mserver; the others attach to one of them [default: as `init`]
    #[arg(long, value_parser = clap::value_parser!(u32).range(3..=512), requires = "scale")]
    pub mservers: Option<u32>,
}
