//! `site`: running one, and adding, replacing and removing machines.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Site {
    #[command(subcommand)]
    pub change: Option<SiteChange>,
    /// Its configuration, as `unanimous init` or `unanimous site add` wrote it
    #[arg(long, value_name = "FILE", required = true)]
    pub config: Option<PathBuf>,
    /// Stop when standard input ends (set by `up`, whose death must stop its sites)
    #[arg(long, hide = true)]
    pub with_stdin: bool,
}

#[derive(Debug, Subcommand)]
pub enum SiteChange {
    /// Write configuration and certificate for a new site of a cluster that may be running; or let the store of one
    /// that runs count
    Add(SiteAdd),
    /// Let a machine whose disk was emptied, or another one, take the place of a store in every durable group
    Replace(SiteReplace),
    /// Let the durable groups be carried by the others, so that a site can be stopped for good
    Remove(SiteRemove),
    /// Write a site's new address into the configurations: a host leaves its hardware and stays who it is
    Move(SiteMove),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  unanimous site add d=10.0.0.4:7000 --dir cluster
  unanimous site --config d/site.toml   on its machine, where cluster/d was copied to
  unanimous site add d --stores         when it runs: its store counts in every durable group

--dir names the folder that `init` wrote, with the cluster's authority in it. The site gets its number from its peers \
when it first starts, which takes more than half of the founders, and keeps it for good. It has all that durable groups \
have, but what is acknowledged does not wait for it until its store counts: `--stores` asks a site that runs for that.")]
pub struct SiteAdd {
    /// The site: NAME=HOST:PORT, where the others reach it; with --stores its name alone
    #[arg(id = "new", value_name = "NAME=HOST:PORT")]
    pub site: String,
    /// Give it an mserver, so that it takes part in deciding who is in; without, it attaches to a site that has one
    #[arg(long, conflicts_with = "stores")]
    pub mserver: bool,
    /// The site runs: let its store count in every durable group
    #[arg(long)]
    pub stores: bool,
    #[command(flatten)]
    pub patience: Patience,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  unanimous site replace c            c was wiped and started again: its new store for the old
  unanimous site replace c --with d   d's store in place of c's

In each durable group the new store catches up first; then old and new change places, one step after the other, while \
programs go on. It may be asked again at any time, of any site: what is done is not done twice.")]
pub struct SiteReplace {
    /// The site whose store is replaced
    #[arg(value_name = "NAME")]
    pub name: String,
    /// By the store of this site
    #[arg(long, value_name = "NAME")]
    pub with: Option<String>,
    #[command(flatten)]
    pub patience: Patience,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  unanimous site remove e
  systemctl stop unanimous              on e's machine
  unanimous cert revoke e --dir cluster

Refused if too few of the other stores are up to go on without it. It may be asked again at any time, of any site.")]
pub struct SiteRemove {
    /// The site
    #[arg(value_name = "NAME")]
    pub name: String,
    #[command(flatten)]
    pub patience: Patience,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  unanimous site move c 10.0.0.9:7000 --dir cluster

--dir names the folder that `init` wrote; nothing but the configurations in it changes. It says what to do then: stop the \
site, carry its folder and its data directory over, start it there. Without the data directory it comes back as after a \
wiped disk, for `unanimous site replace`.")]
pub struct SiteMove {
    /// The site
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Where the others reach it from now on
    #[arg(value_name = "HOST:PORT")]
    pub address: String,
}

#[derive(Clone, Copy, Debug, Args)]
pub struct Patience {
    /// Give up when nothing has moved for so long; what was done stays
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub patience: u64,
}
