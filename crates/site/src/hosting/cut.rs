//! All durable groups as they are at one moment: what a backup is made of.
//!
//! First the catalog is read, then each group that it lists: when the group's read barrier (D12) has passed, this site has
//! applied whatever was acknowledged anywhere before the cut was asked for. Then the states of all are taken in one turn of the
//! site's loop. They are copies that take no time and share what does not change (`docs/map.md`).

use durable::{Application, Parts};
use tokio::task::JoinSet;
use tools::catalog::Kind;
use wire::GroupName;

use super::ask::{Ask, HostError};
use super::served::Served;
use super::{Hosting, Stage, catalog_name};
use crate::handle::Handle;

/// Groups whose barriers are asked for at once.
const BARRIERS_MAX: usize = 64;
/// What a pair takes in a part beyond its key and value, about.
const PAIR_OVERHEAD_BYTES: u64 = 24;

/// The state of one group.
pub(crate) struct Snapshot {
    pub(crate) group: GroupName,
    pub(crate) kind: Kind,
    /// About as many bytes as its parts will have.
    pub(crate) bytes: u64,
    pub(crate) parts: Parts,
}

impl Handle {
    /// The states of all durable groups, by name, each with whatever was acknowledged before this was asked for.
    /// Mail's letters are beside its state and cannot be in it yet: if there is mail it is refused, or left out, which is told.
    pub(crate) async fn cut(&self, without_mail: bool) -> Result<(Vec<Snapshot>, bool), HostError> {
        let listed = |served: &Served| match served {
            Served::Catalog(catalog) => {
                catalog.groups().map(|(name, founding)| (name.clone(), founding.kind)).collect()
            }
            Served::Map(_) | Served::Service(..) => Vec::new(),
        };
        let (mut groups, mut left_out) = (Vec::new(), false);
        for (name, kind) in self.read_group(catalog_name(), false, listed).await? {
            match kind {
                Kind::Map => groups.push(name),
                Kind::Mail if without_mail => left_out = true,
                Kind::Mail => return Err(HostError::NotInBackups(name)),
            }
        }
        let mut barriers = JoinSet::new();
        for group in groups.clone() {
            if barriers.len() == BARRIERS_MAX {
                passed(barriers.join_next().await)?;
            }
            let handle = self.clone();
            barriers.spawn(async move { handle.read_group(group, false, |_| ()).await });
        }
        while !barriers.is_empty() {
            passed(barriers.join_next().await)?;
        }
        let snapshots = self.host(|told| Ask::Snapshots { groups, told }).await?;
        Ok((snapshots, left_out))
    }
}

fn passed(joined: Option<Result<Result<(), HostError>, tokio::task::JoinError>>) -> Result<(), HostError> {
    match joined {
        Some(Ok(passed)) => passed,
        // The runtime is going down: nothing here panics.
        Some(Err(_)) => Err(HostError::Stopped),
        None => Ok(()),
    }
}

impl Hosting {
    /// The states of these groups, as they are now.
    pub(super) fn snapshots(&self, groups: &[GroupName]) -> Result<Vec<Snapshot>, HostError> {
        let snapshot = |name: &GroupName| match self.groups.get(name).map(|hosted| &hosted.stage) {
            Some(Stage::Open(_, Served::Map(map))) => Ok(Snapshot {
                group: name.clone(),
                kind: Kind::Map,
                bytes: map.bytes() + map.len() as u64 * PAIR_OVERHEAD_BYTES,
                parts: map.snapshot(),
            }),
            Some(Stage::Refused(trouble)) => Err(HostError::Store(trouble.why.clone())),
            Some(Stage::Opening(_) | Stage::Open(_, Served::Catalog(_) | Served::Service(..))) | None => {
                Err(HostError::NoSuchGroup(name.clone()))
            }
        };
        groups.iter().map(snapshot).collect()
    }
}
