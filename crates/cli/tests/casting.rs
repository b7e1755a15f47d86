//! Casts that are held back, and casts that go on by themselves, through real sites.

mod sites;

use std::time::Duration;

use sites::{Cluster, GAVE_UP};
use unanimous::session::Address;
use unanimous::{Event, Events, Group, JoinOptions, Order, Process, Replies, Site};

async fn member(cluster: &Cluster, site: usize) -> (Process, Group, Events) {
    let address: Address =
        cluster.path(site, "session.sock").to_str().expect("a path").parse().expect("an address");
    let process = Site::connect(&address, "test").await.expect("the site runs");
    let (group, events) = process.join("chat", JoinOptions::default()).await.expect("joins");
    (process, group, events)
}

/// The next so many messages.
async fn messages(events: &mut Events, count: usize) -> Vec<String> {
    let mut heard = Vec::new();
    let listen = async {
        while heard.len() < count {
            if let Event::Message(message) = events.next().await.expect("a member") {
                heard.push(String::from_utf8(message.payload.to_vec()).expect("text"));
            }
        }
    };
    tokio::time::timeout(GAVE_UP, listen).await.expect("they come");
    heard
}

async fn together(events: &mut Events) {
    let listen = async {
        loop {
            if let Event::View(view) = events.next().await.expect("a member")
                && view.members.len() == 2
            {
                return;
            }
        }
    };
    tokio::time::timeout(GAVE_UP, listen).await.expect("both are members");
}

fn cluster() -> Cluster {
    let mut cluster = Cluster::new(&["a", "b", "c"], |_, _| {});
    (0..3).for_each(|site| cluster.start(site));
    cluster.until_up(0, &["a", "b", "c"]);
    cluster.until_up(1, &["a", "b", "c"]);
    cluster
}

#[tokio::test]
async fn a_lazy_cast_keeps_its_place_and_rides_with_the_next() {
    let cluster = cluster();
    let (_process, group, mut own) = member(&cluster, 0).await;
    let (_other, _group, mut events) = member(&cluster, 1).await;
    together(&mut events).await;
    let patience = Duration::from_secs(2);
    for text in ["first", "second"] {
        group.cast(text).order(Order::Fbcast).lazy(patience).send().await.expect("taken");
    }
    group.cast("third").order(Order::Fbcast).send().await.expect("taken");
    assert_eq!(messages(&mut events, 3).await, ["first", "second", "third"]);
    // By itself, when its time is over; and at once, if somebody waits for it.
    group.cast("fourth").lazy(patience).send().await.expect("taken");
    assert_eq!(messages(&mut events, 1).await, ["fourth"]);
    group.cast("fifth").lazy(patience).send().await.expect("taken");
    group.flush().await.expect("delivered");
    assert_eq!(messages(&mut events, 1).await, ["fifth"]);
    // What is held back goes before its member does.
    group.cast("last").lazy(patience).send().await.expect("taken");
    group.leave().await.expect("leaves");
    assert_eq!(messages(&mut events, 1).await, ["last"]);
    assert_eq!(messages(&mut own, 5).await, ["first", "second", "third", "fourth", "fifth"]);
}

#[tokio::test]
async fn forked_casts_keep_their_order_and_are_asked_for_later() {
    let cluster = cluster();
    let (_process, group, mut own) = member(&cluster, 0).await;
    let (_other, _group, mut events) = member(&cluster, 1).await;
    together(&mut events).await;
    let forked: Vec<_> = (0..300).map(|n| group.cast(n.to_string()).fork().expect("begun")).collect();
    group.cast("after them").send().await.expect("taken");
    for cast in forked {
        cast.await.expect("taken");
    }
    let mut expected: Vec<String> = (0..300).map(|n| n.to_string()).collect();
    expected.push("after them".to_owned());
    assert_eq!(messages(&mut events, 301).await, expected);
    assert_eq!(messages(&mut own, 301).await, expected);

    // A call is collected while the program goes on. Nobody has replied yet when the next cast is made.
    let call = group.cast("who?").replies(Replies::Count(1)).timeout(GAVE_UP).fork().expect("begun");
    group.cast("meanwhile").send().await.expect("taken");
    assert!(!call.is_done());
    let answer = async {
        loop {
            if let Event::Message(message) = events.next().await.expect("a member") {
                match message.wants_reply() {
                    true => message.reply("me").await.expect("taken"),
                    false => return message.payload,
                }
            }
        }
    };
    assert_eq!(tokio::time::timeout(GAVE_UP, answer).await.expect("both come"), "meanwhile");
    let outcome = call.await.expect("answered");
    assert_eq!(outcome.replies.len(), 1);
    assert_eq!(outcome.replies[0].payload, "me");
}
