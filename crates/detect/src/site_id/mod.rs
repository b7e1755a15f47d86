//! How a new site gets its id [Ravindran & Chanson 85, section 6], in three steps: a tentative id, rounds in
//! which anybody may object, and the announcement.
//!
//! [`Acquisition`] is the new site's side; [`Responder`] is what every site answers with, the new one too
//! once it has its id. Before it has an id a site is known by its [`Station`]. All messages are small and
//! may be lost, doubled or overtaken.
//!
//! On a medium that everybody hears, silence is consent, and two who cannot hear each other may choose alike until
//! they meet. Where a site asks over a connection to each peer, it can do better: a [`Registrar`] answers at every
//! peer, says aloud that it has no objection, and puts on disk who announced an id; an id is a site's when more than
//! half of [`Config::voters`] have. Any two majorities share a voter, and no voter puts down an id for two.

mod acquisition;
mod registrar;
mod responder;

use minicbor::{Decode, Encode};
use wire::SiteId;

pub use acquisition::{Acquisition, Config, Event, Method};
pub use registrar::{Record, Registrar, Ruling};
pub use responder::{REMEMBERED_MAX, Responder};

/// What names a site before it has an id, and tells two bidders for one id apart: a network station
/// address, or any number that no other site has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct Station(#[n(0)] pub u64);

/// Whom a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum To {
    /// Every station.
    All,
    /// This one.
    Station(Station),
}

/// A message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Whom for.
    pub to: To,
    /// For the other's `handle_message`.
    pub body: Vec<u8>,
}

/// Why a message was not taken. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SiteIdError {
    /// Not a message of this protocol, or of a later version of it.
    #[error("not a message about site ids")]
    Malformed,
    /// It comes from this very station: an echo.
    #[error("the sender claims to be this station")]
    OwnStation,
    /// A message that only a site with an id sends, from one without.
    #[error("the sender has no id and says what only a site with one says")]
    OutOfTurn,
    /// No site has this id.
    #[error("not an id that a site may have")]
    NoSuchId,
}

/// What is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) enum Message {
    /// Who has the highest id, or is within `range` of it?
    #[n(0)]
    SubmitYourId {
        #[n(0)]
        seq: u32,
        #[n(1)]
        range: u32,
    },
    /// The sender's id, and the highest it ever heard of: ids of the dead are not used again.
    #[n(1)]
    SiteIdReply {
        #[n(0)]
        seq: u32,
        #[n(1)]
        site: SiteId,
        #[n(2)]
        highest: SiteId,
    },
    /// The sender bids for `site`.
    #[n(2)]
    IsThereObjection {
        #[n(0)]
        site: SiteId,
    },
    /// `site` is `holder`'s, who may be the sender or somebody whom it remembers.
    #[n(3)]
    Objection {
        #[n(0)]
        site: SiteId,
        #[n(1)]
        holder: Station,
    },
    /// `site` is the sender's from now on.
    #[n(4)]
    OfficialSiteId {
        #[n(0)]
        site: SiteId,
    },
    /// The sender, which was `site`, shuts down as scheduled.
    #[n(5)]
    HostIdInvalid {
        #[n(0)]
        site: SiteId,
    },
    /// The sender heard the bid for `site`, keeps it for the bidder as long as they are connected, and knows nothing
    /// against it.
    #[n(6)]
    NoObjection {
        #[n(0)]
        site: SiteId,
    },
    /// The sender has it on disk that `site` is the announcer's.
    #[n(7)]
    Recorded {
        #[n(0)]
        site: SiteId,
    },
}

impl Message {
    pub(crate) fn to(self, to: To) -> Transmit {
        Transmit { to, body: minicbor::to_vec(self).expect("writing to memory does not fail") }
    }

    pub(crate) fn decode(body: &[u8]) -> Result<Message, SiteIdError> {
        if body.len() > crate::BODY_BYTES_MAX {
            return Err(SiteIdError::Malformed);
        }
        minicbor::decode(body).map_err(|_| SiteIdError::Malformed)
    }
}
