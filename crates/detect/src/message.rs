//! What detectors say to each other.

use minicbor::{Decode, Encode};
use wire::{Incarnation, SiteIncarnation};

/// The longest body a detector reads.
pub const BODY_BYTES_MAX: usize = 256;

/// What a witness has seen of a suspect, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Sign {
    /// It is heard, and answers no probe: the way there is cut, not the way back. Never a reason to remove.
    #[n(0)]
    OneWay,
    /// Probes went unanswered.
    #[n(1)]
    Silence,
    /// The connection with it was closed.
    #[n(2)]
    Closed,
    /// Its host answers that nobody listens there.
    #[n(3)]
    Refused,
}

/// A detector's message. The sender's life is known to whoever hands it in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) enum Body {
    /// The AYT packet [Ravindran & Chanson 85, 2.4].
    #[n(0)]
    AreYouThere {
        #[n(0)]
        seq: u64,
        /// The life asked for.
        #[n(1)]
        whom: Incarnation,
        /// Set while the asker hears nothing from the asked on the direct path.
        #[n(2)]
        deaf: bool,
    },
    /// The answer. If the asked life is over, it comes from another life, which says so: NON_EXISTENT.
    #[n(1)]
    HereIAm {
        #[n(0)]
        seq: u64,
        #[n(1)]
        deaf: bool,
    },
    /// The sender does not hear `who`, and asks everybody (C15).
    #[n(2)]
    Suspect {
        #[n(0)]
        who: SiteIncarnation,
        #[n(1)]
        sign: Sign,
    },
    /// The sender was asked, and does not hear it either.
    #[n(3)]
    Witness {
        #[n(0)]
        who: SiteIncarnation,
        #[n(1)]
        sign: Sign,
    },
    /// To the suspect: say that you live.
    #[n(4)]
    Refute {
        #[n(0)]
        who: SiteIncarnation,
    },
    /// The suspect's answer.
    #[n(5)]
    Alive {},
    /// The sender hears it.
    #[n(6)]
    Hear {
        #[n(0)]
        who: SiteIncarnation,
        /// On the direct path, so that the sender can carry packets.
        #[n(1)]
        direct: bool,
    },
    /// The sender shuts down as scheduled [Ravindran & Chanson 85, 7.0]. The life is named, since the message may be
    /// overtaken by the next one.
    #[n(7)]
    Leaving {
        #[n(0)]
        life: Incarnation,
    },
}

/// Why a detector's message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// Longer than [`BODY_BYTES_MAX`]. Nothing changed.
    #[error("a probe has at most {BODY_BYTES_MAX} bytes")]
    TooLong,
    /// Not a message of this protocol, or of a later version of it. Nothing changed.
    #[error("not a probe")]
    Malformed,
    /// The sender is not a member of this site's view: only its probes are answered. That it was heard is
    /// noted.
    #[error("the sender is not in this site's view")]
    NotMember,
    /// The sender is an older life of a site that has a newer one. Nothing changed.
    #[error("the sender's life is over")]
    StaleLife,
    /// It came from this site itself. Nothing changed.
    #[error("the sender claims to be this site")]
    OwnLife,
}

impl Body {
    pub(crate) fn encode(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("writing to memory does not fail")
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Body, ProbeError> {
        if bytes.len() > BODY_BYTES_MAX {
            return Err(ProbeError::TooLong);
        }
        minicbor::decode(bytes).map_err(|_| ProbeError::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_read_as_it_was_written_and_garbage_is_refused() {
        let who = SiteIncarnation::default();
        for body in [
            Body::AreYouThere { seq: 7, whom: Incarnation(3), deaf: true },
            Body::HereIAm { seq: 7, deaf: false },
            Body::Suspect { who, sign: Sign::Refused },
            Body::Alive {},
            Body::Hear { who, direct: true },
            Body::Leaving { life: Incarnation(3) },
        ] {
            assert_eq!(Body::decode(&body.encode()), Ok(body));
        }
        assert_eq!(Body::decode(&[]), Err(ProbeError::Malformed));
        assert_eq!(Body::decode(&[0xff; 40]), Err(ProbeError::Malformed));
        assert_eq!(Body::decode(&[0; 257]), Err(ProbeError::TooLong));
    }
}
