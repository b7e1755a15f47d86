//! `recover`: an operator's forced restart of the primary line, and of durable groups.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use net::disk::Recovered;
use serde_json::json;
use site::SiteConfig;
use site::recover::{LostGroup, Plan, Recovery};
use wire::SiteId;

use crate::args;
use crate::failure::Failure;
use crate::output::{say, say_json};

/// How long a site that is said to be lost has to prove the contrary.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// `unanimous recover --config FILE --survivors … [--force]`, or `--join EPOCH`.
pub fn run(args: &args::Recover, json: bool) -> Result<(), Failure> {
    let mut config = SiteConfig::read(&args.config).map_err(|error| Failure::refused(error.to_string()))?;
    config.complete().map_err(|error| Failure::refused(error.to_string()))?;
    let names = Names(&config);
    let recovery = match &args.join {
        Some(epoch) => {
            let epoch =
                epoch.parse().map_err(|error: wire::epoch::EpochError| Failure::usage(error.to_string()))?;
            Recovery::Join(epoch)
        }
        None => {
            let survivors = args.survivors.iter().map(|text| names.number(text)).collect::<Result<_, _>>()?;
            match args.groups {
                true => Recovery::Groups(survivors),
                false => Recovery::Survivors(survivors),
            }
        }
    };
    let plan = Plan::make(&config, recovery).map_err(|error| Failure::refused(error.to_string()))?;
    if let Some(alive) = plan.lost.iter().find(|site| answers(&config, **site)) {
        return Err(Failure::refused(format!(
            "{} answers: it is not lost. Stop it for good first, or name it as a survivor",
            names.of(*alive)
        )));
    }
    let refused = (!args.force && !plan.done).then(|| {
        Failure::refused("nothing has changed; if the lost sites are lost for good, say so with --force")
    });
    let done = refused.is_none();
    match json {
        true => say_json(&as_json(&plan, names, done))?,
        false => explain(&plan, names, done)?,
    }
    if let Some(refused) = refused {
        return Err(refused);
    }
    plan.carry_out().map_err(|error| Failure::refused(error.to_string()))?;
    Ok(())
}

fn explain(plan: &Plan, names: Names<'_>, done: bool) -> Result<(), Failure> {
    match &plan.last {
        Some(last) => say(&format!(
            "last view known here: {} at position {} (cluster epoch {}), members {}",
            last.id,
            last.position,
            plan.epoch,
            names.all(&last.members)
        ))?,
        None => say(&format!("this site has seen no view of cluster epoch {}", plan.epoch))?,
    }
    if let Some(next) = plan.next().filter(|next| next.founders.is_empty()) {
        say("given up: this site's votes and promises, and whatever it alone knew of its groups")?;
        let will = if done { "joins" } else { "would join" };
        return say(&format!("the site {will} the cluster of epoch {} as one without a past", next.epoch));
    }
    say(&format!("given up for good: {}", names.all(&plan.lost)))?;
    if let Some(next) = plan.next() {
        explain_line(plan, names, next, done)?;
    }
    plan.groups.iter().try_for_each(|group| explain_group(group, names))?;
    if done {
        say("run the same command for each of the other survivors, then start them all")?;
    }
    Ok(())
}

fn explain_line(plan: &Plan, names: Names<'_>, next: &Recovered, done: bool) -> Result<(), Failure> {
    say(
        "may be lost: views after that one, and every message that only members at those sites had delivered;",
    )?;
    say("  what such a message made its receivers do elsewhere is not undone")?;
    if let Some(attempt) = plan.last.as_ref().and_then(|last| last.undecided) {
        say(&format!(
            "  a change ({attempt}) was under way; whether it was decided can't be known any more"
        ))?;
    }
    let durable = |name: &&String| plan.groups.iter().any(|group| group.group == **name);
    let groups = plan.last.iter().flat_map(|last| &last.groups).filter(|name| !durable(name));
    let groups: Vec<&str> = groups.map(String::as_str).collect();
    if !groups.is_empty() {
        say(&format!("  groups then: {}; they begin anew when programs join them", groups.join(", ")))?;
    }
    let begins = if done { "begins" } else { "would begin" };
    say(&format!(
        "cluster epoch {} {begins} when all of {} have started",
        next.epoch,
        names.all(&next.founders)
    ))
}

/// What is lost of a durable group.
fn explain_group(group: &LostGroup, names: Names<'_>) -> Result<(), Failure> {
    let LostGroup { group, last, counted, left, .. } = group;
    say(&format!(
        "durable group {group}: its stores are those of {}, as this site knows it",
        names.all(counted)
    ))?;
    if left.is_empty() {
        return say("  none of them survives: it stays as it is, to be read with --local");
    }
    say("  may be lost: what was acknowledged and is on the disks of those alone that are given up")?;
    say(&format!(
        "  it goes on from whichever is the most advanced of {}, when all of them have started; this one has {last} entries",
        names.all(left)
    ))
}

fn as_json(plan: &Plan, names: Names<'_>, done: bool) -> serde_json::Value {
    let list = |sites: &[SiteId]| sites.iter().map(|site| names.of(*site)).collect::<Vec<_>>();
    let last = plan.last.as_ref().map(|last| {
        json!({
            "id": last.id.to_string(), "position": last.position, "members": list(&last.members),
            "groups": last.groups, "undecided": last.undecided.map(|attempt| attempt.to_string()),
        })
    });
    let groups = plan.groups.iter().map(|group| {
        json!({
            "group": group.group, "entries": group.last, "stores": list(&group.counted), "left": list(&group.left),
        })
    });
    let next = plan.next();
    let founders = next.map_or(&[][..], |next| &next.founders);
    json!({
        "site": names.0.site.name, "done": done, "epoch": plan.epoch.to_string(), "last_view": last,
        "next_epoch": next.map(|next| next.epoch.to_string()), "survivors": list(founders), "lost": list(&plan.lost),
        "joins": next.is_some_and(|next| next.founders.is_empty()), "groups": groups.collect::<Vec<_>>(),
    })
}

/// Whether somebody listens where that site was.
fn answers(config: &SiteConfig, site: SiteId) -> bool {
    let Some(peer) = config.peers.iter().find(|peer| peer.id == site.0) else { return false };
    let addresses = peer.addresses.iter().filter_map(|address| address.to_socket_addrs().ok()).flatten();
    let connects = |address: SocketAddr| TcpStream::connect_timeout(&address, ANSWER_WITHIN).is_ok();
    addresses.into_iter().any(connects)
}

/// The sites' names, as this site's configuration has them.
#[derive(Clone, Copy)]
struct Names<'a>(&'a SiteConfig);

impl Names<'_> {
    fn of(self, site: SiteId) -> String {
        let own = (self.0.site.id, &self.0.site.name);
        let mut known = self.0.peers.iter().map(|peer| (peer.id, &peer.name)).chain([own]);
        known.find(|(id, _)| *id == site.0).map_or_else(|| site.to_string(), |(_, name)| name.clone())
    }

    fn all(self, sites: &[SiteId]) -> String {
        let names: Vec<String> = sites.iter().map(|site| self.of(*site)).collect();
        if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
    }

    fn number(self, text: &str) -> Result<SiteId, Failure> {
        let own = (self.0.site.id, &self.0.site.name);
        let mut known = self.0.peers.iter().map(|peer| (peer.id, &peer.name)).chain([own]);
        let found = known.find(|(id, name)| *name == text || id.to_string() == text);
        found.map(|(id, _)| SiteId(id)).ok_or_else(|| {
            Failure::usage(format!(
                "{text:?} is neither the name nor the number of a site in the configuration"
            ))
        })
    }
}
