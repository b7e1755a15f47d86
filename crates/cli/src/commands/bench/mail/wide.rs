//! One letter to very many: how long it takes, and how much each site writes to its disk.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use serde::Serialize;

use super::letters::{Post, Sender};
use super::load::Worker;
use super::served::{SITES, Served};
use super::servers::Protocol;
use crate::commands::bench::clock;
use crate::commands::bench::sites::{A_MOMENT, PATIENCE};
use crate::failure::Failure;

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Wide {
    pub recipients: usize,
    pub size: usize,
    /// From MAIL to the last recipient's reply.
    pub took_ms: f64,
    /// Bytes that each site has written to its disk since, when all have applied it.
    pub written_bytes: Vec<u64>,
    /// Letters that the sites store more: one, however many it is for.
    pub letters: u64,
}

/// Sends it, over LMTP.
pub async fn send(served: &Served, domain: &str, recipients: usize, size: usize) -> Result<Wide, Failure> {
    let names: Arc<[String]> = (0..recipients).map(|n| format!("wide-{n:05}")).collect();
    served.add_users(&names, None).await?;
    let to = served.servers(served.first).await?.lmtp;
    let post = Post {
        to: to.ok_or_else(|| Failure::refused("the site serves no LMTP"))?,
        protocol: Protocol::Lmtp,
        size,
        domain: domain.to_owned(),
        recipients: names,
        recipients_each: recipients,
        per_connection: 1,
        next: Arc::new(AtomicU64::new(0)),
    };
    let position = number(served, served.first, "position").await?;
    until(served, position).await?;
    let letters = number(served, served.first, "letters").await?;
    let before = written(served);
    let took = Sender::new(&post, None).once().await?;
    until(served, number(served, served.first, "position").await?).await?;
    let after = written(served);
    Ok(Wide {
        recipients,
        size,
        took_ms: took.as_secs_f64() * 1e3,
        written_bytes: after.iter().zip(before).map(|(after, before)| after.saturating_sub(before)).collect(),
        letters: number(served, served.first, "letters").await? - letters,
    })
}

/// Waits until every site has applied so much.
async fn until(served: &Served, position: u64) -> Result<(), Failure> {
    let begun = clock::now();
    for i in 0..SITES {
        while number(served, i, "position").await? < position {
            if clock::now() > begun + PATIENCE {
                return Err(served.sites.failed("a site is behind for half a minute"));
            }
            tokio::time::sleep(A_MOMENT).await;
        }
    }
    Ok(())
}

/// What each site has written to its disk by now.
fn written(served: &Served) -> Vec<u64> {
    let of = |i| served.sites.pid(i).map_or(0, |pid| clock::io_bytes(pid, "write_bytes:"));
    (0..SITES).map(of).collect()
}

async fn number(served: &Served, i: usize, what: &str) -> Result<u64, Failure> {
    let storage = served.storage(i).await?;
    let number = storage.get(what).and_then(serde_json::Value::as_u64);
    number.ok_or_else(|| Failure::refused(format!("the site does not tell its {what}")))
}
