//! The tables as bytes: on disk and in Init.

use std::collections::BTreeSet;

use minicbor::{Decode, Encode};
use wire::{SiteIncarnation, ViewId};

use super::group::Group;
use super::settled::Settled;
use super::sites::Sites;
use super::{GroupTables, MEMBERS_MAX};
use crate::step::Peer;

/// Bytes that are no tables. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTables {
    /// They cannot be read.
    #[error("these bytes are no tables: {0}")]
    Unreadable(String),
    /// They can be read and contradict themselves.
    #[error("these tables contradict themselves: {0}")]
    Contradiction(&'static str),
}

/// What is kept; the rest is derived.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Record {
    #[n(0)]
    view: ViewId,
    #[n(1)]
    primary: bool,
    #[n(2)]
    core: BTreeSet<SiteIncarnation>,
    #[n(3)]
    sites: Sites,
    #[n(4)]
    settled: Settled,
    #[n(5)]
    groups: Vec<Group>,
    /// None in tables of a version that did not keep them.
    #[n(6)]
    founders: Option<Vec<Peer>>,
}

impl GroupTables {
    /// The tables as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("a Vec takes every byte")
    }

    /// The tables in these bytes. An error changes nothing.
    pub fn from_bytes(bytes: &[u8]) -> Result<GroupTables, BadTables> {
        let record: Record = minicbor::decode(bytes).map_err(|e| BadTables::Unreadable(e.to_string()))?;
        GroupTables::of(record)
    }

    fn record(&self) -> Record {
        Record {
            view: self.view,
            primary: self.primary,
            core: self.core.clone(),
            sites: self.sites.clone(),
            settled: self.settled.clone(),
            groups: self.groups.values().map(|e| Group::clone(&e.group)).collect(),
            founders: Some(self.founders.clone()),
        }
    }

    fn of(record: Record) -> Result<GroupTables, BadTables> {
        let mut tables = GroupTables {
            view: record.view,
            primary: record.primary,
            core: record.core,
            sites: record.sites,
            settled: record.settled,
            founders: record.founders.unwrap_or_default(),
            ..GroupTables::default()
        };
        for group in record.groups {
            tables.take_in(group)?;
        }
        Ok(tables)
    }

    fn take_in(&mut self, group: Group) -> Result<(), BadTables> {
        if group.members.is_empty() || group.members.len() > MEMBERS_MAX {
            return Err(BadTables::Contradiction("a group's size"));
        }
        if self.groups.contains_key(&group.id) || self.names.contains_key(&group.name) {
            return Err(BadTables::Contradiction("two groups of one name"));
        }
        let members: BTreeSet<_> = group.members.iter().map(|(m, _)| *m).collect();
        if members.len() != group.members.len() || members.iter().any(|m| self.group_of(*m).is_some()) {
            return Err(BadTables::Contradiction("a member in two places"));
        }
        if group.last.as_ref().is_none_or(|view| (view.group, view.id) != (group.id, group.view)) {
            return Err(BadTables::Contradiction("a group without its view"));
        }
        self.put(group);
        Ok(())
    }
}

impl<C> Encode<C> for GroupTables {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        self.record().encode(e, ctx)
    }
}

impl<'b, C> Decode<'b, C> for GroupTables {
    fn decode(d: &mut minicbor::Decoder<'b>, ctx: &mut C) -> Result<Self, minicbor::decode::Error> {
        GroupTables::of(Record::decode(d, ctx)?).map_err(minicbor::decode::Error::custom)
    }
}
