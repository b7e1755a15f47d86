//! A site stops (SIGSTOP) and goes on (SIGCONT) while members cast everywhere. It is removed, its old view is over for
//! good, and its member is let in again as another; the others lose nothing, double nothing, and agree on the order.

use rustix::process::Signal;
use unanimous::{Event, Events, JoinOptions, Site};

use crate::support::caster::{Cast, Caster, Manner};
use crate::support::cluster::Cluster;
use crate::support::member::Member;
use crate::support::oracle::{at_rest, judge, nothing_lost, stretches};
use crate::support::run::Run;
use crate::support::verdict::{PATIENCE, Verdict, ensure, failed};

pub async fn run(run: &Run) -> Verdict {
    let mut cluster = Cluster::on_loopback(run, 3, |_| {}).await?;
    cluster.start().await?;
    let mut members = Vec::new();
    for site in &cluster.sites {
        members.push(Member::join(&site.address(), "chat", &format!("m{}", site.number)).await?);
    }
    for member in &members {
        member.log.view_of(3).await?;
    }
    // One that leaves to the library who it is.
    let process = Site::connect_any([cluster.sites[2].address()], "library").await?;
    let (_lobby, mut events) = process.join("lobby", JoinOptions::default()).await?;
    let casters: Vec<Caster> = members.iter().map(|m| Caster::start(m, Manner::default())).collect();

    let stopped = &cluster.sites[2];
    stopped.signal(Signal::STOP)?;
    for member in &members[..2] {
        member.log.view_of(2).await?;
    }
    // Not a wait for an event: the length of the pause is what is asked for.
    tokio::time::sleep(run.lasts(5, 30)).await;
    stopped.signal(Signal::CONT)?;
    for member in &members {
        member.log.view_of(3).await?;
    }
    cluster.whole().await?;
    let again = tokio::time::timeout(PATIENCE, joined_again(&mut events)).await;
    again.unwrap_or_else(|_| failed("the library's member is not told that it is in the group again"))?;

    let mut cast = Cast::default();
    for caster in casters {
        cast.add(caster.stop().await?);
    }
    let logs: Vec<_> = members.iter().map(|member| member.log.clone()).collect();
    at_rest(&logs, &cast).await?;
    let judged = judge(&logs, &cast)?;
    nothing_lost(&logs, &cast)?;

    let [first, .., back] = &stretches(&logs[2])?[..] else {
        return failed("the stopped member has had one view only");
    };
    ensure(first.me != back.me, || format!("{} came back as the member that had been removed", first.me))?;
    for log in &logs[..2] {
        let removed = log.views().iter().any(|v| v.left.iter().any(|left| left.member == first.me));
        ensure(removed, || format!("{} was never told that {} is gone", log.name, first.me))?;
    }
    cluster.rests().await?;
    run.say(format!("{} messages delivered, {} views, {judged:?}", judged.delivered, judged.views));
    cluster.check_alive()
}

/// Its site joins again for it: it is told that it is another member, and not that it has left.
async fn joined_again(events: &mut Events) -> Verdict {
    let mut seen = Vec::new();
    while let Some(event) = events.next().await {
        match event {
            Event::Rejoined { .. } => return Ok(()),
            other => seen.push(format!("{other:?}")),
        }
    }
    failed(format!("the library's member was let go: {}", seen.join(", ")))
}
