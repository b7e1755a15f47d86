//! Two ends of a link, a bad path between them, and an oracle that knows every frame.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use link::{Class, Config, Event, Link, Packet, SendError};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use wire::{Incarnation, SiteId, SiteIncarnation, Time};

/// How the path treats packets.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    pub loss_percent: u64,
    pub duplicate_percent: u64,
    pub delay_us: u64,
    /// Added at random: packets overtake each other.
    pub jitter_us: u64,
}

impl Path {
    pub const HEALTHY: Path = Path { loss_percent: 0, duplicate_percent: 0, delay_us: 200, jitter_us: 0 };
    pub const CUT: Path = Path { loss_percent: 100, duplicate_percent: 0, delay_us: 0, jitter_us: 0 };
}

/// One end: a link in one of its lives, and what the oracle knows of it.
pub struct End {
    pub link: Link,
    pub site: SiteIncarnation,
    /// Stands in every frame: the number of this link among all that were made.
    tag: u32,
    /// Frames sent since the peer's life last changed: their numbers.
    owed: std::collections::VecDeque<u32>,
    sent: u32,
    /// The last frame delivered here: the peer's tag and number.
    heard: Option<(u32, u32)>,
    /// The peer's life according to events.
    peer: Option<SiteIncarnation>,
    pub events: Vec<Event>,
    pub delivered: u64,
}

pub struct World {
    pub now: Time,
    pub ends: [End; 2],
    pub path: Path,
    pub config: Config,
    pub rng: ChaCha8Rng,
    /// Every packet that was handed out, counted.
    pub transmitted: u64,
    flying: BTreeMap<(Time, u64), (usize, Packet)>,
    flown: u64,
    tags: u32,
}

pub fn life(site: u32, incarnation: u64) -> SiteIncarnation {
    SiteIncarnation { site: SiteId(site), incarnation: Incarnation(incarnation) }
}

/// A frame that the oracle knows again.
fn frame(tag: u32, number: u32, bytes: usize) -> Bytes {
    let mut frame = Vec::with_capacity(bytes.max(8));
    frame.extend(tag.to_le_bytes());
    frame.extend(number.to_le_bytes());
    frame.resize(bytes.max(8), number as u8);
    frame.into()
}

impl World {
    pub fn new(seed: u64, config: Config, path: Path) -> World {
        let now = Time::from_millis(1);
        let end = |site: u32, peer: u32| End {
            link: Link::new(config.clone(), life(site, 1), SiteId(peer), now),
            site: life(site, 1),
            tag: site,
            owed: Default::default(),
            sent: 0,
            heard: None,
            peer: None,
            events: Vec::new(),
            delivered: 0,
        };
        World {
            now,
            ends: [end(1, 2), end(2, 1)],
            path,
            rng: ChaCha8Rng::seed_from_u64(seed),
            transmitted: 0,
            flying: BTreeMap::new(),
            flown: 0,
            tags: 2,
            config,
        }
    }

    pub fn random(&mut self, below: u64) -> u64 {
        self.rng.next_u64() % below
    }

    /// Sends the next frame from one end.
    pub fn send(&mut self, end: usize, bytes: usize, class: Class) -> Result<(), SendError> {
        let from = &mut self.ends[end];
        let mut whole = frame(from.tag, from.sent, bytes);
        // Every other one in two parts: nobody should see a difference.
        match whole.first_chunk().copied().filter(|_| from.sent.is_multiple_of(2)) {
            Some(header) => from.link.send_parts(header, whole.split_off(header.len()), class)?,
            None => from.link.send(whole, class)?,
        }
        from.owed.push_back(from.sent);
        from.sent += 1;
        Ok(())
    }

    /// The end dies and begins another life, or only makes its link anew.
    pub fn restart(&mut self, end: usize, another_life: bool) {
        self.tags += 1;
        self.now = self.now + Duration::from_nanos(1);
        let from = &mut self.ends[end];
        from.site.incarnation.0 += u64::from(another_life);
        from.link = Link::new(self.config.clone(), from.site, SiteId(2 - end as u32), self.now);
        from.tag = self.tags;
        (from.owed, from.sent, from.heard, from.peer) = (Default::default(), 0, None, None);
    }

    /// The path breaks with all that is on it; both ends are told that there is another.
    pub fn change_path(&mut self, keep_flying: bool) {
        if !keep_flying {
            self.flying.clear();
        }
        for end in &mut self.ends {
            end.link.handle_path_changed(self.now);
        }
        self.drain();
    }

    /// Drops every packet under way, and tells nobody.
    pub fn lose_flying(&mut self) {
        self.flying.clear();
    }

    /// Takes whatever both ends give out now.
    pub fn drain(&mut self) {
        for index in 0..2 {
            self.take_events(index);
            self.take_frames(index);
            while let Some(packet) = self.ends[index].link.poll_transmit(self.now) {
                self.transmit(1 - index, packet);
            }
            let link = &self.ends[index].link;
            assert!(link.pending_bytes() <= self.config.send_bytes_max + self.config.control_reserve_bytes);
            let kept_max = self.config.late_bytes_max
                + self.config.frame_bytes_max * 2
                + self.config.ready_bytes_max
                + self.config.late_packets_max * 64;
            assert!(link.kept_bytes() <= kept_max, "{} bytes kept", link.kept_bytes());
        }
    }

    /// Lets so much time pass.
    pub fn run_for(&mut self, duration: Duration) {
        let until = self.now + duration;
        self.drain();
        while self.step(until) {}
        self.now = until;
    }

    /// Lets time pass until both ends have everything acknowledged; says whether that came to be in time.
    pub fn run_until_idle(&mut self, within: Duration) -> bool {
        let until = self.now + within;
        self.drain();
        while !self.ends.iter().all(|end| end.link.is_idle()) {
            if !self.step(until) {
                return false;
            }
        }
        self.run_for(Duration::from_millis(50));
        true
    }

    /// What was sent in the present lives has arrived.
    pub fn assert_all_arrived(&self) {
        for (end, other) in [(0, 1), (1, 0)] {
            if let Some(last) = self.ends[end].owed.back() {
                assert_eq!(self.ends[other].heard, Some((self.ends[end].tag, *last)));
            }
        }
    }

    fn step(&mut self, until: Time) -> bool {
        let arrival = self.flying.keys().next().map(|(at, _)| *at);
        let timeout = self.ends.iter().filter_map(|end| end.link.poll_timeout()).min();
        let Some(next) = arrival.into_iter().chain(timeout).min().filter(|next| *next <= until) else {
            return false;
        };
        self.now = self.now.max(next);
        if arrival.is_some_and(|at| at <= self.now) {
            let (_, (to, packet)) = self.flying.pop_first().expect("one arrives now");
            // Whatever is wrong with it (a past life, too far ahead) is the link's to say, and no harm.
            let _refused = self.ends[to].link.handle(self.now, packet);
        }
        for end in &mut self.ends {
            end.link.handle_timeout(self.now);
        }
        self.drain();
        true
    }

    fn transmit(&mut self, to: usize, packet: Packet) {
        self.transmitted += 1;
        if self.random(100) < self.path.loss_percent {
            return;
        }
        let copies = 1 + u64::from(self.random(100) < self.path.duplicate_percent);
        for _ in 0..copies {
            let jitter = self.random(self.path.jitter_us + 1);
            let at = self.now + Duration::from_micros(self.path.delay_us + jitter);
            self.flying.insert((at, self.flown), (to, packet.clone()));
            self.flown += 1;
        }
    }

    fn take_events(&mut self, index: usize) {
        while let Some(event) = self.ends[index].link.poll_event() {
            let end = &mut self.ends[index];
            if let Event::Reset { old, new } = event {
                assert_eq!(end.peer, old, "a reset names the life that was known");
                if old.is_some() {
                    end.owed.clear();
                }
                (end.peer, end.heard) = (Some(new), None);
            }
            end.events.push(event);
        }
    }

    fn take_frames(&mut self, index: usize) {
        while let Some(frame) = self.ends[index].link.poll_deliver() {
            let number = |at: usize| u32::from_le_bytes(frame[at..at + 4].try_into().expect("four bytes"));
            let (tag, number) = (number(0), number(4));
            assert!(frame[8..].iter().all(|byte| *byte == number as u8), "a frame is whole");
            let [end, other] = self.ends.get_disjoint_mut([index, 1 - index]).expect("two ends");
            match end.heard {
                Some((last_tag, last)) => {
                    assert_eq!((tag, number), (last_tag, last + 1), "exactly once, in order")
                }
                None if tag == other.tag && !other.owed.is_empty() => {
                    assert_eq!(Some(&number), other.owed.front(), "nothing owed to this life is missing");
                }
                None => {}
            }
            assert!(end.peer.is_some(), "frames come after their life is told of");
            end.heard = Some((tag, number));
            end.delivered += 1;
        }
    }
}
