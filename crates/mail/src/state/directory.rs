//! Domains, aliases and lists [Mail 7].

use std::sync::Arc;

use super::{Context, State};
use crate::address::{Address, Domain};
use crate::command::{Principal, SetAlias, SetDomain, SetList};
use crate::directory::List;
use crate::outcome::{Outcome, Refusal};

impl State {
    pub(super) fn set_domain(&mut self, context: &Context, set: &SetDomain) -> Result<Outcome, Refusal> {
        self.may_administer(context)?;
        let known = self.directory.domains.contains_key(&set.domain);
        if !known && self.directory.domains.len() >= self.limits.domains_max as usize {
            return Err(Refusal::Full);
        }
        let own = |target: &Address| target.domain() == set.domain || self.directory.is_local(target);
        if set.catch_all.as_ref().is_some_and(|target| !own(target)) {
            return Err(Refusal::NotLocal);
        }
        self.directory.domains.insert(set.domain.clone(), set.catch_all.clone());
        Ok(Outcome::Done)
    }

    /// Refused while an alias, a list or a catch-all is of the domain or leads to it.
    pub(super) fn remove_domain(&mut self, context: &Context, domain: &Domain) -> Result<Outcome, Refusal> {
        self.may_administer(context)?;
        let directory = &self.directory;
        let within = |address: &Address| address.domain() == *domain;
        let others = directory.domains.iter().filter(|(other, _)| *other != domain);
        let catch_all = others.filter_map(|(_, target)| target.as_ref()).any(within);
        let alias = directory.aliases.iter().any(|(from, to)| within(from) || to.iter().any(within));
        let list = directory.lists.iter().any(|(name, list)| within(name) || list.members.iter().any(within));
        if catch_all || alias || list {
            return Err(Refusal::InUse);
        }
        self.directory.domains.remove(domain);
        Ok(Outcome::Done)
    }

    pub(super) fn set_alias(&mut self, context: &Context, set: &SetAlias) -> Result<Outcome, Refusal> {
        self.may_administer(context)?;
        if set.targets.is_empty() {
            self.directory.aliases.remove(&set.address);
            return Ok(Outcome::Done);
        }
        self.all_local(std::iter::once(&set.address).chain(&set.targets))?;
        let known = self.directory.aliases.contains_key(&set.address);
        if !known && self.directory.aliases.len() >= self.limits.aliases_max as usize {
            return Err(Refusal::Full);
        }
        if self.directory.lists.contains_key(&set.address) {
            return Err(Refusal::Exists);
        }
        self.directory.aliases.insert(set.address.clone(), Arc::new(in_order(&set.targets)));
        Ok(Outcome::Done)
    }

    pub(super) fn set_list(&mut self, context: &Context, set: &SetList) -> Result<Outcome, Refusal> {
        self.may_keep_list(context, &set.address)?;
        self.all_local(std::iter::once(&set.address).chain(&set.members))?;
        if set.owners.iter().any(|owner| self.directory.user(*owner).is_none()) {
            return Err(Refusal::NoUser);
        }
        let known = self.directory.lists.contains_key(&set.address);
        if !known && self.directory.lists.len() >= self.limits.aliases_max as usize {
            return Err(Refusal::Full);
        }
        if self.directory.aliases.contains_key(&set.address) {
            return Err(Refusal::Exists);
        }
        let list = List { members: in_order(&set.members), owners: set.owners.clone(), posting: set.posting };
        self.directory.lists.insert(set.address.clone(), Arc::new(list));
        Ok(Outcome::Done)
    }

    pub(super) fn remove_list(&mut self, context: &Context, address: &Address) -> Result<Outcome, Refusal> {
        self.may_keep_list(context, address)?;
        self.directory.lists.remove(address);
        Ok(Outcome::Done)
    }

    /// A list's owners may change it; only administrators may make one.
    fn may_keep_list(&self, context: &Context, address: &Address) -> Result<(), Refusal> {
        if let (Principal::User(id), Some(list)) = (context.by, self.directory.lists.get(address))
            && list.owners.contains(&id)
        {
            return Ok(());
        }
        self.may_administer(context)
    }

    fn all_local<'a>(&self, mut addresses: impl Iterator<Item = &'a Address>) -> Result<(), Refusal> {
        match addresses.all(|address| self.directory.is_local(address)) {
            true => Ok(()),
            false => Err(Refusal::NotLocal),
        }
    }
}

fn in_order(addresses: &[Address]) -> Vec<Address> {
    let mut addresses = addresses.to_vec();
    addresses.sort();
    addresses.dedup();
    addresses
}
