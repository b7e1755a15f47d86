//! The kernel with time and bytes around it: deadlines from the round-trip bound R (A7), the random part of
//! back-offs, the merge search, encoding. One `Service` is one mserver in one core-set.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use wire::{Incarnation, SiteId, SiteIncarnation, Time, ViewId};

use crate::group::Outcome;
use crate::kernel::{
    Busy, Config, Delay, Kernel, Learned, Message, Output, Record, RecordWriter, Refused, Tables, Ticket,
    Timer, Transition,
};
use crate::step::{Peer, Request, RequestId, RequestKind, Step, Why, Witnesses};

/// R before anybody measured it.
pub const ROUND_TRIP_BOUND_DEFAULT: Duration = Duration::from_millis(50);
/// The longest pause between two searches for sites outside the view.
pub const SEARCH_MAX: Duration = Duration::from_secs(60);

/// A packet for another site's service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// To which site.
    pub to: SiteId,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// What is in it, for traces.
    pub name: &'static str,
}

/// Something to put on disk in place of the last record, atomically; then `handle_stored` is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Names the write.
    pub ticket: Ticket,
    /// The record.
    pub bytes: Vec<u8>,
}

/// What a service tells its site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<V> {
    /// A change is proposed (M12): a hint.
    StartChange {
        /// The id that the view will have if it comes.
        id: ViewId,
        /// Its members.
        members: Vec<SiteIncarnation>,
    },
    /// This site is in a new view.
    Installed {
        /// The step that made it.
        step: Arc<Step>,
        /// The group views that it made; all of them, if this site did not follow step by step.
        group_views: Vec<V>,
    },
    /// The line moved on without this site.
    Excluded(ViewId),
    /// A request of this site was settled.
    Settled {
        /// Which.
        request: RequestId,
        /// What became of it.
        outcome: Outcome,
        /// On the line; else on this branch only, and it stays pending for the line.
        on_line: bool,
    },
    /// A member did not acknowledge: detection should look at it.
    Suspect(SiteIncarnation),
    /// This site has left the core-set.
    Left,
    /// The disk is an old copy: take a new store and a life above this one, then join.
    Surpassed(Incarnation),
    /// The tables differ from the coordinator's; they are asked for in whole.
    Diverged(ViewId),
    /// For coverage.
    Trace(Transition),
}

/// Why a packet was not taken. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// It is no message of this protocol.
    #[error("not a membership message: {0}")]
    Malformed(String),
    /// It speaks for another site than the one it came from.
    #[error("{from} speaks for {claimed}")]
    WrongSite {
        /// Where it came from.
        from: SiteId,
        /// For whom it speaks.
        claimed: SiteId,
    },
    /// The kernel refused it.
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// Why a record cannot be used. Nothing was started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// It does not decode.
    #[error("the membership record on disk cannot be read: {0}")]
    Malformed(String),
}

/// One mserver of one core-set, with time.
///
/// # Call order
///
/// `handle_*` and the requests in any order; after each, drain [`Service::poll_store`],
/// [`Service::poll_transmit`] and [`Service::poll_event`] until they return `None`, then arm one timer for
/// [`Service::poll_timeout`]. Messages that need the disk leave after [`Service::handle_stored`] by themselves.
#[derive(Clone, Debug)]
pub struct Service<T: Tables> {
    kernel: Kernel<T>,
    known: Vec<SiteId>,
    round_trip: Duration,
    random: ChaCha8Rng,
    timers: [Option<(Time, Timer)>; TIMER_KINDS],
    search: Time,
    search_pause: Duration,
    searches: u32,
    transmits: VecDeque<Packet>,
    writes: VecDeque<Write>,
    record_writer: RecordWriter,
    events: VecDeque<Event<T::View>>,
}

const TIMER_KINDS: usize = 7;

fn kind(timer: Timer) -> usize {
    match timer {
        Timer::Collect(_) => 0,
        Timer::Resend(_) => 1,
        Timer::Ack(_) => 2,
        Timer::Commit(_) => 3,
        Timer::Backoff => 4,
        Timer::Join => 5,
        Timer::Leave => 6,
    }
}

impl<T: Tables> Service<T> {
    /// Starts an mserver: a founder, a joiner, or one that comes back with its record. `me` is a life that was
    /// made durable before this call and is above every earlier life of the site; `seed` feeds the back-offs.
    pub fn new(
        now: Time,
        config: Config,
        me: Peer,
        record: Option<&[u8]>,
        seed: u64,
    ) -> Result<Service<T>, RecordError> {
        let record = record
            .map(minicbor::decode::<Record<T>>)
            .transpose()
            .map_err(|e| RecordError::Malformed(e.to_string()))?;
        let known = config.known.clone();
        let mut service = Service {
            kernel: Kernel::start(config, me, record),
            known,
            round_trip: ROUND_TRIP_BOUND_DEFAULT,
            random: ChaCha8Rng::seed_from_u64(seed),
            timers: [None; TIMER_KINDS],
            search: now,
            search_pause: ROUND_TRIP_BOUND_DEFAULT * 10,
            searches: 0,
            transmits: VecDeque::new(),
            writes: VecDeque::new(),
            record_writer: RecordWriter::default(),
            events: VecDeque::new(),
        };
        service.drain(now);
        Ok(service)
    }

    /// The bound R on a round trip, as detection measures it (A7).
    pub fn set_round_trip_bound(&mut self, bound: Duration) {
        self.round_trip = bound.max(Duration::from_millis(1));
    }

    /// A packet came from a site, whose identity the link has proved. An error changes nothing.
    pub fn handle_packet(&mut self, now: Time, from: SiteId, bytes: &[u8]) -> Result<(), PacketError> {
        let message =
            minicbor::decode::<Message<T>>(bytes).map_err(|e| PacketError::Malformed(e.to_string()))?;
        let claimed = message.header.from.site;
        if claimed != from {
            return Err(PacketError::WrongSite { from, claimed });
        }
        let taken = self.kernel.handle_message(message);
        self.drain(now);
        Ok(taken?)
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Time) {
        for slot in 0..TIMER_KINDS {
            if let Some((at, timer)) = self.timers[slot]
                && at <= now
            {
                self.timers[slot] = None;
                self.kernel.handle_timer(timer);
                self.drain(now);
            }
        }
        if self.search <= now {
            self.search_now(now);
        }
    }

    /// A write is done, and so is each before it.
    pub fn handle_stored(&mut self, now: Time, ticket: Ticket) {
        self.kernel.handle_stored(ticket);
        self.drain(now);
    }

    /// Which sites detection hears now.
    pub fn handle_heard(&mut self, now: Time, sites: &BTreeSet<SiteId>) {
        self.kernel.handle_heard(sites);
        self.drain(now);
    }

    /// Detection established that a life is over, or cannot be reached by all (C15).
    pub fn establish(&mut self, now: Time, life: SiteIncarnation, why: Why, witnesses: Witnesses) {
        self.kernel.establish(life, why, witnesses);
        self.drain(now);
    }

    /// Asks for something. `Busy`: nothing was taken, ask again when something has been settled.
    pub fn submit(&mut self, now: Time, request: RequestKind) -> Result<RequestId, Busy> {
        let id = self.kernel.submit(request);
        self.drain(now);
        id
    }

    /// Takes a request that this site's member interface, or an attached site, has numbered. `Busy`: nothing was
    /// taken, say it again later.
    pub fn submit_request(&mut self, now: Time, request: &Request) -> Result<(), Busy> {
        let taken = self.kernel.submit_request(request);
        self.drain(now);
        taken
    }

    /// Begins to leave the core-set; `Event::Left` says when the site may stop (C18).
    pub fn leave(&mut self, now: Time) {
        self.kernel.leave();
        self.drain(now);
    }

    /// A site that may be asked, for the search.
    pub fn add_known(&mut self, site: SiteId) {
        if site != self.kernel.me().site && !self.known.contains(&site) {
            self.known.push(site);
            self.kernel.add_known(site);
        }
    }

    /// The next packet to send.
    pub fn poll_transmit(&mut self) -> Option<Packet> {
        self.transmits.pop_front()
    }

    /// The next write to make.
    pub fn poll_store(&mut self) -> Option<Write> {
        self.writes.pop_front()
    }

    /// The next thing to know.
    pub fn poll_event(&mut self) -> Option<Event<T::View>> {
        self.events.pop_front()
    }

    /// When `handle_timeout` is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.timers.iter().flatten().map(|(at, _)| *at).chain([self.search]).min()
    }

    /// The kernel, to look at.
    pub fn kernel(&self) -> &Kernel<T> {
        &self.kernel
    }

    /// The installed view with its tables.
    pub fn view(&self) -> Option<&Learned<T>> {
        self.kernel.view()
    }

    fn search_now(&mut self, now: Time) {
        self.kernel.search(&self.known, self.searches);
        self.searches = self.searches.wrapping_add(1);
        let floor = self.round_trip * 10;
        self.search_pause = (self.search_pause * 2).clamp(floor, SEARCH_MAX.max(floor));
        self.search = now + self.search_pause;
        self.drain(now);
    }

    fn drain(&mut self, now: Time) {
        while let Some(output) = self.kernel.poll_output() {
            match output {
                Output::Store { ticket, record } => {
                    let bytes = self.record_writer.write(&record);
                    self.writes.push_back(Write { ticket, bytes });
                }
                Output::Send { to, message } => {
                    let bytes = minicbor::to_vec(&*message).expect("writing to memory does not fail");
                    self.transmits.push_back(Packet { to, bytes, name: message.body.name() });
                }
                Output::Arm { timer, delay } => {
                    let at = now + self.duration(delay);
                    self.timers[kind(timer)] = Some((at, timer));
                }
                Output::StartChange { id, members } => {
                    self.events.push_back(Event::StartChange { id, members });
                }
                Output::Installed { step, group_views } => {
                    self.search = self.search.min(now + self.round_trip * 10);
                    self.search_pause = self.round_trip * 10;
                    self.events.push_back(Event::Installed { step, group_views });
                }
                Output::Excluded { step } => self.events.push_back(Event::Excluded(step)),
                Output::Settled { request, outcome, on_line } => {
                    self.events.push_back(Event::Settled { request, outcome, on_line });
                }
                Output::Suspect(life) => self.events.push_back(Event::Suspect(life)),
                Output::Left => self.events.push_back(Event::Left),
                Output::Surpassed(by) => self.events.push_back(Event::Surpassed(by)),
                Output::Diverged(step) => self.events.push_back(Event::Diverged(step)),
                Output::Trace(transition) => self.events.push_back(Event::Trace(transition)),
            }
        }
    }

    fn duration(&mut self, delay: Delay) -> Duration {
        match delay {
            Delay::Rounds(rounds) => self.round_trip * rounds,
            Delay::Backoff { place, tries } => {
                let spread = self.round_trip * (1 << tries.min(4));
                let nanos = u64::try_from(spread.as_nanos()).unwrap_or(u64::MAX).max(1);
                self.round_trip * 2 * place.min(64) + Duration::from_nanos(self.random.next_u64() % nanos)
            }
        }
    }
}
