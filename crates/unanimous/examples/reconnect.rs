//! A member whose site dies: it is told so, and is a new member through another site soon after. Between the two
//! nothing is cast under its name: whoever must not lose a message keeps it until its site has taken it.
//!
//! ```text
//! unanimous up
//! cargo run --example reconnect     # kill -9 the site that it names
//! ```

use std::time::Duration;

use unanimous::{Error, Event, JoinOptions, Site, locate};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let process = Site::connect_any(locate::addresses()?, "reconnect").await?;
    println!("at {}; ^C ends it", process.site());
    let (group, mut events) = process.join("example-reconnect", JoinOptions::default()).await?;
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    let mut number = 0u64;
    loop {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => return Ok(()),
            _ = tick.tick() => match group.cast(format!("tick {number}")).send().await {
                Ok(()) => number += 1,
                // Nothing was cast: the same number goes next time.
                Err(error) if error.is_temporary() => println!("tick {number} waits: {error}"),
                // It may have been cast: a program that must know looks for it among what it is delivered.
                Err(Error::Interrupted) => println!("tick {number} may be lost"),
                Err(error) => return Err(error.into()),
            },
            event = events.next() => match event {
                Some(Event::View(view)) => println!("view {}: {} members", view.id, view.members.len()),
                Some(Event::Message(message)) => println!("{}: {:?}", message.from, message.payload),
                Some(Event::SiteLost { why }) => println!("the site is lost: {why}"),
                Some(Event::Rejoined { member, site }) => println!("now {member}, at {site}"),
                Some(Event::Left { why }) => return Err(why.into()),
                Some(Event::Signal { .. } | Event::Blocked | Event::Unblocked) => {}
                None => return Ok(()),
            },
        }
    }
}
