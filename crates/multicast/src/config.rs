//! What an endpoint may be told: windows, delays, time-outs. All bounds of the crate start here.

use std::time::Duration;

use wire::Bugs;

/// The largest frame, in bytes.
pub const FRAME_BYTES_MAX: usize = 65_536;
/// The most sites that may host members of one group.
pub const SITES_MAX: usize = 512;
/// The largest message that [`Config::message_bytes_max`] may allow.
pub const MESSAGE_BYTES_MAX: usize = 256 << 20;
/// The largest payload of a gbcast, and of all gbcasts of one site that wait for one view change.
pub const GBCAST_BYTES_MAX: usize = 32 << 10;

/// Settings of an [`Endpoint`](crate::Endpoint). Sites of one group should agree on the windows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// How many bytes this site may have cast that are not yet stable. At the bound `cast` says
    /// [`CastError::Full`](crate::CastError::Full). One message larger than what is left is still taken, so
    /// that memory is bounded by the window and one message.
    pub window_bytes: usize,
    /// How many messages this site may have cast that are not yet stable; likewise.
    pub window_messages: usize,
    /// The largest message that may be cast or is reassembled.
    pub message_bytes_max: usize,
    /// A received message is acknowledged at the latest after this, if no frame of our own carries the
    /// acknowledgement before.
    pub ack_delay: Duration,
    /// As soon as so many bytes are unacknowledged, they are acknowledged at once.
    pub ack_bytes: usize,
    /// How long an open batch waits for more messages before `poll_transmit` closes it; zero: not at all.
    pub batch_delay: Duration,
    /// A Flush or a fetch that has not come after this makes its owner a suspect (M6). 8R.
    pub flush_timeout: Duration,
    /// A site whose acknowledgements stand still for so long while a sender is held back is slow.
    pub slow_after: Duration,
    /// Whether [`Event::Trace`](crate::Event::Trace) is emitted.
    pub trace: bool,
    /// Known bugs to re-introduce; empty in the shipped program.
    pub bugs: Bugs,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            window_bytes: 8 << 20,
            window_messages: 65_536,
            message_bytes_max: 64 << 20,
            ack_delay: Duration::from_millis(2),
            ack_bytes: 256 << 10,
            batch_delay: Duration::ZERO,
            flush_timeout: Duration::from_secs(2),
            slow_after: Duration::from_secs(30),
            trace: false,
            bugs: Bugs::NONE,
        }
    }
}
