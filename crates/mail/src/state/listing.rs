//! What there is, a page at a time: who lists it goes on behind the last name that it had.

use std::ops::Bound;

use crate::address::{Address, Domain};
use crate::directory::{List, User};
use crate::name::UserName;
use crate::state::State;

impl State {
    /// Users by name, those behind one, or all.
    pub fn users_behind(&self, after: Option<&UserName>) -> impl Iterator<Item = &User> {
        self.directory.names.range_from(behind(after)).filter_map(|(_, id)| self.directory.user(*id))
    }

    /// Local domains in order, those behind one, or all; and who gets mail for names that nobody has there.
    pub fn domains_behind(
        &self,
        after: Option<&Domain>,
    ) -> impl Iterator<Item = (&Domain, Option<&Address>)> {
        self.directory.domains.range_from(behind(after)).map(|(domain, target)| (domain, target.as_ref()))
    }

    /// Aliases by address, those behind one, or all, and their targets.
    pub fn aliases_behind(&self, after: Option<&Address>) -> impl Iterator<Item = (&Address, &[Address])> {
        let aliases = self.directory.aliases.range_from(behind(after));
        aliases.map(|(address, targets)| (address, targets.as_slice()))
    }

    /// Lists by address, those behind one, or all.
    pub fn lists_behind(&self, after: Option<&Address>) -> impl Iterator<Item = (&Address, &List)> {
        self.directory.lists.range_from(behind(after)).map(|(address, list)| (address, list.as_ref()))
    }

    /// What an alias stands for.
    pub fn alias(&self, address: &Address) -> Option<&[Address]> {
        self.directory.aliases.get(address).map(|targets| targets.as_slice())
    }
}

fn behind<T>(after: Option<&T>) -> Bound<&T> {
    after.map_or(Bound::Unbounded, Bound::Excluded)
}
