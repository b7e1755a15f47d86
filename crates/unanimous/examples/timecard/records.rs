//! The departments' files: `department1`, `department2` and so on, one line a shift: a name and the hours worked.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail, ensure};

/// A department's number, from 1.
pub type Department = u32;

/// Hours by name, department by department.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    departments: Vec<BTreeMap<String, u64>>,
}

impl Records {
    /// Reads `department1`, `department2` … from a folder, up to the first that is missing.
    pub fn load(folder: &Path) -> anyhow::Result<Records> {
        let mut departments = Vec::new();
        loop {
            let path = folder.join(format!("department{}", departments.len() + 1));
            match std::fs::read_to_string(&path) {
                Ok(text) => departments.push(parse(&text).with_context(|| path.display().to_string())?),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => break,
                Err(error) => return Err(error).context(path.display().to_string()),
            }
        }
        ensure!(!departments.is_empty(), "{} has no file department1", folder.display());
        Ok(Records { departments })
    }

    /// Writes one department's file so that a reader sees the old one or the new one.
    pub fn save(&self, folder: &Path, department: Department) -> anyhow::Result<()> {
        let new = folder.join(format!(".department{department}.new"));
        std::fs::write(&new, self.text(department)).with_context(|| new.display().to_string())?;
        let path = folder.join(format!("department{department}"));
        std::fs::rename(new, &path).with_context(|| path.display().to_string())
    }

    /// The departments.
    pub fn departments(&self) -> impl Iterator<Item = Department> + use<> {
        1..=self.count()
    }

    /// How many departments there are.
    pub fn count(&self) -> u32 {
        u32::try_from(self.departments.len()).expect("as many departments as files")
    }

    /// The hours that somebody worked in a department.
    pub fn hours(&self, department: Department, who: &str) -> u64 {
        self.department(department).and_then(|hours| hours.get(who)).copied().unwrap_or(0)
    }

    /// Sets them. Says whether there is such a department.
    pub fn set(&mut self, department: Department, who: &str, hours: u64) -> bool {
        let place = (department as usize).checked_sub(1).and_then(|index| self.departments.get_mut(index));
        let Some(place) = place else { return false };
        place.insert(who.to_owned(), hours);
        true
    }

    /// Everybody in the files.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.departments.iter().flat_map(|hours| hours.keys().cloned()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// A department as its file has it, without the comments.
    pub fn text(&self, department: Department) -> String {
        let hours = self.department(department).into_iter().flatten();
        hours.map(|(who, hours)| format!("{who} {hours}\n")).collect()
    }

    /// The departments from their files' texts.
    pub fn from_texts<'t>(texts: impl IntoIterator<Item = &'t str>) -> anyhow::Result<Records> {
        Ok(Records { departments: texts.into_iter().map(parse).collect::<Result<_, _>>()? })
    }

    fn department(&self, department: Department) -> Option<&BTreeMap<String, u64>> {
        self.departments.get((department as usize).checked_sub(1)?)
    }
}

/// Shifts of one person add up.
fn parse(text: &str) -> anyhow::Result<BTreeMap<String, u64>> {
    let mut hours_of = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let Some((who, hours)) = line.split_once(char::is_whitespace) else {
            bail!("line {}: {line:?} should be a name and hours", number + 1);
        };
        let hours: u32 =
            hours.trim().parse().with_context(|| format!("line {}: {hours:?} are no hours", number + 1))?;
        *hours_of.entry(who.to_owned()).or_insert(0) += u64::from(hours);
    }
    Ok(hours_of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shifts_add_up_and_comments_are_skipped() {
        let records = Records::from_texts(["# week 12\ncooper 6\n\ncooper 4 # overtime\n"]).expect("a file");
        assert_eq!(records.hours(1, "cooper"), 10);
        assert_eq!(records.hours(1, "nobody"), 0);
        assert_eq!(records.hours(2, "cooper"), 0);
        assert_eq!(records.hours(0, "cooper"), 0);
    }

    #[test]
    fn a_line_that_is_no_shift_is_named() {
        for text in ["cooper", "cooper x", "cooper -1", "cooper 1 2"] {
            let error = Records::from_texts(["kane 1\n", text]).expect_err(text);
            assert!(error.to_string().contains("line 1"), "{error}");
        }
    }

    #[test]
    fn the_files_of_the_example_are_five_departments() {
        let records = Records::load(Path::new(crate::DATA)).expect("the example's files");
        assert_eq!(records.count(), 5);
        assert_eq!(records.hours(1, "cooper") + records.hours(2, "cooper"), 15);
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut records = Records::from_texts(["kane 8", "kane 1"]).expect("two files");
        assert!(records.set(2, "wood", 3));
        assert!(!records.set(3, "wood", 3));
        for department in records.departments() {
            records.save(folder.path(), department).expect("saved");
        }
        assert_eq!(Records::load(folder.path()).expect("loaded"), records);
    }
}
