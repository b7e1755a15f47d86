//! Five hosts on one bridge. What is lost between two of them costs no third its membership, and everybody goes on.

use std::time::{Duration, Instant};

use crate::support::caster::{Cast, Caster, Manner};
use crate::support::cluster::Cluster;
use crate::support::hosts::Hosts;
use crate::support::line::{CoreView, logged, one_line};
use crate::support::member::{Entry, Log, Member};
use crate::support::oracle::{at_rest, judge, nothing_lost};
use crate::support::run::Run;
use crate::support::verdict::{Verdict, ensure, failed};

const HOSTS: usize = 5;
/// The two between whom packets are lost; 3, 4 and 5 are the healthy third parties.
const BETWEEN: (usize, usize) = (0, 1);
/// Nobody may be told nothing for so long while all cast.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// All packets one way.
pub async fn one_way_cut(run: &Run) -> Verdict {
    let lasts = run.lasts(6, 120);
    let views = disturb(run, lasts, |hosts| hosts.cut_one_way(BETWEEN.0, BETWEEN.1)).await?;
    at_most_one_a_minute(run, views, lasts)
}

/// Half the packets one way.
pub async fn one_way_loss(run: &Run) -> Verdict {
    let lasts = run.lasts(6, 120);
    let views = disturb(run, lasts, |hosts| hosts.lose_one_way(BETWEEN.0, BETWEEN.1, 50)).await?;
    at_most_one_a_minute(run, views, lasts)
}

/// All packets both ways: nobody is removed at all, a neighbour carries what goes between the two.
pub async fn link_cut(run: &Run) -> Verdict {
    let views = disturb(run, run.lasts(8, 600), |hosts| hosts.cut(BETWEEN.0, BETWEEN.1)).await?;
    ensure(views <= 2, || format!("{views} view changes, two are allowed"))
}

fn at_most_one_a_minute(run: &Run, views: usize, lasts: Duration) -> Verdict {
    let minutes = usize::try_from(lasts.as_secs().div_ceil(60)).unwrap_or(usize::MAX);
    run.say(format!("{views} view changes in {} s", lasts.as_secs()));
    ensure(views <= minutes, || format!("{views} view changes in {} s", lasts.as_secs()))
}

/// Members everywhere cast while the network is disturbed. Gives the number of view changes.
async fn disturb(run: &Run, lasts: Duration, how: impl Fn(&Hosts) -> Verdict) -> Verdict<usize> {
    let hosts = Hosts::make(HOSTS)?;
    let mut cluster = Cluster::in_hosts(run, &hosts, |_| {}).await?;
    cluster.start().await?;
    let mut members = Vec::new();
    for site in &cluster.sites {
        members.push(Member::join(&site.address(), "chat", &format!("m{}", site.number)).await?);
    }
    for member in &members {
        member.log.view_of(HOSTS).await?;
    }
    cluster.whole().await?;
    let before = line_length(&cluster)?;
    let manner = Manner { pause: Duration::from_millis(10), ..Manner::default() };
    let casters: Vec<Caster> = members.iter().map(|m| Caster::start(m, manner)).collect();

    how(&hosts)?;
    let began = Instant::now();
    // Not a wait for an event: so long the network is disturbed.
    tokio::time::sleep(lasts).await;
    let until = Instant::now();
    let changes = line_length(&cluster)? - before;

    let mut cast = Cast::default();
    for caster in casters {
        cast.add(caster.stop().await?);
    }
    let logs: Vec<_> = members.iter().map(|member| member.log.clone()).collect();
    no_third_party_removed(&cluster, before)?;
    at_rest(&logs, &cast).await?;
    let judged = judge(&logs, &cast)?;
    nothing_lost(&logs, &cast)?;
    let mut longest = Duration::ZERO;
    for log in &logs {
        let silent = longest_silence(log, began, until);
        longest = longest.max(silent);
        ensure(silent <= SILENCE_MAX, || format!("{} was told nothing for {silent:?}", log.name))?;
    }
    run.say(format!(
        "{changes} view changes in {} s; {} messages delivered, {} cast; nobody was silent for more than {} ms",
        lasts.as_secs(),
        judged.delivered,
        cast.taken.len(),
        longest.as_millis()
    ));
    cluster.check_alive()?;
    Ok(changes)
}

/// The views that were logged by anybody.
fn line_length(cluster: &Cluster) -> Verdict<usize> {
    let mut ids = std::collections::BTreeSet::new();
    for site in &cluster.sites {
        ids.extend(logged(site)?.into_iter().map(|view| view.id));
    }
    Ok(ids.len())
}

/// In no view that anybody logged after the first ones is a site missing that is not one of the two.
fn no_third_party_removed(cluster: &Cluster, formed: usize) -> Verdict {
    let line = one_line(&cluster.sites)?;
    for view in line.values().skip(formed) {
        ensure(["s3", "s4", "s5"].iter().all(|site| view.sites().contains(site)), || missing(view))?;
    }
    for site in &cluster.sites {
        if let Some(view) = logged(site)?.iter().find(|view| !view.primary) {
            return failed(missing(view));
        }
    }
    Ok(())
}

fn missing(view: &CoreView) -> String {
    format!("a healthy site is missing, or the line was left, in {view:?}")
}

fn longest_silence(log: &Log, began: Instant, until: Instant) -> Duration {
    let mut last = began;
    let mut longest = Duration::ZERO;
    for (at, entry) in log.entries().iter() {
        if matches!(entry, Entry::Message { .. }) && (began..until).contains(at) {
            longest = longest.max(*at - last);
            last = *at;
        }
    }
    longest.max(until.saturating_duration_since(last))
}
