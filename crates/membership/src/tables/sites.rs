//! The site table, and the sites that have no mserver of their own.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};
use wire::{Incarnation, SiteId, SiteIncarnation, ViewId};

use super::{ADDRESSES_MAX, SITE_BYTES_MAX, SITES_MAX};
use crate::group::{Branch, Outcome, Reason, SiteInfo};

/// Both tables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(super) struct Sites {
    #[n(0)]
    table: BTreeMap<SiteId, SiteInfo>,
    #[n(1)]
    attached: BTreeMap<SiteId, Attachment>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
struct Attachment {
    #[n(0)]
    incarnation: Incarnation,
    /// The step that attached it here.
    #[n(1)]
    since: ViewId,
    #[n(2)]
    via: SiteId,
}

impl Sites {
    pub(super) fn table(&self) -> impl Iterator<Item = (SiteId, &SiteInfo)> + '_ {
        self.table.iter().map(|(site, info)| (*site, info))
    }

    pub(super) fn info(&self, site: SiteId) -> Option<&SiteInfo> {
        self.table.get(&site)
    }

    pub(super) fn attached(&self) -> Vec<(SiteIncarnation, SiteId, ViewId)> {
        self.attached.iter().map(|(site, a)| (a.life(*site), a.via, a.since)).collect()
    }

    pub(super) fn is_attached(&self, life: SiteIncarnation) -> bool {
        self.attached.get(&life.site).is_some_and(|a| a.incarnation == life.incarnation)
    }

    /// Enters a site, or changes what is known of it.
    pub(super) fn set(&mut self, site: SiteId, info: &SiteInfo) -> Outcome {
        if self.table.iter().any(|(other, known)| *other != site && known.name == info.name) {
            return Outcome::Refused(Reason::Exists);
        }
        let long = |text: &String| text.len() > SITE_BYTES_MAX;
        if long(&info.name)
            || info.addresses.len() > ADDRESSES_MAX
            || info.addresses.iter().any(long)
            || (self.table.len() >= SITES_MAX && !self.table.contains_key(&site))
        {
            return Outcome::Refused(Reason::SiteTableFull);
        }
        self.table.insert(site, info.clone());
        Outcome::Done
    }

    pub(super) fn remove(&mut self, site: SiteId, core: &BTreeSet<SiteIncarnation>) -> Outcome {
        if core.iter().any(|life| life.site == site) {
            return Outcome::Refused(Reason::SiteInUse);
        }
        match self.table.remove(&site) {
            Some(_) => Outcome::Done,
            None => Outcome::Refused(Reason::NoSuchSite),
        }
    }

    /// Attaches a life of a site. The life that this ends, if any, comes back too.
    pub(super) fn attach(
        &mut self,
        life: SiteIncarnation,
        via: SiteId,
        step: ViewId,
        core: &BTreeSet<SiteIncarnation>,
    ) -> (Outcome, Option<SiteIncarnation>) {
        if core.iter().any(|member| member.site == life.site) {
            return (Outcome::Refused(Reason::SiteInUse), None);
        }
        let known = self.attached.get(&life.site).copied();
        match known {
            Some(a) if a.incarnation > life.incarnation => return (Outcome::Refused(Reason::Stale), None),
            Some(a) if a.incarnation == life.incarnation && a.via == via => return (Outcome::Done, None),
            None if self.attached.len() >= SITES_MAX => {
                return (Outcome::Refused(Reason::SiteTableFull), None);
            }
            Some(_) | None => {}
        }
        self.attached.insert(life.site, Attachment { incarnation: life.incarnation, since: step, via });
        let ended = known.filter(|a| a.incarnation < life.incarnation).map(|a| a.life(life.site));
        (Outcome::Done, ended)
    }

    /// Detaches a life of a site; whether it was attached.
    pub(super) fn detach(&mut self, life: SiteIncarnation) -> bool {
        self.is_attached(life) && self.attached.remove(&life.site).is_some()
    }

    /// Takes out the sites that are core members now: they have an mserver.
    pub(super) fn promote(&mut self, core: &BTreeSet<SiteIncarnation>) {
        for life in core {
            self.attached.remove(&life.site);
        }
    }

    /// Takes in what the sides that meet know of attached sites: the newer attachment wins.
    pub(super) fn merge(&mut self, branches: &[&Branch]) {
        let brought = branches.iter().flat_map(|b| &b.attached);
        for (life, via, since) in brought {
            let theirs = Attachment { incarnation: life.incarnation, since: *since, via: *via };
            match self.attached.get(&life.site) {
                Some(ours) if *ours >= theirs => {}
                None if self.attached.len() >= SITES_MAX => {}
                Some(_) | None => {
                    self.attached.insert(life.site, theirs);
                }
            }
        }
    }
}

impl Attachment {
    fn life(&self, site: SiteId) -> SiteIncarnation {
        SiteIncarnation { site, incarnation: self.incarnation }
    }
}
