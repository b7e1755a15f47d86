//! A site without an mserver of its own, attached to one elsewhere.

mod sites;

use sites::{Cluster, GAVE_UP};
use unanimous::session::Address;
use unanimous::{Event, Events, JoinOptions, Process, Replies, Site};

fn cluster() -> Cluster {
    let mut cluster = Cluster::new(&["a", "b", "c", "d"], |site, config| {
        config.founders = vec![1, 2, 3];
        config.site.mserver = site != 3;
    });
    (0..4).for_each(|site| cluster.start(site));
    cluster.until_up(0, &["a", "b", "c", "d"]);
    cluster.until_up(1, &["a", "b", "c", "d"]);
    cluster.until_up(3, &["a", "b", "c", "d"]);
    cluster
}

async fn process(cluster: &Cluster, site: usize) -> Process {
    let address: Address =
        cluster.path(site, "session.sock").to_str().expect("a path").parse().expect("an address");
    Site::connect(&address, "test").await.expect("the site runs")
}

async fn message(events: &mut Events) -> unanimous::Delivery {
    let listen = async {
        loop {
            if let Event::Message(message) = events.next().await.expect("a member") {
                return message;
            }
        }
    };
    tokio::time::timeout(GAVE_UP, listen).await.expect("it comes")
}

async fn members(events: &mut Events, count: usize) {
    let listen = async {
        loop {
            if let Event::View(view) = events.next().await.expect("a member")
                && view.members.len() == count
            {
                return;
            }
        }
    };
    tokio::time::timeout(GAVE_UP, listen).await.expect("the view comes");
}

#[tokio::test]
async fn an_attached_site_s_programs_are_members_and_stay_when_its_mserver_dies() {
    let mut cluster = cluster();
    let at_b = process(&cluster, 1).await;
    let (b, mut b_events) = at_b.join("chat", JoinOptions::default()).await.expect("joins");
    let at_d = process(&cluster, 3).await;
    let joined =
        tokio::time::timeout(GAVE_UP, at_d.join("chat", JoinOptions::default())).await.expect("in time");
    let (d, mut d_events) = joined.expect("joins");
    members(&mut b_events, 2).await;
    d.cast("from d").send().await.expect("taken");
    assert_eq!(message(&mut b_events).await.payload, "from d");
    b.cast("from b").send().await.expect("taken");
    assert_eq!(message(&mut d_events).await.payload, "from d");
    assert_eq!(message(&mut d_events).await.payload, "from b");
    // It attaches to the first that it knows.
    cluster.kill(0);
    cluster.until_up(1, &["b", "c", "d"]);
    cluster.until_up(3, &["b", "c", "d"]);
    let third = process(&cluster, 2).await;
    let (_c, mut c_events) = third.join("chat", JoinOptions::default()).await.expect("joins");
    members(&mut c_events, 3).await;
    members(&mut d_events, 3).await;
    d.cast("still d").send().await.expect("taken");
    assert_eq!(message(&mut b_events).await.payload, "from b");
    assert_eq!(message(&mut b_events).await.payload, "still d");
    assert_eq!(message(&mut c_events).await.payload, "still d");
}

#[tokio::test]
async fn an_attached_site_s_programs_cast_from_outside_and_see_groups() {
    let cluster = cluster();
    let at_b = process(&cluster, 1).await;
    let (_b, mut b_events) = at_b.join("chat", JoinOptions::default()).await.expect("joins");
    let at_d = process(&cluster, 3).await;
    let outside = at_d.group("chat").expect("a name");
    let call = outside.cast("who is there?").replies(Replies::All).timeout(GAVE_UP);
    let answer = async {
        message(&mut b_events).await.reply("b").await.expect("taken");
    };
    let (outcome, ()) = tokio::join!(call.send(), answer);
    assert_eq!(outcome.expect("answered").replies[0].payload, "b");
    let view = at_d.view("chat").await.expect("there is such a group");
    assert_eq!(view.members.len(), 1);
    assert!(at_d.view("nobody").await.is_err());
    assert!(at_d.group("nobody").expect("a name").cast("hello?").send().await.is_err());
    let groups = cluster.run(3, &["groups", "--json"]);
    assert!(sites::text(&groups.stdout).contains("\"chat\""), "{}", sites::text(&groups.stdout));

    // Who watches sees the group come and go.
    let mut watched = at_d.watch("later").await.expect("watches");
    let at_a = process(&cluster, 0).await;
    let (later, mut later_events) = at_a.join("later", JoinOptions::default()).await.expect("joins");
    let listen = async {
        loop {
            if let Some(Event::View(view)) = watched.next().await {
                return view.members.len();
            }
        }
    };
    assert_eq!(tokio::time::timeout(GAVE_UP, listen).await.expect("it is told"), 1);
    let heard = async { message(&mut later_events).await.payload };
    let outside = at_d.group("later").expect("a name");
    let (sent, heard) = tokio::join!(outside.cast("hello").send(), heard);
    sent.expect("delivered");
    assert_eq!(heard, "hello");
    later.leave().await.expect("leaves");
    let told = async {
        while at_d.view("later").await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(GAVE_UP, told).await.expect("the group is gone");
}
