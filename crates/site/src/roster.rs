//! Who has which number: the sites of the configuration, and those that got theirs from this site and its peers.
//!
//! Pure: it decides, and says what is to be kept; [`crate::directory`] keeps it. A number or a name has one holder for
//! ever, dead or alive. Three ways lead into the table:
//!
//! * a site **announces** a number that it bids for: a claim, written down before it is answered. It counts when more
//!   than half of the founders have it, which the announcer finds out;
//! * a site **says hello** under a number: it runs under it, so most founders have its claim. That makes it certain
//!   here, even if somebody else's claim was written down here meanwhile, who cannot have had that majority;
//! * a **peer tells** of a site that it is certain of.
//!
//! The authority speaks for a number that stands in a certificate, and only a site of the table contradicts it.

use std::collections::BTreeMap;

use detect::site_id::{Record, Registrar, Station};
use minicbor::{Decode, Encode};
use net::Refusal;
use net::cert::{NAME_BYTES_MAX, Principal, Role};
use wire::version::Hello;
use wire::{Incarnation, SiteId};

/// Sites in the table, those of the configuration apart; beyond, new ones are refused.
pub(crate) const SITES_MAX: usize = 2_048;
/// Claims that have not come to anything; beyond, new ones are refused.
const CLAIMS_MAX: usize = 1_024;

/// A site that runs, or ran, under its number.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Entry {
    #[n(0)]
    pub(crate) site: SiteId,
    #[n(1)]
    pub(crate) name: String,
    /// Where it is reached, as it said itself.
    #[n(2)]
    pub(crate) addresses: Vec<String>,
    #[n(3)]
    pub(crate) mserver: bool,
    /// In which life it said so.
    #[n(4)]
    pub(crate) incarnation: Incarnation,
    /// Its number stands in its certificate: it is kept so that nobody else gets it, and is not dialed or told of.
    #[n(5)]
    pub(crate) certified: bool,
}

/// What is on disk.
#[derive(Clone, Debug, Default, Encode, Decode)]
#[cbor(map)]
struct Kept {
    #[n(0)]
    held: Vec<Entry>,
    #[n(1)]
    claims: Vec<Claim>,
}

#[derive(Clone, Debug, Encode, Decode)]
#[cbor(map)]
struct Claim {
    #[n(0)]
    site: SiteId,
    #[n(1)]
    name: String,
}

struct Held {
    entry: Entry,
    /// The change of the roster that made it so.
    version: u64,
}

pub(crate) struct Roster {
    /// Of the configuration, this site among them.
    fixed: BTreeMap<SiteId, String>,
    held: BTreeMap<SiteId, Held>,
    names: BTreeMap<String, SiteId>,
    /// The names of the stations with claims or connections.
    stations: BTreeMap<Station, String>,
    registrar: Registrar,
    version: u64,
}

impl Roster {
    /// The roster of the site `me`, whose configuration has `fixed`, this site among them; `kept` was on disk.
    pub(crate) fn new(
        me: SiteId,
        fixed: BTreeMap<SiteId, String>,
        kept: Option<&[u8]>,
    ) -> Result<Roster, minicbor::decode::Error> {
        let kept: Kept = kept.map(minicbor::decode).transpose()?.unwrap_or_default();
        let own = fixed.get(&me).map_or(Station(0), |name| station(name));
        let mut roster = Roster {
            names: fixed.iter().map(|(site, name)| (name.clone(), *site)).collect(),
            registrar: Registrar::new(me, own),
            held: BTreeMap::new(),
            stations: BTreeMap::new(),
            version: 0,
            fixed,
        };
        for (site, name) in roster.fixed.iter().filter(|(site, _)| **site != me) {
            roster.registrar.hold(*site, station(name));
        }
        for claim in kept.claims {
            roster.registrar.claim(claim.site, station(&claim.name));
            roster.stations.insert(station(&claim.name), claim.name);
        }
        for entry in kept.held {
            // The configuration has been changed meanwhile if it says otherwise: it goes first.
            if roster.conflict(entry.site, &entry.name).is_ok() && !roster.fixed.contains_key(&entry.site) {
                roster.hold(entry);
            }
        }
        Ok(roster)
    }

    /// For the disk.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let claim = |(station, site)| Some(Claim { site, name: self.stations.get(&station)?.clone() });
        let kept = Kept {
            held: self.held.values().map(|held| held.entry.clone()).collect(),
            claims: self.registrar.claims().filter_map(claim).collect(),
        };
        minicbor::to_vec(kept).expect("writing to memory does not fail")
    }

    /// Rises with everything that must be kept.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// The sites that the configuration does not know, and that are told of and dialed.
    pub(crate) fn learned(&self) -> impl Iterator<Item = &Entry> + '_ {
        self.learned_since(0)
    }

    /// Those of them that have changed since.
    pub(crate) fn learned_since(&self, version: u64) -> impl Iterator<Item = &Entry> + '_ {
        let since = self.held.values().filter(move |held| held.version > version);
        since.map(|held| &held.entry).filter(|entry| !entry.certified)
    }

    /// Whether a site may speak so. Changes nothing.
    pub(crate) fn check(&self, certified: &Principal, site: SiteId) -> Result<(), Refusal> {
        match certified.role {
            Role::Site(number) if number != site => Err(Refusal::WrongSite),
            // The authority has said so; what the configuration calls it does not matter.
            Role::Site(_) if self.fixed.contains_key(&site) => Ok(()),
            Role::Site(_) | Role::NamedSite => self.conflict(site, &certified.name),
            Role::Client | Role::Administrator => Err(Refusal::WrongRole),
        }
    }

    /// A site that may speak so has said hello. True if that is news.
    pub(crate) fn heard(&mut self, certified: &Principal, hello: &Hello) -> Result<bool, Refusal> {
        self.check(certified, hello.site.site)?;
        if self.fixed.contains_key(&hello.site.site) {
            return Ok(false);
        }
        self.take(Entry {
            site: hello.site.site,
            name: certified.name.clone(),
            addresses: hello.addresses.clone().unwrap_or_default(),
            mserver: hello.mserver.unwrap_or(false),
            incarnation: hello.site.incarnation,
            certified: certified.role != Role::NamedSite,
        })
    }

    /// A peer tells of a site. True if that is news.
    pub(crate) fn told(&mut self, mut entry: Entry) -> Result<bool, Refusal> {
        let readable = |text: &String| text.bytes().all(|b| b.is_ascii_graphic());
        let good = entry.site.0 != 0
            && (1..=NAME_BYTES_MAX).contains(&entry.name.len())
            && readable(&entry.name)
            && entry.addresses.len() <= Hello::ADDRESSES_MAX
            && entry.addresses.iter().all(|a| a.len() <= Hello::ADDRESS_BYTES_MAX && readable(a));
        if !good {
            return Err(Refusal::BadBid);
        }
        self.conflict(entry.site, &entry.name)?;
        if self.fixed.contains_key(&entry.site) {
            return Ok(false);
        }
        entry.certified = false;
        self.take(entry)
    }

    /// A site that has no number has connected to get one.
    pub(crate) fn bidder(&mut self, name: &str) -> Result<(), Refusal> {
        if self.names.contains_key(name) {
            return Err(Refusal::NameTaken);
        }
        self.stations.insert(station(name), name.to_owned());
        Ok(())
    }

    /// What it says. The answer, and whether the roster must be on disk before it leaves.
    pub(crate) fn bid(&mut self, name: &str, body: &[u8]) -> Result<(Option<Vec<u8>>, bool), Refusal> {
        self.bidder(name)?;
        if self.registrar.claims().count() >= CLAIMS_MAX {
            return Err(Refusal::TooManySites);
        }
        let ruling = self.registrar.handle_message(station(name), body).map_err(|_| Refusal::BadBid)?;
        match ruling.record {
            Some(Record::Claimed(site)) => tracing::info!(name, number = site.0, "announces a number"),
            Some(Record::Released(site)) => tracing::info!(name, number = site.0, "gives a number up"),
            None => {}
        }
        self.version += u64::from(ruling.record.is_some());
        Ok((ruling.answer, ruling.record.is_some()))
    }

    /// It is gone.
    pub(crate) fn bidder_gone(&mut self, name: &str) {
        self.registrar.handle_closed(station(name));
        self.forget_stations();
    }

    fn conflict(&self, site: SiteId, name: &str) -> Result<(), Refusal> {
        let holder = self.fixed.get(&site).or_else(|| self.held.get(&site).map(|held| &held.entry.name));
        if holder.is_some_and(|holder| holder != name) {
            return Err(Refusal::NumberTaken);
        }
        if self.names.get(name).is_some_and(|has| *has != site) {
            return Err(Refusal::NameTaken);
        }
        Ok(())
    }

    fn take(&mut self, entry: Entry) -> Result<bool, Refusal> {
        match self.held.get(&entry.site) {
            Some(held) if held.entry.incarnation > entry.incarnation => return Ok(false),
            // A later life with the same to say is no news worth writing down.
            Some(held) if (Entry { incarnation: entry.incarnation, ..held.entry.clone() }) == entry => {
                return Ok(false);
            }
            None if self.held.len() >= SITES_MAX => return Err(Refusal::TooManySites),
            Some(_) | None => {}
        }
        self.hold(entry);
        Ok(true)
    }

    fn hold(&mut self, entry: Entry) {
        self.version += 1;
        self.registrar.hold(entry.site, station(&entry.name));
        self.names.insert(entry.name.clone(), entry.site);
        self.held.insert(entry.site, Held { entry, version: self.version });
        self.forget_stations();
    }

    /// Names without a claim are those of bidders, and come again with their next bid.
    fn forget_stations(&mut self) {
        let claimers: Vec<Station> = self.registrar.claims().map(|(station, _)| station).collect();
        self.stations.retain(|station, _| claimers.contains(station));
    }
}

/// The station of a name, the same at every site: numbers are bid for before there is one to be known by.
pub(crate) fn station(name: &str) -> Station {
    Station(net::cert::fingerprint(name))
}

#[cfg(test)]
mod tests {
    use wire::{ClusterId, SiteIncarnation, StoreId};

    use super::*;

    fn roster(kept: Option<&[u8]>) -> Roster {
        let fixed = [(1, "a"), (2, "b"), (3, "c")].map(|(site, name)| (SiteId(site), name.to_owned()));
        Roster::new(SiteId(1), fixed.into(), kept).expect("readable")
    }

    fn named(name: &str) -> Principal {
        Principal { cluster: ClusterId(7), role: Role::NamedSite, name: name.to_owned() }
    }

    fn hello(site: u32, incarnation: u64) -> Hello {
        let site = SiteIncarnation { site: SiteId(site), incarnation: Incarnation(incarnation) };
        let mut hello = Hello::new(ClusterId(7), 0, site, StoreId(1), "x");
        hello.addresses = Some(vec!["10.0.0.4:7000".to_owned()]);
        hello
    }

    #[test]
    fn a_second_holder_of_a_number_or_of_a_name_is_refused() {
        let mut roster = roster(None);
        assert_eq!(roster.heard(&named("d"), &hello(4, 1)), Ok(true));
        assert_eq!(roster.heard(&named("d"), &hello(4, 1)), Ok(false));
        for (name, number, why) in [
            ("e", 4, Refusal::NumberTaken),
            ("d", 5, Refusal::NameTaken),
            ("e", 1, Refusal::NumberTaken),
            ("e", 3, Refusal::NumberTaken),
            ("b", 5, Refusal::NameTaken),
            ("a", 5, Refusal::NameTaken),
        ] {
            assert_eq!(roster.heard(&named(name), &hello(number, 1)), Err(why), "{name} as {number}");
        }
        assert_eq!(roster.bidder("d"), Err(Refusal::NameTaken));
        assert_eq!(roster.bidder("c"), Err(Refusal::NameTaken));
        // The authority speaks for the numbers in certificates, unless a running site has one by its name.
        let certified = |site| Principal { role: Role::Site(SiteId(site)), ..named("otherwise") };
        assert_eq!(roster.heard(&certified(2), &hello(2, 1)), Ok(false));
        assert_eq!(roster.heard(&certified(4), &hello(4, 1)), Err(Refusal::NumberTaken));
        assert_eq!(roster.heard(&certified(9), &hello(8, 1)), Err(Refusal::WrongSite));
        assert_eq!(roster.heard(&certified(9), &hello(9, 1)), Ok(true));
        assert_eq!(roster.heard(&named("e"), &hello(9, 1)), Err(Refusal::NumberTaken));
        assert_eq!(roster.learned().count(), 1, "who was not asked about is not told of");
    }

    #[test]
    fn what_is_kept_reads_back_and_the_configuration_goes_first() {
        let mut before = roster(None);
        before.heard(&named("d"), &hello(4, 3)).expect("taken");
        before.bidder("e").expect("a bidder");
        let claim = [0x82, 0x04, 0x81, 0x05];
        let (answer, keep) = before.bid("e", &claim).expect("an announcement of 5");
        assert!(answer.is_some() && keep);
        let mut after = roster(Some(&before.encode()));
        assert_eq!(after.learned().collect::<Vec<_>>(), before.learned().collect::<Vec<_>>());
        assert_eq!(after.encode(), before.encode());
        let (answer, keep) = after.bid("f", &claim).expect("an announcement");
        assert!(answer.is_some() && !keep, "an objection");
        // Who runs under a number had most founders' word for it.
        assert_eq!(after.heard(&named("f"), &hello(5, 1)), Ok(true));
        assert_eq!(after.bid("f", &claim), Err(Refusal::NameTaken));

        let fixed = [(1, "a"), (4, "four")].map(|(site, name)| (SiteId(site), name.to_owned()));
        let changed = Roster::new(SiteId(1), fixed.into(), Some(&before.encode())).expect("readable");
        assert_eq!(changed.learned().count(), 0);
    }

    #[test]
    fn the_last_life_s_word_counts_and_only_news_is_passed_on() {
        let mut roster = roster(None);
        let at = |port: u16, incarnation| Entry {
            site: SiteId(4),
            name: "d".to_owned(),
            addresses: vec![format!("10.0.0.4:{port}")],
            mserver: false,
            incarnation: Incarnation(incarnation),
            certified: false,
        };
        assert_eq!(roster.told(at(1, 2)), Ok(true));
        let version = roster.version();
        assert_eq!(roster.told(at(2, 1)), Ok(false), "an earlier life's");
        assert_eq!(roster.told(at(1, 3)), Ok(false), "nothing new");
        assert_eq!(roster.learned_since(version).count(), 0);
        assert_eq!(roster.told(at(2, 3)), Ok(true));
        assert_eq!(roster.learned_since(version).count(), 1);
        assert_eq!(roster.told(Entry { name: "x y".to_owned(), ..at(1, 9) }), Err(Refusal::BadBid));
        assert_eq!(roster.told(Entry { site: SiteId(0), ..at(1, 9) }), Err(Refusal::BadBid));
        assert_eq!(roster.told(Entry { site: SiteId(2), ..at(1, 9) }), Err(Refusal::NumberTaken));
    }

    #[test]
    fn the_table_is_bounded() {
        let mut roster = roster(None);
        for n in 0..2 * SITES_MAX as u32 {
            let _ = roster.heard(&named(&format!("n{n}")), &hello(10 + n, 1));
            let _ = roster.bid(&format!("m{n}"), &[0x82, 0x04, 0x81, 0x19, (n >> 8) as u8 | 0x40, n as u8]);
        }
        assert_eq!(roster.held.len(), SITES_MAX);
        assert_eq!(roster.registrar.claims().count(), CLAIMS_MAX);
        assert_eq!(roster.bid("z", &[0x82, 0x04, 0x81, 0x05]), Err(Refusal::TooManySites));
        assert_eq!(roster.bid("y", b"garbage"), Err(Refusal::TooManySites));
    }
}
