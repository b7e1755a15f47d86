//! Groups that are split, merged and reordered, by a program and by the command line.

mod sites;

use sites::{Cluster, GAVE_UP, text};
use unanimous::session::Address;
use unanimous::{Error, Event, Events, Group, JoinOptions, Process, Site};

async fn member(cluster: &Cluster, site: usize) -> (Process, Group, Events) {
    let address: Address =
        cluster.path(site, "session.sock").to_str().expect("a path").parse().expect("an address");
    let process = Site::connect(&address, "test").await.expect("the site runs");
    let (group, events) = process.join("g", JoinOptions::default()).await.expect("joins");
    (process, group, events)
}

/// Takes events until one is what is waited for.
async fn until<T>(events: &mut Events, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
    let listen = async {
        loop {
            if let Some(found) = wanted(events.next().await.expect("more to come")) {
                return found;
            }
        }
    };
    tokio::time::timeout(GAVE_UP, listen).await.expect("it comes")
}

async fn members(events: &mut Events, count: usize) {
    until(events, |event| match event {
        Event::View(view) => (view.members.len() == count).then_some(()),
        _ => None,
    })
    .await;
}

async fn message(events: &mut Events) -> String {
    until(events, |event| match event {
        Event::Message(message) => Some(text(&message.payload)),
        _ => None,
    })
    .await
}

async fn moved(process: &Process) -> (Group, Events) {
    tokio::time::timeout(GAVE_UP, process.moved()).await.expect("in time").expect("it moves")
}

#[tokio::test]
async fn members_that_are_split_off_and_merged_again_keep_their_streams() {
    let mut cluster = Cluster::new(&["a", "b", "c"], |_, _| {});
    (0..3).for_each(|site| cluster.start(site));
    (0..3).for_each(|site| cluster.until_up(site, &["a", "b", "c"]));
    let (first, in_g, mut g_events) = member(&cluster, 0).await;
    let (second, was_b, mut b_events) = member(&cluster, 1).await;
    let (third, was_c, mut c_events) = member(&cluster, 2).await;
    let [a, b, c] = [&in_g, &was_b, &was_c].map(|group| group.member().expect("a member"));
    members(&mut g_events, 3).await;

    first.split("g", [b, c], "h").await.expect("done");
    assert!(matches!(first.split("g", [b], "i").await, Err(Error::Refused { .. })), "no member any more");
    assert!(matches!(first.merge("g", "nowhere").await, Err(Error::Refused { .. })));
    let (in_h, mut h_events) = moved(&second).await;
    let (also_in_h, mut other_events) = moved(&third).await;
    assert_eq!((in_h.name().as_str(), in_h.member()), ("h", Some(b)));
    assert_eq!(also_in_h.member(), Some(c));
    for events in [&mut b_events, &mut c_events] {
        until(events, |event| matches!(event, Event::Left { .. }).then_some(())).await;
    }
    members(&mut g_events, 1).await;
    members(&mut h_events, 2).await;
    members(&mut other_events, 2).await;
    in_h.cast("among us").send().await.expect("taken");
    in_g.cast("alone").send().await.expect("taken");
    assert_eq!(message(&mut other_events).await, "among us");
    assert_eq!(message(&mut g_events).await, "alone");
    assert!(was_b.cast("as who I was").send().await.is_err());

    // The command line merges and reorders.
    let merged = cluster.run(2, &["group", "merge", "h", "g"]);
    assert!(merged.status.success(), "{}", text(&merged.stderr));
    let (back, mut back_events) = moved(&second).await;
    let (_also_back, mut last_events) = moved(&third).await;
    assert_eq!((back.name().as_str(), back.member()), ("g", Some(b)));
    members(&mut g_events, 3).await;
    members(&mut last_events, 3).await;
    back.cast("together").send().await.expect("taken");
    for events in [&mut g_events, &mut back_events, &mut last_events] {
        assert_eq!(message(events).await, "together");
    }
    let reordered = cluster.run(0, &["group", "reorder", "g", &c.to_string()]);
    assert!(reordered.status.success(), "{}", text(&reordered.stderr));
    let senior = until(&mut g_events, |event| match event {
        Event::View(view) => view.senior().filter(|senior| *senior != a),
        _ => None,
    });
    assert_eq!(senior.await, c);
    let nobody = cluster.run(0, &["group", "reorder", "g", "s9.9/9#9"]);
    assert_eq!(nobody.status.code(), Some(1));
    drop(third);
}
