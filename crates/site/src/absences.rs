//! Sites that are known and not there: since when, as far as this site has seen it, and what was last known of them. It is
//! kept in the data directory, so that a site that was started again still knows.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use minicbor::{Decode, Encode};
use net::{DiskError, Kept, Links};
use stack::{SiteState, SiteSummary};
use wire::{Incarnation, SiteId};

use crate::handle::Handle;

/// The file's name in the data directory.
const FILE: &str = "absences";
/// How often it is looked who is there.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is remembered of a site. Moments are seconds since 1970 on this site's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Known {
    /// Since when it is not there; none if it is, or was when this was written down.
    #[n(0)]
    pub(crate) since: Option<u64>,
    /// When it was seen to be there, and that was written down.
    #[n(1)]
    pub(crate) seen: Option<u64>,
    /// Its last life that was in a view.
    #[n(2)]
    pub(crate) incarnation: Option<Incarnation>,
}

/// The sites, by number.
#[derive(Debug, Default, PartialEq, Eq)]
struct Record {
    known: BTreeMap<SiteId, Known>,
    /// Whether those are there that this life has seen to be there.
    met: BTreeMap<SiteId, bool>,
    /// There is something to write down.
    unsaved: bool,
}

impl Record {
    /// What the cluster looks like now, and with whom there is a link.
    fn observe(&mut self, now: u64, sites: &[SiteSummary], linked: impl Fn(SiteId) -> bool) {
        for site in sites {
            let was = self.met.get(&site.site).copied();
            let known = self.known.entry(site.site).or_default();
            let before = *known;
            // A view may list one that is gone: it is suspected then, or, after this site was started again, it is the
            // life whose end was written down. That says neither that it is there nor that it is not.
            let another_life = site.incarnation.is_some() && site.incarnation != known.incarnation;
            let there = match site.state {
                SiteState::Down => false,
                SiteState::Up if known.since.is_none() || another_life || linked(site.site) => true,
                SiteState::Up | SiteState::Suspected => continue,
            };
            if there {
                known.since = None;
                known.incarnation = site.incarnation.or(known.incarnation);
                if was != Some(true) {
                    known.seen = Some(now);
                }
            } else if was == Some(true) {
                (known.since, known.seen) = (Some(now), Some(now));
            }
            if there || was.is_some() {
                self.met.insert(site.site, there);
            }
            self.unsaved |= *known != before;
        }
    }

    fn encode(&self) -> Vec<u8> {
        minicbor::to_vec(&self.known).expect("writing to memory does not fail")
    }
}

pub(crate) struct Absences {
    links: Links,
    record: Mutex<Record>,
    kept: Mutex<Kept>,
    /// When this life began to look.
    pub(crate) started: u64,
}

impl Absences {
    /// Reads what was written down, for whoever has the data directory to himself. What can't be read is forgotten:
    /// nothing depends on it.
    pub(crate) fn open(data: &Path, links: Links) -> Result<Absences, DiskError> {
        let (kept, record) = read(data)?;
        Ok(Absences { links, record: Mutex::new(record), kept: Mutex::new(kept), started: seconds() })
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks for ever.
    pub(crate) async fn watch(self: Arc<Absences>, handle: Handle) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            look.tick().await;
            let Ok(sites) = handle.sites().await else { return };
            self.observe(&sites);
            if !std::mem::take(&mut self.record().unsaved) {
                continue;
            }
            let this = Arc::clone(&self);
            let saved = tokio::task::spawn_blocking(move || this.save()).await;
            if let Ok(Err(error)) = saved {
                tracing::warn!(%error, "can't write down since when sites are absent");
                self.record().unsaved = true;
            }
        }
    }

    /// Takes a look.
    pub(crate) fn observe(&self, sites: &[SiteSummary]) {
        self.record().observe(seconds(), sites, |site| self.links.is_up(site));
    }

    fn save(&self) -> Result<(), DiskError> {
        let bytes = self.record().encode();
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).replace(&bytes)
    }

    /// What is known of a site, as of the last look.
    pub(crate) fn known(&self, site: SiteId) -> Known {
        self.record().known.get(&site).copied().unwrap_or_default()
    }
}

fn read(data: &Path) -> Result<(Kept, Record), DiskError> {
    let (kept, content, _) = Kept::open(data, FILE)?;
    let known = content.filter(|content| !content.is_empty()).map(|content| minicbor::decode(&content));
    let known = known.and_then(|known| {
        known.inspect_err(|error| tracing::warn!(%error, "since when sites are absent is forgotten")).ok()
    });
    Ok((kept, Record { known: known.unwrap_or_default(), ..Record::default() }))
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sites(there: &[u32]) -> Vec<SiteSummary> {
        let site = |n: u32| SiteSummary {
            site: SiteId(n),
            name: n.to_string(),
            state: if there.contains(&n) { SiteState::Up } else { SiteState::Down },
            incarnation: there.contains(&n).then_some(Incarnation(7)),
            rank: None,
        };
        (1..=3).map(site).collect()
    }

    #[test]
    fn an_absence_begins_when_it_is_seen_and_is_remembered_by_the_next_life() {
        let mut record = Record::default();
        let observe = |record: &mut Record, now, there: &[u32]| {
            record.observe(now, &sites(there), |_| false);
            std::mem::take(&mut record.unsaved)
        };
        assert!(observe(&mut record, 10, &[1, 2]));
        assert!(!observe(&mut record, 11, &[1, 2]));
        assert_eq!(record.known[&SiteId(3)], Known::default(), "never seen");
        assert!(observe(&mut record, 20, &[1]));
        assert!(!observe(&mut record, 21, &[1]));
        let absent = Known { since: Some(20), seen: Some(20), incarnation: Some(Incarnation(7)) };
        assert_eq!(record.known[&SiteId(2)], absent);

        let known = minicbor::decode(&record.encode()).expect("readable");
        let mut next = Record { known, ..Record::default() };
        // It begins alone: that is no absence of those that were there. Or with the last view it knew.
        assert!(!observe(&mut next, 100, &[]));
        assert!(!observe(&mut next, 100, &[2]));
        assert_eq!(next.known[&SiteId(2)], absent);
        assert_eq!(next.known[&SiteId(1)].since, None, "since when can't be said");
        assert_eq!(next.known[&SiteId(1)].seen, Some(10));
        next.observe(101, &sites(&[1, 2, 3]), |_| true);
        assert!(std::mem::take(&mut next.unsaved));
        assert_eq!(next.known[&SiteId(2)].since, None);
        assert!(observe(&mut next, 102, &[2, 3]));
        assert_eq!(next.known[&SiteId(1)].since, Some(102));
    }

    #[test]
    fn what_was_written_is_read_and_what_can_not_be_read_is_forgotten() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut kept, mut record) = read(folder.path()).expect("opened");
        record.observe(10, &sites(&[1, 2]), |_| false);
        record.observe(20, &sites(&[1]), |_| false);
        kept.replace(&record.encode()).expect("written");
        drop(kept);
        let (mut kept, again) = read(folder.path()).expect("opened");
        assert_eq!(again.known, record.known);
        kept.replace(b"\xff").expect("written");
        drop(kept);
        assert_eq!(read(folder.path()).expect("opened").1, Record::default());
    }
}
