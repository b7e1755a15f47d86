//! `timecard serve`: a member of the service.

use std::path::Path;

use anyhow::{Context, bail};
use tokio::signal::unix::{SignalKind, signal};
use unanimous::{Delivery, Error, Event, Events, Group, JoinOptions, Process};

use crate::divide::Division;
use crate::records::Records;
use crate::service::{Action, Service};
use crate::{Divide, Serve};

/// Serves until a signal or the end of the membership.
pub async fn run(process: &Process, group: &str, args: &Serve) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut service = fresh(args)?;
    let (group, mut events) = join(process, group).await?;
    eprintln!("member {} at {}", group.member().map(|me| me.to_string()).unwrap_or_default(), process.site());
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        };
        match event {
            Some(Event::View(view)) => {
                eprintln!(
                    "view {}: rank {:?} of {}",
                    view.id,
                    view.rank().unwrap_or_default(),
                    view.members.len()
                );
                let actions = service.view(&view)?;
                act(&group, &service, args, actions).await?;
            }
            Some(Event::Message(message)) => {
                let payload = message.payload.clone();
                let actions = service.message(message, &payload)?;
                act(&group, &service, args, actions).await?;
            }
            Some(Event::SiteLost { why }) => eprintln!("the site is lost ({why}); looking for another"),
            Some(Event::Rejoined { member, site }) => {
                eprintln!("member {member} at {site}");
                service = fresh(args)?;
            }
            Some(Event::Left { why }) => bail!("no longer a member: {why}"),
            Some(Event::Signal { .. } | Event::Blocked | Event::Unblocked) => {}
            None => return Ok(()),
        }
    }
}

fn fresh(args: &Serve) -> anyhow::Result<Service<Delivery>> {
    let division = match args.divide {
        Divide::Rank => Division::by_rank(),
        Divide::Steady => Division::steady(),
    };
    Ok(Service::new(Records::load(&args.data)?, division))
}

/// A site that has just started may need a moment before it is in the cluster's view.
async fn join(process: &Process, group: &str) -> anyhow::Result<(Group, Events)> {
    const TRIES_MAX: u32 = 50;
    const PAUSE: std::time::Duration = std::time::Duration::from_millis(200);
    for _ in 1..TRIES_MAX {
        match process.join(group, JoinOptions::default()).await {
            Ok(joined) => return Ok(joined),
            Err(Error::Interrupted) => {}
            Err(error) if error.is_temporary() => tokio::time::sleep(PAUSE).await,
            Err(error) => bail!(error),
        }
    }
    process.join(group, JoinOptions::default()).await.context("joining")
}

async fn act(
    group: &Group,
    service: &Service<Delivery>,
    args: &Serve,
    actions: Vec<Action<Delivery>>,
) -> anyhow::Result<()> {
    for action in actions {
        match action {
            Action::Reply(to, payload) => note(to.reply(payload).await),
            Action::NullReply(to) => note(to.null_reply().await),
            Action::Cast(payload) => {
                // Beside the loop, which goes on taking events: a cast may have to wait for them.
                let group = group.clone();
                tokio::spawn(async move { note(group.cast(payload).send().await) });
            }
            Action::Changed(department) if args.save => save(service, &args.data, department)?,
            Action::Changed(_) => {}
            Action::Say(text) => eprintln!("{text}"),
        }
    }
    Ok(())
}

fn save(service: &Service<Delivery>, folder: &Path, department: u32) -> anyhow::Result<()> {
    service.records().save(folder, department)
}

/// A caller that is gone, or a site that is lost, is no reason to stop: events say what comes next.
fn note(result: Result<(), Error>) {
    if let Err(error) = result {
        eprintln!("not sent: {error}");
    }
}
