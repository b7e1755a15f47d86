//! A link's bounds and times, and what it counts.

use std::time::Duration;

/// A link's bounds and times. One setting serves a healthy connection and a lossy detour alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Frames that are queued or not yet acknowledged, in bytes with [`crate::HEADER_BYTES`] added for each
    /// packet; at the bound data is refused.
    pub send_bytes_max: usize,
    /// What control frames may use beyond `send_bytes_max`, so that data never holds up control.
    pub control_reserve_bytes: usize,
    /// The longest frame, sent or received. A frame that does not fit one packet travels in several.
    pub frame_bytes_max: usize,
    /// Packets that arrive ahead of a missing one are kept up to so many bytes …
    pub late_bytes_max: usize,
    /// … and so many packets; beyond either they are dropped, and sent again later.
    pub late_packets_max: usize,
    /// Frames that arrived in order and were not yet taken; at the bound packets are dropped.
    pub ready_bytes_max: usize,
    /// An acknowledgement is sent after so many packets …
    pub ack_packets: u32,
    /// … or so many bytes …
    pub ack_bytes: usize,
    /// … or so much time.
    pub ack_delay: Duration,
    /// The retransmission time before a round trip was measured.
    pub retransmit_initial: Duration,
    /// The shortest retransmission time.
    pub retransmit_min: Duration,
    /// The longest retransmission time, back-off included.
    pub retransmit_max: Duration,
    /// The packets that are sent again at once when the retransmission time has passed; each acknowledged
    /// packet allows one more.
    pub burst_packets: u64,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            send_bytes_max: 16 << 20,
            control_reserve_bytes: 4 << 20,
            frame_bytes_max: wire::frame::HEADER_BYTES + wire::codec::MESSAGE_BYTES_MAX,
            late_bytes_max: 4 << 20,
            late_packets_max: 4096,
            ready_bytes_max: 16 << 20,
            ack_packets: 32,
            ack_bytes: 128 << 10,
            ack_delay: Duration::from_millis(5),
            retransmit_initial: Duration::from_millis(500),
            retransmit_min: Duration::from_millis(200),
            retransmit_max: Duration::from_secs(2),
            burst_packets: 16,
        }
    }
}

/// What a link has done since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets handed out with a frame, first and repeated sendings.
    pub data_sent: u64,
    /// Packets handed out that only acknowledge.
    pub acks_sent: u64,
    /// Packets with a frame handed out again.
    pub resent: u64,
    /// How often the retransmission time has passed.
    pub timeouts: u64,
    /// Packets taken in and found good.
    pub packets_received: u64,
    /// Frames given out in order.
    pub frames_delivered: u64,
    /// Packets whose frame had arrived before.
    pub duplicates: u64,
    /// Packets kept because one before them is missing.
    pub late: u64,
    /// Packets of or for a life that is over.
    pub stale: u64,
    /// Packets refused for any other reason.
    pub refused: u64,
    /// How often another life of the peer has begun the channel anew.
    pub resets: u64,
}
