//! The five orders of casting, sent by two members at once: each member prints what it is delivered. Abcasts come
//! in one order to both; fbcasts in each sender's order; mbcasts as they come.
//!
//! ```text
//! unanimous up
//! cargo run --example orders
//! ```

use unanimous::{Bytes, Event, Events, Group, JoinOptions, Order, Site, locate};

const EACH: usize = 3;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut addresses = locate::addresses()?;
    let mut members = Vec::new();
    for name in ["anna", "bert"] {
        addresses.rotate_left(1);
        let process = Site::connect_any(addresses.clone(), name).await?;
        members.push((name, process.join("example-orders", JoinOptions::default()).await?));
    }
    for (_, (_, events)) in &mut members {
        until_two(events).await;
    }
    for order in [Order::Mbcast, Order::Fbcast, Order::Cbcast, Order::Abcast, Order::Gbcast] {
        println!("{order}");
        let senders = members.iter().map(|(name, (group, _))| {
            let (name, group) = (*name, group.clone());
            tokio::spawn(async move { cast(name, &group, order).await })
        });
        for sender in senders.collect::<Vec<_>>() {
            sender.await??;
        }
        for (name, (_, events)) in &mut members {
            println!("  {name}: {}", take(events, 2 * EACH).await.join(" "));
        }
    }
    Ok(())
}

async fn cast(name: &str, group: &Group, order: Order) -> Result<(), unanimous::Error> {
    let mut messages = (1..=EACH).map(|number| Bytes::from(format!("{name}-{number}")));
    let first = messages.next().unwrap_or_default();
    // One request for all of them; `group.cast(…).send()` one by one does the same, more slowly.
    group.cast(first).order(order).send_with(messages).await
}

async fn take(events: &mut Events, count: usize) -> Vec<String> {
    let mut taken = Vec::new();
    while taken.len() < count {
        match events.next().await {
            Some(Event::Message(message)) => {
                taken.push(String::from_utf8_lossy(&message.payload).into_owned())
            }
            Some(_) => {}
            None => break,
        }
    }
    taken
}

async fn until_two(events: &mut Events) {
    while let Some(event) = events.next().await {
        if matches!(event, Event::View(view) if view.members.len() == 2) {
            return;
        }
    }
}
