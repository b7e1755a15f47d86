//! What a program that embeds a site brings to it: services, whose state machines the site replicates without knowing them.
//!
//! A service is the application of a durable group of a kind of its own, the requests that sessions make of it, and whatever
//! the program serves beside the site. A site whose program brings none of a kind leaves such groups closed, and says so.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use durable::Application;
use serde_json::{Map as Object, Value};
use tools::catalog::Kind;
use wire::session::{Failure, MailOp, Principal};

use crate::handle::Handle;

/// Positions of entries, ascending; made when it is called, of the state as it was when this was made.
pub type Kept = Box<dyn FnOnce() -> Vec<u64> + Send>;

/// How a service's group stands at this site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// It can be written, and read up to date.
    Active,
    /// It cannot, and may again in a moment: who asks something of it waits.
    #[default]
    Waiting,
    /// It has been without a majority, without interruption, for as long as anybody waits for one; and before that, since the
    /// site started, it had one: its state is all that was known here then.
    Apart,
}

/// The application of a durable group that is a service's.
///
/// Its entries' payloads may be of use after the log has let them go: those that it [keeps](Service::kept) are on each
/// site's disk for as long as it says so. [`Handle::payload`] reads them. Beside each store there is also a *spool*, for what it
/// takes in while its group has no majority: [`Handle::spool_write`].
pub trait Service: Application {
    /// The same service with a new state, into which a checkpoint is read.
    fn renewed(&self) -> Box<dyn Service>;

    /// All parts of a checkpoint have been given to it, if there is one. It may take its time.
    ///
    /// # Errors
    ///
    /// They are no whole checkpoint: the store is of no use.
    fn whole(&mut self) -> Result<(), String>;

    /// From now on this state is the one that the site serves.
    fn enter(&mut self);

    /// How the group stands at this site from now on.
    fn stands(&mut self, _: Standing) {}

    /// Entries up to now whose payloads are needed. One that is not will never be needed again.
    fn kept(&self) -> Kept;

    /// Whether the payload of an entry is needed now.
    fn keeps(&self, position: u64) -> bool;

    /// Whether this may be the payload of the entry at a position that is kept: another site says so.
    fn is_payload(&self, position: u64, payload: &Bytes) -> bool;
}

/// What a session is answered: fields of the answer's line, and its body.
pub type Answered = Result<(Object<String, Value>, Bytes), Failure>;

/// A request under way.
pub type Answering = Pin<Box<dyn Future<Output = Answered> + Send>>;

/// Who does what sessions ask of a service.
pub trait Requests: fmt::Debug + Send + Sync {
    /// Does one. What the principal may do is judged here.
    fn run(&self, site: Handle, principal: Principal, op: MailOp, body: Bytes) -> Answering;

    /// What `status` shows of the service at this site, and under which name.
    fn status(&self) -> (&'static str, Value);
}

/// All that a program brings to a site.
#[derive(Default)]
pub struct Services {
    /// By the kind of their groups: each with a new state.
    pub applications: BTreeMap<Kind, Box<dyn Service>>,
    /// What sessions may ask of them.
    pub requests: Option<Arc<dyn Requests>>,
    /// Ports that the program serves itself, by what they serve; the site lists them among its own.
    pub ports: BTreeMap<String, u16>,
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds: Vec<&Kind> = self.applications.keys().collect();
        f.debug_struct("Services").field("kinds", &kinds).field("ports", &self.ports).finish_non_exhaustive()
    }
}
