//! Counters of the driver: plain atomics, read by whoever serves metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::Refusal;

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// All counters of one site's driver. They only rise.
        #[derive(Debug)]
        pub struct Metrics {
            refused: [AtomicU64; Refusal::ALL.len()],
            $($(#[doc = $doc])* pub $name: Counter,)*
        }

        impl Default for Metrics {
            fn default() -> Metrics {
                Metrics { refused: std::array::from_fn(|_| AtomicU64::new(0)), $($name: Counter::default(),)* }
            }
        }

        impl Metrics {
            /// Gives every counter without a label, with its name and what it counts.
            pub fn each(&self, mut f: impl FnMut(&'static str, &'static str, u64)) {
                $(f(stringify!($name), concat!($($doc),*).trim_ascii(), self.$name.get());)*
            }
        }
    };
}

/// One counter.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    #[inline]
    pub fn count(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// `n` more.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// How many.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

counters! {
    /// Connections that came up, dialed or accepted.
    connections_up,
    /// Connections that went down.
    connections_down,
    /// Attempts to dial a peer.
    dials,
    /// Dials that every address of the peer refused.
    dials_refused,
    /// Connections that lost against one dialed at the same time.
    dials_crossed,
    /// Packets queued for peers.
    packets_sent,
    /// Bytes written to peers, before encryption.
    bytes_sent,
    /// Packets received from peers.
    packets_received,
    /// Bytes received from peers, after decryption.
    bytes_received,
    /// Packets that a full queue refused.
    queue_full,
    /// Connections broken because a write made no progress.
    writes_stuck,
    /// Probes sent as datagrams.
    probes_by_datagram,
    /// Probes sent through a connection.
    probes_by_link,
    /// Probes received and opened.
    probes_received,
    /// Datagrams too short or too long to be ours.
    probes_malformed,
    /// Datagrams under a key that is not in use.
    probes_unknown_key,
    /// Datagrams that do not open under their key.
    probes_forged,
    /// Datagrams received before, or too old to tell.
    probes_replayed,
    /// Probes dropped because the site did not keep up or the socket's buffer was full.
    probes_dropped,
    /// Sets of certificate, key and trust roots that were taken into use while the site ran.
    certificates_replaced,
    /// Sets of certificate, key and trust roots that were found and are of no use: the last one stays in force.
    certificates_refused,
    /// Records made durable.
    records_stored,
    /// Attempts to store that a full disk refused.
    disk_full,
}

impl Metrics {
    /// Counts a refusal.
    pub fn refuse(&self, why: Refusal) {
        self.refused[why as usize].fetch_add(1, Relaxed);
    }

    /// How many were refused for this reason.
    pub fn refused(&self, why: Refusal) -> u64 {
        self.refused[why as usize].load(Relaxed)
    }

    /// How many were refused for each reason.
    pub fn refusals(&self) -> impl Iterator<Item = (Refusal, u64)> + '_ {
        Refusal::ALL.iter().map(|why| (*why, self.refused(*why)))
    }
}
