//! Load of any kind: workers that do one operation after the other, and what came of it.

use std::future::Future;
use std::time::Duration;

use serde::Serialize;
use tokio::task::JoinSet;

use crate::commands::bench::clock::now;
use crate::commands::bench::summary::Summary;
use crate::failure::Failure;

/// Work goes on for so long before counting begins.
const WARM_UP: Duration = Duration::from_secs(1);
/// An operation that takes longer will not end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Does one operation after the other.
pub trait Worker: Send + 'static {
    /// One operation. Gives how long it took, as far as it counts.
    fn once(&mut self) -> impl Future<Output = Result<Duration, Failure>> + Send;
}

/// How long is measured: rounds, one behind the other without a pause.
#[derive(Clone, Copy, Debug)]
pub struct Rounds {
    pub count: u32,
    pub each: Duration,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Measured {
    /// Operations a second, over the rounds.
    pub per_s: Spread,
    pub latency_us: Summary,
    /// Operations in all, those of the warm-up included.
    pub done: u64,
}

/// A rate in several rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    fn of(mut rates: Vec<f64>) -> Spread {
        rates.sort_unstable_by(f64::total_cmp);
        let at = |i: usize| rates.get(i).copied().unwrap_or_default();
        Spread { median: at(rates.len() / 2), min: at(0), max: at(rates.len().saturating_sub(1)) }
    }
}

/// An operation that is over: when that was, and how long it took.
type Sample = (Duration, Duration);

/// Lets all work at once. The first failure ends it.
pub async fn measure<W: Worker>(workers: Vec<W>, rounds: Rounds) -> Result<Measured, Failure> {
    let begin = now() + WARM_UP;
    let end = begin + rounds.each * rounds.count;
    let mut running = JoinSet::new();
    for worker in workers {
        running.spawn(work(worker, end));
    }
    let mut samples: Vec<Sample> = Vec::new();
    while let Some(worked) = running.join_next().await {
        samples.extend(worked.map_err(|error| Failure::refused(error.to_string()))??);
    }
    let counted = |(at, _): &&Sample| *at >= begin && *at < end;
    let round = |(at, _): &Sample| ((*at - begin).as_nanos() / rounds.each.as_nanos()) as usize;
    let mut counts = vec![0u64; rounds.count as usize];
    samples.iter().filter(counted).for_each(|sample| counts[round(sample)] += 1);
    let latencies: Vec<Duration> = samples.iter().filter(counted).map(|(_, took)| *took).collect();
    let rate = |count: u64| count as f64 / rounds.each.as_secs_f64();
    Ok(Measured {
        per_s: Spread::of(counts.into_iter().map(rate).collect()),
        latency_us: Summary::in_us(&latencies)
            .ok_or_else(|| Failure::refused("nothing was answered in time; measure for longer"))?,
        done: samples.len() as u64,
    })
}

async fn work<W: Worker>(mut worker: W, end: Duration) -> Result<Vec<Sample>, Failure> {
    let mut samples = Vec::new();
    while now() < end {
        let Ok(took) = tokio::time::timeout(PATIENCE, worker.once()).await else {
            return Err(Failure::refused("the server has not answered for a minute"));
        };
        let took = took?;
        samples.push((now(), took));
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_of_the_rounds_that_there_were() {
        let spread = Spread::of(vec![5.0, 1.0, 3.0]);
        assert_eq!(spread, Spread { median: 3.0, min: 1.0, max: 5.0 });
    }

    /// Fails at its third operation.
    struct Tired(u32);

    impl Worker for Tired {
        async fn once(&mut self) -> Result<Duration, Failure> {
            self.0 += 1;
            if self.0 == 3 { Err(Failure::refused("tired")) } else { Ok(Duration::ZERO) }
        }
    }

    #[test]
    fn a_failure_is_the_end_of_it() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let rounds = Rounds { count: 1, each: Duration::from_secs(3_600) };
        let failed = runtime.block_on(measure(vec![Tired(0), Tired(0)], rounds)).expect_err("it fails");
        assert_eq!(failed.message, "tired");
    }
}
