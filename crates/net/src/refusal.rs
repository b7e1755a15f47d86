//! Why a connection or a peer was turned away. Each reason has its own counter.

use rustls::{CertificateError, InvalidMessage, PeerIncompatible};

macro_rules! refusals {
    ($($(#[doc = $doc:literal])* $name:ident = $label:literal, $text:literal;)*) => {
        /// A reason to refuse. No refusal changes anything but its counter.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
        pub enum Refusal {
            $($(#[doc = $doc])* #[error($text)] $name,)*
        }

        impl Refusal {
            /// Every reason, in order.
            pub const ALL: &'static [Refusal] = &[$(Refusal::$name),*];

            /// The reason as a metric's label.
            pub fn label(self) -> &'static str {
                match self {
                    $(Refusal::$name => $label,)*
                }
            }
        }
    };
}

refusals! {
    /// The peer showed no certificate.
    NoCertificate = "no_certificate", "the peer showed no certificate";
    /// Signed by nobody we trust.
    OtherAuthority = "other_authority", "the certificate is of another authority";
    /// Its time is over.
    Expired = "expired", "the certificate has expired";
    /// Its time has not come.
    NotYetValid = "not_yet_valid", "the certificate is not valid yet";
    /// On the revocation list.
    Revoked = "revoked", "the certificate is revoked";
    /// Broken, badly signed, or not usable for a link.
    BadCertificate = "bad_certificate", "the certificate is broken";
    /// Well signed, but names nobody in the way a cluster's certificates do.
    BadIdentity = "bad_identity", "the certificate names no member of a cluster";
    /// Of another cluster.
    WrongCluster = "wrong_cluster", "the certificate is of another cluster";
    /// A client as a site, or the other way round.
    WrongRole = "wrong_role", "the certificate's role does not allow this";
    /// A site speaks as another.
    WrongSite = "wrong_site", "the certificate is of another site";
    /// Not TLS 1.3 at all.
    NotTls = "not_tls", "the peer does not speak TLS 1.3";
    /// The peer went away before it had introduced itself.
    Abandoned = "abandoned", "the peer went away during the handshake";
    /// The peer took too long to introduce itself.
    HandshakeTimeout = "handshake_timeout", "the handshake took too long";
    /// Pushed out by newer connections that have not introduced themselves either.
    HalfOpenLimit = "half_open_limit", "too many half-open connections";
    /// Too many connections from one address.
    AddressRate = "address_rate", "too many connections from this address";
    /// The hello could not be read or is of no version we speak.
    BadHello = "bad_hello", "the peer's hello is of no use";
    /// An earlier life of a site than the one we know.
    StaleIncarnation = "stale_incarnation", "the peer is an earlier life of its site";
    /// The life of a site that we know, in another start of it than the one we know.
    CopiedStore = "copied_store", "another start of this site had this life: its data directory is an old copy, or was copied; the original is to be started once more";
    /// A packet longer than any may be.
    PacketTooLong = "packet_too_long", "a packet is longer than any may be";
    /// A site speaks under a name that another site has, or bids for a number and its name has one.
    NameTaken = "name_taken", "the name is another site's, or has a number already";
    /// A site speaks under a number that another site has.
    NumberTaken = "number_taken", "the number is another site's";
    /// A second connection that bids for a number under one name.
    BidUnderWay = "bid_under_way", "a site of this name is asking for a number already";
    /// More sites ask for numbers at once than are listened to.
    TooManyBids = "too_many_bids", "too many sites ask for numbers at once";
    /// What a site that asks for a number says is of no use.
    BadBid = "bad_bid", "what a site says that asks for a number is of no use";
    /// What a site says about its clock is of no use.
    BadClock = "bad_clock", "what a site says about its clock is of no use";
    /// No room to remember another site.
    TooManySites = "too_many_sites", "there is no room for another site";
    /// This site can promise nothing, since its disk has no room for its record, and keeps away from the others.
    NoRoom = "no_room", "the disk has no room for the site's record: it keeps away from the others until room is made";
    /// The peer refused us.
    ByPeer = "by_peer", "the peer refused this site";
}

impl Refusal {
    /// The reason of this label.
    pub fn labelled(label: &str) -> Option<Refusal> {
        Refusal::ALL.iter().copied().find(|why| why.label() == label)
    }

    /// The reason behind a failed TLS handshake.
    pub fn of_tls(error: &rustls::Error) -> Refusal {
        match error {
            rustls::Error::InvalidCertificate(error) => Refusal::of_certificate(error),
            rustls::Error::NoCertificatesPresented => Refusal::NoCertificate,
            rustls::Error::PeerIncompatible(
                PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon,
            ) => Refusal::BadCertificate,
            rustls::Error::InvalidMessage(InvalidMessage::CertificatePayloadTooLarge) => {
                Refusal::BadCertificate
            }
            rustls::Error::AlertReceived(_) => Refusal::ByPeer,
            _ => Refusal::NotTls,
        }
    }

    /// The reason behind a failed handshake as the stream reports it.
    pub fn of_io(error: &std::io::Error) -> Refusal {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(tls) => Refusal::of_tls(tls),
            None => Refusal::Abandoned,
        }
    }

    fn of_certificate(error: &CertificateError) -> Refusal {
        match error {
            CertificateError::Other(other) => {
                other.0.downcast_ref::<Refusal>().copied().unwrap_or(Refusal::BadCertificate)
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Refusal::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Refusal::NotYetValid
            }
            // A root of the same name with another key is another authority, too.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Refusal::OtherAuthority,
            CertificateError::Revoked => Refusal::Revoked,
            _ => Refusal::BadCertificate,
        }
    }
}
