//! What `status` says of the others' clocks, and of sites that are not there.

#![allow(clippy::disallowed_methods, reason = "clocks are compared")]

mod sites;

use std::time::SystemTime;

use serde_json::Value;
use sites::{Cluster, text};

fn cluster() -> Cluster {
    let mut cluster = Cluster::new(&["a", "b", "c"], |_, config| {
        config.site.metrics = Some(std::net::SocketAddr::from(([127, 0, 0, 1], 0)));
    });
    (0..3).for_each(|site| cluster.start(site));
    (0..3).for_each(|site| cluster.until_up(site, &["a", "b", "c"]));
    cluster
}

fn of<'a>(status: &'a Value, name: &str) -> &'a Value {
    let sites = status["sites"].as_array().expect("sites");
    sites.iter().find(|site| site["name"] == name).expect("it is listed")
}

#[test]
fn clocks_of_one_machine_differ_by_nothing_within_the_error() {
    let cluster = cluster();
    for site in 0..3 {
        let status = cluster.until(site, "the clocks of the others are known", |status| {
            let known = status["sites"].as_array().into_iter().flatten();
            known.filter(|site| site["clock"].is_object()).count() == 2
        });
        for clock in status["sites"].as_array().into_iter().flatten().map(|site| &site["clock"]) {
            if let (Some(ahead), Some(error)) = (clock["ahead_us"].as_i64(), clock["error_us"].as_u64()) {
                assert!(ahead.unsigned_abs() <= error, "{clock}");
                assert_eq!(clock["far"], false);
            }
        }
    }
    let page = cluster.metrics(0);
    assert!(page.contains("unanimous_clock_ahead_seconds{site=\"c\"}"), "{page}");
    assert!(text(&cluster.run(0, &["status"]).stdout).contains(" ms ± "));
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is later").as_secs()
}

#[test]
fn since_when_a_site_is_not_there_is_said_and_survives_a_restart() {
    let mut cluster = cluster();
    let status = cluster.until(0, "all are up", |status| sites::up(status).len() == 3);
    assert!(of(&status, "c")["absent"].is_null());
    let incarnation = of(&status, "c")["incarnation"].clone();
    let before = now();
    cluster.kill(2);
    let status = cluster.until(0, "c is not there, and why", |status| {
        let absent = &of(status, "c")["absent"];
        absent["since"].is_u64() && absent["problem"].is_object()
    });
    let absent = &of(&status, "c")["absent"];
    let since = absent["since"].as_u64().expect("checked");
    assert!((before..=now()).contains(&since), "{absent}");
    assert_eq!((&absent["incarnation"], &absent["linked"]), (&incarnation, &Value::Bool(false)));
    assert!(absent["problem"]["text"].as_str().is_some_and(|text| text.contains("refused")), "{absent}");
    let shown = text(&cluster.run(0, &["status"]).stdout);
    assert!(shown.contains("c: not there since 20"), "{shown}");

    // The one that is asked writes it down.
    let moment = u32::try_from(since).expect("before 2106").to_be_bytes();
    let written = sites::eventually(|| {
        let copies = ["data/absences-0", "data/absences-1"].map(|name| std::fs::read(cluster.path(0, name)));
        copies.iter().flatten().any(|copy| copy.windows(4).any(|bytes| bytes == moment)).then_some(())
    });
    assert!(written.is_some());
    cluster.kill(0);
    cluster.start(0);
    // The first view that it sees may still list c, as suspected.
    let back = |status: &Value| sites::up(status) == ["a", "b"] && of(status, "c")["state"] == "down";
    let status = cluster.until(0, "it is back", back);
    assert_eq!(of(&status, "c")["absent"]["since"], since);
    cluster.start(2);
    let status = cluster.until(0, "c is back", |status| sites::up(status).len() == 3);
    assert!(of(&status, "c")["absent"].is_null());
}
