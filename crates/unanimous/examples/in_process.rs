//! A site inside this program: the program is one machine of the cluster, and its members cast without a line
//! between. What it does then is what a program with a session does: both have a `Process`.
//!
//! ```text
//! unanimous init DIR                # writes a folder for each site of a cluster
//! cargo run --example in_process DIR/site-1/site.toml
//! ```

use unanimous::{Error, Event, Events, Group, JoinOptions, Process, Site, SiteConfig};

/// A site takes a moment to find the others; they may not run yet.
const TRIES_MAX: u32 = 150;
const PAUSE: std::time::Duration = std::time::Duration::from_millis(200);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path =
        std::env::args().nth(1).ok_or("name a site's configuration file; `unanimous init` writes them")?;
    let site = Site::start(SiteConfig::read(path.as_ref())?).await?;
    println!("{} runs in this process", site.name());
    let process = site.process().await?;
    let (group, mut events) = join(&process, "example-in-process").await?;
    group.cast("hello from within").send().await?;
    while let Some(event) = events.next().await {
        match event {
            Event::View(view) => println!("{} members", view.members.len()),
            Event::Message(message) => {
                println!("{}: {:?}", message.from, message.payload);
                break;
            }
            _ => {}
        }
    }
    process.close().await;
    println!("{:?}", site.stop().await);
    Ok(())
}

async fn join(process: &Process, group: &str) -> Result<(Group, Events), Error> {
    for _ in 1..TRIES_MAX {
        match process.join(group, JoinOptions::default()).await {
            Err(error) if error.is_temporary() => tokio::time::sleep(PAUSE).await,
            joined => return joined,
        }
    }
    process.join(group, JoinOptions::default()).await
}
