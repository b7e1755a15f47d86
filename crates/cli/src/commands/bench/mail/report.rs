//! What `bench mail` prints.

use serde::Serialize;

use super::load::Spread;
use super::served::SITES;
use super::wide::Wide;
use crate::args;
use crate::commands::bench::summary::Summary;
use crate::failure::Failure;
use crate::output::{Table, Tone, say};

/// What is printed with `--json`.
#[derive(Debug, Serialize)]
pub struct Report {
    pub settings: Settings,
    pub rows: Vec<Row>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wide: Option<Wide>,
    /// One write of 1,200 bytes and an `fdatasync`, alone on the disk, before the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_before_us: Option<Summary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_after_us: Option<Summary>,
    pub sites: Vec<SiteReport>,
}

#[derive(Debug, Serialize)]
pub struct Settings {
    /// Ours; 0 when another server was loaded.
    pub sites: usize,
    pub size: usize,
    pub users: usize,
    pub seconds: u64,
    pub rounds: u32,
    pub per_connection: u32,
    pub away: bool,
    /// Between our sites.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption: Option<&'static str>,
}

/// One load.
#[derive(Debug, Serialize)]
pub struct Row {
    pub what: &'static str,
    pub connections: usize,
    pub per_s: Spread,
    pub latency_us: Summary,
    /// Operations in all, those of the warm-up included.
    pub done: u64,
    /// Processor time of all our sites together for one operation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processor_us: Option<f64>,
}

#[derive(Debug, Serialize)]
pub struct SiteReport {
    pub name: String,
    pub peak_memory_bytes: u64,
}

impl Settings {
    pub fn of(args: &args::BenchMail) -> Settings {
        let ours = args.against.is_empty();
        Settings {
            sites: if ours { SITES } else { 0 },
            size: args.size,
            users: args.users,
            seconds: args.seconds,
            rounds: args.rounds,
            per_connection: args.per_connection,
            away: args.away,
            encryption: ours.then_some("TLS 1.3, AES-256-GCM"),
        }
    }
}

impl Report {
    /// For people.
    pub fn print(&self) -> Result<(), Failure> {
        let Settings { sites, size, users, .. } = &self.settings;
        let whose = if *sites > 0 { format!("{sites} sites") } else { "another server".to_owned() };
        say(&format!("{whose}, letters of {size} bytes, {users} users"))?;
        self.print_rows()?;
        if let Some(wide) = &self.wide {
            let written: Vec<String> = wide.written_bytes.iter().map(|bytes| mib(*bytes)).collect();
            say(&format!(
                "one letter of {} MiB to {} recipients: {:.0} ms; {} letter stored; written to the sites' disks: {} MiB",
                mib(wide.size as u64),
                wide.recipients,
                wide.took_ms,
                wide.letters,
                written.join(", ")
            ))?;
        }
        if let (Some(before), Some(after)) = (self.disk_before_us, self.disk_after_us) {
            say(&format!(
                "the disk alone forces a write in {:.0} us, in {:.0} us afterwards (p50)",
                before.p50, after.p50
            ))?;
        }
        let memory: Vec<String> = self.sites.iter().map(|site| mib(site.peak_memory_bytes)).collect();
        if memory.is_empty() { Ok(()) } else { say(&format!("peak memory: {} MiB", memory.join(", "))) }
    }

    fn print_rows(&self) -> Result<(), Failure> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let head = ["WHAT", "CONNECTIONS", "PER SECOND", "MIN", "MAX", "P50 us", "P99 us", "PROCESSOR us"];
        let mut table = Table::new(&head);
        for row in &self.rows {
            let numbers =
                [row.per_s.median, row.per_s.min, row.per_s.max, row.latency_us.p50, row.latency_us.p99];
            let processor = row.processor_us.map_or_else(|| "-".to_owned(), |used| format!("{used:.0}"));
            let mut cells = vec![row.what.to_owned(), row.connections.to_string()];
            cells.extend(numbers.iter().map(|number| format!("{number:.0}")));
            cells.push(processor);
            table.row(cells.into_iter().map(|cell| (cell, Tone::Plain)).collect());
        }
        table.lines().iter().try_for_each(|line| say(line))
    }
}

fn mib(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}
