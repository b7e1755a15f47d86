//! Watching a group from outside: its views, without being a member.
//!
//! ```text
//! unanimous up
//! cargo run --example watch chat    # and in another terminal: unanimous join chat
//! ```

use unanimous::{Event, Site, locate};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let group = std::env::args().nth(1).unwrap_or_else(|| "chat".to_owned());
    let process = Site::connect_any(locate::addresses()?, "watch").await?;
    match process.view(&group).await {
        Ok(view) => println!("{} members now, the oldest is {:?}", view.members.len(), view.senior()),
        Err(error) => println!("{error}"),
    }
    let mut events = process.watch(&group).await?;
    println!("^C ends it");
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            _ = tokio::signal::ctrl_c() => None,
        };
        match event {
            Some(Event::View(view)) => println!("view {}: {:?}", view.id, view.members),
            Some(Event::SiteLost { why }) => println!("{why}; watching from another site"),
            Some(_) => {}
            None => return Ok(()),
        }
    }
}
