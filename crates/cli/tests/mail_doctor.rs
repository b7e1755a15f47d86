//! `mail doctor`: what it finds at real sites.

mod imap;
mod sites;

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use imap::{Imap, add_user, done, letter, port, serve};
use serde_json::{Value, json};
use sites::{Cluster, text};

const LETTERS: usize = 60;

/// Three sites whose log is shortened again and again, so that most letters are where they stay.
fn cluster_with_letters() -> Cluster {
    let mut cluster = Cluster::new(&["a", "b", "c"], |_, config| {
        serve(config);
        config.limits.checkpoint_bytes = 64 << 10;
        config.limits.retain_entries = 4;
    });
    (0..3).for_each(|site| cluster.start(site));
    add_user(&cluster, 0, "ann");
    let mut imap = Imap::start();
    imap.connect("a", port(&cluster, 0, "imap"), "ann");
    for number in 1..=LETTERS {
        imap.append("a", &letter(number, 60));
    }
    cluster
}

fn all_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { all_files(&path, found) } else { found.push(path) }
    }
}

/// Changes a byte of a letter wherever a site keeps it beside the log. Says how often that was.
fn damage(cluster: &Cluster, site: usize, number: usize) -> usize {
    let mut files = Vec::new();
    all_files(&cluster.path(site, "data"), &mut files);
    let wanted = format!("Subject: number {number}\r\n");
    let mut times = 0;
    for path in files {
        let is_kept = path.ancestors().any(|part| part.extension().is_some_and(|end| end == "kept"));
        let bytes = std::fs::read(&path).expect("a file");
        let at = bytes.windows(wanted.len()).position(|part| part == wanted.as_bytes());
        if let Some(at) = at.filter(|_| is_kept) {
            // In place: the site has it open.
            let file = std::fs::File::options().write(true).open(&path).expect("it is ours");
            file.write_all_at(&[bytes[at] ^ 1], at as u64).expect("it is ours");
            times += 1;
        }
    }
    times
}

#[test]
fn sites_that_are_well_say_so_and_that_they_are_the_same() {
    let cluster = cluster_with_letters();
    for site in 0..3 {
        let told = done(&cluster, site, &["mail", "doctor"]);
        let told = &told[0];
        assert_eq!((&told["sound"], &told["letters"]["read"]), (&json!(true), &json!(LETTERS)), "{told}");
        assert_eq!(told["state"]["wrong"], Value::Null);
        let compared = told["state"]["compared"].as_array().expect("others");
        assert!(compared.len() == 2 && compared.iter().all(|of| of["same"] == true), "{told}");
    }
    let shown = cluster.run(1, &["mail", "doctor", "--quick"]);
    let shown = text(&shown.stdout);
    assert!(shown.contains("the same as at a") && !shown.contains("letters   "), "{shown}");
}

#[test]
fn a_damaged_letter_is_found_and_had_from_another_site() {
    let cluster = cluster_with_letters();
    done(&cluster, 2, &["mail", "doctor"]);
    assert_eq!(damage(&cluster, 2, 7), 1, "one copy");
    let found = cluster.run(2, &["mail", "doctor", "--json"]);
    let why = text(&found.stderr);
    assert_eq!(found.status.code(), Some(1), "{found:?}");
    assert!(why.contains("1 letter is not whole"), "{why}");
    let told: Value = serde_json::from_str(text(&found.stdout).trim()).expect("one object");
    assert_eq!((&told["sound"], &told["letters"]["not_here"]), (&json!(false), &json!(1)), "{told}");
    // It is had from another.
    let told = done(&cluster, 2, &["mail", "doctor"]);
    assert_eq!(told[0]["letters"]["read"], json!(LETTERS), "{told}");
}
