//! Larger clusters than a seed has, in every shape: they form, change and deliver, every property holds, and a view
//! change costs no more than it should.

use sim::node::Settings;
use sim::scale::{Plan, Row, Table, measure};

fn plan(sites: usize, founders: usize, mservers: usize, group: usize) -> Plan {
    Plan { sites, founders, mservers, group, seed: 1, hosts: Settings::default() }
}

fn carried_out(plan: &Plan) -> Table {
    let table = measure(plan, &mut |_| {}).unwrap_or_else(|why| panic!("{why}"));
    assert!(table.passed(), "{table}");
    table
}

/// What was sent about this in the phase of this name.
fn sent(table: &Table, phase: &str, about: &str) -> u64 {
    let row: &Row = table.rows.iter().find(|row| row.phase == phase).expect("there is such a phase");
    row.traffic.get(about).map_or(0, |sent| sent.packets)
}

#[test]
fn forty_sites_most_of_them_attached_run_the_same_twice() {
    let plan = plan(40, 5, 5, 20);
    let table = carried_out(&plan);
    assert_eq!(table.rows.len(), 12, "a phase is missing: {:?}", table.rows);
    assert_eq!(table.digest, carried_out(&plan).digest);
    assert_ne!(table.digest, carried_out(&Plan { seed: 2, ..plan }).digest);
    // What five mservers agree on costs the same however many sites are attached to them.
    assert!(sent(&table, "one joined", "agreement") < 5 * 5 * 8, "{:?}", table.rows);
}

#[test]
fn many_mservers_found_a_cluster_and_search_without_asking_everybody() {
    let table = carried_out(&plan(32, 32, 32, 12));
    let changes = ["one killed", "one joined", "one gbcast"];
    for phase in changes {
        // Half a dozen messages for each, and of each the few questions of two rounds of the search.
        let agreement = sent(&table, phase, "agreement");
        assert!(agreement < 32 * (6 + 2 * 2 * 8 + 8), "{phase}: {agreement} frames of agreement");
    }
}

#[test]
fn many_mservers_join_a_few_founders() {
    let table = carried_out(&plan(32, 3, 32, 12));
    let joins = sent(&table, "cluster formed", "agreement");
    assert!(joins < 32 * 32 * 12, "{joins} frames of agreement");
}

#[test]
fn a_plan_that_cannot_be_carried_out_says_why() {
    assert_eq!(plan(40, 5, 5, 20).check(), Ok(()));
    for wrong in
        [plan(40, 5, 5, 40), plan(40, 5, 5, 3), plan(40, 2, 2, 9), plan(9, 10, 10, 5), plan(9, 0, 5, 5)]
    {
        assert!(wrong.check().is_err(), "{wrong:?}");
    }
}
