//! Views and ranks: three members join and leave, and each says what it sees. All of them see the same.
//!
//! ```text
//! unanimous up                     # in one terminal
//! cargo run --example views        # in another
//! ```

use std::time::Duration;

use unanimous::{Event, JoinOptions, Site, locate};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut addresses = locate::addresses()?;
    let (mut memberships, mut watchers) = (Vec::new(), Vec::new());
    for name in ["anna", "bert", "cleo"] {
        // Each at another site, if there are several.
        addresses.rotate_left(1);
        let process = Site::connect_any(addresses.clone(), name).await?;
        let (group, mut events) = process.join("example-views", JoinOptions::default()).await?;
        memberships.push(group);
        watchers.push(tokio::spawn(async move {
            while let Some(event) = events.next().await {
                match event {
                    Event::View(view) => {
                        let rank = view.rank().unwrap_or_default();
                        println!("{name}: view {}: rank {rank} of {}", view.id, view.members.len());
                        for (member, why) in &view.left {
                            println!("{name}:   {member} is gone: {why:?}");
                        }
                    }
                    Event::Left { why } => println!("{name}: out of the group: {why}"),
                    Event::Message(_)
                    | Event::Signal { .. }
                    | Event::Blocked
                    | Event::Unblocked
                    | Event::SiteLost { .. }
                    | Event::Rejoined { .. } => {}
                }
            }
        }));
    }
    // The oldest goes first: everybody behind it moves up one rank.
    for group in &memberships {
        tokio::time::sleep(Duration::from_millis(500)).await;
        group.leave().await?;
    }
    for watcher in watchers {
        watcher.await?;
    }
    Ok(())
}
