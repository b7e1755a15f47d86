//! What a group does when the network is cut. The join that makes a group chooses which sides of a cut live, and
//! which become one group again. This program joins one group of each kind and says what becomes of its side.
//!
//! ```text
//! unanimous up
//! cargo run --example partitions    # at several sites (--site); then cut the network, or stop sites
//! ```
//!
//! One argument names the site to join from, as `unix:PATH`.

use unanimous::{Event, JoinOptions, Lives, Merges, Site, locate};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let addresses = match std::env::args().nth(1) {
        Some(site) => vec![site.parse()?],
        None => locate::addresses()?,
    };
    let kinds = [
        // The side on the primary line lives; the other may be read and joins again when the network heals.
        ("example-primary", JoinOptions::default()),
        // Every side lives on its own, and they become one again: what they hold must be merged by the program.
        ("example-all", JoinOptions::default().lives(Lives::All).merges(Merges::SameName)),
        // A side with at least two members lives.
        ("example-two", JoinOptions::default().lives(Lives::AtLeast(2)).merges(Merges::SameName)),
        // The side with the printer lives, wherever that is; sides without it never come back as members.
        (
            "example-printer",
            JoinOptions::default()
                .role("printer")
                .lives(Lives::ContainingRole("printer".into()))
                .merges(Merges::Never),
        ),
    ];
    let process = Site::connect_any(addresses, "partitions").await?;
    let mut tellers = tokio::task::JoinSet::new();
    for (name, options) in kinds {
        let (_, mut events) = process.join(name, options).await?;
        tellers.spawn(async move {
            while let Some(event) = events.next().await {
                match event {
                    Event::View(view) => {
                        let line = if view.primary { "primary" } else { "not primary" };
                        let fate = if view.lives { "lives" } else { "may only be read" };
                        println!("{name}: {} members, {line}, {fate}", view.members.len());
                    }
                    Event::Left { why } => println!("{name}: out of the group: {why}"),
                    Event::SiteLost { why } => println!("{name}: the site is lost: {why}"),
                    Event::Rejoined { site, .. } => println!("{name}: a member again, at {site}"),
                    Event::Message(_) | Event::Signal { .. } | Event::Blocked | Event::Unblocked => {}
                }
            }
        });
    }
    println!("^C ends it");
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = async { while tellers.join_next().await.is_some() {} } => {}
    }
    process.close().await;
    Ok(())
}
