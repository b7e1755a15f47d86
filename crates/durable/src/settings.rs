//! What a machine may be told: bounds, sizes, time-outs. All bounds of the crate start here or are named beside it.

use std::time::Duration;

use crate::bugs::Bugs;

/// Answers that are kept of one client, and so the requests that it may have open at once.
pub(crate) const WINDOW_ANSWERS: usize = 64;

/// Settings of a [`Durable`](crate::Durable). Members of one group must agree on `window_*`: they are part of what a
/// log means.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// Requests that were proposed here and are not answered. Beyond: [`ProposeError::Busy`](crate::ProposeError).
    pub open_max: usize,
    /// Their bytes.
    pub open_bytes_max: usize,
    /// The largest payload of a request. A record travels whole when another store fetches it, so at most what a message
    /// from site to site may carry (4 MiB).
    pub payload_bytes_max: usize,
    /// Reads that are not answered. Beyond: [`ProposeError::Busy`](crate::ProposeError).
    pub reads_max: usize,
    /// Bytes given to the disk and not yet durable. Beyond it the store is behind: it catches up from others.
    pub unwritten_bytes_max: usize,
    /// Bytes of delivered entries that wait for what is before them. Beyond it they are dropped, and fetched later.
    pub waiting_bytes_max: usize,
    /// Bytes of the newest entries that are kept in memory, for applying and for others.
    pub recent_bytes_max: usize,
    /// The most runs of its log (a run: what one view numbered) that a store states in a new view, the newest; at most
    /// 64. Who has none of them in common compares entry by entry.
    pub statement_runs: usize,
    /// Bytes of one chunk of a tail or of a checkpoint.
    pub chunk_bytes: usize,
    /// Chunks that this site reads for others at once. Beyond: they are refused, and ask elsewhere.
    pub serving_max: usize,
    /// How fast this store catches up, at most, in bytes per second: its share of the links.
    pub catch_up_bytes_per_second: u64,
    /// A store that lacks more entries than this gets a checkpoint instead of the tail, if that saves half.
    pub far_entries: u64,
    /// Bytes of applied entries between two checkpoints; half of the last checkpoint's bytes if that is more.
    pub checkpoint_bytes: u64,
    /// Entries before a checkpoint that stay in the log, so that who is near gets a tail; none from before the last
    /// checkpoint but one.
    pub retain_entries: u64,
    /// Clients whose answers are kept (D13). Beyond it the one that was silent for longest is forgotten.
    pub window_clients: usize,
    /// Answers kept of one client. Beyond it the oldest is forgotten, and its request refused if it is repeated.
    pub window_answers: usize,
    /// The longest answer that is kept; of a longer one it is kept that it was given.
    pub window_answer_bytes: usize,
    /// A client is forgotten after so long without a request, by the time of entries, in milliseconds.
    pub window_expiry_ms: u64,
    /// After this without an answer a message is repeated, or another asked.
    pub retry: Duration,
    /// How long a store waits after its disk was full.
    pub full_retry: Duration,
    /// Known bugs to re-introduce; empty in the shipped program.
    pub bugs: Bugs,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            open_max: 65_536,
            open_bytes_max: 16 << 20,
            payload_bytes_max: 3 << 20,
            reads_max: 65_536,
            unwritten_bytes_max: 32 << 20,
            waiting_bytes_max: 16 << 20,
            recent_bytes_max: 8 << 20,
            statement_runs: 64,
            chunk_bytes: 1 << 20,
            serving_max: 4,
            catch_up_bytes_per_second: 64 << 20,
            far_entries: 1 << 20,
            checkpoint_bytes: 256 << 20,
            retain_entries: 1 << 16,
            window_clients: 4_096,
            window_answers: WINDOW_ANSWERS,
            window_answer_bytes: 1 << 10,
            window_expiry_ms: 24 * 3_600_000,
            retry: Duration::from_millis(500),
            full_retry: Duration::from_secs(2),
            bugs: Bugs::NONE,
        }
    }
}
