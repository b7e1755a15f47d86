//! `timecard torture`: asks and asks while members and sites are killed, and compares every answer with the files.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{bail, ensure};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use tokio::time::Instant;
use unanimous::session::Address;
use unanimous::{Outsider, Site};

use crate::Torture;
use crate::card::ask;
use crate::records::Records;

/// What all askers share.
struct Tally {
    records: Records,
    names: Vec<String>,
    next: AtomicU64,
    queries: u64,
    verbose: bool,
    done: AtomicU64,
    repeated: AtomicU64,
    slowest_ms: AtomicU64,
}

/// Asks `queries` times. An error says which answer was wrong, or never came whole.
pub async fn run(addresses: &[Address], group: &str, args: &Torture) -> anyhow::Result<()> {
    ensure!(args.tasks > 0, "--tasks must be at least 1");
    let records = Records::load(&args.data)?;
    let mut names = records.names();
    names.push("nobody".to_owned());
    let tally = Arc::new(Tally {
        records,
        names,
        next: AtomicU64::new(0),
        queries: args.queries,
        verbose: args.verbose,
        done: AtomicU64::new(0),
        repeated: AtomicU64::new(0),
        slowest_ms: AtomicU64::new(0),
    });
    let begun = Instant::now();
    let mut askers = tokio::task::JoinSet::new();
    for asker in 0..args.tasks {
        // Each begins at another site.
        let mut order = addresses.to_vec();
        order.rotate_left(asker as usize % addresses.len().max(1));
        let process = Site::connect_any(order, "timecard-torture").await?;
        let service = process.group(group)?;
        let rng = ChaCha8Rng::seed_from_u64(args.seed ^ u64::from(asker) << 32);
        askers.spawn(asker_loop(Arc::clone(&tally), service, rng, Duration::from_secs(args.patience)));
    }
    let mut tick = tokio::time::interval(Duration::from_secs(5));
    loop {
        tokio::select! {
            ended = askers.join_next() => match ended {
                Some(asker) => asker??,
                None => break,
            },
            _ = tick.tick() => eprintln!("{}", tally.line(begun.elapsed())),
        }
    }
    println!("{}: every answer complete and right", tally.line(begun.elapsed()));
    Ok(())
}

async fn asker_loop(
    tally: Arc<Tally>,
    service: Outsider,
    mut rng: ChaCha8Rng,
    patience: Duration,
) -> anyhow::Result<()> {
    while tally.next.fetch_add(1, Ordering::Relaxed) < tally.queries {
        let name = &tally.names[rng.next_u32() as usize % tally.names.len()];
        let begun = Instant::now();
        let asked = ask(&service, name, patience).await?;
        tally.check(name, &asked.card)?;
        let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        tally.slowest_ms.fetch_max(took_ms, Ordering::Relaxed);
        tally.repeated.fetch_add(asked.repeated.len() as u64, Ordering::Relaxed);
        if tally.verbose && !asked.repeated.is_empty() {
            eprintln!("{name} took {took_ms} ms; asked again: {}", asked.repeated.join("; "));
        }
        tally.done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

impl Tally {
    fn check(&self, name: &str, card: &crate::card::Card) -> anyhow::Result<()> {
        for department in self.records.departments() {
            let (told, filed) = (card.hours.get(&department), self.records.hours(department, name));
            if told != Some(&filed) {
                bail!(
                    "WRONG: {name} worked {filed} hours in department {department}; the card says {told:?}"
                );
            }
        }
        ensure!(card.hours.len() == self.records.count() as usize, "WRONG: departments that nobody has");
        Ok(())
    }

    fn line(&self, elapsed: Duration) -> String {
        let done = self.done.load(Ordering::Relaxed);
        format!(
            "{done} of {} queries, {} tries repeated, slowest {} ms, {:.0} a second",
            self.queries,
            self.repeated.load(Ordering::Relaxed),
            self.slowest_ms.load(Ordering::Relaxed),
            done as f64 / elapsed.as_secs_f64().max(0.001)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::Card;

    #[test]
    fn the_oracle_knows_the_files() {
        let records = Records::from_texts(["kane 8", "wood 2"]).expect("two files");
        let zero = || AtomicU64::new(0);
        let tally = Tally {
            names: records.names(),
            records,
            next: zero(),
            queries: 1,
            verbose: false,
            done: zero(),
            repeated: zero(),
            slowest_ms: zero(),
        };
        let card =
            |hours: &[(u32, u64)]| Card { hours: hours.iter().copied().collect(), updates: 0, answers: 1 };
        assert!(tally.check("kane", &card(&[(1, 8), (2, 0)])).is_ok());
        assert!(tally.check("kane", &card(&[(1, 8), (2, 2)])).is_err());
        assert!(tally.check("kane", &card(&[(1, 8)])).is_err());
        assert!(tally.check("kane", &card(&[(1, 8), (2, 0), (3, 0)])).is_err());
    }
}
