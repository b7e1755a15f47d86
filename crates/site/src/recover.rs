//! Recovery by force, after a majority of a view is lost for good: what a stopped site's store knows, what would be
//! given up, and the new cluster epoch.
//!
//! The survivors found a new line together: each of them is told the same list, the first view takes **all** of them
//! (C0), and a site whose data are of another epoch is refused at its first word. So nothing that is done here can
//! make two lines out of one, unless an operator names a site lost that still runs and has a majority with others;
//! that one then is a cluster of its own, which the new one refuses to talk to.

use std::path::PathBuf;

use membership::kernel::Record;
use membership::kernel::quorum::is_quorum;
use membership::tables::GroupTables;
use net::DiskError;
use net::disk::{Held, Recovered};
use wire::{Bugs, ClusterEpoch, SiteId, ViewId};

use crate::config::SiteConfig;

/// What the operator asks of one stopped site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// These sites, this one among them, are all that is left: they begin a new epoch.
    Survivors(Vec<SiteId>),
    /// The cluster was recovered elsewhere, to this epoch: give up what is here and join it.
    Join(ClusterEpoch),
}

/// A view of the line, as one store remembers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastView {
    /// Its id.
    pub id: ViewId,
    /// Its place on the line.
    pub position: u64,
    /// Its members by rank.
    pub members: Vec<SiteId>,
    /// The groups that had members then.
    pub groups: Vec<String>,
    /// A change that was accepted here; whether it was decided only the others know.
    pub undecided: Option<ViewId>,
}

/// Why there is no recovery. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The data directory.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The record can't be read.
    #[error("{path}: the record is of no use: {why}")]
    Record {
        /// The data directory.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// This site is not among the survivors.
    #[error(
        "this site must be one of the survivors; a lost one joins the recovered cluster with --join EPOCH"
    )]
    NotASurvivor,
    /// Nobody is lost.
    #[error(
        "the survivors are enough for the last view to go on: start them all, and the cluster continues by itself"
    )]
    NotNeeded,
    /// It never was in a view.
    #[error(
        "this site never was in a view of the cluster and has nothing to recover; start it, and it joins"
    )]
    NoPast,
    /// The epochs do not fit.
    #[error("this site is in cluster epoch {0}, which is not older than the one it should join")]
    NotOlder(ClusterEpoch),
    /// Too many recoveries.
    #[error("the cluster was recovered 65,535 times; found a new one")]
    TooOften,
}

/// A recovery that can be carried out. The data directory is held until then.
pub struct Plan {
    held: Held,
    next: Recovered,
    /// The epoch now.
    pub epoch: ClusterEpoch,
    /// The last view that this store knows; none if it never saw one in this epoch.
    pub last: Option<LastView>,
    /// Members of the last view that are given up.
    pub lost: Vec<SiteId>,
    /// It was carried out before, and the site has not started since.
    pub done: bool,
}

impl Plan {
    /// Looks at a stopped site's data. Nothing changes.
    pub fn make(config: &SiteConfig, recovery: Recovery) -> Result<Plan, RecoverError> {
        let held = Held::open(&config.site.data)?;
        let epoch = held.recovered.as_ref().map_or(ClusterEpoch(0), |recovered| recovered.epoch);
        let record = match &held.record {
            Some(bytes) => Some(minicbor::decode::<Record<GroupTables>>(bytes).map_err(|error| {
                RecoverError::Record { path: config.site.data.clone(), why: error.to_string() }
            })?),
            None => None,
        };
        let last = record.as_ref().map(last_view);
        let founders = held
            .recovered
            .as_ref()
            .map_or_else(|| config.founder_ids(), |recovered| recovered.founders.clone());
        let (next, done) = match recovery {
            Recovery::Join(epoch) => joining(&held, epoch)?,
            Recovery::Survivors(survivors) => {
                let survivors = in_order(config, survivors);
                if !survivors.contains(&SiteId(config.site.id)) {
                    return Err(RecoverError::NotASurvivor);
                }
                surviving(&held, epoch, record.as_ref(), &founders, survivors)?
            }
        };
        let members = last.as_ref().map_or(founders, |last| last.members.clone());
        let lost = match next.founders.is_empty() {
            true => Vec::new(),
            false => members.into_iter().filter(|site| !next.founders.contains(site)).collect(),
        };
        Ok(Plan { held, next, epoch, last, lost, done })
    }

    /// The epoch that begins, and who begins it.
    pub fn next(&self) -> &Recovered {
        &self.next
    }

    /// Does it. Durable when it returns.
    pub fn carry_out(self) -> Result<Recovered, RecoverError> {
        if !self.done {
            self.held.recover(&self.next)?;
        }
        Ok(self.next)
    }
}

fn surviving(
    held: &Held,
    epoch: ClusterEpoch,
    record: Option<&Record<GroupTables>>,
    founders: &[SiteId],
    survivors: Vec<SiteId>,
) -> Result<(Recovered, bool), RecoverError> {
    if let Some(done) = held.recovered.as_ref().filter(|done| record.is_none() && done.founders == survivors)
    {
        return Ok((done.clone(), true));
    }
    let enough = match record {
        Some(record) => is_quorum(&record.line.step, Bugs::NONE, |peer| survivors.contains(&peer.site)),
        None if founders.is_empty() => return Err(RecoverError::NoPast),
        None => founders.iter().all(|founder| survivors.contains(founder)),
    };
    if enough {
        return Err(RecoverError::NotNeeded);
    }
    let epoch = epoch.next(&survivors).ok_or(RecoverError::TooOften)?;
    Ok((Recovered { epoch, founders: survivors }, false))
}

fn joining(held: &Held, epoch: ClusterEpoch) -> Result<(Recovered, bool), RecoverError> {
    let next = Recovered { epoch, founders: Vec::new() };
    match &held.recovered {
        Some(done) if *done == next => Ok((next, true)),
        // Two recoveries of one generation made two clusters: the sites of one may join the other.
        Some(now) if now.epoch.generation() > epoch.generation() || now.epoch == epoch => {
            Err(RecoverError::NotOlder(now.epoch))
        }
        None if epoch.generation() == 0 => Err(RecoverError::NotOlder(ClusterEpoch(0))),
        Some(_) | None => Ok((next, false)),
    }
}

fn last_view(record: &Record<GroupTables>) -> LastView {
    let step = &record.line.step;
    LastView {
        id: step.id,
        position: step.position,
        members: step.members.iter().map(|member| member.peer.site).collect(),
        groups: record.line.tables.group_views().map(|view| view.name.to_string()).collect(),
        undecided: record.accepted.as_ref().map(|(attempt, _)| *attempt),
    }
}

/// The same order on every machine: the founders' seniority, then numbers.
fn in_order(config: &SiteConfig, mut survivors: Vec<SiteId>) -> Vec<SiteId> {
    let founders = config.founder_ids();
    let place = |site: &SiteId| founders.iter().position(|f| f == site).unwrap_or(founders.len());
    survivors.sort_by_key(|site| (place(site), *site));
    survivors.dedup();
    survivors
}
