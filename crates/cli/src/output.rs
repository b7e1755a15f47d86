//! Tables that line up, and colours only on a terminal.

use std::io::{IsTerminal, Write};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_whatever_their_cells() {
        let mut table = Table::new(&["SITE", "STATE"]);
        table.row(vec![("site-1".into(), Tone::Plain), ("up".into(), Tone::Plain)]);
        table.row(vec![("zürich".into(), Tone::Plain), ("down".into(), Tone::Plain)]);
        assert_eq!(table.lines(), ["SITE    STATE", "site-1  up", "zürich  down"]);
    }
}
