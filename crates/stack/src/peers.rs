//! The other sites, as ways to send them something: one link each, the connection under it, and the detour
//! while the direct path is broken. Nothing here knows what the frames mean.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use link::relay::{Arrival, Envelope, Relayed};
use link::{Class, Event as LinkEvent, Link, Packet, PacketError, SendError};
use wire::frame::{self, Header, Kind};
use wire::{Bug, Bugs, Incarnation, SiteId, SiteIncarnation, Time};

use crate::api::{Channel, Connection, Transmit};

/// Bare packets (probes, agreement) that wait for the driver; beyond it the oldest are dropped, as a network
/// would: their senders repeat them.
const BARE_PACKETS_MAX: usize = 8_192;

/// Something that arrived.
#[derive(Clone, Debug)]
pub(crate) enum Inbound {
    /// A frame of the link with this life, in order, exactly once.
    Frame { from: SiteIncarnation, kind: Kind, body: Bytes },
    /// A packet by itself: may have been doubled, overtaken, or sent by an earlier life.
    Bare { from: SiteId, life: Option<SiteIncarnation>, via: Option<SiteId>, kind: Kind, body: Bytes },
    /// The peer speaks from another life; frames of the old one are over.
    NewLife { life: SiteIncarnation },
    /// Frames may be sent to it again after [`SendError::Full`].
    Writable { site: SiteId },
}

/// Why a packet was refused. Nothing has changed but a counter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is no frame.
    #[error("not a frame: {0}")]
    Frame(#[from] wire::frame::FrameError),
    /// Its link refused it.
    #[error(transparent)]
    Link(#[from] PacketError),
    /// It may not make this detour.
    #[error(transparent)]
    Relay(#[from] link::relay::RelayError),
    /// A kind of frame that does not travel like this.
    #[error("a {0:?} frame does not travel by itself")]
    Unexpected(Kind),
    /// What it says can't be understood.
    #[error("{0}")]
    Body(String),
}

pub(crate) struct Peers {
    me: SiteIncarnation,
    config: link::Config,
    bugs: Bugs,
    peers: BTreeMap<SiteId, Peer>,
    /// Sites to which something was done since their link was last found to have nothing to send: of hundreds of
    /// links a packet concerns one.
    touched: BTreeSet<SiteId>,
    /// When the links of the others are to be called.
    due: BTreeSet<(Time, SiteId)>,
    bare: VecDeque<Transmit>,
    inbound: VecDeque<Inbound>,
}

struct Peer {
    link: Link,
    /// The life at the other end of the connection, while there is one.
    connected: Option<Incarnation>,
    /// The neighbour that passes packets on while the direct path is broken.
    via: Option<SiteId>,
    /// The driver's queue to the site is full: nothing is polled from the link.
    choked: bool,
    /// Somebody waits for room for data.
    wants_room: bool,
    /// Its entry in `due`.
    due: Option<Time>,
}

impl Peer {
    fn poll_transmit(&mut self, now: Time) -> Option<Packet> {
        // A detour goes before a connection that may be up in name only.
        let takes = self.via.is_some() || self.connected.is_some() && !self.choked;
        takes.then(|| self.link.poll_transmit(now)).flatten()
    }
}

impl Peers {
    pub(crate) fn new(me: SiteIncarnation, config: link::Config, bugs: Bugs) -> Peers {
        Peers {
            me,
            config,
            bugs,
            peers: BTreeMap::new(),
            touched: BTreeSet::new(),
            due: BTreeSet::new(),
            bare: VecDeque::new(),
            inbound: VecDeque::new(),
        }
    }

    /// The life of a site, as its link or its connection knows it.
    pub(crate) fn life(&self, site: SiteId) -> Option<SiteIncarnation> {
        let peer = self.peers.get(&site)?;
        let connected = peer.connected.map(|incarnation| SiteIncarnation { site, incarnation });
        connected.max(peer.link.peer_life())
    }

    /// Whether there is a direct connection.
    pub(crate) fn is_connected(&self, site: SiteId) -> bool {
        self.peers.get(&site).is_some_and(|peer| peer.connected.is_some())
    }

    pub(crate) fn handle_connection(&mut self, now: Time, site: SiteId, connection: Connection) {
        let peer = self.peer(now, site);
        match connection {
            Connection::Up(incarnation) => {
                // A refusal means that a connection of a past life came late: its closing follows.
                if peer.link.handle_peer(SiteIncarnation { site, incarnation }).is_ok() {
                    peer.connected = Some(incarnation);
                    peer.choked = false;
                    peer.link.handle_path_changed(now);
                }
            }
            Connection::Closed | Connection::Refused | Connection::Silent => {
                peer.connected = None;
                peer.choked = false;
            }
        }
        self.drain(site);
    }

    /// A view lists this life of a site.
    pub(crate) fn expect(&mut self, now: Time, life: SiteIncarnation) {
        let peer = self.peer(now, life.site);
        // A refusal means that a later life has been heard already.
        if peer.link.handle_peer(life).is_ok() {
            peer.connected = peer.connected.filter(|connected| *connected >= life.incarnation);
            self.drain(life.site);
        }
    }

    /// The driver's queue to a site is full, or has room again.
    pub(crate) fn handle_choked(&mut self, site: SiteId, choked: bool) {
        if let Some(peer) = self.peers.get_mut(&site) {
            peer.choked = choked;
            self.touched.insert(site);
        }
    }

    /// From now on, packets to the site go through a neighbour, or directly again.
    pub(crate) fn set_detour(&mut self, now: Time, site: SiteId, via: Option<SiteId>) {
        let peer = self.peer(now, site);
        if peer.via != via {
            peer.via = via;
            peer.link.handle_path_changed(now);
        }
    }

    /// Queues a whole frame on the link to a site.
    pub(crate) fn send(
        &mut self,
        now: Time,
        to: SiteId,
        frame: Bytes,
        class: Class,
    ) -> Result<(), SendError> {
        self.peer(now, to).link.send(frame, class)
    }

    /// Queues a frame whose body goes to several sites.
    pub(crate) fn send_parts(
        &mut self,
        now: Time,
        to: SiteId,
        (header, body): ([u8; frame::HEADER_BYTES], Bytes),
        class: Class,
    ) -> Result<(), SendError> {
        self.peer(now, to).link.send_parts(header, body, class)
    }

    /// Whether the link to a site has room for data.
    pub(crate) fn is_writable(&self, site: SiteId) -> bool {
        self.peers.get(&site).is_none_or(|peer| peer.link.is_writable(Class::Data))
    }

    /// [`Inbound::Writable`] follows when the link has room for data again.
    pub(crate) fn want_room(&mut self, site: SiteId) {
        if let Some(peer) = self.peers.get_mut(&site) {
            peer.wants_room = true;
        }
    }

    /// Sends a small frame by itself, at once: it may be lost.
    pub(crate) fn send_bare(&mut self, to: SiteId, channel: Channel, by: Option<SiteId>, frame: Bytes) {
        let connected = self.is_connected(to);
        let transmit = match by {
            Some(neighbour) if neighbour != to => {
                let envelope = Envelope::new(self.me, to);
                let header = Bytes::copy_from_slice(&envelope.to_bytes(frame.len()));
                let channel = if self.is_connected(neighbour) { channel } else { Channel::Datagram };
                Transmit { to: neighbour, channel, header, body: frame }
            }
            Some(_) | None => {
                let channel = if connected { channel } else { Channel::Datagram };
                Transmit { to, channel, header: frame, body: Bytes::new() }
            }
        };
        self.queue_bare(transmit);
    }

    pub(crate) fn handle_packet(&mut self, now: Time, from: SiteId, packet: Bytes) -> Result<(), Refused> {
        self.receive(now, from, None, packet)
    }

    fn receive(
        &mut self,
        now: Time,
        from: SiteId,
        via: Option<SiteId>,
        packet: Bytes,
    ) -> Result<(), Refused> {
        let header = Header::parse(&packet, frame::PACKET_BYTES_MAX)?;
        match header.kind {
            Kind::LinkData | Kind::LinkAck => {
                let result = self.peer(now, from).link.handle_packet(now, packet);
                self.drain(from);
                Ok(result?)
            }
            Kind::Relay if via.is_none() => {
                let relayed = Relayed::parse(packet)?;
                let origin = relayed.envelope.origin;
                match relayed.arrive(self.me.site, from, self.bugs)? {
                    Arrival::Here(packet) => self.receive(now, origin.site, Some(from), packet),
                    Arrival::PassOn(relayed) => {
                        self.pass_on(&relayed);
                        Ok(())
                    }
                }
            }
            Kind::Control | Kind::Detect | Kind::Interface => {
                let (header, body) = frame::split(packet, frame::PACKET_BYTES_MAX)?;
                let life = self.life(from);
                self.inbound.push_back(Inbound::Bare { from, life, via, kind: header.kind, body });
                Ok(())
            }
            Kind::Multicast
            | Kind::Call
            | Kind::Store
            | Kind::Acquire
            | Kind::Clock
            | Kind::Hello
            | Kind::Relay
            | Kind::Session => Err(Refused::Unexpected(header.kind)),
        }
    }

    /// Time has come. Gives the sites whose links have waited for an acknowledgement for longer than they should.
    pub(crate) fn handle_timeout(&mut self, now: Time) -> Vec<SiteId> {
        let mut doubted = Vec::new();
        let due = self.due.iter().take_while(|(at, _)| *at <= now).map(|(_, site)| *site);
        self.touched.extend(due);
        for &site in &self.touched {
            let Some(peer) = self.peers.get_mut(&site) else { continue };
            let before = peer.link.counters().timeouts;
            peer.link.handle_timeout(now);
            if peer.link.counters().timeouts > before {
                doubted.push(site);
            }
        }
        doubted
    }

    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        let touched = self.touched.iter().filter_map(|site| self.peers.get(site)?.link.poll_timeout());
        touched.chain(self.due.first().map(|(at, _)| *at)).min()
    }

    pub(crate) fn poll_inbound(&mut self) -> Option<Inbound> {
        self.inbound.pop_front()
    }

    /// What the driver is to send next: bare packets before the links' data.
    pub(crate) fn poll_transmit(&mut self, now: Time) -> Option<Transmit> {
        if let Some(transmit) = self.bare.pop_front() {
            return Some(transmit);
        }
        while let Some(&to) = self.touched.first() {
            if let Some(peer) = self.peers.get_mut(&to)
                && let Some(packet) = peer.poll_transmit(now)
            {
                return Some(transmit(self.me, to, peer.via, packet));
            }
            self.settle(to);
        }
        None
    }

    /// The link to a site has nothing to send, or no way to send it, until something is done to it again.
    fn settle(&mut self, site: SiteId) {
        self.touched.remove(&site);
        let Some(peer) = self.peers.get_mut(&site) else { return };
        let due = peer.link.poll_timeout();
        if due != peer.due {
            let before = std::mem::replace(&mut peer.due, due);
            before.map(|at| self.due.remove(&(at, site)));
            due.map(|at| self.due.insert((at, site)));
        }
    }

    fn peer(&mut self, now: Time, site: SiteId) -> &mut Peer {
        let (config, me) = (&self.config, self.me);
        self.touched.insert(site);
        self.peers.entry(site).or_insert_with(|| Peer {
            link: Link::new(config.clone(), me, site, now),
            connected: None,
            via: None,
            choked: false,
            wants_room: false,
            due: None,
        })
    }

    /// Takes from a link what it has to say: events before frames, as its doc demands.
    fn drain(&mut self, site: SiteId) {
        let Some(peer) = self.peers.get_mut(&site) else { return };
        self.touched.insert(site);
        while let Some(event) = peer.link.poll_event() {
            self.inbound.push_back(match event {
                LinkEvent::Reset { old: _, new } => Inbound::NewLife { life: new },
                LinkEvent::Writable => Inbound::Writable { site },
            });
        }
        let roomy = peer.link.pending_bytes() <= self.config.send_bytes_max / 2;
        if peer.wants_room && roomy {
            peer.wants_room = false;
            self.inbound.push_back(Inbound::Writable { site });
        }
        let Some(from) = peer.link.peer_life() else { return };
        while let Some(frame) = peer.link.poll_deliver() {
            // A frame that can't be read is the peer's fault; the link itself is sound, so it is dropped.
            if let Ok((header, body)) = frame::split(frame, usize::MAX) {
                self.inbound.push_back(Inbound::Frame { from, kind: header.kind, body });
            }
        }
    }

    fn pass_on(&mut self, relayed: &Relayed) {
        let to = relayed.envelope.to;
        let may_go_by = |site| relayed.envelope.may_go_by(site) || self.bugs.has(Bug::DetourLoops);
        let next = match self.is_connected(to) {
            true => Some(to),
            false => self
                .peers
                .iter()
                .find(|(site, peer)| peer.connected.is_some() && may_go_by(**site))
                .map(|(site, _)| *site),
        };
        if let Some(next) = next {
            let packet = relayed.to_bytes();
            self.queue_bare(Transmit {
                to: next,
                channel: Channel::Stream,
                header: packet,
                body: Bytes::new(),
            });
        }
    }

    fn queue_bare(&mut self, transmit: Transmit) {
        if self.bare.len() >= BARE_PACKETS_MAX {
            self.bare.pop_front();
        }
        self.bare.push_back(transmit);
    }
}

fn transmit(me: SiteIncarnation, to: SiteId, via: Option<SiteId>, packet: Packet) -> Transmit {
    let detour = if via.is_some() { link::relay::HEADER_BYTES } else { 0 };
    let mut header = Vec::with_capacity(detour + packet.header.len() + packet.lead().len());
    if via.is_some() {
        header.extend_from_slice(&Envelope::new(me, to).to_bytes(packet.bytes()));
    }
    header.extend_from_slice(&packet.header);
    header.extend_from_slice(packet.lead());
    Transmit { to: via.unwrap_or(to), channel: Channel::Stream, header: header.into(), body: packet.frame }
}
