//! Five hosts, cut into two and three and joined again, with a group for every pair of rules: which side lives
//! (`primary`, `all`, `at-least:N`, `role:R`), and which sides are one group again (`same-name`, `never`, `role:R`).
//! Sites 3, 4 and 5 hold the line; the member at site 1 has the role `chief`.

use std::time::{Duration, Instant};

use unanimous::session::{Error, JoinOptions};

use crate::support::cluster::Cluster;
use crate::support::hosts::Hosts;
use crate::support::member::Member;
use crate::support::run::Run;
use crate::support::verdict::{Verdict, ensure, eventually, failed};

const HOSTS: usize = 5;
const MINORITY: [usize; 2] = [0, 1];
const MAJORITY: [usize; 3] = [2, 3, 4];
const CHIEF: usize = 0;
/// From the healing of the network to the last member's merged view.
const MERGED_WITHIN: Duration = Duration::from_secs(2);

/// What becomes of a group.
#[derive(Clone, Copy, Debug)]
struct Rules {
    group: &'static str,
    lives: &'static str,
    merges: &'static str,
    /// Whether the side of two, and the side of three, live.
    live: (bool, bool),
    after: After,
}

/// What the group is when the network has healed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// The members of both sides are in one view, as themselves.
    United,
    /// One side goes on, and those of the other join it anew.
    JoinedAgain,
    /// Each side keeps its members, as a group of its own.
    Apart,
}

const fn rules(
    group: &'static str,
    (lives, merges): (&'static str, &'static str),
    live: (bool, bool),
    after: After,
) -> Rules {
    Rules { group, lives, merges, live, after }
}

const RULES: [Rules; 9] = [
    rules("primary", ("primary", "same-name"), (false, true), After::JoinedAgain),
    rules("primary-never", ("primary", "never"), (false, true), After::JoinedAgain),
    rules("all", ("all", "same-name"), (true, true), After::United),
    rules("all-never", ("all", "never"), (true, true), After::Apart),
    rules("all-chief", ("all", "role:chief"), (true, true), After::United),
    rules("all-nobody", ("all", "role:nobody"), (true, true), After::Apart),
    rules("two", ("at-least:2", "same-name"), (true, true), After::United),
    rules("three", ("at-least:3", "same-name"), (false, true), After::JoinedAgain),
    rules("chief", ("role:chief", "same-name"), (true, false), After::JoinedAgain),
];

pub async fn run(run: &Run) -> Verdict {
    let hosts = Hosts::make(HOSTS)?;
    let mut cluster = Cluster::in_hosts(run, &hosts, |_| {}).await?;
    cluster.start().await?;
    let mut groups = Vec::new();
    for rules in RULES {
        groups.push((rules, join_all(&cluster, rules).await?));
    }
    for round in 1..=run.times(1, 5) {
        for a in MINORITY {
            MAJORITY.iter().try_for_each(|b| hosts.cut(a, *b))?;
        }
        let mut before = Vec::new();
        for (rules, members) in &groups {
            before.push(divided(*rules, members, round).await?);
        }
        // Not a wait for an event: so long they stay apart, and their connections die.
        tokio::time::sleep(run.lasts(0, 30)).await;
        for a in MINORITY {
            MAJORITY.iter().try_for_each(|b| hosts.heal(a, *b))?;
        }
        let healed = Instant::now();
        let mut last = Duration::ZERO;
        for ((rules, members), before) in groups.iter().zip(&before) {
            let seen = healed_group(*rules, members, before).await?;
            last = last.max(seen.saturating_duration_since(healed));
        }
        run.say(format!(
            "round {round}: the last member had its merged view {} ms after the healing",
            last.as_millis()
        ));
        ensure(last <= MERGED_WITHIN || !run.long, || format!("merged after {} ms only", last.as_millis()))?;
        cluster.whole().await?;
        if groups.iter().any(|(rules, _)| rules.after == After::Apart) {
            // Groups that stay apart have two names from now on: the next round begins with new ones.
            groups.retain(|(rules, _)| rules.after != After::Apart);
        }
    }
    cluster.check_alive()
}

async fn join_all(cluster: &Cluster, rules: Rules) -> Verdict<Vec<Member>> {
    let mut members = Vec::new();
    for (i, site) in cluster.sites.iter().enumerate() {
        let options = JoinOptions {
            role: (i == CHIEF).then(|| "chief".to_owned()),
            lives: Some(rules.lives.to_owned()),
            merges: Some(rules.merges.to_owned()),
            ..JoinOptions::default()
        };
        let name = format!("{}@{}", rules.group, site.number);
        members.push(Member::join_with(&site.address(), rules.group, &name, options).await?);
    }
    for member in &members {
        member.log.view_of(HOSTS).await?;
    }
    Ok(members)
}

/// Each side has the view that its rule says, and casts, or is refused. Gives the members' ids.
async fn divided(rules: Rules, members: &[Member], round: u32) -> Verdict<Vec<String>> {
    let mut ids = Vec::new();
    for (side, lives) in [(&MINORITY[..], rules.live.0), (&MAJORITY[..], rules.live.1)] {
        for &i in side {
            let (_, view) = members[i].log.view_of(side.len()).await?;
            ensure(view.lives == lives, || {
                format!(
                    "{}: its side of {} lives: {}, by its rules {lives}",
                    members[i].log.name,
                    side.len(),
                    view.lives
                )
            })?;
            ids.extend(view.rank.and_then(|rank| view.members.get(rank)).cloned());
            ensure(view.primary == (side.len() == 3), || {
                format!("{}: primary is {}", members[i].log.name, view.primary)
            })?;
        }
        let caster = &members[side[0]];
        let text = format!("{}:{round}", caster.log.name);
        match (caster.session.cast(rules.group, "abcast", text.clone().into()).await, lives) {
            (Ok(()), true) => {
                for &i in side {
                    delivered(&members[i], &text).await?;
                }
            }
            (Err(Error::Refused(_)), false) => {}
            (done, _) => {
                return failed(format!(
                    "{}: a cast in a side that lives: {lives} gave {done:?}",
                    caster.log.name
                ));
            }
        }
    }
    Ok(ids)
}

async fn delivered(member: &Member, text: &str) -> Verdict {
    use crate::support::member::Entry;
    let is_it = |entry: &Entry| matches!(entry, Entry::Message { text: told, .. } if told == text);
    member
        .log
        .until(&format!("the message {text}"), |all| all.iter().any(|(_, e)| is_it(e)).then_some(()))
        .await
}

/// Waits until the group is what its rules say. Gives when the last member was told.
async fn healed_group(rules: Rules, members: &[Member], before: &[String]) -> Verdict<Instant> {
    if rules.after == After::Apart {
        return apart(rules, members, before).await;
    }
    let mut last = None;
    for (i, member) in members.iter().enumerate() {
        let (at, view) = member.log.view_of(HOSTS).await?;
        last = last.max(Some(at));
        let stays = view.members.contains(&before[i]);
        let (two, three) = rules.live;
        let should_stay = rules.after == After::United || if MINORITY.contains(&i) { two } else { three };
        ensure(stays == should_stay, || {
            format!("{}: stays itself: {stays}, by its rules {should_stay}", member.log.name)
        })?;
    }
    for member in members {
        let text = format!("{}:after", member.log.name);
        member.session.cast(rules.group, "abcast", text.clone().into()).await?;
        for other in members {
            delivered(other, &text).await?;
        }
    }
    last.map_or_else(|| failed("no members"), Ok)
}

/// The line keeps the name; the other side goes on, under another.
async fn apart(rules: Rules, members: &[Member], before: &[String]) -> Verdict<Instant> {
    let line = &members[MAJORITY[0]];
    eventually(&format!("the sides of {} have two names", rules.group), async || {
        let groups = line.session.groups().await.ok()?;
        let of = |name: &str| groups.iter().filter(|view| view.group.starts_with(name)).collect::<Vec<_>>();
        let same = groups.iter().find(|view| view.group == rules.group)?;
        let other = of(&format!("{}~", rules.group));
        (same.members == before[MINORITY.len()..]
            && other.len() == 1
            && other[0].members == before[..MINORITY.len()])
            .then_some(())
    })
    .await?;
    Ok(Instant::now())
}
