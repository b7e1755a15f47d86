//! An outsider casts to a group that it is no member of, by the group's name alone. A member carries the cast; if
//! that member dies, another does; it is delivered at most once.
//!
//! ```text
//! unanimous up
//! cargo run --example outsider
//! ```

use std::time::Duration;

use unanimous::{Event, JoinOptions, Replies, Site, locate};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let addresses = locate::addresses()?;
    let member = Site::connect_any(addresses.clone(), "member").await?;
    let (_group, mut events) = member.join("example-outsider", JoinOptions::default()).await?;
    let served = tokio::spawn(async move {
        while let Some(event) = events.next().await {
            if let Event::Message(message) = event {
                println!("member: {} asks {:?}", message.from, message.payload);
                return message.reply("I am well").await;
            }
        }
        Ok(())
    });

    let outsider = Site::connect_any(addresses, "outsider").await?;
    let group = outsider.group("example-outsider")?;
    // This question may be asked twice, so the library may ask again at another site if this one dies meanwhile.
    let call = group.cast("how are you?").idempotent().replies(Replies::All).timeout(Duration::from_secs(5));
    let outcome = call.send().await?;
    for reply in &outcome.replies {
        println!("outsider: {} says {:?}", reply.from, reply.payload);
    }
    served.await??;

    let nobody = outsider.group("example-nobody")?.cast("hello?").send().await;
    println!("outsider: a group that nobody is in: {nobody:?}");
    Ok(())
}
