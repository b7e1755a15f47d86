//! What sites, their stores and machines say, and what the run does about it: gives the disks their work and the
//! application its entries, and writes down what was promised to whom.

use durable::{Answer, Body, Entry, Event as Said, Fatal, Mode, StoreOp, Why};
use wire::SiteIncarnation;

use super::disks::{self, Job};
use super::history::{RequestId, What};
use super::run::{Run, Wake};
use super::service::{Clients as _, Heard, Service};
use crate::coverage::Kind;
use crate::host::{Durably, Event};
use crate::world::{Death, Happening, index};

impl<S: Service> Run<S> {
    pub(super) fn listen(&mut self) {
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
            Happening::Started(life) => self.started(life),
            Happening::Died(life) => {
                let site = index(life.site);
                self.core.remove(&life);
                self.members.died(site);
                self.untold[site].clear();
                self.reads.retain(|_, read| read.site != life);
                let torn = self.disks.torn;
                self.disks.crash(site);
                if self.disks.torn > torn {
                    self.reach(Kind::Fault, "store: crash in the middle of work");
                }
                self.all_died |= (0..self.world.sites()).all(|site| self.world.life(site).is_none());
                let (after, later) = self.faults.died(site);
                self.wake(after, Wake::Fault(later));
            }
            // What a life has said is nothing to the next one.
            Happening::Said(life, event) if self.world.life(index(life.site)) == Some(life) => {
                self.said(life, event);
            }
            Happening::Said(..) => {}
        }
    }

    fn started(&mut self, life: SiteIncarnation) {
        let site = index(life.site);
        if self.world.life(site) != Some(life) {
            return;
        }
        let is_lost = self.lost.is_some_and(|(lost, _)| lost == site);
        let (machine, app) = match self.disks.open(site) {
            Ok(opened) => opened,
            Err(error) => {
                self.reach(Kind::Transition, "durable: store could not be opened");
                let passing = disks::is_passing(&error);
                self.world.crash(site, Death::Process);
                self.listen();
                match (passing, is_lost) {
                    (true, _) => {}
                    (false, true) => self.empty(site),
                    (false, false) => {
                        self.violated("Own Store", format!("{life} cannot open its store: {error}"))
                    }
                }
                return;
            }
        };
        let status = machine.status();
        if !is_lost && !status.damaged.is_empty() {
            // What was synced once is there, on a disk that loses no more than what was not.
            let damaged = &status.damaged;
            return self
                .violated("Own Store", format!("{life} had synced {damaged:?}, which its disk lacks"));
        }
        if status.last.position > app.applied {
            self.reach(Kind::Transition, "durable: opened with a log");
        }
        if app.applied > 0 {
            self.reach(Kind::Transition, "durable: opened with a checkpoint");
        }
        let store = self.disks.store(site);
        let found = self.disks.found(site, status.last.position);
        self.held(store, found);
        let (position, digest) = (app.applied, app.digest());
        self.apps[site] = app;
        self.see(What::Restored { life, position, digest });
        self.ask(site, Durably::Open(Box::new(machine)));
        self.with_places(|clients, places| clients.started(site, &places[site]));
        self.members.started(&mut self.world, site);
        self.members.join(&mut self.world);
    }

    fn said(&mut self, life: SiteIncarnation, event: Event) {
        let site = index(life.site);
        self.members.hear(life, &event);
        match event {
            Event::Store(_, op) => {
                self.note_order(&op);
                let next = self.disks.ask(site, Job::Op(op));
                self.again(site, next);
            }
            Event::Durable(_, said) => self.durable(life, said),
            Event::Core { view: Some(view), primary, .. } => {
                self.views.insert(view);
                self.core.insert(life, (view, primary));
            }
            Event::Core { view: None, .. } => {
                self.core.remove(&life);
            }
            Event::View { view, .. } => {
                self.views.insert(view.id);
            }
            Event::MayStop => self.world.crash(site, Death::Process),
            Event::Left { .. }
            | Event::JoinFailed { .. }
            | Event::Deliver { .. }
            | Event::Signal { .. }
            | Event::CallDone { .. }
            | Event::NotSent { .. }
            | Event::Rejoining { .. }
            | Event::Flushed { .. }
            | Event::Blocked { .. }
            | Event::Transition(_)
            | Event::Coordinating(_)
            | Event::Note(_) => {}
        }
    }

    /// Writes down which entries there are that say what a log is and which stores count in it.
    fn note_order(&mut self, op: &StoreOp) {
        let StoreOp::Append { records, .. } = op else { return };
        for entry in records.iter().filter_map(|record| Entry::from_record(record.bytes.clone()).ok()) {
            match entry.body {
                Body::ViewStart { base } => self.see(What::Begun(entry.number, base)),
                Body::Configuration(configuration) => self.see(What::Configured(entry.number, configuration)),
                Body::Request(_) | Body::Mark => {}
            }
        }
    }

    fn durable(&mut self, life: SiteIncarnation, said: Said) {
        let site = index(life.site);
        match said {
            Said::Apply { entry, clock } => {
                let Body::Request(request) = &entry.body else {
                    return self.violated("Own Invariant", format!("{life} is given {entry:?} to apply"));
                };
                let answer = self.apps[site].apply(&entry, request, clock);
                let applied = What::Applied {
                    life,
                    number: entry.number,
                    request: (request.client, request.sequence),
                    answer: answer.clone(),
                };
                self.see(applied);
                let now = self.world.now();
                let key = [31, site as u64, entry.number.position];
                self.world.trace().event(now, key, &answer, || format!("{life} applies {:?}", entry.number));
                self.ask(site, Durably::Applied(entry.number.position, answer));
            }
            Said::Answer { client, sequence, answer } => self.answered((client, sequence), answer, site),
            Said::Read(id) => {
                if let Some(read) = self.reads.remove(&(life.site, id)) {
                    self.reach(Kind::Workload, "durable: read");
                    // Where the machine is: its own entries, and a checkpoint's, are nothing to the application.
                    let applied = self.status(site).map_or(0, |status| status.applied);
                    self.read_done(read.number, site, read.query, applied);
                }
            }
            Said::Checkpoint { head, window } => {
                let state = self.apps[site].parts();
                let next = self.disks.ask(site, Job::Take { head, window, state });
                self.again(site, next);
            }
            Said::Restore(head) => match self.disks.load(site) {
                Ok(app) => {
                    self.reach(Kind::Transition, "durable: restored while running");
                    let (position, digest) = (head.number.position, app.digest());
                    self.apps[site] = app;
                    self.see(What::Restored { life, position, digest });
                }
                Err(error) => self.violated("Own Store", format!("{life} cannot take its state: {error}")),
            },
            Said::Changed(outcome) => {
                let name = if outcome.is_ok() { "durable: change done" } else { "durable: change refused" };
                self.reach(Kind::Workload, name);
                if self.lost.is_some() && outcome.is_ok() {
                    self.reach(Kind::Workload, "durable: store replaced");
                }
            }
            Said::Surpassed { store, seen } => {
                self.reach(Kind::Transition, "durable: surpassed");
                if self.lost.is_none_or(|(lost, _)| lost != site) {
                    return self
                        .violated("Own Store", format!("{store:?} of {life} is called a copy: {seen:?}"));
                }
                self.world.crash(site, Death::Process);
                self.listen();
                self.empty(site);
            }
            Said::Mode(mode) => {
                let name = match mode {
                    Mode::Active if std::mem::take(&mut self.all_died) => {
                        "durable: active after all had died"
                    }
                    Mode::Active => "durable: active",
                    Mode::ReadOnly(Why::NotPrimary) => "durable: not primary",
                    Mode::ReadOnly(Why::NoView | Why::Stores { .. }) => "durable: below E",
                };
                self.reach(Kind::Transition, name);
            }
            Said::Full(true) => self.reach(Kind::Transition, "durable: a full disk is told"),
            Said::Full(false) => self.reach(Kind::Transition, "durable: there is room again"),
            Said::Fatal(Fatal::Diverged) => self.violated("Own Invariant", format!("{life} has diverged")),
            Said::Fatal(Fatal::WriteFailed) => {
                self.reach(Kind::Fault, "store: failed sync");
                if self.plan.sync_errors == 0 {
                    self.violated(
                        "Own Store",
                        format!("the store of {life} fails on a sound disk: {}", self.disks.why(site)),
                    );
                }
                self.world.crash(site, Death::Process);
            }
        }
    }

    fn answered(&mut self, request: RequestId, answer: Answer, site: usize) {
        let is_open = self.clients.is_open(request);
        match answer {
            Answer::Applied(answer) => {
                let heard = self.clients.hear(request, &answer);
                self.reach_of_clients();
                if heard == Heard::Lost {
                    return;
                }
                self.see(What::Answered(request, answer));
                self.reach(Kind::Workload, "durable: answered");
                if matches!(heard, Heard::Answer(asked) if asked != site) {
                    self.reach(Kind::Workload, "durable: answered elsewhere");
                }
            }
            // A copy of a request that was answered elsewhere meanwhile, and perhaps forgotten since.
            Answer::Refused(_) | Answer::AppliedLong if !is_open => {}
            other => self.see(What::Refused(request, format!("{other:?}"))),
        }
    }
}
