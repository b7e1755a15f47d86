//! What programs ask a running site of its durable groups.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Map as Object, Value};
use tokio::sync::oneshot;
use tools::catalog::Kind;
use tools::map::{Changes, Compacted, Map};
use wire::session::{ErrorCode, Failure, MailOp, Op, Principal};
use wire::{GroupName, SiteId};

use super::{Ask, Compared, GroupStatus, HostError, Placed, Served, Weight, Wish, Write};
use crate::handle::{Command, Handle};
use crate::service::Answered;
use crate::session;

impl Handle {
    /// Lets there be a durable map, founded on the stores that count in the cluster's catalog. Answers when it is decided.
    pub async fn create_map(&self, group: GroupName) -> Result<(), HostError> {
        self.create_group(group, Kind::Map).await
    }

    /// Lets there be a durable group of a kind, founded likewise.
    pub async fn create_group(&self, group: GroupName, kind: Kind) -> Result<(), HostError> {
        self.host(|told| Ask::Create { group, kind, told }).await
    }

    /// Writes to a service's group, as to a map.
    pub async fn write_service(
        &self,
        group: GroupName,
        kind: Kind,
        write: Write,
    ) -> Result<Bytes, HostError> {
        self.host(|told| Ask::Write { group, kind, write, told }).await
    }

    /// Returns when whatever was acknowledged anywhere in a durable group before is applied here.
    pub async fn reach(&self, group: GroupName) -> Result<(), HostError> {
        self.read_group(group, false, |_| ()).await
    }

    /// The payload of an entry that a service keeps; none if it is not at this site, which asks others for what it lacks.
    pub async fn payload(&self, group: GroupName, position: u64) -> Result<Option<Bytes>, HostError> {
        self.host(|told| Ask::Payload { group, position, told }).await
    }

    /// A request of a service, with its body, in the name of a principal; and its answer, as sessions get it.
    pub async fn service_request(&self, principal: Principal, op: MailOp, body: Bytes) -> Answered {
        match self.requests() {
            Some(requests) => requests.run(self.clone(), principal, op, body).await,
            None => Err(Failure {
                error: ErrorCode::NoSuchGroup,
                message: "this site serves no mail; its configuration has no [mail]".to_owned(),
            }),
        }
    }

    /// The feature level in force, as anybody knows it.
    pub(crate) async fn feature_level(&self) -> Result<u32, HostError> {
        let catalog = GroupName::parse(tools::catalog::NAME).expect("the catalog has a good name");
        let level = |served: &Served| match served {
            Served::Catalog(catalog) => catalog.level(),
            Served::Map(_) | Served::Service(..) => tools::catalog::LEVEL_FIRST,
        };
        self.read_group(catalog, false, level).await
    }

    /// Lets a feature level be in force. Whether all sites have it is the caller's to see.
    pub(crate) async fn raise_level(&self, to: u32) -> Result<(), HostError> {
        self.host(|told| Ask::Raise { to, told }).await
    }

    /// Writes to a durable map. Answers when the write is on as many disks as the group asks for, and applied here. A
    /// repeat under the same name does no harm, at this site or another.
    pub async fn write_map(&self, group: GroupName, write: Write) -> Result<Bytes, HostError> {
        self.write_service(group, Kind::Map, write).await
    }

    /// Looks at a durable map: as it is here (`local`), or when all that was acknowledged anywhere before is applied here.
    pub async fn read_map<T: Send + 'static>(
        &self,
        group: GroupName,
        local: bool,
        look: impl FnOnce(&Map) -> T + Send + 'static,
    ) -> Result<T, HostError> {
        let no_map = HostError::NoSuchGroup(group.clone());
        let look = move |served: &Served| match served {
            Served::Map(map) => Ok(look(map)),
            Served::Catalog(_) | Served::Service(..) => Err(no_map),
        };
        self.read_group(group, local, look).await?
    }

    /// The same of any durable group.
    pub(crate) async fn read_group<T: Send + 'static>(
        &self,
        group: GroupName,
        local: bool,
        look: impl FnOnce(&Served) -> T + Send + 'static,
    ) -> Result<T, HostError> {
        self.host(|told| {
            let look = Box::new(move |served: Result<&Served, HostError>| drop(told.send(served.map(look))));
            Ask::Read { group, local, look }
        })
        .await
    }

    /// Asks the other sites of a durable group now how their states are, and compares: of those that have been where this one was
    /// or is. A site that does not answer within 10 s is as it was compared last, if it was.
    ///
    /// # Errors
    ///
    /// The group is not open here.
    pub async fn compare(&self, group: GroupName) -> Result<BTreeMap<SiteId, Compared>, HostError> {
        self.host(|told| Ask::Compare { group, told }).await
    }

    /// What a durable group takes of this site's disk.
    ///
    /// # Errors
    ///
    /// The group is not open here.
    pub async fn weigh(&self, group: GroupName) -> Result<Weight, HostError> {
        self.host(|told| Ask::Weigh { group, told }).await
    }

    /// What has changed in a durable map behind a revision, of keys with a prefix: as soon as there is something.
    /// Cancel-safe.
    pub async fn map_changes(
        &self,
        group: GroupName,
        since: u64,
        prefix: Bytes,
    ) -> Result<Result<Changes, Compacted>, HostError> {
        self.host(|told| Ask::Changes { group, since, prefix, told }).await
    }

    /// Any request of a durable map as sessions make it ([`Op`]), with its body; and its answer, as sessions get it.
    ///
    /// # Errors
    ///
    /// As a session is told. [`ErrorCode::Interrupted`](wire::session::ErrorCode::Interrupted): it may have been done.
    pub async fn map_request(&self, op: Op, body: Bytes) -> Result<(Object<String, Value>, Bytes), Failure> {
        match op {
            Op::Mail(op) => self.service_request(Principal::Administer, op, body).await,
            op => session::maps::run(self, op, body).await,
        }
    }

    /// Takes the next step in every durable group towards the stores that it is wished to have, and says how far each is.
    /// Ask again, here or at another site, until all say that it is done; what was begun goes on by itself meanwhile.
    pub async fn place_stores(&self, wish: Wish) -> Result<Vec<Placed>, HostError> {
        self.host(|told| Ask::Place { wish, told }).await
    }

    /// How the durable groups of this site are.
    pub async fn durable_groups(&self) -> Result<Vec<GroupStatus>, HostError> {
        let (told, wait) = oneshot::channel();
        self.send(Command::Host(Ask::Status { told })).await.map_err(|_| HostError::Stopped)?;
        wait.await.map_err(|_| HostError::Stopped)
    }

    pub(crate) async fn host<T>(
        &self,
        ask: impl FnOnce(oneshot::Sender<Result<T, HostError>>) -> Ask,
    ) -> Result<T, HostError> {
        let (told, wait) = oneshot::channel();
        self.send(Command::Host(ask(told))).await.map_err(|_| HostError::Stopped)?;
        wait.await.map_err(|_| HostError::Stopped)?
    }
}
