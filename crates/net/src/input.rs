//! What the driver tells the site: one queue, in order, bounded in bytes.
//!
//! A connection hands packets over only while its own budget lasts; the budget is given back when the site takes
//! the packets out. A site that does not keep up thereby slows its peers down through TCP, and no queue grows.

use std::fmt;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use wire::{Incarnation, SiteId};

use crate::disk::DiskError;

/// Probes that may wait for the site; more are dropped, as on any busy road.
const PROBES_MAX: usize = 1024;

/// Something that happened.
#[derive(Debug)]
pub enum Input {
    /// A connection with a site is in use. Everything queued for an earlier one is gone.
    Up {
        /// The peer.
        site: SiteId,
        /// Which life of it.
        incarnation: Incarnation,
        /// Its hello, already checked.
        hello: Bytes,
    },
    /// The connection is gone, or an attempt to make one was refused.
    Down {
        /// The peer.
        site: SiteId,
        /// Why.
        reason: Down,
    },
    /// A peer has seen this later life of this site, and refuses this one.
    Stale {
        /// Which.
        newest: Incarnation,
    },
    /// Packets from a peer, in order: slices of one buffer.
    Packets(SiteId, Vec<Bytes>),
    /// The queue to this peer, which was full, has room again.
    Writable(SiteId),
    /// A probe from a peer, by datagram or through the connection.
    Probe(SiteId, Bytes),
    /// The record of this ticket, and all earlier ones, are durable.
    Stored(u64),
    /// The disk: full (it goes on trying) or failed (the site must stop).
    Disk(DiskError),
}

/// Why a connection is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down {
    /// The peer or the network closed it.
    Closed,
    /// Every address refused the connection: the peer's machine says that nobody listens.
    Refused,
    /// A write made no progress for too long, or the site asked to break it as silent.
    Silent,
    /// The peer made a newer connection.
    Replaced,
    /// The peer broke the rules of the connection, or its certificate was revoked.
    Expelled,
    /// The peer is no longer in the table.
    Unlisted,
}

impl fmt::Display for Down {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Down::Closed => "closed",
            Down::Refused => "refused",
            Down::Silent => "silent",
            Down::Replaced => "replaced",
            Down::Expelled => "expelled",
            Down::Unlisted => "unlisted",
        })
    }
}

struct Queued {
    input: Input,
    /// Given back when the site takes the input out.
    _budget: Option<OwnedSemaphorePermit>,
}

/// Where the parts of the driver put inputs.
#[derive(Clone)]
pub struct InputSender {
    queue: mpsc::UnboundedSender<Queued>,
}

/// Where the site takes inputs out.
pub struct Inputs {
    queue: mpsc::UnboundedReceiver<Queued>,
}

/// A queue of inputs.
pub fn inputs() -> (InputSender, Inputs) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (InputSender { queue: sender }, Inputs { queue: receiver })
}

impl InputSender {
    /// Puts in an input that is rare by nature. A site that has gone is no error: the process is ending.
    pub fn send(&self, input: Input) {
        let _ = self.queue.send(Queued { input, _budget: None });
    }

    /// Puts in packets under their connection's budget.
    pub(crate) fn send_budgeted(&self, input: Input, budget: OwnedSemaphorePermit) {
        let _ = self.queue.send(Queued { input, _budget: Some(budget) });
    }

    /// Whether the site is gone.
    pub fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    pub(crate) fn probe_budget() -> std::sync::Arc<tokio::sync::Semaphore> {
        std::sync::Arc::new(tokio::sync::Semaphore::new(PROBES_MAX))
    }
}

impl Inputs {
    /// The next input; `None` when every part of the driver is gone. Cancel-safe.
    pub async fn recv(&mut self) -> Option<Input> {
        self.queue.recv().await.map(|queued| queued.input)
    }

    /// The next input, if one is there.
    pub fn try_recv(&mut self) -> Option<Input> {
        self.queue.try_recv().ok().map(|queued| queued.input)
    }
}
