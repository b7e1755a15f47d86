//! One seed, from its draw to its verdict; and many, on all cores.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use wire::{SiteIncarnation, Time, ViewId};

use crate::coverage::{Coverage, Kind, Reached};
use crate::faults::{Faults, Later};
use crate::history::{History, What};
use crate::host::{Event, Host};
use crate::property::{self, Violation};
use crate::quiet;
use crate::swarm::{Profile, Swarm};
use crate::trace::{Digest, Keep};
use crate::workload::Workload;
use crate::world::{Death, Happening, Step, World, index, site_id};

/// What the embedder chooses for a run.
#[derive(Clone, Debug)]
pub struct Options<C> {
    /// For the hosts.
    pub hosts: C,
    /// How much of the run is kept in words.
    pub keep: Keep,
}

/// What became of a seed.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// What it stressed.
    pub profile: Profile,
    /// What was broken; nothing if it passed.
    pub violations: Vec<Violation>,
    /// Over all that happened: two runs with one digest are one run.
    pub digest: Digest,
    /// How many things happened.
    pub events: u64,
    /// How many views anybody installed, the core-set's and the groups'.
    pub view_changes: u64,
    /// How many casts were taken.
    pub messages: u64,
    /// How long it took, in the world's time.
    pub lasted: Duration,
    /// How long after the healing everything was in place.
    pub settled_after: Option<Duration>,
    /// The most packets that a site sent within a second, on average over the sites.
    pub packets_a_second: u64,
    /// What was reached.
    pub reached: Reached,
    /// The run in words, as far as it was kept.
    pub lines: Vec<String>,
}

impl Report {
    /// The flag that chooses the seed's workload, with a space before it; nothing for the ordinary one.
    pub fn workload(&self) -> &'static str {
        match self.profile {
            Profile::Durable => " --durable",
            Profile::Mail => " --mail",
            _ => "",
        }
    }

    /// Whether nothing was broken.
    pub fn passed(&self) -> bool {
        self.violations.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            writeln!(f, "{line}")?;
        }
        for violation in &self.violations {
            writeln!(f, "seed {} broke {violation}", self.seed)?;
        }
        writeln!(
            f,
            "seed {} ({:?}): {} events, {} view changes, {} messages in {:.1} s of its own time, digest {}",
            self.seed,
            self.profile,
            self.events,
            self.view_changes,
            self.messages,
            self.lasted.as_secs_f64(),
            self.digest
        )?;
        if self.passed() {
            writeln!(f, "passed")
        } else {
            writeln!(f, "replay: unanimous sim{} --seed {}", self.workload(), self.seed)
        }
    }
}

/// What became of many seeds.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// How many passed.
    pub passed: u64,
    /// How many failed.
    pub failed: u64,
    /// The first that failed, by number, each with the last lines of its trace.
    pub failures: Vec<Report>,
    /// What they reached.
    pub coverage: Coverage,
}

/// So many failing seeds are reported in full.
const FAILURES_MAX: usize = 5;
/// So many lines of a failing seed are kept.
const LINES_LAST: usize = 400;
/// Settling is looked for this often.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// More packets than this from a site within a second, on average over the sites, are a storm.
const PACKETS_A_SECOND_MAX: u64 = 20_000;
/// After everybody's last words, so much time is left for their delivery.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(20);

/// After that, so much for what was cast just before.
const LAST_ACTS_WITHIN: Duration = Duration::from_secs(2);

/// Runs one seed.
pub fn run_seed<H: Host>(seed: u64, options: &Options<H::Config>) -> Report {
    run_swarm::<H>(seed, Swarm::draw(seed), options)
}

/// Runs one seed with options of the caller's.
pub fn run_swarm<H: Host>(seed: u64, swarm: Swarm, options: &Options<H::Config>) -> Report {
    let mut run = Run::<H>::new(seed, swarm, options);
    // An own invariant that a host finds violated is a panic: it fails the seed and stops the run there.
    let panicked = quiet::during(|| catch_unwind(AssertUnwindSafe(|| run.whole()))).err();
    run.report(seed, panicked)
}

/// Runs seeds on so many threads; `progress` hears of every seed that is done.
pub fn run_seeds<H: Host>(
    seeds: Range<u64>,
    threads: usize,
    options: &Options<H::Config>,
    expected: &[(Kind, &'static str)],
    progress: &(dyn Fn(&Report) + Sync),
) -> Summary {
    let one = |seed, keep| run_seed::<H>(seed, &Options { hosts: options.hosts.clone(), keep });
    run_each(seeds, threads, &one, expected, progress)
}

/// Runs seeds of any workload on so many threads: `one` runs a seed, and keeps so much of it in words.
pub fn run_each(
    seeds: Range<u64>,
    threads: usize,
    one: &(dyn Fn(u64, Keep) -> Report + Sync),
    expected: &[(Kind, &'static str)],
    progress: &(dyn Fn(&Report) + Sync),
) -> Summary {
    let next = AtomicU64::new(seeds.start);
    let summary = Mutex::new(Summary { coverage: Coverage::expecting(expected), ..Summary::default() });
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let report = one(seed, Keep::Nothing);
                    progress(&report);
                    summary.lock().expect("no thread panics with the summary").add(report);
                }
            });
        }
    });
    let mut summary = summary.into_inner().expect("no thread panics with the summary");
    for report in &mut summary.failures {
        *report = one(report.seed, Keep::Last(LINES_LAST));
    }
    summary
}

/// Looks for the first seed that fails with a bug switched on and passes without it.
pub fn hunt<H: Host>(
    seeds: Range<u64>,
    threads: usize,
    with: &Options<H::Config>,
    without: &Options<H::Config>,
) -> Option<Report> {
    hunt_each(seeds, threads, &|seed| run_seed::<H>(seed, with), &|seed| run_seed::<H>(seed, without))
}

/// Looks for the first seed of any workload that fails when it is run one way and passes the other way.
pub fn hunt_each(
    seeds: Range<u64>,
    threads: usize,
    with: &(dyn Fn(u64) -> Report + Sync),
    without: &(dyn Fn(u64) -> Report + Sync),
) -> Option<Report> {
    let next = AtomicU64::new(seeds.start);
    let caught: Mutex<Option<Report>> = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let report = with(seed);
                    if !report.passed() && without(seed).passed() {
                        // Seeds before it that other threads are at are finished yet.
                        next.store(seeds.end, Ordering::Relaxed);
                        let mut caught = caught.lock().expect("no thread panics with the catch");
                        if caught.as_ref().is_none_or(|first| seed < first.seed) {
                            *caught = Some(report);
                        }
                    }
                }
            });
        }
    });
    caught.into_inner().expect("no thread panics with the catch")
}

impl Summary {
    fn add(&mut self, report: Report) {
        self.coverage.add(&report.reached, report.view_changes, report.messages);
        if report.passed() {
            self.passed += 1;
            return;
        }
        self.failed += 1;
        self.failures.push(report);
        self.failures.sort_by_key(|report| report.seed);
        self.failures.truncate(FAILURES_MAX);
    }
}

/// What the world is woken for.
#[derive(Clone, Copy, Debug)]
enum Wake {
    Strike,
    Fault(Later),
    Act,
    Heal,
    Look,
}

struct Run<H: Host> {
    swarm: Swarm,
    world: World<H>,
    faults: Faults,
    workload: Workload,
    wakes: Vec<Wake>,
    core: BTreeMap<SiteIncarnation, (ViewId, bool)>,
    views: BTreeSet<ViewId>,
    healed_at: Option<Time>,
    settled_at: Option<Time>,
    ends_at: Option<Time>,
    /// The second that runs now, and the packets sent before it.
    second: u64,
    packets_before: u64,
    /// The most packets of a site within a second, on average over the sites.
    packets_a_second: u64,
}

impl<H: Host> Run<H> {
    fn new(seed: u64, swarm: Swarm, options: &Options<H::Config>) -> Run<H> {
        Run {
            world: World::new(seed, swarm.world.clone(), options.hosts.clone(), options.keep),
            faults: Faults::new(seed, &swarm),
            workload: Workload::new(seed, swarm.work.clone()),
            wakes: Vec::new(),
            core: BTreeMap::new(),
            views: BTreeSet::new(),
            healed_at: None,
            settled_at: None,
            ends_at: None,
            second: 0,
            packets_before: 0,
            packets_a_second: 0,
            swarm,
        }
    }

    fn whole(&mut self) {
        for site in 0..self.world.sites() {
            let soon = Duration::from_millis(20 * site as u64);
            self.wake(soon, Wake::Fault(Later::Restart(site)));
        }
        self.wake(Duration::from_millis(500), Wake::Act);
        self.wake(Duration::from_millis(1500), Wake::Strike);
        self.wake(self.swarm.faulty_for, Wake::Heal);
        while !self.over() {
            let Some(step) = self.world.step() else { return };
            if let Step::Woken(token) = step {
                self.woken(self.wakes[token as usize]);
            }
            self.listen();
            self.count_packets();
        }
    }

    fn over(&self) -> bool {
        self.ends_at.is_some_and(|end| self.world.now() >= end) || self.storms()
    }

    /// Counts packets by the second.
    fn count_packets(&mut self) {
        let second = self.world.now().since(Time::ZERO).as_secs();
        if second > self.second {
            (self.second, self.packets_before) = (second, self.world.packets());
        }
        let packets = self.world.packets() - self.packets_before;
        self.packets_a_second = self.packets_a_second.max(packets / self.world.sites() as u64);
    }

    /// Sites that send each other packets for ever must not keep the seed from its verdict.
    fn storms(&self) -> bool {
        self.packets_a_second > PACKETS_A_SECOND_MAX
    }

    fn wake(&mut self, after: Duration, wake: Wake) {
        self.wakes.push(wake);
        self.world.wake(self.world.now() + after, self.wakes.len() as u64 - 1);
    }

    fn woken(&mut self, wake: Wake) {
        match wake {
            Wake::Strike if self.healed_at.is_some() => {}
            Wake::Strike => {
                let prominent = self.prominent();
                let calm = self.in_one_view();
                let later = self.faults.strike(&mut self.world, &prominent, calm);
                let deaf = self.faults.deaf().filter(|_| self.swarm.profile == Profile::OneDeaf);
                if calm && (deaf.is_some() || self.swarm.profile == Profile::OneBadLink) {
                    let but = deaf.map(site_id);
                    self.workload.see(self.world.now(), What::Accurate { but });
                }
                later.into_iter().for_each(|(after, later)| self.wake(after, Wake::Fault(later)));
                let next = Duration::from_millis(1) + self.swarm.fault_every;
                self.wake(next, Wake::Strike);
            }
            Wake::Fault(Later::End(number)) => self.faults.end(&mut self.world, number),
            Wake::Fault(Later::Restart(site)) => self.faults.restart(&mut self.world, site),
            Wake::Act => {
                self.workload.act(&mut self.world);
                if self.settled_at.is_none() {
                    let next = self.workload.next_act();
                    self.wake(next, Wake::Act);
                }
            }
            Wake::Heal => self.heal(),
            Wake::Look => self.look(),
        }
    }

    fn heal(&mut self) {
        self.healed_at = Some(self.world.now());
        self.ends_at = Some(self.world.now() + self.swarm.heal_within);
        self.faults.heal(&mut self.world);
        self.workload.wind_up();
        self.workload.see(self.world.now(), What::Healed);
        self.wake(LOOK_EVERY, Wake::Look);
    }

    /// Looks whether everything is in place; then everybody speaks once more, and time is left to deliver it.
    fn look(&mut self) {
        if self.settled_at.is_none() {
            if self.in_one_view() && self.workload.settled() {
                self.settled_at = Some(self.world.now());
                self.workload.last_words(&mut self.world);
                self.ends_at = Some(self.world.now() + LAST_WORDS_WITHIN);
            }
        } else if self.workload.all_delivered() && self.workload.settled() {
            // What others said in between is on its way still.
            self.ends_at = self.ends_at.map(|end| end.min(self.world.now() + LAST_ACTS_WITHIN));
        }
        self.wake(LOOK_EVERY, Wake::Look);
    }

    /// Whether every site runs and all are in one primary view.
    fn in_one_view(&self) -> bool {
        let mut views = (0..self.world.sites()).map(|site| {
            let life = self.world.life(site).filter(|_| !self.world.paused(site))?;
            self.core.get(&life).filter(|(_, primary)| *primary).map(|(view, _)| *view)
        });
        let first = views.next().flatten();
        first.is_some() && views.all(|view| view == first)
    }

    fn prominent(&self) -> Vec<usize> {
        let coordinators = self.core.values().map(|(view, _)| index(view.coordinator.site));
        let sites = coordinators.max().into_iter().chain(self.workload.prominent());
        sites.filter(|site| *site < self.world.sites()).collect()
    }

    fn listen(&mut self) {
        loop {
            let happenings = self.world.take_happenings();
            if happenings.is_empty() {
                return;
            }
            happenings.into_iter().for_each(|happening| self.happened(happening));
        }
    }

    fn happened(&mut self, happening: Happening) {
        match happening {
            Happening::Started(life) => self.workload.started(&mut self.world, life),
            Happening::Died(life) => {
                self.core.remove(&life);
                self.workload.died(self.world.now(), life);
                let (after, later) = self.faults.died(index(life.site));
                self.wake(after, Wake::Fault(later));
            }
            Happening::Said(life, event) => {
                self.note(life, &event);
                self.workload.hear(&mut self.world, life, event);
            }
        }
    }

    fn note(&mut self, life: SiteIncarnation, event: &Event) {
        match event {
            Event::Core { view: Some(view), primary, .. } => {
                self.views.insert(*view);
                self.core.insert(life, (*view, *primary));
            }
            Event::Core { view: None, .. } => {
                self.core.remove(&life);
            }
            Event::View { view, .. } => {
                self.views.insert(view.id);
            }
            Event::MayStop => {
                self.world.crash(index(life.site), Death::Process);
            }
            Event::Left { .. }
            | Event::JoinFailed { .. }
            | Event::Deliver { .. }
            | Event::Signal { .. }
            | Event::CallDone { .. }
            | Event::NotSent { .. }
            | Event::Rejoining { .. }
            | Event::Flushed { .. }
            | Event::Blocked { .. }
            | Event::Durable(..)
            | Event::Store(..)
            | Event::Transition(_)
            | Event::Coordinating(_)
            | Event::Note(_) => {}
        }
    }

    fn report(mut self, seed: u64, panicked: Option<Box<dyn Any + Send>>) -> Report {
        let now = self.world.now();
        let messages = self.workload.messages();
        let reached = std::mem::take(self.world.reached());
        let settled = self.settled_at.is_some();
        let storms = self.storms();
        let mut violations = Vec::new();
        if let Some(panic) = panicked {
            let how = quiet::message(panic.as_ref());
            violations.push(Violation { property: "Own Invariant", at: Some(now), how });
        } else {
            self.workload.see_who_waits(now);
            violations = property::check(&History::new(self.workload.into_observations()));
            if storms {
                let how = format!("each site sent {} packets within a second", self.packets_a_second);
                violations.push(Violation { property: "No Storm", at: Some(now), how });
            } else if violations.is_empty() && !settled {
                let how = format!("not in place {:?} after the healing", self.swarm.heal_within);
                violations.push(Violation { property: "Convergence", at: Some(now), how });
            }
        }
        let since_heal = |at: Time| self.healed_at.map(|healed| at.since(healed));
        Report {
            seed,
            profile: self.swarm.profile,
            violations,
            digest: self.world.trace().digest(),
            events: self.world.trace().events(),
            view_changes: self.views.len() as u64,
            messages,
            lasted: now.since(Time::ZERO),
            settled_after: self.settled_at.and_then(since_heal),
            packets_a_second: self.packets_a_second,
            reached,
            lines: self.world.into_trace().into_lines(),
        }
    }
}
