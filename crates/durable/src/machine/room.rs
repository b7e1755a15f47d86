//! Full disks: who has no room, who is told, and what may be asked meanwhile (D4).

use wire::SiteId;

use super::Durable;
use crate::event::Event;
use crate::exchange;

impl Durable {
    /// Tells its site and the others what has changed about its own disk.
    pub(super) fn tell_room(&mut self) {
        let full = self.disk.is_full();
        if self.told_full != full {
            self.told_full = full;
            self.events.push_back(Event::Full(full));
        }
        if let Some(active) = self.active_mut()
            && active.told_full != full
        {
            active.told_full = full;
            self.send_ack(None, false);
        }
    }

    /// Whether a site of the view has said in it that its disk is full.
    fn is_full(&self, site: SiteId) -> bool {
        match &self.present {
            _ if site == self.me => self.disk.is_full(),
            Some(present) => present.acks.get(&site).is_some_and(|ack| ack.full),
            None => false,
        }
    }

    /// The sites here whose disks are full, as far as they have said.
    pub(super) fn full(&self) -> Vec<SiteId> {
        let sites = self.present.as_ref().map_or_else(|| vec![self.me], |present| present.view.sites.clone());
        let mut full: Vec<SiteId> = sites.into_iter().filter(|site| self.is_full(*site)).collect();
        full.sort_unstable();
        full
    }

    /// Whether a request that is proposed here could be answered as things are: there is room for it here, where it is
    /// applied, and at W stores that count, unless it is not for want of room that there are fewer.
    pub(super) fn has_room(&self) -> bool {
        if self.disk.is_full() {
            return false;
        }
        let (Some(present), Some(active)) = (&self.present, self.active()) else { return true };
        let (configuration, bugs) = (&active.newest().1, self.settings.bugs);
        let (_, writes) = exchange::quorums(configuration, &present.view.sites, bugs);
        let (mut here, mut with_room) = (0, 0);
        for stated in exchange::voters(configuration, &present.stated, bugs) {
            here += 1;
            with_room += usize::from(!self.is_full(stated.site));
        }
        with_room >= writes || with_room == here
    }
}
