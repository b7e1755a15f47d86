//! An operator says which stores are left, when the others are lost for good (D22).

use wire::SiteId;

use super::Durable;
use crate::configuration::Configuration;
use crate::entry::Number;

/// What becomes of a group whose other stores are lost for good, as the store knows it that was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forcing {
    /// The end of this store's log.
    pub last: Number,
    /// The newest configuration that it knows.
    pub before: Configuration,
    /// The stores that are left of it; none: nothing can be forced here.
    pub after: Configuration,
    /// It is so already.
    pub done: bool,
}

impl Durable {
    /// What it would mean to go on with what is left of the newest configuration at these sites; none if that is enough to go
    /// on anyway.
    pub fn forcing(&self, survivors: &[SiteId]) -> Option<Forcing> {
        let (number, before) = self.logged_configuration();
        let mut left = before.stores.clone();
        left.retain(|_, site| survivors.contains(site));
        if left.len() >= before.elects().max(before.writes()) {
            return None;
        }
        let after = Configuration::all_of(left);
        let done = self.meta.forced.as_ref().is_some_and(|forced| *forced == (number, after.clone()));
        Some(Forcing { last: self.log.last(), before, after, done })
    }

    /// Does that. On a machine that was just made, in no view; what it asks of the disk then is to be done before the site
    /// starts.
    pub fn force(&mut self, survivors: &[SiteId]) {
        if let Some(Forcing { after, done: false, .. }) = self.forcing(survivors)
            && !after.stores.is_empty()
        {
            self.meta.forced = Some((self.logged_configuration().0, after));
            self.save_meta();
        }
    }
}
