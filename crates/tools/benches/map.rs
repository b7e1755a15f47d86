//! What a large map costs: memory for each pair, a write, a snapshot, and a write while a snapshot is drawn. One thread,
//! no disk.
//!
//! `cargo bench -p unanimous-tools --bench map` (`MAP_PAIRS=n`, and `MAP_BYTES=n` for values of another length)

#![allow(clippy::disallowed_methods, reason = "a bench measures the real clock")]

use std::time::Instant;

use bytes::Bytes;
use durable::{Application, Applying, ClientId};
use tools::map::{HistoryLimits, Map, Put, Request};

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

struct Bench {
    map: Map,
    position: u64,
}

impl Bench {
    fn apply(&mut self, payload: Bytes) {
        self.position += 1;
        let applying = Applying { position: self.position, clock: 0, client: ClientId::default(), payload };
        std::hint::black_box(self.map.apply(applying));
    }

    fn put(&mut self, n: u64, value: &[u8]) {
        // Spread over all keys, each met once in so many.
        let key = format!("key/{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let put = Put { key: key.as_bytes(), value, ttl_ms: None, only_if: None };
        self.apply(Request::Put(put).encode());
    }
}

fn micros(since: Instant, count: u64) -> f64 {
    since.elapsed().as_secs_f64() * 1e6 / count as f64
}

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
}

fn main() {
    let pairs = setting("MAP_PAIRS", 1_000_000);
    let value = vec![7; setting("MAP_BYTES", 1_024) as usize];
    let before = resident_bytes();
    let mut bench = Bench { map: Map::new(HistoryLimits::NONE), position: 0 };
    let begin = Instant::now();
    (0..pairs).for_each(|n| bench.put(n, &value));
    let put = micros(begin, pairs);
    let beyond = (resident_bytes() - before).saturating_sub(bench.map.bytes()) / pairs;
    println!("{pairs} pairs of 20 + {} bytes: {put:.2} us a put", value.len());
    println!("  {beyond} bytes a pair beyond key and value");

    let begin = Instant::now();
    let snapshot = bench.map.snapshot();
    println!("  a snapshot: {:.1} us", micros(begin, 1));
    let writes = pairs / 5;
    let begin = Instant::now();
    (0..writes).for_each(|n| bench.put(n, &value));
    println!("  {:.2} us a put into what the snapshot has", micros(begin, writes));
    let begin = Instant::now();
    let parts: Vec<_> = snapshot.collect();
    let longest = parts.iter().map(|(_, part)| part.len()).max().unwrap_or(0);
    let millis = micros(begin, 1_000);
    println!("  drawn: {millis:.0} ms, {} parts, the longest {longest} bytes", parts.len());
    let begin = Instant::now();
    (0..writes).for_each(|n| bench.put(n, &value));
    println!("  {:.2} us a put again", micros(begin, writes));
    let digest = bench.map.digest();
    drop(bench);
    let begin = Instant::now();
    let mut map = Map::new(HistoryLimits::NONE);
    parts.into_iter().for_each(|(at, part)| map.restore(&at, part).expect("its own parts"));
    println!("  restored in {:.0} ms", micros(begin, 1_000));
    assert_ne!(map.digest(), digest, "the map had gone on");
}
