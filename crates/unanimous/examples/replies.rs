//! Replies: a member asks the others. It may want all of them to reply, a majority, or a number; members may have
//! nothing to say, or end the call at once. A shortfall is part of the outcome, not an error.
//!
//! ```text
//! unanimous up
//! cargo run --example replies
//! ```

use std::time::Duration;

use unanimous::{Delivery, Error, Event, JoinOptions, Outcome, Replies, Site, locate};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut addresses = locate::addresses()?;
    let mut groups = Vec::new();
    for name in ["anna", "bert", "cleo"] {
        addresses.rotate_left(1);
        let process = Site::connect_any(addresses.clone(), name).await?;
        let (group, mut events) = process.join("example-replies", JoinOptions::default()).await?;
        groups.push(group);
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                if let Event::Message(message) = event
                    && let Err(error) = answer(name, &message).await
                {
                    eprintln!("{name}: {error}");
                }
            }
        });
    }
    for question in ["name?", "bert's name?", "is it dangerous?"] {
        for replies in [Replies::All, Replies::Majority, Replies::Count(1)] {
            let call = groups[0].cast(question).replies(replies).timeout(Duration::from_secs(5));
            println!("{question} {replies:?}: {}", tell(&call.send().await?));
        }
    }
    Ok(())
}

async fn answer(name: &str, message: &Delivery) -> Result<(), Error> {
    match &message.payload[..] {
        b"name?" => message.reply(name.to_owned()).await,
        b"bert's name?" if name != "bert" => message.null_reply().await,
        b"is it dangerous?" if name == "cleo" => message.abort_reply("yes, stop").await,
        _ => message.reply(format!("{name} thinks so")).await,
    }
}

fn tell(outcome: &Outcome) -> String {
    let replies: Vec<_> =
        outcome.replies.iter().map(|reply| String::from_utf8_lossy(&reply.payload)).collect();
    let mut text = format!("{} of {}: {}", replies.len(), outcome.members, replies.join(", "));
    if outcome.nulls > 0 {
        text += &format!("; {} had nothing to say", outcome.nulls);
    }
    if outcome.failed > 0 {
        text += &format!("; {} failed", outcome.failed);
    }
    if let Some(abort) = &outcome.aborted {
        text += &format!("; ended by {}: {}", abort.from, String::from_utf8_lossy(&abort.payload));
    }
    text
}
