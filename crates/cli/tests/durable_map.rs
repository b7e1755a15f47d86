//! A durable map through the library, while the sites that serve it are killed.

mod sites;

use std::time::Duration;

use sites::{Cluster, GAVE_UP};
use unanimous::session::Address;
use unanimous::session::protocol::ErrorCode;
use unanimous::{Bytes, Condition, DurableMap, Error, Process, Site};

async fn process(cluster: &Cluster, sites: &[usize]) -> Process {
    let addresses = sites.iter().map(|site| Address::Unix(cluster.path(*site, "session.sock")));
    Site::connect_any(addresses, "a test").await.expect("connects")
}

/// The catalog may not be there yet.
async fn map(process: &Process) -> DurableMap {
    let made = async {
        loop {
            match process.durable_map("counters").await {
                Ok(map) => return map,
                Err(error) if error.is_temporary() => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    tokio::time::timeout(GAVE_UP, made).await.expect("a map")
}

/// Adds one, if nobody else does meanwhile; a write that says yes was done once.
async fn add_one(map: &DurableMap) -> bool {
    let pair = map.get("count").await.expect("it is read");
    let (count, condition) = match &pair {
        Some(pair) => {
            let text = std::str::from_utf8(&pair.value).expect("text");
            (text.parse::<u64>().expect("a number"), Condition::Revision(pair.header.revision))
        }
        None => (0, Condition::Absent),
    };
    match map.put("count", (count + 1).to_string()).only_if(condition).send().await {
        Ok(_) => true,
        Err(Error::Refused { code: ErrorCode::Unmet, .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_two_programs_count_is_what_they_were_told_though_their_sites_are_killed() {
    let mut cluster = Cluster::new(&["a", "b", "c"], |_, _| {});
    (0..3).for_each(|site| cluster.start(site));
    cluster.until_up(0, &["a", "b", "c"]);
    let programs = [process(&cluster, &[0, 1, 2]).await, process(&cluster, &[1, 2, 0]).await];
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut counting = Vec::new();
    for program in &programs {
        let (map, stopped) = (map(program).await, stopped.clone());
        counting.push(tokio::spawn(async move {
            let (mut added, mut watch) = (0u64, map.watch("count", Some(0)));
            while !*stopped.borrow() {
                added += u64::from(add_one(&map).await);
            }
            // Every change was told once, in order.
            let mut last = 0;
            while last < added {
                let change = watch.next().await.expect("a change");
                assert_eq!(change.header.what, "put");
                last += 1;
                assert_eq!(change.value, last.to_string());
            }
            added
        }));
    }
    let reader = map(&programs[0]).await;
    for site in [0, 1, 2, 0] {
        let before = reader.get("count").await.expect("it is read").map(|pair| pair.header.revision);
        let grown = async {
            loop {
                let now = reader.get("count").await.expect("it is read").map(|pair| pair.header.revision);
                if now > before.map(|revision| revision + 20) {
                    return;
                }
            }
        };
        tokio::time::timeout(GAVE_UP, grown).await.expect("it is counted on");
        cluster.kill(site);
        let serving = process(&cluster, &[(site + 1) % 3]).await;
        tokio::time::timeout(GAVE_UP, map(&serving).await.get("count"))
            .await
            .expect("in time")
            .expect("it is read");
        cluster.start(site);
        cluster.until_up((site + 1) % 3, &["a", "b", "c"]);
    }
    stop.send(true).expect("somebody listens");
    let mut added = 0;
    for counting in counting {
        added += tokio::time::timeout(GAVE_UP, counting).await.expect("in time").expect("no panic");
    }
    let count = reader.get("count").await.expect("it is read").expect("it is there").value;
    assert_eq!(count, added.to_string());

    // What else a map does.
    assert!(matches!(
        reader.put("count", "0").only_if(Condition::Absent).send().await,
        Err(Error::Refused { code: ErrorCode::Unmet, .. })
    ));
    reader.put("short", "lived").ttl(Duration::from_millis(50)).send().await.expect("it is put");
    for n in 0..3 {
        reader.put(&format!("many/{n}"), Bytes::from(vec![n; 1000])).send().await.expect("it is put");
    }
    reader.delete("many/1").send().await.expect("it is taken away");
    let page = reader.list("many/", None).await.expect("a page");
    let keys: Vec<&str> = page.pairs.iter().map(|pair| pair.header.key.as_str()).collect();
    assert_eq!((keys, page.after), (vec!["many/0", "many/2"], None));
    let gone = async {
        while reader.get("short").await.expect("it is read").is_some() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(GAVE_UP, gone).await.expect("its time ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_in_the_program_serves_the_same_map() {
    let mut cluster = Cluster::new(&["a", "b", "c"], |_, _| {});
    cluster.start(0);
    cluster.start(1);
    let config = unanimous::SiteConfig::read(&cluster.path(2, "site.toml")).expect("a configuration");
    let site = Site::start(config).await.expect("it starts");
    cluster.until_up(0, &["a", "b", "c"]);
    let (inside, beside) = (site.process().await.expect("a process"), process(&cluster, &[0]).await);
    let (inside, beside) = (map(&inside).await, map(&beside).await);
    let revision = inside.put("key", "value").send().await.expect("it is put");
    let pair = beside.get("key").await.expect("it is read").expect("it is there");
    assert_eq!((pair.header.revision, &pair.value[..]), (revision, &b"value"[..]));
    beside.delete("key").send().await.expect("it is taken away");
    assert!(inside.get("key").await.expect("it is read").is_none());
    let local = beside.get_local("key").await.expect("it is read");
    assert!(local.is_none(), "what it was acknowledged itself, it has applied");
    site.stop().await;
}
