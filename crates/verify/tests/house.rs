//! The rules of the house, read from `cargo metadata`: a crate imports only from floors below its own, the
//! pure floors stay pure, and every dependency has a permissive licence.

use std::collections::BTreeMap;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};

/// Floors as in `ARCHITECTURE.md`. A crate that is not listed here fails the test: give it a floor.
const FLOORS: &[(&str, u32)] = &[
    ("unanimous-switches", 0),
    ("unanimous-wire", 1),
    ("unanimous-link", 2),
    ("unanimous-detect", 2),
    ("unanimous-log", 3),
    ("unanimous-membership", 3),
    ("unanimous-multicast", 4),
    ("unanimous-durable", 5),
    ("unanimous-stack", 6),
    ("unanimous-tools", 6),
    ("unanimous-mail", 7),
    ("unanimous-net", 8),
    ("unanimous-sim", 8),
    ("unanimous-site", 9),
    ("unanimous-client", 9),
    ("unanimous", 10),
    ("unanimous-maildriver", 11),
    ("unanimous-torture", 12),
    ("unanimous-cli", 13),
    ("unanimous-verify", 14),
];

/// The highest floor without sockets, clocks, threads, runtimes or disks.
const PURE_UP_TO: u32 = 7;

/// What a pure crate must not depend on, directly or through others.
const IMPURE: &[&str] = &["tokio", "mio", "socket2", "rustls", "async-std", "rayon", "getrandom"];

const LICENCES: &[&str] = &[
    "MIT",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "0BSD",
    "CC0-1.0",
    "Unlicense",
    "MIT-0",
    "BSL-1.0",
    "BlueOak-1.0.0",
    "CDLA-Permissive-2.0",
];

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"))
        .other_options(vec!["--locked".to_owned(), "--filter-platform".to_owned(), host()])
        .exec()
        .expect("cargo metadata runs in a checkout whose Cargo.lock is current")
}

/// Only this platform's packages: the others were never fetched.
fn host() -> String {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let output = std::process::Command::new(rustc).arg("-vV").output().expect("rustc tells its version");
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.expect("rustc names its host").to_owned()
}

fn floor(name: &str) -> Option<u32> {
    FLOORS.iter().find(|(listed, _)| *listed == name).map(|(_, floor)| *floor)
}

#[test]
fn a_crate_imports_only_from_floors_below_its_own() {
    let metadata = metadata();
    let mut wrong = Vec::new();
    for package in metadata.workspace_packages() {
        let Some(own) = floor(&package.name) else {
            wrong.push(format!("{} has no floor", package.name));
            continue;
        };
        for dependency in package.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal) {
            if let Some(below) = floor(&dependency.name)
                && below >= own
            {
                wrong.push(format!(
                    "{} (floor {own}) imports {} (floor {below})",
                    package.name, dependency.name
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_pure_floors_depend_on_nothing_impure() {
    let metadata = metadata();
    let resolve = metadata.resolve.as_ref().expect("cargo metadata resolves");
    let names: BTreeMap<&PackageId, &str> =
        metadata.packages.iter().map(|p| (&p.id, p.name.as_str())).collect();
    let edges: BTreeMap<&PackageId, Vec<&PackageId>> = resolve
        .nodes
        .iter()
        .map(|node| {
            let normal = node
                .deps
                .iter()
                .filter(|d| d.dep_kinds.iter().any(|k| k.kind == DependencyKind::Normal))
                .map(|d| &d.pkg)
                .collect();
            (&node.id, normal)
        })
        .collect();
    let mut wrong = Vec::new();
    for package in metadata.workspace_packages() {
        if floor(&package.name).is_none_or(|floor| floor > PURE_UP_TO) {
            continue;
        }
        let mut seen = vec![&package.id];
        let mut next = 0;
        while next < seen.len() {
            for dependency in edges.get(seen[next]).into_iter().flatten() {
                if !seen.contains(dependency) {
                    seen.push(dependency);
                }
            }
            next += 1;
        }
        for id in seen {
            if IMPURE.contains(&names[id]) {
                wrong.push(format!("{} reaches {}", package.name, names[id]));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_licence_is_permissive() {
    let metadata = metadata();
    let mut wrong = Vec::new();
    for package in &metadata.packages {
        match &package.license {
            Some(licence) if acceptable(licence) => {}
            Some(licence) => wrong.push(format!("{} {}: {licence}", package.name, package.version)),
            None => wrong.push(format!("{} {}: no licence named", package.name, package.version)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whether an SPDX expression can be satisfied with the licences above. Handles `OR`, `AND`, `/` and
/// parentheses of one level, which is what crates use.
fn acceptable(expression: &str) -> bool {
    let flat = expression.replace('/', " OR ");
    split_outside(&flat, " AND ").iter().all(|clause| {
        let clause = clause.trim().trim_start_matches('(').trim_end_matches(')');
        clause.split(" OR ").any(|licence| LICENCES.contains(&licence.trim()))
    })
}

fn split_outside<'a>(text: &'a str, separator: &str) -> Vec<&'a str> {
    let (mut parts, mut depth, mut start, mut i) = (Vec::new(), 0usize, 0, 0);
    while i < text.len() {
        match text.as_bytes()[i] {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && text[i..].starts_with(separator) {
            parts.push(&text[start..i]);
            i += separator.len();
            start = i;
        } else {
            i += 1;
        }
    }
    parts.push(&text[start..]);
    parts
}

#[test]
fn the_licence_reader_refuses_copyleft() {
    assert!(acceptable("MIT OR Apache-2.0"));
    assert!(acceptable("(MIT OR Apache-2.0) AND Unicode-3.0"));
    assert!(acceptable("MIT/Apache-2.0"));
    assert!(!acceptable("GPL-3.0"));
    assert!(!acceptable("MIT AND MPL-2.0"));
    assert!(!acceptable("AGPL-3.0-only"));
}
