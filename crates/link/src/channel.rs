//! One end of the channel: who speaks with whom in which lives, and the two halves.

use bytes::Bytes;
use wire::{SiteId, SiteIncarnation, Time};

use crate::config::{Config, Counters};
use crate::packet::{FrameHeader, HEADER_BYTES, Header, Life, Packet, PacketError};
use crate::receiver::Receiver;
use crate::sender::{Class, SendError, Sender, Sending};

/// What happened that the owner must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The peer speaks from another life: the channel begins anew. What was not yet delivered of the old life,
    /// in either direction, is gone. When the first life is learnt, `old` is `None` and frames that were given
    /// before stay queued for it. `old` equals `new` if the peer made a new link within one life.
    Reset {
        /// The life that is over.
        old: Option<SiteIncarnation>,
        /// The life that the channel now joins.
        new: SiteIncarnation,
    },
    /// After a refused frame there is room again.
    Writable,
}

/// A life of the peer was announced that is over. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{announced} is a past life: {known} is known")]
pub struct StalePeer {
    /// What was announced.
    pub announced: SiteIncarnation,
    /// What is known.
    pub known: SiteIncarnation,
}

/// A reliable FIFO channel to one peer: its end at this site.
///
/// Every frame that is sent arrives once and in order, or this site or the peer ends its life. A *channel*
/// joins one life of each side; when the peer begins another life, [`Event::Reset`] says so and a new channel
/// begins. The link's own life is the site's incarnation and the `now` of [`Link::new`], so a link may be
/// dropped and made again within one incarnation, at a later `now`; the peer sees a reset.
///
/// Call order: after any `handle_*` or [`send`](Link::send), call [`poll_event`](Link::poll_event) until it
/// is empty, then [`poll_deliver`](Link::poll_deliver) until it is empty, then
/// [`poll_transmit`](Link::poll_transmit) for as long as the path takes packets, then
/// [`poll_timeout`](Link::poll_timeout). A path that does not take packets need not be polled: nothing is
/// timed that was not transmitted. Call [`handle_path_changed`](Link::handle_path_changed) whenever packets
/// that were transmitted may have gone with their path.
///
/// Memory is bounded by [`Config`]: see its fields for each bound and what happens at it.
#[derive(Clone, Debug)]
pub struct Link {
    config: Config,
    me: SiteIncarnation,
    life: Life,
    peer: SiteId,
    /// The life that the channel joins, as far as it is known.
    peer_life: Option<Life>,
    sender: Sender,
    receiver: Receiver,
    /// An unread reset; later ones are folded into it.
    reset: Option<(Option<SiteIncarnation>, SiteIncarnation)>,
    /// While the peer's life is not known: when to introduce this one again.
    introduce_at: Option<Time>,
    counters: Counters,
}

impl Link {
    /// A link from this life of this site to a peer of which nothing is known yet. `now` is later than that of
    /// any earlier link to the same peer.
    ///
    /// # Panics
    /// If the longest frame could never be sent under these bounds.
    pub fn new(config: Config, me: SiteIncarnation, peer: SiteId, now: Time) -> Link {
        assert!(
            config.frame_bytes_max + config.frame_bytes_max / 64 + HEADER_BYTES <= config.send_bytes_max,
            "the longest frame must fit an empty queue"
        );
        Link {
            config,
            me,
            life: Life { incarnation: me.incarnation, opened: now.as_nanos().saturating_add(1) },
            peer,
            peer_life: None,
            sender: Sender::new(),
            receiver: Receiver::new(),
            reset: None,
            introduce_at: None,
            counters: Counters::default(),
        }
    }

    /// The peer.
    pub fn peer(&self) -> SiteId {
        self.peer
    }

    /// The life of the peer that the channel joins, once known.
    pub fn peer_life(&self) -> Option<SiteIncarnation> {
        self.peer_life.map(|life| self.peer_in(life))
    }

    /// Takes a frame to send: whole, or not at all.
    pub fn send(&mut self, frame: Bytes, class: Class) -> Result<(), SendError> {
        self.push(None, frame, class)
    }

    /// Takes a frame in two parts: a body that goes to several sites is shared by them, and never copied.
    pub fn send_parts(&mut self, header: FrameHeader, body: Bytes, class: Class) -> Result<(), SendError> {
        self.push(Some(header), body, class)
    }

    fn push(&mut self, lead: Option<FrameHeader>, frame: Bytes, class: Class) -> Result<(), SendError> {
        let bytes = frame.len() + lead.map_or(0, |lead| lead.len());
        if bytes > self.config.frame_bytes_max {
            return Err(SendError::TooLong { bytes, max: self.config.frame_bytes_max });
        }
        self.sender
            .push(&self.config, lead, frame, class)
            .map_err(|pending| SendError::Full { peer: self.peer, pending })
    }

    /// Whether there is room for at least something of this class.
    pub fn is_writable(&self, class: Class) -> bool {
        self.sender.has_room(&self.config, class)
    }

    /// The hello of a connection, or anybody, has told the peer's life.
    pub fn handle_peer(&mut self, announced: SiteIncarnation) -> Result<(), StalePeer> {
        assert_eq!(announced.site, self.peer, "the driver asks the link of this peer");
        if let Some(known) = self.peer_life() {
            if announced.incarnation < known.incarnation {
                return Err(StalePeer { announced, known });
            }
            if announced.incarnation == known.incarnation {
                return Ok(());
            }
        }
        self.begin(Life { incarnation: announced.incarnation, opened: 0 });
        Ok(())
    }

    /// The connection came back, or packets take another path: what was not acknowledged is sent again, and
    /// an acknowledgement tells the peer where to resume.
    pub fn handle_path_changed(&mut self, _now: Time) {
        self.sender.change_path();
        self.receiver.demand_ack();
        self.introduce_at = None;
    }

    /// Takes a packet that has arrived, by whatever path, in one piece. Which link it is for is told by what is
    /// certain about its path, not by the packet: the neighbour's certificate, or on a detour the envelope's
    /// origin. A packet that says otherwise is refused, so that no site can speak as another.
    pub fn handle_packet(&mut self, now: Time, packet: Bytes) -> Result<(), PacketError> {
        let Some(header) = packet.first_chunk::<HEADER_BYTES>() else {
            self.counters.refused += 1;
            return Err(PacketError::NotALinkPacket);
        };
        let header = *header;
        self.handle(now, Packet { header, lead: None, frame: packet.slice(HEADER_BYTES..) })
    }

    /// Takes a packet that has arrived, by whatever path, in two pieces.
    pub fn handle(&mut self, now: Time, packet: Packet) -> Result<(), PacketError> {
        let result = self.receive(now, packet);
        match result {
            Ok(()) => self.counters.packets_received += 1,
            Err(PacketError::StaleSender(_) | PacketError::StaleReceiver(_)) => self.counters.stale += 1,
            Err(_) => self.counters.refused += 1,
        }
        result
    }

    /// A time-out of [`poll_timeout`](Link::poll_timeout) may have passed; earlier calls do no harm.
    pub fn handle_timeout(&mut self, now: Time) {
        self.receiver.handle_timeout(now);
        if self.sender.handle_timeout(&self.config, now) {
            self.counters.timeouts += 1;
        }
        if self.introduce_at.is_some_and(|at| at <= now) {
            self.introduce_at = None;
        }
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        if let Some((old, new)) = self.reset.take() {
            return Some(Event::Reset { old, new });
        }
        self.sender.take_writable(&self.config).then_some(Event::Writable)
    }

    /// The next frame in order. While a reset has not been read from [`poll_event`](Link::poll_event) there is
    /// none, so that no frame is taken for one of another life.
    pub fn poll_deliver(&mut self) -> Option<Bytes> {
        if self.reset.is_some() {
            return None;
        }
        let frame = self.receiver.pop()?;
        self.counters.frames_delivered += 1;
        Some(frame)
    }

    /// The next packet to transmit: data with an acknowledgement in it, or a mere acknowledgement.
    pub fn poll_transmit(&mut self, now: Time) -> Option<Packet> {
        if !self.peer_life.is_some_and(Life::is_known) {
            return self.poll_introduction(now);
        }
        if let Some(sending) = self.sender.poll(&self.config, now) {
            self.counters.data_sent += 1;
            self.counters.resent += u64::from(sending.again);
            return Some(self.packet(sending));
        }
        self.receiver.is_ack_due().then(|| self.acknowledgement())
    }

    /// When to call [`handle_timeout`](Link::handle_timeout) next.
    pub fn poll_timeout(&self) -> Option<Time> {
        [self.receiver.timeout(), self.sender.timeout(), self.introduce_at].into_iter().flatten().min()
    }

    /// Bytes that are queued or not acknowledged, headers counted.
    pub fn pending_bytes(&self) -> usize {
        self.sender.pending()
    }

    /// Bytes that have arrived and are kept here, out of order or not yet taken.
    pub fn kept_bytes(&self) -> usize {
        self.receiver.kept_bytes()
    }

    /// Everything that was sent is acknowledged.
    pub fn is_idle(&self) -> bool {
        self.sender.is_empty()
    }

    /// What the link has done.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// While the peer's life is not known, nothing but this site's own life can be told.
    fn poll_introduction(&mut self, now: Time) -> Option<Packet> {
        let waiting = !self.sender.is_empty() && self.introduce_at.is_none();
        if !waiting && !self.receiver.is_ack_due() {
            return None;
        }
        self.introduce_at = Some(now + self.config.retransmit_initial);
        Some(self.acknowledgement())
    }

    fn receive(&mut self, now: Time, packet: Packet) -> Result<(), PacketError> {
        let header = Header::parse(&packet.header, packet.bytes())?;
        if header.from != self.peer || header.to != self.me.site {
            return Err(PacketError::WrongSites { from: header.from, to: header.to });
        }
        self.check_lives(&header)?;
        if header.to_life < self.life {
            // It does not know this life; what it sent was for another. Tell it.
            self.receiver.demand_ack();
            return match header.seq == 0 && !header.to_life.is_known() {
                true => Ok(()),
                false => Err(PacketError::StaleReceiver(header.from)),
            };
        }
        if !self.sender.can_acknowledge(header.ack) {
            return Err(PacketError::AckBeyondSent { ack: header.ack });
        }
        self.sender.acknowledge(&self.config, now, header.ack, header.gap);
        if header.seq == 0 {
            return Ok(());
        }
        let Link { config, counters, receiver, .. } = self;
        receiver.accept(config, counters, now, header.seq, packet.into_piece(), header.more)
    }

    /// Learns the peer's life from a packet, or refuses the packet for a life that cannot be.
    fn check_lives(&mut self, header: &Header) -> Result<(), PacketError> {
        if header.to_life > self.life {
            let incarnation = header.to_life.incarnation;
            return Err(PacketError::FutureReceiver { from: header.from, incarnation });
        }
        match self.peer_life {
            Some(known) if header.from_life < known => Err(PacketError::StaleSender(header.from)),
            Some(known) if header.from_life == known => Ok(()),
            Some(_) | None => {
                self.begin(header.from_life);
                Ok(())
            }
        }
    }

    /// Begins the channel to this life of the peer, later than any known.
    fn begin(&mut self, life: Life) {
        let old = self.peer_life.replace(life);
        self.introduce_at = None;
        // Nothing was said yet to a life of which only the incarnation was known: it is the same channel.
        if old.is_some_and(|old| !old.is_known() && old.incarnation == life.incarnation) {
            return;
        }
        self.receiver = Receiver::new();
        self.receiver.demand_ack(); // It may not know this life yet.
        if old.is_some() {
            self.sender.reset();
            self.counters.resets += 1;
        }
        let old = old.map(|life| self.peer_in(life));
        let unread = self.reset.take().and_then(|(first, _)| first);
        self.reset = Some((unread.or(old), self.peer_in(life)));
    }

    fn packet(&mut self, sending: Sending) -> Packet {
        let header = self.header(sending.seq, sending.more).to_bytes(sending.piece.bytes());
        Packet { header, lead: sending.piece.lead, frame: sending.piece.rest }
    }

    fn acknowledgement(&mut self) -> Packet {
        self.counters.acks_sent += 1;
        Packet { header: self.header(0, false).to_bytes(0), lead: None, frame: Bytes::new() }
    }

    fn header(&mut self, seq: u64, more: bool) -> Header {
        let (ack, gap) = self.receiver.take_ack();
        Header {
            from: self.me.site,
            to: self.peer,
            from_life: self.life,
            to_life: self.peer_life.unwrap_or_default(),
            seq,
            ack,
            gap,
            more,
        }
    }

    fn peer_in(&self, life: Life) -> SiteIncarnation {
        SiteIncarnation { site: self.peer, incarnation: life.incarnation }
    }
}
