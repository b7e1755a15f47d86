//! How what is asked is done: at once, or when the group can take it, or never, with the reason.

use std::collections::BTreeMap;

use bytes::Bytes;
use durable::{Ending, Mode, Name, ProposeError, ReadId, Request, Why};
use stack::Node;
use tokio::sync::oneshot;
use tools::catalog::{self, Founding, Kind};
use wire::{GroupName, Time};

use super::ask::{Ask, HostError, Told, no_room, refusal, why_not};
use super::disk::{Job, folder_of};
use super::served::Served;
use super::weigh::Weight;
use super::{ANSWERED_WITHIN, Hosting, PATIENCE, Stage, WATCHERS_MAX, Watcher, catalog_name, unix_ms};

impl Hosting {
    /// Something is asked.
    pub(crate) fn ask(&mut self, node: &mut Node, now: Time, ask: Ask) {
        match ask {
            Ask::Status { told } => drop(told.send(self.status(node))),
            Ask::Snapshots { groups, told } => drop(told.send(self.snapshots(&groups))),
            ask => self.try_now(node, now, now + PATIENCE, ask),
        }
    }

    /// Does it, or lets it wait until then for its group to be able to.
    pub(super) fn try_now(&mut self, node: &mut Node, now: Time, until: Time, ask: Ask) {
        let name = match &ask {
            Ask::Create { .. }
            | Ask::Raise { .. }
            | Ask::Place { .. }
            | Ask::Snapshots { .. }
            | Ask::Status { .. } => catalog_name(),
            Ask::Write { group, .. }
            | Ask::Payload { group, .. }
            | Ask::Spool { group, .. }
            | Ask::Read { group, .. }
            | Ask::Compare { group, .. }
            | Ask::Weigh { group, .. }
            | Ask::Changes { group, .. } => group.clone(),
        };
        if self.unserved.contains(&name) {
            return ask.refuse(HostError::NotServed(name));
        }
        let Some(hosted) = self.groups.get_mut(&name) else { return self.check(node, now, until, ask) };
        let (disk, served) = match &mut hosted.stage {
            Stage::Open(disk, served) => (disk, served),
            Stage::Opening(_) => return hosted.wait(until, ask),
            Stage::Refused(trouble) => return ask.refuse(HostError::Store(trouble.why.clone())),
        };
        match (ask, served) {
            (Ask::Read { local: true, look, .. }, served) => look(Ok(served)),
            (Ask::Payload { position, told, .. }, Served::Service(..)) => {
                let (read, payload) = oneshot::channel();
                disk.ask(Job::Payload { position, told: read });
                tokio::spawn(async move { told.send(payload.await.map_err(|_| HostError::Stopped)) });
            }
            (Ask::Spool { ask, .. }, Served::Service(..)) => disk.ask(Job::Spool(ask)),
            (Ask::Weigh { told, .. }, _) => {
                let folder = self.root.join(folder_of(&name));
                tokio::task::spawn_blocking(move || told.send(Ok(Weight::of(&folder))));
            }
            (Ask::Compare { told, .. }, _) => {
                hosted.comparison.want(told);
                self.compare(node, now, &name);
            }
            (Ask::Changes { since, prefix, told, .. }, Served::Map(map)) => {
                if let Some(watcher) = (Watcher { since, prefix, told }).tell(map) {
                    hosted.watchers.retain(|watcher| !watcher.told.is_closed());
                    match hosted.watchers.len() < WATCHERS_MAX {
                        true => hosted.watchers.push(watcher),
                        false => drop(watcher.told.send(Err(HostError::Busy))),
                    }
                }
            }
            (ask, _) if hosted.stands.is_apart() => ask.refuse(HostError::NotActive(why_not(&hosted.mode))),
            (ask, _) if hosted.mode != Mode::Active => hosted.wait(until, ask),
            (Ask::Read { group, local, look }, _) => {
                let Some(mut durable) = node.durable(now, &name) else { return };
                match durable.read() {
                    Ok(id) => *hosted.reads.ask(id, now + ANSWERED_WITHIN) = Some(look),
                    Err(ProposeError::NotActive) => hosted.wait(until, Ask::Read { group, local, look }),
                    Err(error) => look(Err(refusal(error))),
                }
            }
            (Ask::Write { group, kind, write, told }, served) if served.is(kind) => {
                let Some(name) = write.name.or_else(|| hosted.names.take(now)) else {
                    return drop(told.send(Err(HostError::Busy)));
                };
                let Name { client, sequence, answered } = name;
                let Some(mut durable) = node.durable(now, &group) else { return };
                let request = Request { client, sequence, answered, payload: write.payload.clone() };
                match durable.propose(unix_ms(), request) {
                    Ok(()) => hosted.writes.ask((client, sequence), now + ANSWERED_WITHIN).push(told),
                    Err(error) => {
                        hosted.names.give_back(client, sequence, Ending::GivenUp);
                        match error {
                            ProposeError::NotActive => {
                                hosted.wait(until, Ask::Write { group, kind, write, told });
                            }
                            ProposeError::Full => {
                                let why = no_room(&durable.status().full);
                                drop(told.send(Err(HostError::NotActive(why))));
                            }
                            error => drop(told.send(Err(refusal(error)))),
                        }
                    }
                }
            }
            (Ask::Create { group, kind, told }, Served::Catalog(catalog)) => {
                if catalog.get(&group).is_some() {
                    return drop(told.send(Err(HostError::Catalog(catalog::Answer::Exists))));
                }
                self.create(node, now, until, (group, kind), told);
            }
            (Ask::Raise { to, told }, Served::Catalog(_)) => {
                let payload = wire::codec::encode(&catalog::Request::Raise { to });
                self.ask_catalog(node, now, until, payload, Ask::Raise { to, told });
            }
            // Groups that were made a moment ago are moved, too.
            (ask @ Ask::Place { .. }, Served::Catalog(_)) => self.check(node, now, until, ask),
            // The catalog is no map.
            (ask, _) => ask.refuse(HostError::NoSuchGroup(name)),
        }
    }

    /// A group that this site knows nothing of may have been made elsewhere a moment ago.
    fn check(&mut self, node: &mut Node, now: Time, until: Time, ask: Ask) {
        let name = catalog_name();
        let read = node.durable(now, &name).map(|mut catalog| catalog.read());
        match (read, self.groups.get_mut(&name)) {
            (Some(Ok(id)), _) => drop(self.checking.insert(id, (until, ask))),
            (Some(Err(ProposeError::NotActive)), Some(catalog)) => catalog.wait(until, ask),
            (Some(Err(error)), _) => ask.refuse(refusal(error)),
            (None, Some(catalog)) => catalog.wait(until, ask),
            (None, None) => ask.refuse(HostError::NotActive(
                "this site does not know yet which durable groups there are; try again, or see `unanimous status`"
                    .to_owned(),
            )),
        }
    }

    /// Asks the catalog for a group, founded on the stores that count in the catalog now.
    fn create(
        &mut self,
        node: &mut Node,
        now: Time,
        until: Time,
        (group, kind): (GroupName, Kind),
        told: Told<()>,
    ) {
        let Some(durable) = node.durable(now, &catalog_name()) else { return };
        let founding = Founding { kind, stores: durable.status().configuration };
        let payload = wire::codec::encode(&catalog::Request::Create { name: group.clone(), founding });
        self.ask_catalog(node, now, until, payload, Ask::Create { group, kind, told });
    }

    /// Proposes an entry of the catalog for who asks.
    fn ask_catalog(&mut self, node: &mut Node, now: Time, until: Time, payload: Bytes, ask: Ask) {
        let name = catalog_name();
        let client = self.draw();
        let Some(mut durable) = node.durable(now, &name) else { return };
        match durable.propose(unix_ms(), Request { client, sequence: 1, answered: 0, payload }) {
            Ok(()) => {
                self.creating.retain(|_, told| !told.is_closed());
                if let Ask::Create { told, .. } | Ask::Raise { told, .. } = ask {
                    self.creating.insert(client, told);
                }
                if let Some(hosted) = self.groups.get_mut(&name) {
                    hosted.writes.ask((client, 1), now + ANSWERED_WITHIN);
                }
            }
            Err(ProposeError::NotActive) => {
                if let Some(hosted) = self.groups.get_mut(&name) {
                    hosted.wait(until, ask);
                }
            }
            Err(ProposeError::Full) => ask.refuse(HostError::NotActive(no_room(&durable.status().full))),
            Err(error) => ask.refuse(refusal(error)),
        }
    }

    /// Tries again what waits for a group.
    pub(super) fn retry(&mut self, node: &mut Node, now: Time, name: &GroupName) {
        let Some(hosted) = self.groups.get_mut(name) else { return };
        for (until, ask) in std::mem::take(&mut hosted.waiting) {
            self.try_now(node, now, until, ask);
        }
    }

    /// Reads that were asked of a view that is over wait for the next, but not for ever.
    pub(super) fn ask_reads_again(&mut self, node: &mut Node, now: Time, name: &GroupName) {
        let Some(hosted) = self.groups.get_mut(name) else { return };
        let reads = hosted.reads.take();
        let mut checking = BTreeMap::new();
        if *name == catalog_name() {
            std::mem::swap(&mut checking, &mut self.checking);
        }
        if let Some(mut group) = node.durable(now, name) {
            reads.keys().chain(checking.keys()).for_each(|id| group.forget_read(*id));
        }
        for look in reads.into_values().flatten() {
            hosted.wait(now + PATIENCE, Ask::Read { group: name.clone(), local: false, look });
        }
        checking.into_values().for_each(|(until, ask)| hosted.wait(until, ask));
    }

    /// What the group has taken and not answered in time is answered: whether a write was done, and whether it will be, nobody
    /// can say. Its client may repeat it under the same number, here or elsewhere (D13).
    pub(super) fn give_up_open(&mut self, node: &mut Node, now: Time, name: &GroupName) {
        const UNKNOWN: HostError = HostError::Unknown(
            "the group has not committed it in half a minute, and may yet; repeat it under the same number",
        );
        while let Some(hosted) = self.groups.get_mut(name)
            && let Some(((client, sequence), told)) = hosted.writes.overdue(now)
        {
            hosted.names.give_back(client, sequence, Ending::Unknown);
            told.into_iter().for_each(|told| drop(told.send(Err(UNKNOWN))));
            if let Some(mut group) = node.durable(now, name) {
                group.forget(client, sequence);
            }
            if let Some(told) = self.creating.remove(&client) {
                created(told, Err(UNKNOWN));
            }
        }
        while let Some(hosted) = self.groups.get_mut(name)
            && let Some((id, look)) = hosted.reads.overdue(now)
        {
            let mut why = why_not(&hosted.mode);
            if let Some(mut group) = node.durable(now, name) {
                let full = group.status().full;
                if !full.is_empty() {
                    why = no_room(&full);
                }
                group.forget_read(id);
            }
            if let Some(look) = look {
                look(Err(HostError::NotActive(why)));
            }
        }
        if *name == catalog_name() {
            let over = |(_, (until, _)): &(&ReadId, &(Time, Ask))| *until + ANSWERED_WITHIN <= now;
            let over: Vec<ReadId> = self.checking.iter().filter(over).map(|(id, _)| *id).collect();
            for id in over {
                if let Some(mut group) = node.durable(now, name) {
                    group.forget_read(id);
                }
                if let Some((_, ask)) = self.checking.remove(&id) {
                    let mode =
                        self.groups.get(name).map_or(Mode::ReadOnly(Why::NoView), |hosted| hosted.mode);
                    ask.refuse(HostError::NotActive(why_not(&mode)));
                }
            }
        }
    }

    pub(super) fn give_up_waiting(&mut self, now: Time, name: &GroupName) {
        let Some(hosted) = self.groups.get_mut(name) else { return };
        while let Some((_, ask)) = hosted.waiting.pop_front_if(|(until, _)| *until <= now) {
            ask.refuse(HostError::NotActive(why_not(&hosted.mode)));
        }
    }
}

/// Tells who asked for a group, or for a feature level, what the catalog has answered.
pub(super) fn created(told: Told<()>, answer: Result<Bytes, HostError>) {
    let result = answer.and_then(|answer| match wire::codec::decode(&answer) {
        Ok(catalog::Answer::Created | catalog::Answer::Raised) => Ok(()),
        Ok(refused) => Err(HostError::Catalog(refused)),
        Err(_) => Err(HostError::Catalog(catalog::Answer::Malformed)),
    });
    let _ = told.send(result);
}
