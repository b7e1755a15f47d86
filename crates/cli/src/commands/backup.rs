//! `backup`: all durable groups into a file, and what is in such a file.

pub mod source;
mod target;

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::path::Path;
use std::time::{Duration, SystemTime};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use tools::backup::{Checker, Contents, Damaged, Head, Item, Totals};

use crate::args::{Backup, Find};
use crate::failure::Failure;
use crate::locate;
use crate::output::{Table, Tone, say, say_json, utc};
use source::Source;
use target::Target;

/// `unanimous backup FILE`.
pub async fn run(find: &Find, args: &Backup, json: bool) -> Result<(), Failure> {
    let (session, _events) = locate::session(find, "backup").await?;
    let mut target = Target::create(&args.file)?;
    let begun = session.backup(args.without_mail).await?;
    let progress = progress(json, "writing", begun.bytes);
    let (mut checker, mut seen) = (Checker::default(), Seen::default());
    let damaged = |damaged: Damaged| {
        Failure::refused(format!(
            "the site has sent what is no backup ({damaged}); try again, at another site"
        ))
    };
    while let Some(piece) = session.backup_next().await? {
        checker.extend(&piece);
        while let Some(item) = checker.next().map_err(damaged)? {
            seen.take(item);
        }
        target.write(&piece)?;
        progress.inc(piece.len() as u64);
    }
    checker.finish().map_err(damaged)?;
    let bytes = target.finish()?;
    progress.finish_and_clear();
    // On standard output there is the backup.
    if args.file == Path::new("-") {
        return Ok(());
    }
    seen.say(&args.file, bytes, json)
}

/// `unanimous backup --verify FILE`.
pub fn verify(args: &Backup, json: bool) -> Result<(), Failure> {
    let mut source = Source::open(&args.file)?;
    let seen = source.verify(json)?;
    seen.say(&args.file, source.bytes(), json)
}

/// What a backup was seen to have.
#[derive(Debug, Default)]
pub struct Seen {
    /// Where it comes from.
    pub head: Option<Head>,
    /// Its groups.
    pub groups: Vec<Contents>,
    totals: Option<Totals>,
}

impl Seen {
    /// Takes notice of what was read.
    pub fn take(&mut self, item: Item) {
        match item {
            Item::Head(head) => self.head = Some(head),
            Item::GroupEnd(contents) => self.groups.push(contents),
            Item::End(totals) => self.totals = Some(totals),
            Item::Group { .. } | Item::Pairs { .. } => {}
        }
    }

    fn say(&self, file: &Path, bytes: u64, json: bool) -> Result<(), Failure> {
        // Whoever has come here has read a whole one.
        let (Some(head), Some(totals)) = (&self.head, &self.totals) else { return Ok(()) };
        let sha256 = hex(&totals.digest);
        if json {
            let groups = self.groups.iter().map(|group| {
                json!({
                    "group": group.group.to_string(), "pairs": group.pairs, "with_end": group.with_end,
                    "bytes": group.bytes, "digest": format!("{:032x}", group.digest),
                })
            });
            return say_json(&json!({
                "file": file, "cluster": head.cluster, "site": head.site, "taken_ms": head.taken_ms,
                "program": head.program, "groups": groups.collect::<Vec<_>>(), "pairs": totals.pairs,
                "bytes": totals.bytes, "file_bytes": bytes, "sha256": sha256, "without_mail": head.without_mail,
            }));
        }
        let mut table = Table::new(&["GROUP", "PAIRS", "BYTES", "DIGEST"]);
        for group in &self.groups {
            let cells = [
                group.group.to_string(),
                group.pairs.to_string(),
                group.bytes.to_string(),
                format!("{:032x}", group.digest),
            ];
            table.row(cells.into_iter().map(|cell| (cell, Tone::Plain)).collect());
        }
        table.lines().iter().try_for_each(|line| say(line))?;
        let taken = utc(SystemTime::UNIX_EPOCH + Duration::from_millis(head.taken_ms));
        say("")?;
        if head.without_mail {
            say("The cluster's mail is not in it.")?;
        }
        say(&format!(
            "{}: whole, {bytes} bytes; taken at {} of cluster {} on {taken}; sha-256 {sha256}",
            file.display(),
            head.site,
            head.cluster
        ))
    }
}

/// A bar of bytes on standard error, if somebody looks.
pub fn progress(json: bool, what: &'static str, bytes: u64) -> ProgressBar {
    let bar = ProgressBar::new(bytes).with_message(what);
    if json || !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let style = ProgressStyle::with_template(
        "{msg} {wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left",
    );
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to memory does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
