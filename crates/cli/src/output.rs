//! Tables that line up, and colours only on a terminal.

use std::io::{IsTerminal, Write};
use std::time::SystemTime;

use crate::failure::Failure;

/// How a word is shown on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As it is.
    Plain,
    /// All is well.
    Good,
    /// Something needs attention.
    Bad,
    /// Less important.
    Dim,
}

/// A word with its tone, when standard output is a terminal that wants colours.
pub fn toned(word: &str, tone: Tone) -> String {
    let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    match tone {
        Tone::Good if colours => format!("\x1b[32m{word}\x1b[0m"),
        Tone::Bad if colours => format!("\x1b[31m{word}\x1b[0m"),
        Tone::Dim if colours => format!("\x1b[2m{word}\x1b[0m"),
        Tone::Plain | Tone::Good | Tone::Bad | Tone::Dim => word.to_owned(),
    }
}

/// A table: a head and rows, every column as wide as its widest cell.
#[derive(Debug)]
pub struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<(String, Tone)>>,
}

impl Table {
    /// A table with this head and no rows.
    pub fn new(head: &[&'static str]) -> Table {
        Table { head: head.to_vec(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<(String, Tone)>) {
        self.rows.push(cells);
    }

    /// The table as lines.
    pub fn lines(&self) -> Vec<String> {
        let width = |column: usize| {
            let cells =
                self.rows.iter().filter_map(|row| row.get(column)).map(|(cell, _)| cell.chars().count());
            cells.chain([self.head[column].len()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let head = self.head.iter().map(|cell| ((*cell).to_owned(), Tone::Dim)).collect();
        std::iter::once(&head).chain(&self.rows).map(|row| line(row, &widths)).collect()
    }
}

fn line(cells: &[(String, Tone)], widths: &[usize]) -> String {
    let mut out = String::new();
    for (i, (cell, tone)) in cells.iter().enumerate() {
        out.push_str(&toned(cell, *tone));
        if i + 1 < cells.len() {
            let padding = widths[i].saturating_sub(cell.chars().count()) + 2;
            out.extend(std::iter::repeat_n(' ', padding));
        }
    }
    out
}

/// Prints a line and flushes, so that whoever reads a pipe sees it now. A closed pipe ends the command quietly.
pub fn say(line: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let written = writeln!(out, "{line}").and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => other.map_err(Failure::from),
    }
}

/// Prints one JSON object on a line of its own.
pub fn say_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    say(&serde_json::to_string(value).map_err(|error| Failure::refused(error.to_string()))?)
}

/// A moment as `2026-11-21 21:27 UTC`; what was before 1970 is shown as that.
pub fn utc(at: SystemTime) -> String {
    let seconds = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let (year, month, day) = date(seconds / 86_400);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", seconds / 3_600 % 24, seconds / 60 % 60)
}

/// A moment in milliseconds since 1970, likewise.
pub fn utc_ms(ms: u64) -> String {
    utc(SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(ms))
}

/// A moment as letters have it: `Sun, 22 Nov 2026 04:40:00 +0000`.
pub fn rfc5322(at: SystemTime) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let days = seconds / 86_400;
    let (year, month, day) = date(days);
    let (weekday, month) = (DAYS[(days % 7) as usize], MONTHS[((month - 1) % 12) as usize]);
    let (hours, minutes, seconds) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{weekday}, {day} {month} {year:04} {hours:02}:{minutes:02}:{seconds:02} +0000")
}

/// The Gregorian date so many days after 1 January 1970. Years begin in March here, so that leap days are last.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let in_year = |month: u64| if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let (shown, next) = in_year(month);
    (era * 400 + year + next, shown, day - (153 * month + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn moments_are_shown_as_date_prints_them() {
        for (seconds, shown) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_827_696, "2000-02-29 12:34 UTC"),
            (1_709_251_199, "2024-02-29 23:59 UTC"),
            (1_735_689_599, "2024-12-31 23:59 UTC"),
            (1_795_296_459, "2026-11-21 21:27 UTC"),
            (4_107_542_400, "2100-03-01 00:00 UTC"),
        ] {
            assert_eq!(utc(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)), shown);
        }
    }

    #[test]
    fn letters_have_their_date() {
        let at = |seconds| rfc5322(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "Thu, 1 Jan 1970 00:00:00 +0000");
        assert_eq!(at(951_827_696), "Tue, 29 Feb 2000 12:34:56 +0000");
    }

    #[test]
    fn columns_line_up_whatever_their_cells() {
        let mut table = Table::new(&["SITE", "STATE"]);
        table.row(vec![("site-1".into(), Tone::Plain), ("up".into(), Tone::Plain)]);
        table.row(vec![("zürich".into(), Tone::Plain), ("down".into(), Tone::Plain)]);
        assert_eq!(table.lines(), ["SITE    STATE", "site-1  up", "zürich  down"]);
    }
}
