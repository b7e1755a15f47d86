//! Messages made of typed fields. The reader here is older than the sender: it knows nothing of `priority`, and
//! is not disturbed by it.
//!
//! ```text
//! unanimous up
//! cargo run --example fields
//! ```

use unanimous::message::Message;
use unanimous::{Event, JoinOptions, MemberId, Site, locate};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let process = Site::connect_any(locate::addresses()?, "fields").await?;
    let (group, mut events) = process.join("example-fields", JoinOptions::default()).await?;
    let order = Message::new()
        .with("what", "screws")
        .with("how-many", 200u64)
        .with("sizes", vec![3u64, 4, 5])
        .with("for", Message::new().with("name", "workshop").with("floor", -1i64))
        .with("by", group.member().unwrap_or_default())
        .with("priority", 0.8);
    group.cast(order.encode()?).send().await?;

    while let Some(event) = events.next().await {
        if let Event::Message(message) = event {
            let order = Message::decode(&message.payload)?;
            println!("{} × {}", order.get::<u64>("how-many")?, order.get::<&str>("what")?);
            println!("sizes {:?}", order.get::<Vec<u64>>("sizes")?);
            println!("for {}", order.get::<&Message>("for")?.get::<&str>("name")?);
            println!("asked by {}", order.get::<MemberId>("by")?);
            // A field of another type is an error that says so; one that is missing can be asked for, too.
            println!("{:?}", order.get::<u64>("what").err());
            println!("{:?}", order.find::<&str>("colour")?);
            break;
        }
    }
    Ok(())
}
