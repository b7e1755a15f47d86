//! `unanimous bench mail`: it loads sites of its own, and any server that is named.

mod imap;
mod sites;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use imap::{DOMAIN, add_user, port, serve};
use serde_json::Value;
use sites::{Cluster, eventually, text, unanimous};

fn bench(args: &[&str]) -> Value {
    let run = unanimous().args(["--json", "bench", "mail"]).args(args).output().expect("it runs");
    assert!(run.status.success(), "{}", text(&run.stderr));
    serde_json::from_slice(&run.stdout).expect("one object")
}

/// Whether a letter to this address would be taken.
fn takes(at: SocketAddr, to: &str) -> std::io::Result<bool> {
    let mut stream = BufReader::new(TcpStream::connect(at)?);
    let mut reply = String::new();
    stream.read_line(&mut reply)?;
    for line in ["LHLO test", "MAIL FROM:<>", &format!("RCPT TO:<{to}>")] {
        stream.get_mut().write_all(format!("{line}\r\n").as_bytes())?;
        reply.clear();
        while reply.lines().last().is_none_or(|last| last.as_bytes().get(3) != Some(&b' ')) {
            if stream.read_line(&mut reply)? == 0 {
                return Ok(false);
            }
        }
    }
    Ok(reply.starts_with("250"))
}

/// What was measured, each with something done.
fn loads(report: &Value) -> Vec<(&str, u64)> {
    let rows = report["rows"].as_array().expect("rows");
    assert!(rows.iter().all(|row| row["latency_us"]["count"].as_u64() > Some(0)), "{report}");
    rows.iter()
        .map(|row| (row["what"].as_str().expect("a name"), row["connections"].as_u64().expect("some")))
        .collect()
}

#[test]
fn sites_of_its_own_take_every_load_and_a_letter_to_many_is_stored_once() {
    let few =
        ["--rounds", "1", "--seconds", "1", "--connections", "2,3", "--users", "4", "--per-connection", "2"];
    let wide = ["--wide", "--recipients", "1200", "--wide-size", "100000"];
    let report = bench(&[&few[..], &wide[..]].concat());
    let letters = ["LMTP", "SMTP", "submission"].map(|what| [(what, 2), (what, 3)]).concat();
    let imap = ["LOGIN", "SELECT", "FETCH", "STORE", "APPEND+EXPUNGE", "APPEND"].map(|what| (what, 20));
    assert_eq!(loads(&report), [letters, imap.to_vec()].concat());
    assert_eq!(report["wide"]["letters"], 1, "{report}");
    let written: Vec<u64> = report["wide"]["written_bytes"]
        .as_array()
        .expect("three")
        .iter()
        .map(|bytes| bytes.as_u64().expect("a number"))
        .collect();
    // Once it is as long as its letter; 1,200 letters would be 120 MB.
    assert!(
        written.len() == 3 && written.iter().all(|bytes| (100_000..20_000_000).contains(bytes)),
        "{report}"
    );
}

#[test]
fn a_server_that_is_named_is_loaded_and_nothing_is_started() {
    let mut cluster = Cluster::new(&["a", "b", "c"], |_, config| serve(config));
    (0..3).for_each(|site| cluster.start(site));
    for name in ["user-0000", "user-0001"] {
        add_user(&cluster, 0, name);
    }
    let lmtp = port(&cluster, 1, "lmtp");
    // A user may be there before the domain is: every site asks for that when it has started.
    let served = eventually(|| takes(lmtp, &format!("user-0001@{DOMAIN}")).ok()?.then_some(()));
    assert!(served.is_some(), "a letter to a user who was added is taken");
    let at = format!("lmtp={lmtp}");
    let few = ["--rounds", "1", "--seconds", "1", "--connections", "2", "--users", "2"];
    let named = ["--against", &at, "--domain", DOMAIN];
    let report = bench(&[&few[..], &named[..]].concat());
    assert_eq!(loads(&report), [("LMTP", 2)]);
    assert_eq!(
        (&report["settings"]["sites"], report["sites"].as_array().map(Vec::len)),
        (&Value::from(0), Some(0))
    );
    let status = unanimous().args(["bench", "mail", "--wide", "--against", &at]).status().expect("it runs");
    assert_eq!(status.code(), Some(2));
}
