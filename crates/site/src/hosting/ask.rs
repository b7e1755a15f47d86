//! What programs ask of durable groups, and why they are refused.

use bytes::Bytes;
use durable::{Mode, Name, ProposeError, Status, Why};
use tokio::sync::oneshot;
use tools::catalog::{self, Kind};
use tools::map::{Changes, Compacted};
use wire::session::ErrorCode;
use wire::{GroupName, SiteId};

use super::placing::{Step, Wish};

use super::cut::Snapshot;
use super::served::Served;
use super::spool::SpoolAsk;
use super::trouble::Trouble;

/// Why a durable group did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// There is none of that name. Nothing has changed.
    #[error("there is no durable map {0}; create it with `unanimous kv create {0}`")]
    NoSuchGroup(GroupName),
    /// This site's program does not have the service. Nothing has changed.
    #[error("this site does not serve {0}; ask another, or give its configuration what the others have")]
    NotServed(GroupName),
    /// Backups cannot have it yet.
    #[error(
        "backups have no mail yet, and this cluster has some ({0}): leave it out with --without-mail, and copy mail by IMAP"
    )]
    NotInBackups(GroupName),
    /// It can only be read. Nothing has changed.
    #[error("{0}")]
    NotActive(String),
    /// A bound is reached. Nothing has changed.
    #[error("too many requests wait here; try again")]
    Busy,
    /// Nothing has changed.
    #[error("the request is too large: keys have at most 1 KiB, values at most 1 MiB")]
    TooLarge,
    /// Whether it was done is not known.
    #[error("nobody can say whether this was done: {0}")]
    Unknown(&'static str),
    /// The group's store at this site cannot be used. Nothing has changed.
    #[error("{0}")]
    Store(String),
    /// The catalog has refused it. Nothing has changed.
    #[error(transparent)]
    Catalog(#[from] catalog::Answer),
    /// The site is going down; whether it was done is not known.
    #[error("the site is going down; connect to another")]
    Stopped,
}

impl HostError {
    /// The code that programs are told.
    pub fn code(&self) -> ErrorCode {
        match self {
            HostError::NoSuchGroup(_) | HostError::NotServed(_) => ErrorCode::NoSuchGroup,
            HostError::NotInBackups(_) => ErrorCode::Unmet,
            HostError::NotActive(_) => ErrorCode::NotPrimary,
            HostError::Busy | HostError::Catalog(catalog::Answer::Full) => ErrorCode::Busy,
            HostError::TooLarge => ErrorCode::TooLarge,
            HostError::Unknown(_) => ErrorCode::Interrupted,
            HostError::Store(_) => ErrorCode::NotAdmitted,
            HostError::Catalog(catalog::Answer::Exists) => ErrorCode::Exists,
            HostError::Catalog(_) => ErrorCode::BadRequest,
            HostError::Stopped => ErrorCode::Stopping,
        }
    }
}

/// A write.
#[derive(Clone, Debug)]
pub struct Write {
    /// The name that a repeat of it has too; none: nobody will repeat it, and the site names it.
    pub name: Option<Name>,
    /// What: of a map, a [`Request`](tools::map::Request).
    pub payload: Bytes,
}

pub(crate) type Told<T> = oneshot::Sender<Result<T, HostError>>;

pub(crate) type Look = Box<dyn FnOnce(Result<&Served, HostError>) + Send>;

/// What is asked of durable groups.
pub(crate) enum Ask {
    /// Let there be a group of this kind.
    Create { group: GroupName, kind: Kind, told: Told<()> },
    /// Let this feature level be in force.
    Raise { to: u32, told: Told<()> },
    /// Write to one, if it is of this kind.
    Write { group: GroupName, kind: Kind, write: Write, told: Told<Bytes> },
    /// The payload of an entry that a service keeps; none if it is not here.
    Payload { group: GroupName, position: u64, told: Told<Option<Bytes>> },
    /// Something of the spool beside a service's store.
    Spool { group: GroupName, ask: SpoolAsk },
    /// Look at one: as it is here, or at what was acknowledged anywhere before.
    Read { group: GroupName, local: bool, look: Look },
    /// What has changed since, as soon as there is something.
    Changes { group: GroupName, since: u64, prefix: Bytes, told: Told<Result<Changes, Compacted>> },
    /// The states of these, all as they are now.
    Snapshots { groups: Vec<GroupName>, told: Told<Vec<Snapshot>> },
    /// Let the stores that count be where they should: the next step in every group.
    Place { wish: Wish, told: Told<Vec<Placed>> },
    /// How the groups are.
    Status { told: oneshot::Sender<Vec<GroupStatus>> },
}

impl std::fmt::Debug for Ask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Ask::Create { .. } => "Create",
            Ask::Raise { .. } => "Raise",
            Ask::Write { .. } => "Write",
            Ask::Payload { .. } => "Payload",
            Ask::Spool { .. } => "Spool",
            Ask::Read { .. } => "Read",
            Ask::Changes { .. } => "Changes",
            Ask::Snapshots { .. } => "Snapshots",
            Ask::Place { .. } => "Place",
            Ask::Status { .. } => "Status",
        })
    }
}

/// How far a durable group is on its way to the stores that it was wished to have.
#[derive(Clone, Debug)]
pub struct Placed {
    /// Its name.
    pub group: GroupName,
    /// What it needs, or what was just begun.
    pub step: Step,
    /// The sites of the stores that count now, as far as this site knows.
    pub sites: Vec<SiteId>,
}

/// How a durable group is at this site.
#[derive(Clone, Debug)]
pub struct GroupStatus {
    /// Its name.
    pub group: GroupName,
    /// What the machine says; none while the store is not open.
    pub machine: Option<Status>,
    /// A digest of the state, which is the same at all sites that have applied as much.
    pub digest: u64,
    /// Why the store is not open, if it cannot be.
    pub refused: Option<Trouble>,
    /// Payloads that a service keeps, and that are still to be had from other sites.
    pub missing: usize,
}

impl Ask {
    /// The map that it is about; none if it is about all groups.
    pub(super) fn group(&self) -> Option<&GroupName> {
        match self {
            Ask::Create { group, .. }
            | Ask::Write { group, .. }
            | Ask::Payload { group, .. }
            | Ask::Spool { group, .. }
            | Ask::Read { group, .. }
            | Ask::Changes { group, .. } => Some(group),
            Ask::Raise { .. } | Ask::Place { .. } | Ask::Snapshots { .. } | Ask::Status { .. } => None,
        }
    }

    pub(super) fn refuse(self, error: HostError) {
        match self {
            Ask::Create { told, .. } | Ask::Raise { told, .. } => drop(told.send(Err(error))),
            Ask::Write { told, .. } => drop(told.send(Err(error))),
            Ask::Payload { told, .. } => drop(told.send(Err(error))),
            Ask::Spool { ask, .. } => ask.refuse(error),
            Ask::Read { look, .. } => look(Err(error)),
            Ask::Changes { told, .. } => drop(told.send(Err(error))),
            Ask::Snapshots { told, .. } => drop(told.send(Err(error))),
            Ask::Place { told, .. } => drop(told.send(Err(error))),
            Ask::Status { told } => drop(told.send(Vec::new())),
        }
    }
}

pub(super) fn refusal(error: ProposeError) -> HostError {
    match error {
        ProposeError::NotActive => HostError::NotActive(why_not(&Mode::ReadOnly(Why::NoView))),
        ProposeError::Full => HostError::NotActive(no_room(&[])),
        ProposeError::Busy => HostError::Busy,
        ProposeError::TooLarge => HostError::TooLarge,
        ProposeError::Stopped => HostError::Stopped,
    }
}

/// Why a group can't be written, if these sites have no room, and what to do.
pub(super) fn no_room(full: &[SiteId]) -> String {
    let sites: Vec<String> = full.iter().map(SiteId::to_string).collect();
    let whose = match &sites[..] {
        [] => "disks are full".to_owned(),
        [one] => format!("the disk of {one} is full"),
        all => format!("the disks of {} are full", all.join(" and ")),
    };
    format!("{whose}: make room there, or ask another site; what was acknowledged can be read")
}

/// Why a group can't be written or read up to date, and what to do.
pub(super) fn why_not(mode: &Mode) -> String {
    match mode {
        Mode::Active => "the group is active and does not answer; try again, or see `unanimous status`".to_owned(),
        Mode::ReadOnly(Why::NoView) => "this site is not in the group yet; try again, or see `unanimous status`".to_owned(),
        Mode::ReadOnly(Why::NotPrimary) => {
            "this side of a partition has no majority: read what it has with --local, or ask a site of the other side"
                .to_owned()
        }
        Mode::ReadOnly(Why::Stores { here, needed }) => format!(
            "{here} of the group's stores are here and {needed} are needed: start more of its sites; what is here can be \
             read with --local"
        ),
    }
}
