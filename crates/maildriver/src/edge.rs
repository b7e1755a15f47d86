//! What every protocol machine asks of its driver, and is answered. A driver serves them all alike.

use std::net::IpAddr;

use bytes::Bytes;
use mail::{Entry, Outcome, Position, Receipt, UserId};

/// What is known of the other end when a connection begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Whether the connection is inside TLS.
    pub tls: bool,
    /// Whether it comes from this machine.
    pub loopback: bool,
}

/// Names a request; its answer comes with the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// A SASL mechanism whose computation is done outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// SCRAM-SHA-256 (RFC 7677).
    ScramSha256,
}

/// What a session wants of the mail service. There is one at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Check a password: [`Answer::LoggedIn`] or [`Answer::LoginRefused`].
    Authenticate {
        /// The name as it was typed.
        user: String,
        /// The password.
        password: Vec<u8>,
    },
    /// A message of a mechanism: [`Answer::Challenge`], [`Answer::LoggedIn`] or [`Answer::LoginRefused`].
    Sasl {
        /// Which.
        mechanism: Mechanism,
        /// The client's message, decoded. `first` begins the exchange anew.
        message: Vec<u8>,
        /// Whether this is the first message.
        first: bool,
    },
    /// Begin TLS once all output is sent; bytes in clear that came behind are the driver's to drop:
    /// [`Answer::Secured`].
    StartTls,
    /// Wait until this site's state has reached the group's latest point: [`Answer::Reached`].
    Barrier,
    /// A letter's bytes: [`Answer::Letter`], or [`Answer::Unavailable`] if it is gone.
    Letter(Position),
    /// Propose an entry and wait until this site has applied it: [`Answer::Applied`]. In a minority that spools,
    /// a letter may be held instead: [`Answer::Held`].
    Propose(Entry),
    /// Find out who sent a letter (SPF, DKIM, DMARC): [`Answer::Verified`]. Only SMTP from outside asks.
    Verify(Verify),
}

/// A letter from outside whose sender is in doubt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verify {
    /// Where it came from.
    pub address: Option<IpAddr>,
    /// What the other server calls itself.
    pub helo: String,
    /// The envelope sender; empty for the null reverse path.
    pub sender: String,
    /// The letter as it was received.
    pub letter: Bytes,
    /// How much of it is header, in bytes, without the empty line behind it.
    pub header_bytes: usize,
}

/// What was found out about a letter's sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// What `Authentication-Results` says behind the service's name: `spf=pass smtp.mailfrom=…; dkim=…`.
    pub results: String,
    /// Whether the sender's domain asks to refuse such a letter.
    pub refuse: bool,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is this user.
    LoggedIn(UserId),
    /// A name or password that is wrong; which, nobody is told.
    LoginRefused,
    /// A mechanism's message to the client, not encoded.
    Challenge(Vec<u8>),
    /// The connection is inside TLS now.
    Secured,
    /// The state has reached what was waited for.
    Reached,
    /// A letter.
    Letter(Bytes),
    /// What became of the entry.
    Applied(Outcome),
    /// This site is in a minority, and the letter waits on every disk in reach: one receipt for each recipient.
    Held(Vec<Receipt>),
    /// What was found out about the sender.
    Verified(Verified),
    /// It could not be done now; the client may try again.
    Unavailable,
}
