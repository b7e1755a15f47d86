//! Pairs end in maps that nobody writes to, whatever else the site that lets their time pass has written before.

mod sites;

use sites::{Cluster, GAVE_UP, in_catalog, utf8};
use unanimous::Bytes;
use unanimous::session::{Address, Session, WriteOptions, connect};

async fn put_with_an_end(session: &Session, map: &str) {
    session.create_map(map).await.expect("created");
    let options = WriteOptions { ttl_ms: Some(1), ..WriteOptions::default() };
    session.put(map, "lease", Bytes::from_static(b"held"), options).await.expect("put");
}

async fn gone(session: &Session, map: &str) {
    let look = async {
        while session.get(map, "lease", false).await.expect("read").is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(GAVE_UP, look).await.unwrap_or_else(|_| panic!("{map}: gave up waiting"));
}

#[tokio::test(flavor = "multi_thread")]
async fn time_passes_in_every_map_and_maps_are_made_afterwards() {
    let mut cluster = Cluster::new(&["a"], |_, _| {});
    cluster.start(0);
    cluster.until(0, "the catalog is active", in_catalog);
    let address: Address = utf8(&cluster.path(0, "session.sock")).parse().expect("an address");
    let (session, _events) = connect(&address, "test").await.expect("the site runs");
    for map in ["one", "two", "three"] {
        put_with_an_end(&session, map).await;
        gone(&session, map).await;
    }
    let options = WriteOptions { ttl_ms: Some(1), ..WriteOptions::default() };
    for map in ["three", "one"] {
        session.put(map, "lease", Bytes::from_static(b"again"), options.clone()).await.expect("put");
        gone(&session, map).await;
    }
}
