//! What a site answers to who asks over a connection for an id: it reserves what is bid for as long as the bidder is
//! connected, and puts down what is announced. No id is put down for two stations, so of two that announce one, at
//! most one is put down by a majority.

use std::collections::BTreeMap;

use wire::SiteId;

use super::{Message, Responder, SiteIdError, Station, To};

/// What is to be on disk before an answer leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// The id is the station's, as far as this registrar is concerned.
    Claimed(SiteId),
    /// It is not any longer, and never was used.
    Released(SiteId),
}

/// What comes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// For the sender's [`super::Acquisition::handle_message`].
    pub answer: Option<Vec<u8>>,
    /// To be durable first.
    pub record: Option<Record>,
}

/// The answering side over connections. Memory: one claim and one bid for each station that asked.
#[derive(Clone, Debug)]
pub struct Registrar {
    /// The ids that are certain: the own one, those of the configuration, and those of sites that run under them.
    responder: Responder,
    /// Announced, and the announcer has not been seen under it yet. One each: who announces another gives it up.
    claims: BTreeMap<Station, SiteId>,
    /// Reserved for who is connected. Not on disk.
    bids: BTreeMap<Station, SiteId>,
}

impl Registrar {
    /// The registrar of a site with this id.
    pub fn new(own: SiteId, station: Station) -> Registrar {
        let mut responder = Responder::new();
        responder.hold(own, station);
        Registrar { responder, claims: BTreeMap::new(), bids: BTreeMap::new() }
    }

    /// The station is known to run under this id: nobody else ever gets it. Claims to it are void.
    pub fn hold(&mut self, site: SiteId, station: Station) {
        self.claims.retain(|claimer, claimed| *claimer != station && *claimed != site);
        self.bids.remove(&station);
        self.responder.remember(site, station);
    }

    /// A claim that was on disk.
    pub fn claim(&mut self, site: SiteId, station: Station) {
        self.claims.insert(station, site);
    }

    /// The claims that must be on disk.
    pub fn claims(&self) -> impl Iterator<Item = (Station, SiteId)> + '_ {
        self.claims.iter().map(|(station, site)| (*station, *site))
    }

    /// Takes the message of a station that has no id yet, over its one connection.
    ///
    /// # Errors
    ///
    /// It is not for a registrar: nothing changed, and the connection is of no use.
    pub fn handle_message(&mut self, from: Station, body: &[u8]) -> Result<Ruling, SiteIdError> {
        let ruling = |answer: Message| Ok(Ruling { answer: Some(answer.to(To::All).body), record: None });
        match Message::decode(body)? {
            // On a shared medium only those in range of the highest answer; here everybody is asked for himself.
            Message::SubmitYourId { seq, range: _ } => {
                let site = self.responder.own().unwrap_or_default();
                ruling(Message::SiteIdReply { seq, site, highest: self.highest() })
            }
            Message::IsThereObjection { site } | Message::OfficialSiteId { site } if site.0 == 0 => {
                Err(SiteIdError::NoSuchId)
            }
            Message::IsThereObjection { site } => match self.holder(site) {
                Some(holder) if holder != from => ruling(Message::Objection { site, holder }),
                Some(_) | None => {
                    self.bids.insert(from, site);
                    ruling(Message::NoObjection { site })
                }
            },
            Message::OfficialSiteId { site } => match self.holder(site) {
                Some(holder) if holder != from => ruling(Message::Objection { site, holder }),
                Some(_) | None => {
                    let known = self.claims.insert(from, site) == Some(site);
                    let record = (!known).then_some(Record::Claimed(site));
                    Ok(Ruling { record, ..ruling(Message::Recorded { site })? })
                }
            },
            Message::HostIdInvalid { site } => {
                self.bids.remove(&from);
                let was = self.claims.get(&from) == Some(&site);
                if was {
                    self.claims.remove(&from);
                }
                Ok(Ruling { answer: None, record: was.then_some(Record::Released(site)) })
            }
            Message::SiteIdReply { .. }
            | Message::Objection { .. }
            | Message::NoObjection { .. }
            | Message::Recorded { .. } => Err(SiteIdError::OutOfTurn),
        }
    }

    /// The connection of a bidder is gone: what it bid for is free again.
    pub fn handle_closed(&mut self, station: Station) {
        self.bids.remove(&station);
    }

    fn holder(&self, site: SiteId) -> Option<Station> {
        let certain = self.responder.station(site);
        let asked = self.claims.iter().chain(&self.bids).find(|(_, id)| **id == site);
        certain.or(asked.map(|(station, _)| *station))
    }

    fn highest(&self) -> SiteId {
        let asked = self.claims.values().chain(self.bids.values()).max().copied();
        self.responder.highest().max(asked.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Station = Station(100);
    const B: Station = Station(200);

    fn registrar() -> Registrar {
        let mut registrar = Registrar::new(SiteId(1), Station(1));
        registrar.hold(SiteId(2), Station(2));
        registrar
    }

    fn say(registrar: &mut Registrar, from: Station, message: Message) -> (Option<Message>, Option<Record>) {
        let ruling = registrar.handle_message(from, &message.to(To::All).body).expect("a message");
        (ruling.answer.map(|body| Message::decode(&body).expect("an answer")), ruling.record)
    }

    #[test]
    fn a_bid_is_kept_for_who_is_connected_and_a_claim_for_good() {
        let mut registrar = registrar();
        let site = SiteId(3);
        let (bid, official) = (Message::IsThereObjection { site }, Message::OfficialSiteId { site });
        assert_eq!(say(&mut registrar, A, bid), (Some(Message::NoObjection { site }), None));
        let objection = (Some(Message::Objection { site, holder: A }), None);
        assert_eq!(say(&mut registrar, B, bid), objection);
        assert_eq!(say(&mut registrar, B, official), objection);
        registrar.handle_closed(A);
        assert_eq!(say(&mut registrar, B, bid).0, Some(Message::NoObjection { site }));
        let recorded = Some(Message::Recorded { site });
        assert_eq!(say(&mut registrar, B, official), (recorded, Some(Record::Claimed(site))));
        assert_eq!(say(&mut registrar, B, official), (recorded, None), "it is on disk already");
        registrar.handle_closed(B);
        assert_eq!(say(&mut registrar, A, bid).0, Some(Message::Objection { site, holder: B }));
        let search = Message::SubmitYourId { seq: 7, range: 0 };
        let reply = Message::SiteIdReply { seq: 7, site: SiteId(1), highest: site };
        assert_eq!(say(&mut registrar, A, search).0, Some(reply));
        let void = Message::HostIdInvalid { site };
        assert_eq!(say(&mut registrar, A, void), (None, None), "it is not A's to give up");
        assert_eq!(say(&mut registrar, B, void), (None, Some(Record::Released(site))));
        assert_eq!(say(&mut registrar, A, bid).0, Some(Message::NoObjection { site }));
    }

    #[test]
    fn ids_that_are_held_are_nobody_elses_and_one_station_claims_one() {
        let mut registrar = registrar();
        for site in [SiteId(1), SiteId(2)] {
            let holder = Station(u64::from(site.0));
            let objection = (Some(Message::Objection { site, holder }), None);
            assert_eq!(say(&mut registrar, A, Message::OfficialSiteId { site }), objection);
        }
        for id in 3..1_000 {
            say(&mut registrar, A, Message::OfficialSiteId { site: SiteId(id) });
        }
        assert_eq!(registrar.claims().collect::<Vec<_>>(), [(A, SiteId(999))]);
        // B runs under the number that A announced to us alone: A's claim is void.
        registrar.hold(SiteId(999), B);
        assert_eq!(registrar.claims().count(), 0);
    }

    #[test]
    fn what_a_registrar_says_itself_and_garbage_are_refused() {
        let mut registrar = registrar();
        for (body, why) in [
            (Message::Recorded { site: SiteId(3) }.to(To::All).body, SiteIdError::OutOfTurn),
            (Message::NoObjection { site: SiteId(3) }.to(To::All).body, SiteIdError::OutOfTurn),
            (Message::OfficialSiteId { site: SiteId(0) }.to(To::All).body, SiteIdError::NoSuchId),
            (Message::IsThereObjection { site: SiteId(0) }.to(To::All).body, SiteIdError::NoSuchId),
            (vec![0xff; 300], SiteIdError::Malformed),
            (Vec::new(), SiteIdError::Malformed),
        ] {
            assert_eq!(registrar.handle_message(A, &body), Err(why));
        }
    }
}
