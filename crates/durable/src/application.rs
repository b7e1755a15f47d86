//! What is replicated: the state machine behind a durable group.

use bytes::Bytes;

use crate::entry::ClientId;
use crate::storage::Locator;

/// A state machine that every store of a group applies the same entries to, in the same order.
///
/// What it answers, its digest and the parts of its snapshots are functions of what was applied: no clock, no chance, no
/// order of a hash map. It keeps nothing on disk: after a restart it is given the parts of the last checkpoint
/// ([`restore`](Application::restore)) and what was committed behind it, again.
///
/// It is called by the task that carries the site, so [`apply`](Application::apply) and
/// [`snapshot`](Application::snapshot) must not wait for anything, and should take microseconds.
pub trait Application: Send {
    /// Applies a request that is committed, and answers it. A request that means nothing is answered so, and changes
    /// nothing: payloads are whatever a client sent.
    fn apply(&mut self, request: Applying) -> Bytes;

    /// The state as it is now, in parts. They are drawn while the application goes on.
    fn snapshot(&self) -> Parts;

    /// Takes one part of a snapshot into a state that was new before the first. The parts come in their order.
    ///
    /// # Errors
    ///
    /// The part is none of this application's; the state is of no use any more.
    fn restore(&mut self, at: &Locator, part: Bytes) -> Result<(), NotRestored>;

    /// A digest of the state, which sites compare.
    fn digest(&self) -> u64;
}

/// A state in parts, with rising locators from domain 1 on (D19), none longer than 4 MiB and best about 64 KiB.
pub type Parts = Box<dyn Iterator<Item = (Locator, Bytes)> + Send>;

/// A request to apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applying {
    /// Its place in the log, from 1.
    pub position: u64,
    /// The time of the state, in milliseconds since 1970: the greatest of the entries so far. The only clock there is.
    pub clock: u64,
    /// Who asks.
    pub client: ClientId,
    /// What for.
    pub payload: Bytes,
}

/// A part of a checkpoint is none that the application can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("domain {domain} of the checkpoint is not what this version writes")]
pub struct NotRestored {
    /// The part's domain.
    pub domain: u16,
}
