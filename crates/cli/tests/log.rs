//! A site whose log has no room goes on: it stopped at the first line that it could not write.

mod sites;

use sites::{Cluster, in_catalog};

#[test]
fn a_site_whose_log_has_no_room_goes_on() {
    let mut cluster = Cluster::new(&["a"], |_, _| {});
    let full = std::fs::File::options().write(true).open("/dev/full").expect("Linux has it");
    cluster.start_logging_to(0, full);
    cluster.until(0, "the catalog is active", in_catalog);
    let made = cluster.run(0, &["kv", "create", "m"]);
    assert!(made.status.success(), "{made:?}");
    assert_eq!(cluster.log(0), "");
    cluster.kill(0);
}
