//! A process list: a cast to some members of a group only. It keeps its place in the group's order, so that the
//! members on the list see it between the same other messages.
//!
//! ```text
//! unanimous up
//! cargo run --example process_list
//! ```

use unanimous::{Event, JoinOptions, Site, locate};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut addresses = locate::addresses()?;
    let (mut groups, mut tellers) = (Vec::new(), Vec::new());
    for name in ["anna", "bert", "cleo"] {
        addresses.rotate_left(1);
        let process = Site::connect_any(addresses.clone(), name).await?;
        let (group, mut events) = process.join("example-list", JoinOptions::default()).await?;
        groups.push(group);
        tellers.push(tokio::spawn(async move {
            while let Some(event) = events.next().await {
                if let Event::Message(message) = event {
                    println!("{name}: {:?}", message.payload);
                    if message.payload == "good-bye" {
                        return;
                    }
                }
            }
        }));
    }
    let others = groups[1..].iter().filter_map(|group| group.member());
    groups[0].cast("to everybody").send().await?;
    groups[0].cast("to bert and cleo").only(others).send().await?;
    groups[0].cast("to everybody but anna, who says it").exclude_self().send().await?;
    groups[0].cast("good-bye").send().await?;
    for teller in tellers {
        teller.await?;
    }
    Ok(())
}
