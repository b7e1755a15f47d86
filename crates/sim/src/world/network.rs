//! The network between the sites: connections that stall, break and come back; datagrams that are lost, doubled
//! and overtaken; one-way cuts and slow links.
//!
//! The network decides *when* something arrives, or that it does not; the world delivers it. Each end of a
//! connection has its own idea of whether the connection is up, as with TCP: a packet is taken only by an end
//! that holds the connection on which it was sent.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use wire::Time;

use crate::dice::Dice;

/// How a seed's network behaves while no fault strikes.
#[derive(Clone, Debug)]
pub struct Model {
    /// The least time on the way.
    pub latency_min: Duration,
    /// The mean of what comes on top.
    pub latency_mean: Duration,
    /// So many packets of a thousand are late, by up to fifty times the mean.
    pub late_per_mille: u32,
    /// So many datagrams of a thousand are lost.
    pub loss_per_mille: u32,
    /// So many datagrams of a thousand arrive twice.
    pub double_per_mille: u32,
    /// A connection that delivers nothing is given up after at most this.
    pub patience_max: Duration,
}

/// A directed pair of sites.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// Index of the sender.
    pub from: usize,
    /// Index of the receiver.
    pub to: usize,
}

impl Way {
    /// The other direction.
    pub fn back(self) -> Way {
        Way { from: self.to, to: self.from }
    }
}

/// What becomes of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Datagram {
    /// Lost.
    Lost,
    /// Arrives at this time.
    Once(Time),
    /// Arrives at these times.
    Twice(Time, Time),
}

/// What becomes of a packet on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// No connection at the sender's end.
    Unconnected,
    /// The way is cut: it waits for the cut to heal or the connection to break.
    Held,
    /// Arrives at this time, if the receiver still holds this connection then.
    At(Time, Epoch),
}

/// Numbers the connections of a pair.
pub type Epoch = u64;

#[derive(Clone, Debug, Default)]
struct Flow {
    cuts: u32,
    slow: Duration,
    end: Option<Epoch>,
    arrived: Time,
    /// When the last of the datagrams that are under way arrives.
    datagram_at: Time,
    held: VecDeque<Bytes>,
}

/// The network.
#[derive(Clone, Debug)]
pub struct Network {
    sites: usize,
    model: Model,
    flows: Vec<Flow>,
    epochs: Epoch,
}

impl Network {
    /// So many sites, no connection yet.
    pub fn new(sites: usize, model: Model) -> Network {
        Network { sites, model, flows: vec![Flow::default(); sites * sites], epochs: 0 }
    }

    /// Every directed pair.
    pub fn ways(&self) -> impl Iterator<Item = Way> + use<> {
        let sites = self.sites;
        (0..sites * sites).map(move |i| Way { from: i / sites, to: i % sites }).filter(|w| w.from != w.to)
    }

    fn flow(&mut self, way: Way) -> &mut Flow {
        &mut self.flows[way.from * self.sites + way.to]
    }

    /// The connection that the sender's end of this way holds.
    pub fn end(&mut self, way: Way) -> Option<Epoch> {
        self.flow(way).end
    }

    /// Whether packets pass this way.
    pub fn open(&mut self, way: Way) -> bool {
        self.flow(way).cuts == 0
    }

    /// How long a connection that delivers nothing lasts.
    pub fn patience(&self, dice: &mut Dice) -> Duration {
        dice.duration(self.model.patience_max / 20, self.model.patience_max)
    }

    /// A time on the way.
    pub fn latency(&mut self, way: Way, dice: &mut Dice) -> Duration {
        let mut latency = self.model.latency_min + dice.wait(self.model.latency_mean) + self.flow(way).slow;
        if dice.chance(self.model.late_per_mille) {
            latency += dice.duration(Duration::ZERO, self.model.latency_mean * 50);
        }
        latency
    }

    /// A datagram leaves.
    pub fn datagram(&mut self, now: Time, way: Way, dice: &mut Dice) -> Datagram {
        if !self.open(way) || dice.chance(self.model.loss_per_mille) {
            return Datagram::Lost;
        }
        let first = now + self.latency(way, dice);
        if dice.chance(self.model.double_per_mille) {
            return Datagram::Twice(first, now + self.latency(way, dice));
        }
        Datagram::Once(first)
    }

    /// Notes that a datagram arrives at this time. Says whether it overtakes one that left before.
    pub fn overtakes(&mut self, way: Way, at: Time) -> bool {
        let flow = self.flow(way);
        let overtakes = at < flow.datagram_at;
        flow.datagram_at = flow.datagram_at.max(at);
        overtakes
    }

    /// A packet leaves on the connection; `bytes` is kept while the way is cut.
    pub fn stream(&mut self, now: Time, way: Way, bytes: &Bytes, dice: &mut Dice) -> Stream {
        let Some(epoch) = self.flow(way).end else { return Stream::Unconnected };
        if !self.open(way) {
            self.flow(way).held.push_back(bytes.clone());
            return Stream::Held;
        }
        Stream::At(self.in_order(now, way, dice), epoch)
    }

    fn in_order(&mut self, now: Time, way: Way, dice: &mut Dice) -> Time {
        let at = now + self.latency(way, dice);
        let flow = self.flow(way);
        flow.arrived = flow.arrived.max(at);
        flow.arrived
    }

    /// A new connection between two sites: its number.
    pub fn connect(&mut self) -> Epoch {
        self.epochs += 1;
        self.epochs
    }

    /// The sender's end of this way learns at `now` that the connection is up.
    pub fn opened(&mut self, now: Time, way: Way, epoch: Epoch) {
        let flow = self.flow(way);
        flow.end = Some(epoch);
        flow.held.clear();
        let back = self.flow(way.back());
        back.arrived = back.arrived.max(now);
    }

    /// The sender's end of this way closes, if it still holds this connection.
    pub fn closed(&mut self, way: Way, epoch: Epoch) -> bool {
        let flow = self.flow(way);
        let held = flow.end == Some(epoch);
        if held {
            flow.end = None;
            flow.held.clear();
        }
        held
    }

    /// Cuts one way. Cuts add up.
    pub fn cut(&mut self, way: Way) {
        self.flow(way).cuts += 1;
    }

    /// Takes one cut back; what waited on the connection arrives at these times.
    pub fn mend(&mut self, now: Time, way: Way, dice: &mut Dice) -> Vec<(Time, Epoch, Bytes)> {
        let flow = self.flow(way);
        flow.cuts = flow.cuts.checked_sub(1).expect("a cut is mended once");
        if flow.cuts > 0 {
            return Vec::new();
        }
        let Some(epoch) = flow.end else { return Vec::new() };
        let held = std::mem::take(&mut flow.held);
        let resumes = now + dice.duration(Duration::ZERO, Duration::from_millis(300));
        held.into_iter().map(|bytes| (self.in_order(resumes, way, dice), epoch, bytes)).collect()
    }

    /// Makes one way slower by this, or normal again.
    pub fn slow(&mut self, way: Way, by: Duration) {
        self.flow(way).slow = by;
    }

    /// From now on nothing is lost or doubled and little is late (the second phase of a seed).
    pub fn calm(&mut self) {
        self.model.loss_per_mille = 0;
        self.model.double_per_mille = 0;
        self.model.late_per_mille = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Concern;

    fn network(loss: u32) -> (Network, Dice) {
        let model = Model {
            latency_min: Duration::from_micros(50),
            latency_mean: Duration::from_millis(1),
            late_per_mille: 200,
            loss_per_mille: loss,
            double_per_mille: 100,
            patience_max: Duration::from_secs(1),
        };
        (Network::new(2, model), Dice::new(5, Concern::Network))
    }

    const WAY: Way = Way { from: 0, to: 1 };

    #[test]
    fn a_connection_keeps_the_order_and_datagrams_do_not() {
        let (mut network, mut dice) = network(100);
        let epoch = network.connect();
        network.opened(Time::ZERO, WAY, epoch);
        let mut last = Time::ZERO;
        let (mut overtaken, mut lost, mut doubled) = (false, false, false);
        let mut last_datagram = Time::ZERO;
        for n in 0..500 {
            let now = Time::from_nanos(n * 1000);
            let Stream::At(at, _) = network.stream(now, WAY, &Bytes::new(), &mut dice) else {
                panic!("the way is open")
            };
            assert!(at >= last);
            last = at;
            match network.datagram(now, WAY, &mut dice) {
                Datagram::Lost => lost = true,
                Datagram::Twice(..) => doubled = true,
                Datagram::Once(at) => {
                    overtaken |= at < last_datagram;
                    last_datagram = at;
                }
            }
        }
        assert!(overtaken && lost && doubled);
    }

    #[test]
    fn a_cut_holds_the_stream_and_loses_datagrams_until_it_is_mended() {
        let (mut network, mut dice) = network(0);
        let epoch = network.connect();
        network.opened(Time::ZERO, WAY, epoch);
        network.cut(WAY);
        assert_eq!(network.datagram(Time::ZERO, WAY, &mut dice), Datagram::Lost);
        assert_ne!(network.datagram(Time::ZERO, WAY.back(), &mut dice), Datagram::Lost);
        assert_eq!(network.stream(Time::ZERO, WAY, &Bytes::from_static(b"x"), &mut dice), Stream::Held);
        let resumed = network.mend(Time::from_millis(9), WAY, &mut dice);
        assert_eq!(resumed.len(), 1);
        assert_eq!(resumed[0].1, epoch);
    }

    #[test]
    fn a_closed_end_takes_and_sends_nothing() {
        let (mut network, mut dice) = network(0);
        let epoch = network.connect();
        network.opened(Time::ZERO, WAY, epoch);
        assert!(network.closed(WAY, epoch));
        assert!(!network.closed(WAY, epoch));
        assert_eq!(network.stream(Time::ZERO, WAY, &Bytes::new(), &mut dice), Stream::Unconnected);
    }
}
