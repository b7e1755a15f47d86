//! Machines that are merely slow are not dead: no view changes while threads spin or the disk is saturated.

use std::time::Instant;

use crate::support::caster::{Cast, Caster, Manner};
use crate::support::cluster::Cluster;
use crate::support::hog::Hog;
use crate::support::line::member_changes;
use crate::support::member::Member;
use crate::support::oracle::{at_rest, judge, nothing_lost};
use crate::support::run::Run;
use crate::support::verdict::{Verdict, ensure};

/// Threads that spin, for each processor.
const SPINNERS: usize = 4;

pub async fn processors(run: &Run) -> Verdict {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    starve(run, || Hog::spin(run, SPINNERS * processors)).await
}

pub async fn disk(run: &Run) -> Verdict {
    let folder = run.folder()?.join("hog");
    starve(run, || Hog::saturate_disk(run, &folder)).await
}

async fn starve(run: &Run, hog: impl Fn() -> Verdict<Hog>) -> Verdict {
    let mut cluster = Cluster::on_loopback(run, 3, |_| {}).await?;
    cluster.start().await?;
    let mut members = Vec::new();
    for site in &cluster.sites {
        members.push(Member::join(&site.address(), "chat", &format!("m{}", site.number)).await?);
    }
    for member in &members {
        member.log.view_of(3).await?;
    }
    cluster.whole().await?;
    let before = member_changes(&cluster.sites)?;
    let casters: Vec<Caster> = members.iter().map(|m| Caster::start(m, Manner::default())).collect();
    let started = Instant::now();
    let hog = hog()?;
    // Not a wait for an event: so long they are starved.
    tokio::time::sleep(run.lasts(8, 60)).await;
    drop(hog);
    let starved = started.elapsed().as_secs_f64();
    let mut cast = Cast::default();
    for caster in casters {
        cast.add(caster.stop().await?);
    }
    let logs: Vec<_> = members.iter().map(|member| member.log.clone()).collect();
    at_rest(&logs, &cast).await?;
    let judged = judge(&logs, &cast)?;
    nothing_lost(&logs, &cast)?;
    let after = member_changes(&cluster.sites)?;
    ensure(after == before, || {
        format!("{} changes of members were logged in {starved:.0} s although nobody failed", after - before)
    })?;
    run.say(format!("nobody removed in {starved:.0} s; {} messages delivered", judged.delivered));
    cluster.check_alive()
}
