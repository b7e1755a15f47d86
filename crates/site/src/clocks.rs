//! The wall clocks of the linked sites, compared with this one's every few seconds (`detect::skew`). The questions and
//! answers travel as probes, and pass the node by.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use detect::skew::{self, Outcome, Skew, Wall};
use net::{Links, Refusal};
use wire::SiteId;
use wire::frame::{self, Kind};

/// How often it is looked who is to be asked.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(crate) struct Clocks {
    machine: Mutex<skew::Clocks>,
    clock: net::Clock,
    links: Links,
}

impl Clocks {
    pub(crate) fn new(clock: net::Clock, links: Links) -> Clocks {
        Clocks { machine: Mutex::default(), clock, links }
    }

    fn machine(&self) -> MutexGuard<'_, skew::Clocks> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for ever.
    pub(crate) async fn ask(&self) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            look.tick().await;
            let due = self.machine().due(self.clock.now(), &self.links.linked());
            for (site, question) in due {
                self.send(site, &question);
            }
        }
    }

    /// A packet of kind `Clock` has come.
    pub(crate) fn handle_packet(&self, from: SiteId, packet: Bytes) -> Result<(), Refusal> {
        let (_, body) = frame::split(packet, frame::PACKET_BYTES_MAX).map_err(|_| Refusal::BadClock)?;
        let outcome = self.machine().handle_message(self.clock.now(), wall(), from, &body);
        match outcome.map_err(|_| Refusal::BadClock)? {
            Outcome::Answer(answer) => self.send(from, &answer),
            Outcome::Far(skew) => {
                let (ahead_ms, error_ms) = (skew.ahead_us / 1_000, skew.error_us / 1_000);
                tracing::warn!(
                    site = %from,
                    ahead_ms,
                    error_ms,
                    "the clocks of this site and another differ; nothing depends on it, but set them"
                );
            }
            Outcome::Near(_) => {
                tracing::info!(site = %from, "the clocks of this site and another agree again")
            }
            Outcome::Measured | Outcome::Ignored => {}
        }
        Ok(())
    }

    /// How far a linked site's clock is ahead of this one's.
    pub(crate) fn skew(&self, site: SiteId) -> Option<Skew> {
        self.machine().skew(self.clock.now(), site)
    }

    fn send(&self, site: SiteId, body: &[u8]) {
        // One that is lost is asked again.
        let _ = self.links.send_probe(site, frame::join(Kind::Clock, 0, body));
    }
}

fn wall() -> Wall {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Wall(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}
