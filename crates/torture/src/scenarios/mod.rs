//! The scenarios, in the order in which they are run.

mod cloned;
mod durable;
mod failover;
mod flood;
mod full;
mod histories;
mod hostile;
mod kills;
mod machines;
mod mail;
mod network;
mod partition;
mod pause;
mod rotten;
mod starved;
mod terminals;

use std::pin::Pin;

use crate::support::run::Run;
use crate::support::verdict::Verdict;

pub struct Scenario {
    pub name: &'static str,
    pub about: &'static str,
    pub run: for<'a> fn(&'a Run) -> Pin<Box<dyn Future<Output = Verdict> + 'a>>,
}

macro_rules! scenarios {
    ($($name:literal, $about:literal, $run:path;)*) => {
        pub const SCENARIOS: &[Scenario] =
            &[$(Scenario { name: $name, about: $about, run: |run| Box::pin($run(run)) },)*];
    };
}

scenarios! {
    "terminals", "a site with a member is killed and comes back", terminals::run;
    "pause", "a site stops and goes on while others cast", pause::run;
    "starved_processors", "spinning threads remove nobody", starved::processors;
    "starved_disk", "a saturated disk removes nobody", starved::disk;
    "one_way_cut", "packets from one site to another are lost", network::one_way_cut;
    "one_way_loss", "half the packets from one site to another are lost", network::one_way_loss;
    "link_cut", "the link between two sites is cut", network::link_cut;
    "partition", "two and three, and together again, under every rule", partition::run;
    "kills", "all sites are killed at random points of view changes", kills::run;
    "durable", "a durable map, written while all its sites are killed again and again", durable::run;
    "replaced", "a durable map, written while machines are wiped and take their own places", machines::replaced;
    "moved", "a durable map, written while five sites become three, and five again", machines::moved;
    "wiped", "a durable map, written while an emptied disk counts for nothing until it is let count", machines::wiped;
    "cloned", "a durable map, written while copies of a data directory are started", cloned::run;
    "rotten", "a durable map, written while bits flip in its logs", rotten::run;
    "histories", "a durable map's clients, while sites die, stop and are cut off", histories::run;
    "full", "a durable map, written while one disk of three is full, and two", full::run;
    "mail", "letters by SMTP and IMAP, while all sites are killed again and again", mail::run;
    "mail_faults", "the same, while sites die, stop, are cut off, and have full disks", mail::faults;
    "hostile", "strangers, garbage, forged probes, half-open connections", hostile::run;
    "flood", "a member that stopped holds back a flood", flood::run;
    "failover", "the time from a death to the view without it", failover::run;
}
