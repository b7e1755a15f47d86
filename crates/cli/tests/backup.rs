//! Backups of real sites: taken under load, checked, refused when they are not whole, restored elsewhere and compared.

#![allow(clippy::disallowed_methods, reason = "real processes run in real time")]

mod sites;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::Value;
use sites::{Cluster, eventually, in_catalog, text, unanimous, utf8};
use tempfile::TempDir;
use tools::backup::{Checker, Item};
use unanimous::Bytes;
use unanimous::session::protocol::ErrorCode;
use unanimous::session::{Address, Error, Session, WriteOptions, connect};

/// Sites that run, and of which the first can be asked for durable maps.
fn running(names: &[&str]) -> Cluster {
    let mut cluster = Cluster::new(names, |_, _| {});
    (0..names.len()).for_each(|site| cluster.start(site));
    (0..names.len()).for_each(|site| drop(cluster.until(site, "the catalog is active", in_catalog)));
    cluster
}

async fn session(cluster: &Cluster, site: usize) -> Session {
    let path = cluster.path(site, "session.sock");
    let address: Address = utf8(&path).parse().expect("an address");
    connect(&address, "test").await.expect("the site runs").0
}

async fn put(session: &Session, map: &str, key: &str, value: Vec<u8>) {
    let put = session.put(map, key, Bytes::from(value), WriteOptions::default()).await;
    put.unwrap_or_else(|error| panic!("{map} {key}: {error}"));
}

async fn create(session: &Session, map: &str) {
    match session.create_map(map).await {
        Err(Error::Refused(failure)) if failure.error == ErrorCode::Exists => {}
        created => created.expect("created"),
    }
}

/// A command that succeeds, and the last line of what it printed, as JSON.
fn done(cluster: &Cluster, site: usize, args: &[&str]) -> Value {
    let output = cluster.run(site, args);
    assert!(output.status.success(), "{args:?}: {}\nlog:\n{}", text(&output.stderr), cluster.log(site));
    serde_json::from_slice(&output.stdout).expect("one object")
}

/// A command that is refused, with its reason.
fn refused(cluster: &Cluster, site: usize, args: &[&str]) -> String {
    let output = cluster.run(site, args);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {} {}", text(&output.stdout), text(&output.stderr));
    text(&output.stderr)
}

/// The digests of a backup's groups.
fn digests(backup: &Value) -> BTreeMap<String, String> {
    let groups = backup["groups"].as_array().expect("groups").iter();
    groups.map(|g| (g["group"].as_str().expect("a name").to_owned(), g["digest"].to_string())).collect()
}

/// All pairs of a backup, by group.
fn contents(file: &Path) -> BTreeMap<String, BTreeMap<String, Vec<u8>>> {
    let mut checker = Checker::default();
    checker.extend(&std::fs::read(file).expect("a file"));
    let (mut groups, mut name) = (BTreeMap::new(), String::new());
    while let Some(item) = checker.next().expect("whole") {
        match item {
            Item::Group { head, .. } => {
                name = head.name.to_string();
                groups.insert(name.clone(), BTreeMap::new());
            }
            Item::Pairs { pairs, .. } => {
                let into: &mut BTreeMap<String, Vec<u8>> =
                    groups.get_mut(&name).expect("its group came first");
                into.extend(pairs.iter().map(|p| (text(p.key()), p.value().to_vec())));
            }
            Item::Head(_) | Item::GroupEnd(_) | Item::End(_) => {}
        }
    }
    checker.finish().expect("whole");
    groups
}

fn folder() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("b");
    (dir, file)
}

/// A writer of rising numbers under one key and of new keys, and what it was acknowledged so far.
struct Writer {
    acknowledged: Arc<AtomicU64>,
    asked: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

fn writer(session: Session, map: &'static str, over: Arc<AtomicBool>) -> Writer {
    let (acknowledged, asked) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (told, asks) = (Arc::clone(&acknowledged), Arc::clone(&asked));
    let task = tokio::spawn(async move {
        for n in 1.. {
            if over.load(Ordering::SeqCst) {
                return;
            }
            asks.store(n, Ordering::SeqCst);
            put(&session, map, &format!("{n:08}"), vec![n as u8; (n % 700) as usize]).await;
            put(&session, map, "last", n.to_string().into_bytes()).await;
            told.store(n, Ordering::SeqCst);
        }
    });
    Writer { acknowledged, asked, task }
}

/// Whether a map is what a writer had written at some moment between two of its numbers.
fn is_of_one_moment(found: &BTreeMap<String, Vec<u8>>, least: u64, most: u64) {
    let keys = found.len() as u64 - u64::from(found.contains_key("last"));
    let last = found.get("last").map_or(0, |value| text(value).parse::<u64>().expect("a number"));
    assert!(last >= least && keys <= most, "{last} of at least {least}, {keys} of at most {most}");
    // The writer waits for each: a new key, then its number.
    assert!(keys == last || keys == last + 1, "{keys} keys and {last}");
    for n in 1..=keys {
        assert_eq!(found.get(&format!("{n:08}")), Some(&vec![n as u8; (n % 700) as usize]), "{n}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_has_what_was_acknowledged_and_is_restored_elsewhere() {
    let cluster = running(&["a", "b", "c"]);
    let (dir, file) = folder();
    for map in ["one", "two"] {
        create(&session(&cluster, 0).await, map).await;
    }
    let over = Arc::new(AtomicBool::new(false));
    let writers = [
        writer(session(&cluster, 0).await, "one", Arc::clone(&over)),
        writer(session(&cluster, 1).await, "two", Arc::clone(&over)),
    ];
    let mut last = Value::Null;
    for round in 0..5 {
        let reached = |w: &Writer| w.acknowledged.load(Ordering::SeqCst) >= 40 * round;
        eventually(|| writers.iter().all(reached).then_some(())).expect("the writers go on");
        let least: Vec<u64> = writers.iter().map(|w| w.acknowledged.load(Ordering::SeqCst)).collect();
        // At another site than those that the writers speak to.
        last = done(&cluster, 2, &["--json", "backup", utf8(&file)]);
        let most: Vec<u64> = writers.iter().map(|w| w.asked.load(Ordering::SeqCst)).collect();
        let found = contents(&file);
        assert_eq!(found.len(), 2);
        is_of_one_moment(&found["one"], least[0], most[0]);
        is_of_one_moment(&found["two"], least[1], most[1]);
    }
    over.store(true, Ordering::SeqCst);
    for writer in writers {
        writer.task.await.expect("it wrote");
    }
    // Its file says the same without a cluster.
    let verified = unanimous().args(["--json", "backup", "--verify", utf8(&file)]).output().expect("runs");
    let verified: Value = serde_json::from_slice(&verified.stdout).expect("one object");
    assert_eq!(verified, last);
    // On standard output it is a file like this one.
    let piped = cluster.run(0, &["backup", "-"]);
    let second = dir.path().join("piped");
    std::fs::write(&second, &piped.stdout).expect("written");
    let whole = contents(&second);
    let to_be_restored = done(&cluster, 1, &["--json", "backup", utf8(&file)]);
    assert_eq!(contents(&file), whole);

    let other = running(&["x", "y", "z"]);
    let told = done(&other, 1, &["--json", "restore", utf8(&file)]);
    assert_ne!(told["from"], told["cluster"]);
    let third = dir.path().join("restored");
    let restored = done(&other, 0, &["--json", "backup", utf8(&third)]);
    assert_eq!(digests(&restored), digests(&to_be_restored));
    assert_eq!(contents(&third), whole);
    // Once more: it is there already.
    let told = done(&other, 2, &["--json", "restore", utf8(&file)]);
    let groups = told["groups"].as_array().expect("groups");
    assert!(groups.iter().all(|group| group["written"] == 0 && group["deleted"] == 0), "{told}");
    assert_eq!(groups[0]["same"], whole["one"].len());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_restored_is_refused_and_changes_nothing() {
    let cluster = running(&["a"]);
    let (dir, file) = folder();
    let writes = session(&cluster, 0).await;
    create(&writes, "m").await;
    for n in 0..300u32 {
        put(&writes, "m", &format!("k{n:04}"), vec![b'v'; 500]).await;
    }
    let backup = done(&cluster, 0, &["--json", "backup", utf8(&file)]);
    assert!(refused(&cluster, 0, &["restore", utf8(&file)]).contains("this very cluster"));

    let other = running(&["x"]);
    let bytes = std::fs::read(&file).expect("a file");
    let broken = dir.path().join("broken");
    let flipped = |at: usize| {
        let mut flipped = bytes.clone();
        flipped[at] ^= 4;
        flipped
    };
    let cases: Vec<Vec<u8>> = [
        Vec::new(),
        b"not a backup at all\n".to_vec(),
        bytes[..bytes.len() - 1].to_vec(),
        bytes[..bytes.len() / 2].to_vec(),
        [&bytes[..], b"x"].concat(),
        flipped(3),
        flipped(40),
        flipped(bytes.len() / 2),
        flipped(bytes.len() - 1),
        b"unanimous-backup 7\n".to_vec(),
    ]
    .into();
    for (n, case) in cases.iter().enumerate() {
        std::fs::write(&broken, case).expect("written");
        let why = refused(&other, 0, &["restore", utf8(&broken)]);
        assert!(why.lines().count() == 1 && why.contains("broken"), "case {n}: {why}");
        refused(&other, 0, &["backup", "--verify", utf8(&broken)]);
    }
    let is_gone = session(&other, 0).await.get("m", "k0000", false).await;
    assert!(matches!(is_gone, Err(Error::Refused(failure)) if failure.error == ErrorCode::NoSuchGroup));

    // A group that has something else.
    let others = session(&other, 0).await;
    create(&others, "m").await;
    put(&others, "m", "mine", b"!".to_vec()).await;
    put(&others, "m", "k0007", b"mine too".to_vec()).await;
    let why = refused(&other, 0, &["restore", utf8(&file)]);
    assert!(why.contains("1 keys that have other values") && why.contains("--overwrite"), "{why}");
    assert_eq!(others.list("m", "", None, None, false).await.expect("listed").pairs.len(), 2);
    let told = done(&other, 0, &["--json", "restore", "--overwrite", utf8(&file)]);
    assert_eq!((&told["groups"][0]["written"], &told["groups"][0]["deleted"]), (&300.into(), &1.into()));
    let again = dir.path().join("again");
    assert_eq!(digests(&done(&other, 0, &["--json", "backup", utf8(&again)])), digests(&backup));
    // Into the same cluster, to go back to what was.
    put(&writes, "m", "k0001", b"a mistake".to_vec()).await;
    done(&cluster, 0, &["--json", "restore", "--same-cluster", "--overwrite", utf8(&file)]);
    assert_eq!(digests(&done(&cluster, 0, &["--json", "backup", utf8(&again)])), digests(&backup));

    // Who may not administer gets no backup: the rule is the session's.
    let nowhere = unanimous().args(["--site", "unix:/nowhere/at/all", "backup", utf8(&again)]).output();
    assert_eq!(nowhere.expect("runs").status.code(), Some(3));
    let left: Vec<_> = std::fs::read_dir(dir.path()).expect("a folder").collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_is_interrupted_goes_on_and_ends_are_kept() {
    let cluster = running(&["a"]);
    let (dir, file) = folder();
    let writes = session(&cluster, 0).await;
    create(&writes, "m").await;
    let mut under_way = tokio::task::JoinSet::new();
    for n in 0..2_000u32 {
        let writes = writes.clone();
        under_way.spawn(async move { put(&writes, "m", &format!("k{n:05}"), vec![n as u8; 2_000]).await });
    }
    while let Some(put) = under_way.join_next().await {
        put.expect("it is there");
    }
    let ends = |seconds: u64| WriteOptions { ttl_ms: Some(seconds * 1_000), ..WriteOptions::default() };
    writes.put("m", "lease", Bytes::from_static(b"for an hour"), ends(3_600)).await.expect("put");
    writes
        .put("m", "soon", Bytes::from_static(b"gone at once"), WriteOptions { ttl_ms: Some(1), ..ends(0) })
        .await
        .expect("put");
    let gone = eventually(|| (contents_after(&cluster, &file)).then_some(()));
    assert!(gone.is_some(), "the backup has what has ended");
    let backup = done(&cluster, 0, &["--json", "backup", "--verify", utf8(&file)]);
    assert_eq!(backup["groups"][0]["with_end"], 1);

    let other = running(&["x", "y"]);
    let address = format!("unix:{}", other.path(0, "session.sock").display());
    // Killed at some moment, three times; whatever was done, the next one goes on.
    let mut interrupted = 0;
    for pairs in [1, 300, 900] {
        let mut restore = unanimous()
            .args(["--site", &address, "restore", utf8(&file)])
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("it starts");
        let there = session(&other, 1).await;
        let end = std::time::Instant::now() + sites::GAVE_UP;
        loop {
            let key = format!("k{pairs:05}");
            let come = matches!(there.get("m", &key, true).await, Ok(Some(_)));
            if come || restore.try_wait().expect("ours").is_some() {
                break;
            }
            assert!(std::time::Instant::now() < end, "gave up waiting for {key}");
        }
        let _ = restore.kill();
        interrupted += u32::from(!restore.wait().expect("ours").success());
    }
    eprintln!("{interrupted} of 3 were killed before they ended");
    done(&other, 0, &["--json", "restore", utf8(&file)]);
    let again = dir.path().join("again");
    assert_eq!(digests(&done(&other, 0, &["--json", "backup", utf8(&again)])), digests(&backup));
    let lease = session(&other, 1).await.get("m", "lease", false).await.expect("read").expect("there");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let left = lease.header.expires_ms.expect("it ends").saturating_sub(now.as_millis() as u64);
    assert!(left > 3_000_000 && left <= 3_600_000, "{left} ms left of an hour");
}

/// Whether a new backup is without the pair whose time is over.
fn contents_after(cluster: &Cluster, file: &Path) -> bool {
    done(cluster, 0, &["--json", "backup", utf8(file)]);
    !contents(file)["m"].contains_key("soon")
}
