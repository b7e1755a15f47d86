//! From a death to the view without the dead, as `unanimous bench failover` measures it: after `kill -9`, and after a
//! host was cut off silently. The short version asks only that every trial ends with the view.

use serde_json::Value;
use tokio::process::Command;

use crate::support::run::Run;
use crate::support::verdict::{Verdict, ensure, failed};

/// The goals, in milliseconds.
const GOALS: [(&str, f64); 2] = [("kill", 100.0), ("cut", 1_000.0)];

pub async fn run(run: &Run) -> Verdict {
    let trials = run.times(3, 50).to_string();
    let bench = Command::new(run.program())
        .args(["--json", "bench", "failover", "--trials", &trials])
        .output()
        .await?;
    ensure(bench.status.success(), || String::from_utf8_lossy(&bench.stderr).into_owned())?;
    let report: Value = serde_json::from_slice(&bench.stdout)?;
    let mut missed = Vec::new();
    for (fault, goal) in GOALS {
        let ways = report["view_ms"].as_array().into_iter().flatten();
        let Some(way) = ways.into_iter().find(|way| way["fault"] == fault) else {
            return failed(format!("nothing was said of {fault}: {report}"));
        };
        let figure = |name: &str| way[name].as_f64().unwrap_or(f64::INFINITY);
        let (p50, p99, max) = (figure("p50"), figure("p99"), figure("max"));
        let how = way["how"].as_str().unwrap_or_default();
        run.say(format!(
            "{fault} ({how}), {trials} trials: p50 {p50:.0} ms, p99 {p99:.0} ms, max {max:.0} ms"
        ));
        if max > goal {
            missed.push(format!("{fault}: {max:.0} ms, the goal is {goal:.0} ms"));
        }
    }
    // What a busy machine takes is no property of the program: the goal counts where it is asked for.
    ensure(!run.long || missed.is_empty(), || missed.join("; "))
}
