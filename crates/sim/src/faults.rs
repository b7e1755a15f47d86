//! Which fault strikes when, and when it ends.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::coverage::Kind;
use crate::dice::{Concern, Dice};
use crate::host::{Host, Request};
use crate::swarm::{Fault, Swarm};
use crate::world::network::Way;
use crate::world::{Death, World};

/// A fault that lasts.
#[derive(Clone, Debug)]
enum Lasting {
    /// These ways are cut.
    Cut(Vec<Way>),
    /// These ways are slow.
    Slow(Vec<Way>),
}

/// What the embedder should do at a time: the fault with this number ends, or a site starts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Later {
    /// `Faults::end` with this number.
    End(usize),
    /// `Faults::restart` of this site.
    Restart(usize),
}

/// The faults of a run.
pub struct Faults {
    dice: Dice,
    kinds: Vec<Fault>,
    lasts: Duration,
    lasting: Vec<Option<Lasting>>,
    deaf: Option<usize>,
    stopping: BTreeSet<usize>,
    wiped: bool,
    over: bool,
}

/// However long other faults last, a site that died is back in about this time: the healing counts on it.
const DOWN_MEAN_MAX: Duration = Duration::from_secs(9);

impl Faults {
    /// The faults that a seed chose.
    pub fn new(seed: u64, swarm: &Swarm) -> Faults {
        Faults {
            dice: Dice::new(seed, Concern::Faults),
            kinds: swarm.faults.clone(),
            lasts: swarm.fault_lasts,
            lasting: Vec::new(),
            deaf: None,
            stopping: BTreeSet::new(),
            wiped: false,
            over: false,
        }
    }

    /// One fault strikes. `prominent` are sites worth striking: coordinators, sequencers; `calm` says that every
    /// site runs and is in one view, so that losing one store loses no quorum.
    pub fn strike<H: Host>(
        &mut self,
        world: &mut World<H>,
        prominent: &[usize],
        calm: bool,
    ) -> Vec<(Duration, Later)> {
        let fault = *self.dice.pick(&self.kinds);
        if fault == Fault::Wipe && (self.wiped || !calm || !self.quiet() || world.sites() < 4) {
            return Vec::new();
        }
        let site = self.target(world, prominent);
        world.reached().insert((Kind::Fault, fault.name()));
        match fault {
            Fault::Crash => world.crash(site, Death::Process),
            Fault::PowerCut => world.crash(site, Death::Machine),
            Fault::CrashWhileSending => world.crash_after(site, self.dice.below(6)),
            Fault::CrashAll => (0..world.sites()).for_each(|site| world.crash(site, Death::Process)),
            Fault::Pause => world.pause(site, self.dice.wait(self.lasts)),
            Fault::CutOneWay => {
                return self.cut(world, |way, site, other| way == (Way { from: site, to: other }), site);
            }
            Fault::CutLink => {
                let link = |way: Way, site, other| {
                    (way.from.min(way.to), way.from.max(way.to)) == (site, other).sorted()
                };
                return self.cut(world, link, site);
            }
            Fault::Partition => {
                let sides: Vec<bool> = (0..world.sites()).map(|_| self.dice.chance(500)).collect();
                return self.cut(world, |way, _, _| sides[way.from] != sides[way.to], site);
            }
            Fault::Row => {
                let mut row: Vec<usize> = (0..world.sites()).collect();
                (1..row.len()).rev().for_each(|last| row.swap(last, self.dice.index(last + 1)));
                let places: Vec<usize> =
                    (0..row.len()).map(|site| row.iter().position(|s| *s == site).unwrap_or(0)).collect();
                return self.cut(world, |way, _, _| places[way.from].abs_diff(places[way.to]) > 1, site);
            }
            Fault::Deaf => {
                self.deaf = Some(site);
                return self.cut(world, |way, site, _| way.to == site, site);
            }
            Fault::SlowLink => return self.slow(world, site),
            Fault::BreakConnection => world.break_connection(site, self.other(world, site)),
            Fault::Wipe => {
                self.wiped = true;
                world.crash(site, Death::Process);
                world.wipe(site);
            }
            Fault::OrderlyStop => {
                if world.request(site, Request::Stop).is_some() {
                    self.stopping.insert(site);
                }
            }
        }
        Vec::new()
    }

    /// A site died: when it starts again.
    pub fn died(&mut self, site: usize) -> (Duration, Later) {
        self.stopping.remove(&site);
        let mean = if self.over { Duration::from_millis(100) } else { self.lasts.min(DOWN_MEAN_MAX) };
        (Duration::from_millis(5) + self.dice.wait(mean), Later::Restart(site))
    }

    /// A dead site starts again.
    pub fn restart<H: Host>(&mut self, world: &mut World<H>, site: usize) {
        if world.life(site).is_some() {
            return;
        }
        if !world.start(site) {
            // A record that cannot be read: the operator empties the directory.
            world.wipe(site);
            assert!(world.start(site), "an empty directory can be read");
        }
    }

    /// A lasting fault ends.
    pub fn end<H: Host>(&mut self, world: &mut World<H>, number: usize) {
        match self.lasting[number].take() {
            Some(Lasting::Cut(ways)) => ways.into_iter().for_each(|way| world.mend(way)),
            Some(Lasting::Slow(ways)) => ways.into_iter().for_each(|way| world.slow(way, Duration::ZERO)),
            None => {}
        }
    }

    /// Everything ends: the second phase begins.
    pub fn heal<H: Host>(&mut self, world: &mut World<H>) {
        self.over = true;
        (0..self.lasting.len()).for_each(|number| self.end(world, number));
        world.calm();
        // Who was on its way out goes now, and comes back like everybody.
        std::mem::take(&mut self.stopping).into_iter().for_each(|site| world.crash(site, Death::Process));
    }

    /// The site that was made deaf last.
    pub fn deaf(&self) -> Option<usize> {
        self.deaf
    }

    fn quiet(&self) -> bool {
        self.lasting.iter().all(Option::is_none)
    }

    fn target<H: Host>(&mut self, world: &World<H>, prominent: &[usize]) -> usize {
        if !prominent.is_empty() && self.dice.chance(500) {
            return *self.dice.pick(prominent);
        }
        self.dice.index(world.sites())
    }

    fn other<H: Host>(&mut self, world: &World<H>, site: usize) -> usize {
        (site + 1 + self.dice.index(world.sites() - 1)) % world.sites()
    }

    fn cut<H: Host>(
        &mut self,
        world: &mut World<H>,
        is_cut: impl Fn(Way, usize, usize) -> bool,
        site: usize,
    ) -> Vec<(Duration, Later)> {
        let other = self.other(world, site);
        let ways: Vec<Way> = world.ways().filter(|way| is_cut(*way, site, other)).collect();
        ways.iter().for_each(|way| world.cut(*way));
        self.lasting(Lasting::Cut(ways))
    }

    fn slow<H: Host>(&mut self, world: &mut World<H>, site: usize) -> Vec<(Duration, Later)> {
        let way = Way { from: site, to: self.other(world, site) };
        let by = self.dice.duration(Duration::from_millis(5), Duration::from_millis(200));
        let ways = vec![way, way.back()];
        ways.iter().for_each(|way| world.slow(*way, by));
        self.lasting(Lasting::Slow(ways))
    }

    fn lasting(&mut self, lasting: Lasting) -> Vec<(Duration, Later)> {
        self.lasting.push(Some(lasting));
        vec![(self.dice.wait(self.lasts), Later::End(self.lasting.len() - 1))]
    }
}

trait Sorted {
    fn sorted(self) -> Self;
}

impl Sorted for (usize, usize) {
    fn sorted(self) -> Self {
        (self.0.min(self.1), self.0.max(self.1))
    }
}
