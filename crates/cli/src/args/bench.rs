//! `bench …`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::Order;
use crate::commands::bench::mail::Server;

#[derive(Debug, Subcommand)]
pub enum Bench {
    /// Totally ordered messages per second, and latency to own delivery, over real site processes
    Cast(BenchCast),
    /// From the death of a site to the survivors' view
    Failover(BenchFailover),
    /// Writes per second to a durable map, each forced to the disks of a majority
    Kv(BenchKv),
    /// Letters and IMAP operations per second, over three sites or against any mail server
    Mail(BenchMail),
    /// Very many letters: opening a large mailbox, and the start after a crash of all sites
    Mailbox(BenchMailbox),
    /// From the start of a site to its first answer, after a crash, with much in its store
    Startup(BenchStartup),
    /// A bare TCP and TLS stream over loopback: what the machine allows
    Stream(BenchStream),
    /// A site that has nothing gets a large state, while others write
    Transfer(BenchTransfer),
    /// A member of the benched group
    #[command(hide = true)]
    Member(BenchMember),
    /// A receiver of the bare stream
    #[command(hide = true)]
    Sink(BenchSink),
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  unanimous bench cast --size 1024 --senders 3 --window 64 --seconds 5 --json")]
pub struct BenchCast {
    /// Bytes of a message
    #[arg(long, default_value_t = 1024)]
    pub size: usize,
    /// How many of the sites send
    #[arg(long, default_value_t = 1)]
    pub senders: usize,
    /// Own messages of a sender that may be undelivered
    #[arg(long, default_value_t = 64)]
    pub window: usize,
    /// How long to measure, after one second of warm-up
    #[arg(long, default_value_t = 5)]
    pub seconds: u64,
    /// In which order
    #[arg(long, default_value = "abcast")]
    pub order: Order,
    /// Deliver only what every member has
    #[arg(long)]
    pub safe: bool,
    /// The first sender is not at the sequencer
    #[arg(long)]
    pub away: bool,
    /// Through the session socket instead of in the site's process
    #[arg(long)]
    pub session: bool,
    /// Casts, one at a time, whose latency is measured afterwards; 0: none
    #[arg(long, default_value_t = 2000, value_name = "N")]
    pub latency_casts: usize,
    /// Measure the bare stream too, as the limit
    #[arg(long)]
    pub stream: bool,
    /// Run each site in one of these network namespaces, which exist
    #[arg(long, value_delimiter = ',', requires = "addresses", value_name = "NAME,NAME,NAME")]
    pub netns: Vec<String>,
    /// The sites' addresses in these
    #[arg(long, value_delimiter = ',', requires = "netns", value_name = "IP,IP,IP")]
    pub addresses: Vec<std::net::IpAddr>,
    /// Worker threads of each process; 0: its only thread does all
    #[arg(long, default_value_t = crate::commands::site::workers(), value_name = "N")]
    pub workers: usize,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  unanimous bench failover --trials 50 --json

A host is cut off by taking down its network link: as root, with `ip`, in network namespaces that this command makes \
and removes. Otherwise its processes are stopped (SIGSTOP), which looks the same from outside.")]
pub struct BenchFailover {
    /// How often, each way
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub trials: u32,
    /// Only this way
    #[arg(long)]
    pub only: Option<Fault>,
}

/// What befalls a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// kill -9
    Kill,
    /// Its host is cut off, silently
    Cut,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  unanimous bench kv --size 1024 --outstanding 64 --seconds 5 --json

A write is answered when its entry is on the disks of two of the three sites. What one disk allows is measured in the same \
folder, before and after.")]
pub struct BenchKv {
    /// Bytes of a value
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(0..=1 << 20))]
    pub size: u32,
    /// Writes that are under way at once
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub outstanding: u32,
    /// Sessions that they are shared among
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub sessions: u32,
    /// How long to measure, after one second of warm-up
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: u64,
    /// Different keys that are written
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u64).range(1..))]
    pub keys: u64,
    /// The sessions are not with the site that orders
    #[arg(long)]
    pub away: bool,
    /// On which disk: a folder is made in it, and removed [default: the folder of temporary files]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// What the sites run [default: this program]
    #[arg(long, value_name = "FILE")]
    pub program: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  unanimous bench mail
  unanimous bench mail --only lmtp --connections 20 --rounds 5 --json
  unanimous bench mail --only lmtp --wide
  unanimous bench mail --against lmtp=127.0.0.1:2424,imap=127.0.0.1:11143

A letter is acknowledged when it is on the disks of two of the three sites. Every connection waits for the answer to one \
command before it says the next, and ends after --per-connection letters. A server that is named with --against must have, \
or take, the users user-0000 and so on, who get letters, and reader-00 to reader-19, who log in with --password.")]
pub struct BenchMail {
    /// What is measured [default: all that the server serves]
    #[arg(long, value_delimiter = ',', value_name = "WHAT")]
    pub only: Vec<MailLoad>,
    /// Users that get letters in turn
    #[arg(long, default_value_t = 100, value_parser = at_least_one)]
    pub users: usize,
    /// Bytes of a letter
    #[arg(long, default_value_t = 4096, value_parser = at_least_one)]
    pub size: usize,
    /// Connections that letters come from, one load for each number
    #[arg(long, default_value = "20,200", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub connections: Vec<u32>,
    /// Letters of a connection before it is ended and another made
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub per_connection: u32,
    /// How long a round is; each load begins with one second that does not count
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: u64,
    /// Rounds of each load: the median is told, with the slowest and the fastest
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// The connections are not with the site that orders
    #[arg(long)]
    pub away: bool,
    /// Load these servers instead of sites of ours: lmtp=IP:PORT, smtp=, submission= and imap= likewise
    #[arg(long, value_delimiter = ',', value_name = "WHAT=IP:PORT")]
    pub against: Vec<Server>,
    /// The domain of the users
    #[arg(long, default_value = "bench.test")]
    pub domain: String,
    /// The password of those who log in
    #[arg(long, default_value = "a-password")]
    pub password: String,
    /// Send one letter to very many, too, and see what the sites write to their disks
    #[arg(long)]
    pub wide: bool,
    /// How many these are
    #[arg(long, default_value_t = 5000, value_parser = at_least_one)]
    pub recipients: usize,
    /// Bytes of that letter
    #[arg(long, default_value_t = 1 << 20, value_parser = at_least_one)]
    pub wide_size: usize,
    /// On which disk: a folder is made in it, and removed [default: the folder of temporary files]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// What the sites run [default: this program]
    #[arg(long, value_name = "FILE")]
    pub program: Option<PathBuf>,
}

/// A load of `bench mail`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MailLoad {
    /// Letters from a mail server of this machine
    Lmtp,
    /// Letters from anybody's mail server
    Smtp,
    /// Letters of users' programs, which log in
    Submission,
    /// LOGIN, SELECT, FETCH, STORE, APPEND, and APPEND with EXPUNGE
    Imap,
}

impl MailLoad {
    /// In the order in which they are measured.
    pub const ALL: [MailLoad; 4] = [MailLoad::Lmtp, MailLoad::Smtp, MailLoad::Submission, MailLoad::Imap];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            MailLoad::Lmtp => "LMTP",
            MailLoad::Smtp => "SMTP",
            MailLoad::Submission => "submission",
            MailLoad::Imap => "IMAP",
        }
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it is at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  unanimous bench mailbox
  unanimous bench mailbox --letters 1000000 --size 1024 --json

Three sites get letters over LMTP, --mailbox of them in the INBOX of one user, the others in those of --users. A letter is on \
each site's disk once, or twice until its log is shortened: a million of 1 KiB take about 7 GB in all.")]
pub struct BenchMailbox {
    /// Letters in all
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub letters: u64,
    /// Letters in the large mailbox
    #[arg(long, default_value_t = 50_000)]
    pub mailbox: u64,
    /// Users who get the others
    #[arg(long, default_value_t = 1_000)]
    pub users: usize,
    /// Bytes of a letter
    #[arg(long, default_value_t = 1024)]
    pub size: usize,
    /// Connections that letters come from
    #[arg(long, default_value_t = 64)]
    pub connections: usize,
    /// How often the mailbox is opened at each site
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub trials: u32,
    /// On which disk: a folder is made in it, and removed [default: the folder of temporary files]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// What the sites run [default: this program]
    #[arg(long, value_name = "FILE")]
    pub program: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  unanimous bench startup --gib 10 --state-gib 5 --trials 3 --json

A site alone is given a durable map, killed as by a power cut, and started again. Nothing of its files is in the machine's \
memory then, if this is run as root. It reads and writes some times as much as --gib.")]
pub struct BenchStartup {
    /// Checkpoint and log of the map together, at least
    #[arg(long, default_value_t = 1.0)]
    pub gib: f64,
    /// Keys and values of the map
    #[arg(long, default_value_t = 0.5)]
    pub state_gib: f64,
    /// Bytes of a value
    #[arg(long, default_value_t = 32_768, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub size: u32,
    /// How often it is killed and started
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub trials: u32,
    /// A folder for the site that is filled if it is not there, and stays [default: one that is removed]
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
    /// On which disk: a folder is made in it, and removed [default: the folder of temporary files]
    #[arg(long, value_name = "DIR", conflicts_with = "keep")]
    pub dir: Option<PathBuf>,
    /// What the site runs [default: this program]
    #[arg(long, value_name = "FILE")]
    pub program: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  unanimous bench transfer --gib 4 --json
  unanimous bench transfer --gib 1 --kill-donor --json

Three sites have a durable map; one more comes that has nothing, while clients write. Each of the four has the map in memory, and on the disk about three times.")]
pub struct BenchTransfer {
    /// Keys and values of the map
    #[arg(long, default_value_t = 0.5)]
    pub gib: f64,
    /// Bytes of a value
    #[arg(long, default_value_t = 32_768, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub size: u32,
    /// Writes of 1 KiB that are under way at once, meanwhile
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub outstanding: u32,
    /// The site that it comes from is killed when half of it has come
    #[arg(long)]
    pub kill_donor: bool,
    /// On which disk: a folder is made in it, and removed [default: the folder of temporary files]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// What the sites run [default: this program]
    #[arg(long, value_name = "FILE")]
    pub program: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct BenchStream {
    /// Bytes written at once
    #[arg(long, default_value_t = 65_536, value_parser = clap::value_parser!(u32).range(1..))]
    pub size: u32,
    /// How many processes receive, each over a connection of its own
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub receivers: u32,
    /// How long
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: u64,
}

#[derive(Debug, Args)]
pub struct BenchMember {
    /// The site's configuration
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Through the site's session socket
    #[arg(long)]
    pub session: bool,
    /// Worker threads
    #[arg(long, default_value_t = crate::commands::site::workers())]
    pub workers: usize,
}

#[derive(Debug, Args)]
pub struct BenchSink {
    /// The receiving site's configuration
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}
