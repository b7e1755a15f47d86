//! What operators want to know: how far the group is, who is away and what it will have to catch up on.

use wire::{SiteId, StoreId, ViewId};

use super::Durable;
use crate::configuration::Configuration;
use crate::entry::Number;
use crate::event::Mode;
use crate::exchange;

/// The state of a durable group as this store knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What the group can do.
    pub mode: Mode,
    /// The installed view.
    pub view: Option<ViewId>,
    /// The end of this store's log.
    pub last: Number,
    /// Up to here it is durable.
    pub durable: u64,
    /// Up to here it is known to be what the group's is.
    pub agreed: u64,
    /// Known to be committed.
    pub committed: u64,
    /// Applied here.
    pub applied: u64,
    /// The time of the state, in milliseconds since 1970: the greatest of its entries.
    pub clock: u64,
    /// The newest configuration known here.
    pub configuration: Configuration,
    /// The position of its entry; 0 for the founders'. Once that is committed, the configuration is there for good.
    pub configured: u64,
    /// The stores that are in the view and have stated, whether they count or not.
    pub present: Vec<Here>,
    /// Damaged positions that nobody has sent yet (D14).
    pub damaged: Vec<u64>,
    /// Entries that were lost from the end may have gone up to here; it counts less until its log has reached it (D15).
    pub floor: Option<Number>,
    /// The sites in the view whose disks are full, ascending, as far as they have said.
    pub full: Vec<SiteId>,
    /// Whether a request that is proposed here would be taken as far as room goes: there is some here, and at W stores.
    pub has_room: bool,
    /// Bytes appended to the log in this life.
    pub appended_bytes: u64,
    /// How this store catches up, if it is behind.
    pub progress: Option<Progress>,
    /// The stores that count and are not in the view, or lag behind it.
    pub absent: Vec<Absent>,
}

/// How a store that is behind catches up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// By the log.
    Tail {
        /// It has come so far.
        at: u64,
        /// And has to come here.
        of: u64,
    },
    /// By a checkpoint.
    Checkpoint {
        /// Which; none before its first part.
        number: Option<Number>,
        /// Bytes received.
        received: u64,
        /// Whom the next part is asked of.
        donor: SiteId,
    },
}

/// A store in the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Here {
    /// The store.
    pub store: StoreId,
    /// Where it is.
    pub site: SiteId,
    /// Whether it may count: nobody here has seen a later life of it (D16).
    pub may_count: bool,
    /// How far it is known to have acknowledged in this view.
    pub acked: u64,
}

/// A store that will have to catch up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Absent {
    /// The store.
    pub store: StoreId,
    /// Where it is.
    pub site: SiteId,
    /// Whether its site is in the view, and only behind.
    pub here: bool,
    /// How far it had acknowledged when it was last heard.
    pub acked: u64,
    /// The state's time then; 0 if this store has never heard it.
    pub since: u64,
    /// Entries that it lacks by now.
    pub behind: u64,
}

impl Durable {
    /// The state of the group as this store knows it.
    pub fn status(&self) -> Status {
        let configuration = self.configuration_in_force();
        Status {
            mode: self.mode,
            view: self.present.as_ref().map(|present| present.view.id),
            last: self.log.last(),
            durable: self.durable(),
            agreed: self.agreed,
            committed: self.committed,
            applied: self.applied,
            clock: self.clock,
            damaged: self.log.holes().iter().copied().collect(),
            floor: self.meta.floor.filter(|floor| *floor > self.log.last()),
            full: self.full(),
            has_room: self.has_room(),
            appended_bytes: self.appended_bytes,
            progress: self.progress(),
            absent: self.absent(&configuration),
            configured: self
                .active()
                .map_or_else(|| self.newest_configuration().0.position, |a| a.newest().0),
            present: self.stores_here(),
            configuration,
        }
    }

    fn progress(&self) -> Option<Progress> {
        if let Some(transfer) = &self.transfer {
            return Some(transfer.progress());
        }
        let active = self.active()?;
        let of = active.next - 1;
        // What is delivered and goes to the log as it comes is no catching up.
        let waits = active.waiting.front().map_or(of, |entry| entry.number.position - 1);
        (self.agreed < waits).then_some(Progress::Tail { at: self.agreed, of })
    }

    fn stores_here(&self) -> Vec<Here> {
        let Some(present) = &self.present else { return Vec::new() };
        let acked = |site: SiteId| match (site == self.me, &present.active) {
            (true, Some(active)) => active.acked,
            (true, None) => 0,
            (false, _) => present.acks.get(&site).map_or(0, |ack| ack.position),
        };
        let here = present.stated.iter().map(|stated| Here {
            store: stated.statement.store,
            site: stated.site,
            may_count: exchange::surpassed(&stated.statement, &present.stated, self.settings.bugs).is_none(),
            acked: acked(stated.site),
        });
        here.collect()
    }

    fn absent(&self, configuration: &Configuration) -> Vec<Absent> {
        let sites = self.present.as_ref().map_or(&[][..], |present| &present.view.sites);
        let end = self.active().map_or(self.log.end(), |active| active.next - 1).max(self.committed);
        let others = configuration.stores.iter().filter(|(store, _)| **store != self.store);
        let lacking = others.filter_map(|(store, site)| {
            let seen = self.meta.seen(*store).copied().unwrap_or_default();
            let absent = Absent {
                store: *store,
                site: *site,
                here: sites.contains(site),
                acked: seen.acked.position,
                since: seen.at,
                behind: end.saturating_sub(seen.acked.position),
            };
            (!absent.here || absent.acked < self.committed).then_some(absent)
        });
        lacking.collect()
    }

    /// The stores whose sites go with this view were heard up to now.
    pub(super) fn note_absent(&mut self, next: &[SiteId]) {
        let Some(present) = &self.present else { return };
        let Some(active) = &present.active else { return };
        let clock = self.clock;
        let gone: Vec<StoreId> = exchange::voters(&active.newest().1, &present.stated, self.settings.bugs)
            .filter(|stated| !next.contains(&stated.site))
            .map(|stated| stated.statement.store)
            .collect();
        for store in gone {
            self.meta.seen_mut(store).at = clock;
        }
    }
}
