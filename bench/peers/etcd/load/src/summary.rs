//! What was measured, in one line.

use std::time::Duration;

use crate::Options;

/// The settings and the figures, as JSON.
pub fn line(options: &Options, mut latencies: Vec<Duration>) -> String {
    latencies.sort();
    let seconds = options.measured.as_secs_f64();
    let micros = |at: f64| {
        let index = (latencies.len() as f64 * at) as usize;
        latencies.get(index.min(latencies.len().saturating_sub(1))).map_or(0, Duration::as_micros)
    };
    format!(
        "{{\"system\":\"etcd\",\"connections\":{},\"streams\":{},\"outstanding\":{},\"size\":{},\"seconds\":{seconds},\
         \"writes\":{},\"writes_per_s\":{:.0},\"latency_us\":{{\"p50\":{},\"p99\":{},\"max\":{}}}}}",
        options.connections,
        options.streams,
        options.connections * options.streams,
        options.size,
        latencies.len(),
        latencies.len() as f64 / seconds,
        micros(0.5),
        micros(0.99),
        micros(1.0),
    )
}
