//! Safe delivery: a message is delivered only when every member has it. So whoever is delivered "paid" knows that
//! no survivor of whatever happens next can be without it. If the view changes first, a signal says of whom that
//! is still sure for what comes up to the new view.
//!
//! ```text
//! unanimous up
//! cargo run --example safe         # in several terminals; kill some
//! ```

use std::time::Duration;

use unanimous::{Event, JoinOptions, Site, locate};

const PAYMENTS: u32 = 10;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let process = Site::connect_any(locate::addresses()?, "safe").await?;
    let (group, mut events) = process.join("example-safe", JoinOptions::default()).await?;
    let payer = group.clone();
    let paying = tokio::spawn(async move {
        for number in 1..=PAYMENTS {
            payer.cast(format!("payment {number}")).safe().send().await?;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        // All of them are at every member when this returns.
        payer.flush().await?;
        payer.leave().await
    });
    while let Some(event) = events.next().await {
        match event {
            Event::View(view) => println!("{} members", view.members.len()),
            Event::Message(message) => println!("paid, and everybody knows: {:?}", message.payload),
            Event::Signal { members } => {
                println!("until the next view only these surely know: {members:?}");
            }
            Event::SiteLost { why } => println!("the site is lost: {why}"),
            Event::Left { why } => println!("out of the group: {why}"),
            Event::Blocked | Event::Unblocked | Event::Rejoined { .. } => {}
        }
    }
    paying.await??;
    Ok(())
}
