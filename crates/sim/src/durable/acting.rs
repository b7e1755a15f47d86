//! What clients do, and what they are shown of the sites.

use durable::{Mode, Status};

use super::history::What;
use super::run::{Read, Run};
use super::service::{Act, Clients as _, Place, Service};
use crate::coverage::Kind;
use crate::host::{self, Durably};
use crate::world::site_id;

impl<S: Service> Run<S> {
    /// A client acts.
    pub(super) fn act(&mut self, act: Act<S::Query>) {
        match act {
            Act::Ask { site, request, fresh } => {
                let id = (request.client, request.sequence);
                if fresh {
                    self.requests += 1;
                    self.see(What::Asked(id, request.payload.clone()));
                }
                let time = self.world.now().as_nanos() / 1_000_000;
                let asked = self.ask(site, Durably::Propose(time, request));
                if asked.is_some_and(|answer| answer != host::Answer::Taken(0)) {
                    self.reach(Kind::Workload, "durable: not taken");
                    self.with_places(|clients, places| clients.turned_away(site, places, id, time));
                }
            }
            Act::Read { site, query } => {
                let number = self.reads_asked;
                // Before it is asked for: it may be answered at once.
                self.see(What::ReadAsked(number));
                let Some(life) = self.world.life(site) else { return };
                if let Some(host::Answer::Taken(read)) = self.ask(site, Durably::Read) {
                    self.reads_asked += 1;
                    let read = durable::ReadId(read);
                    self.reads.insert((site_id(site), read), Read { number, site: life, query });
                }
            }
            Act::Look { site, query } => {
                let (Some(status), Some(life)) = (self.status(site), self.world.life(site)) else { return };
                self.reach(Kind::Workload, "durable: local read");
                let seen = self.apps[site].service.look(query);
                self.clients.see(&seen);
                self.see(What::Looked(life, seen));
                if self.options.local_reads_passed_off {
                    self.see(What::ReadAsked(self.reads_asked));
                    self.read_done(self.reads_asked, site, query, status.applied);
                    self.reads_asked += 1;
                }
            }
        }
    }

    /// Asks the clients something, and shows them the sites as they are.
    pub(super) fn with_places<T>(&mut self, ask: impl FnOnce(&mut S::Clients, &[Place<'_, S>]) -> T) -> T {
        let statuses = self.statuses();
        let place = |(site, status): (usize, &Option<Status>)| Place {
            service: &self.apps[site].service,
            store: self.disks.store(site),
            is_up: status.is_some(),
            is_active: status.as_ref().is_some_and(|status| status.mode == Mode::Active),
        };
        let places: Vec<Place<'_, S>> = statuses.iter().enumerate().map(place).collect();
        let answer = ask(&mut self.clients, &places);
        for (entry, spooled) in self.clients.take_queued() {
            self.see(What::Queued(entry, spooled));
        }
        self.reach_of_clients();
        answer
    }

    /// Somebody reads at a site, which has applied so much.
    pub(super) fn read_done(&mut self, number: u64, site: usize, query: S::Query, position: u64) {
        let seen = self.apps[site].service.look(query);
        self.clients.see(&seen);
        self.see(What::ReadDone { number, position, seen });
    }

    /// Notes what the clients have reached.
    pub(super) fn reach_of_clients(&mut self) {
        for name in self.clients.take_reached() {
            self.reach(Kind::Workload, name);
        }
    }

    /// Writes down what can be read at each site in the end.
    pub(super) fn leave(&mut self) {
        for site in 0..self.world.sites() {
            if let Some(life) = self.world.life(site) {
                let all = self.apps[site].service.all();
                self.see(What::Left(life, all));
            }
        }
    }
}
