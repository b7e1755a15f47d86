//! `timecard query` and `timecard update`: users of the service, who are not members of it.

use std::io::{BufRead, IsTerminal, Write};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use unanimous::{Order, Outsider, Replies};

use crate::card::{Asked, ask};
use crate::words::{Answer, Ask};
use crate::{Query, Update};

/// Prints a time card for each name, or for each line of standard input.
pub async fn query(service: &Outsider, args: &Query) -> anyhow::Result<()> {
    let patience = Duration::from_secs(args.patience);
    for name in &args.names {
        print_card(name, &ask(service, name, patience).await?, args.all);
    }
    if args.names.is_empty() {
        prompt()?;
        for line in std::io::stdin().lock().lines() {
            let line = line?;
            if !line.trim().is_empty() {
                print_card(line.trim(), &ask(service, line.trim(), patience).await?, args.all);
            }
            prompt()?;
        }
    }
    Ok(())
}

/// Sets somebody's hours at every member.
pub async fn update(service: &Outsider, args: &Update) -> anyhow::Result<()> {
    ensure!(args.name.split_whitespace().count() == 1, "{:?} should be one word", args.name);
    let ask = Ask::Update { who: args.name.clone(), department: args.department, hours: args.hours.into() };
    // Setting the same hours twice is setting them once, so the library may repeat it.
    let call = service.cast(ask.encode()?).order(Order::Abcast).idempotent();
    let outcome = call.replies(Replies::All).timeout(Duration::from_secs(args.patience)).send().await?;
    let Some(reply) = outcome.replies.first() else {
        bail!("no member took it: is there a department {}? does `timecard serve` run?", args.department);
    };
    let answer = Answer::decode(&reply.payload).context("a member's answer")?;
    println!(
        "{}: {} hours in department {}, at {} of {} members (update {})",
        args.name,
        args.hours,
        args.department,
        outcome.replies.len(),
        outcome.members,
        answer.updates
    );
    Ok(())
}

fn prompt() -> anyhow::Result<()> {
    if std::io::stdin().is_terminal() {
        print!("Name (^D to quit): ");
        std::io::stdout().flush()?;
    }
    Ok(())
}

fn print_card(name: &str, asked: &Asked, all: bool) {
    let Asked { card, repeated } = asked;
    let worked: Vec<_> = card.hours.iter().filter(|(_, hours)| all || **hours > 0).collect();
    println!("Time card for {name}:");
    println!("  department  hours");
    for (department, hours) in worked {
        println!("  {department:>10}  {hours:>5}");
    }
    println!("       total  {:>5}", card.hours.values().sum::<u64>());
    if all {
        println!("  {} members answered, after {} updates", card.answers, card.updates);
        repeated.iter().for_each(|why| println!("  asked again: {why}"));
    }
}
