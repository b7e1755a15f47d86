//! What `status` says of the others' clocks, and of sites that are not there.

#![allow(clippy::disallowed_methods, reason = "clocks are compared")]

mod sites;

use std::time::{Duration, SystemTime};

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
