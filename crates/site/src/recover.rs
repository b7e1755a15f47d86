//! Recovery by force, after a majority of a view is lost for good: what a stopped site's store knows, what would be
//! given up, and the new cluster epoch.
//!
//! The survivors found a new line together: each of them is told the same list, the first view takes **all** of them
//! (C0), and a site whose data are of another epoch is refused at its first word. So nothing that is done here can
//! make two lines out of one, unless an operator names a site lost that still runs and has a majority with others;
//! that one then is a cluster of its own, which the new one refuses to talk to.

mod groups;

use std::path::PathBuf;

use membership::kernel::Record;
use membership::kernel::quorum::is_quorum;
use membership::tables::GroupTables;
use net::DiskError;
use net::disk::{Held, Recovered};
use wire::{Bugs, ClusterEpoch, SiteId, ViewId};

use crate::config::SiteConfig;
pub use groups::LostGroup;
use groups::Stores;

/// What the operator asks of one stopped site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// These sites, this one among them, are all that is left: they begin a new epoch.
    Survivors(Vec<SiteId>),
    /// The cluster goes on by itself, but durable groups have lost too many of their stores: these sites are all that is left,
    /// this one among them.
    Groups(Vec<SiteId>),
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
    /// The store of a durable group.
    #[error("the store in {path}: {why}")]
    Store {
        /// Where it is.
        path: PathBuf,
        /// Why it is of no use.
        why: String,
    },
    /// Nobody is lost.
    #[error(
        "the survivors are enough for the last view and for every durable group that this site knows of: start them all, and \
         the cluster continues by itself"
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
    next: Option<Recovered>,
    /// The new epoch has been begun before.
    begun: bool,
    survivors: Vec<SiteId>,
    stores: Option<Stores>,
    /// The epoch now.
    pub epoch: ClusterEpoch,
    /// The last view that this store knows; none if it never saw one in this epoch.
    pub last: Option<LastView>,
    /// Sites that are given up: members of the last view, and those whose stores counted in durable groups.
    pub lost: Vec<SiteId>,
    /// Durable groups that lose too many of their stores to go on without being forced.
    pub groups: Vec<LostGroup>,
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
        let stores = held.store.map(|store| Stores {
            root: config.site.data.join("durable"),
            site: SiteId(config.site.id),
            store,
        });
        let (next, begun, survivors) = match recovery {
            Recovery::Join(epoch) => {
                let (next, begun) = joining(&held, epoch)?;
                (Some(next), begun, Vec::new())
            }
            Recovery::Survivors(survivors) | Recovery::Groups(survivors)
                if !survivors.contains(&SiteId(config.site.id)) =>
            {
                return Err(RecoverError::NotASurvivor);
            }
            Recovery::Groups(survivors) => (None, true, in_order(config, survivors)),
            Recovery::Survivors(survivors) => {
                let survivors = in_order(config, survivors);
                match surviving(&held, epoch, record.as_ref(), &founders, survivors.clone()) {
                    Ok((next, begun)) => (Some(next), begun, survivors),
                    // The line goes on by itself; its durable groups may not.
                    Err(RecoverError::NotNeeded) => (None, true, survivors),
                    Err(error) => return Err(error),
                }
            }
        };
        let groups = match &stores {
            Some(stores) if !survivors.is_empty() => stores.lost(&survivors)?,
            Some(_) | None => Vec::new(),
        };
        if next.is_none() && groups.is_empty() {
            return Err(RecoverError::NotNeeded);
        }
        let members = match (&next, &last) {
            (None, _) => Vec::new(),
            (Some(next), _) if next.founders.is_empty() => Vec::new(),
            (Some(_), Some(last)) => last.members.clone(),
            (Some(_), None) => founders,
        };
        let counted = groups.iter().flat_map(|group| group.counted.iter().copied());
        let mut lost: Vec<SiteId> =
            members.into_iter().chain(counted).filter(|site| !survivors.contains(site)).collect();
        let mut told = std::collections::BTreeSet::new();
        lost.retain(|site| told.insert(*site));
        let done = begun && groups.iter().all(|group| group.done || group.left.is_empty());
        Ok(Plan { held, next, begun, survivors, stores, epoch, last, lost, groups, done })
    }

    /// The epoch that begins, and who begins it; none if the last view goes on without that.
    pub fn next(&self) -> Option<&Recovered> {
        self.next.as_ref()
    }

    /// Does it. Durable when it returns.
    pub fn carry_out(self) -> Result<(), RecoverError> {
        // The epoch first: in the old one, stores that are not lost after all might meet those that were told so.
        if let Some(next) = self.next.as_ref().filter(|_| !self.begun) {
            self.held.recover(next)?;
        }
        match self.stores {
            Some(stores) if !self.survivors.is_empty() => stores.force(&self.survivors),
            Some(_) | None => Ok(()),
        }
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
