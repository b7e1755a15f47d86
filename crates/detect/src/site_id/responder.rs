//! What a site answers to those who look for an id, and what it remembers so that no id is used twice.

use std::collections::BTreeMap;

use wire::SiteId;

use super::{Message, SiteIdError, Station, To, Transmit};

/// How many ids a site remembers. Beyond, the lowest is forgotten; ids below the highest are rarely bid for,
/// and their holder objects for itself.
pub const REMEMBERED_MAX: usize = 4_096;

/// The answering side.
#[derive(Clone, Debug, Default)]
pub struct Responder {
    own: Option<(SiteId, Station)>,
    /// Every id ever heard of and who had it. The dead and the departed stay: their id comes back only to
    /// the same station.
    used: BTreeMap<SiteId, Station>,
    highest: SiteId,
}

impl Responder {
    /// A responder that knows nothing.
    pub fn new() -> Responder {
        Responder::default()
    }

    /// This site's own id is official.
    pub fn hold(&mut self, site: SiteId, station: Station) {
        self.remember(site, station);
        self.own = Some((site, station));
    }

    /// This site has no id any more.
    pub fn release(&mut self) {
        self.own = None;
    }

    /// Something learned elsewhere, for example from the cluster's site table.
    pub fn remember(&mut self, site: SiteId, station: Station) {
        self.highest = self.highest.max(site);
        self.used.insert(site, station);
        if self.used.len() > REMEMBERED_MAX {
            self.used.pop_first();
        }
    }

    /// The own id.
    pub fn own(&self) -> Option<SiteId> {
        self.own.map(|(site, _)| site)
    }

    /// The highest id ever heard of; 0 is none.
    pub fn highest(&self) -> SiteId {
        self.highest
    }

    /// Who had this id last, as far as this site remembers.
    pub fn station(&self, site: SiteId) -> Option<Station> {
        self.used.get(&site).copied()
    }

    /// Takes a message of another station and says what to answer.
    pub fn handle_message(&mut self, from: Station, body: &[u8]) -> Result<Option<Transmit>, SiteIdError> {
        let message = Message::decode(body)?;
        if self.own.is_some_and(|(_, station)| station == from) {
            return Err(SiteIdError::OwnStation);
        }
        Ok(self.answer(from, message).map(|answer| answer.to(To::Station(from))))
    }

    pub(super) fn answer(&mut self, from: Station, message: Message) -> Option<Message> {
        match message {
            Message::SubmitYourId { seq, range } => {
                let (site, _) = self.own?;
                let near = site.0.saturating_add(range) >= self.highest.0;
                near.then_some(Message::SiteIdReply { seq, site, highest: self.highest })
            }
            Message::IsThereObjection { site } => {
                let holder = self.station(site)?;
                (holder != from).then_some(Message::Objection { site, holder })
            }
            // An inconsistent entry is replaced by the newer mapping, except this site's own.
            Message::OfficialSiteId { site } => match self.own {
                Some((own, holder)) if own == site => Some(Message::Objection { site, holder }),
                Some(_) | None => {
                    self.remember(site, from);
                    None
                }
            },
            // The mapping is void, yet the id was used: it stays reserved for that station.
            Message::HostIdInvalid { site } => {
                if self.own() != Some(site) {
                    self.remember(site, from);
                }
                None
            }
            Message::SiteIdReply { site, highest, .. } => {
                self.highest = self.highest.max(site).max(highest);
                None
            }
            Message::Objection { .. } | Message::NoObjection { .. } | Message::Recorded { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_departed_site_is_objected_to_except_for_its_own_station() {
        let mut responder = Responder::new();
        responder.hold(SiteId(1), Station(10));
        responder.answer(Station(20), Message::OfficialSiteId { site: SiteId(2) });
        responder.answer(Station(20), Message::HostIdInvalid { site: SiteId(2) });
        let bid = Message::IsThereObjection { site: SiteId(2) };
        let objection = Message::Objection { site: SiteId(2), holder: Station(20) };
        assert_eq!(responder.answer(Station(30), bid), Some(objection));
        assert_eq!(responder.answer(Station(20), bid), None);
        assert_eq!(responder.highest(), SiteId(2));
    }

    #[test]
    fn only_sites_within_the_range_of_the_highest_answer_a_search() {
        let mut responder = Responder::new();
        responder.hold(SiteId(5), Station(1));
        responder.remember(SiteId(9), Station(2));
        let search = |range| Message::SubmitYourId { seq: 1, range };
        assert_eq!(responder.answer(Station(3), search(0)), None);
        let reply = Message::SiteIdReply { seq: 1, site: SiteId(5), highest: SiteId(9) };
        assert_eq!(responder.answer(Station(3), search(10)), Some(reply));
    }
}
