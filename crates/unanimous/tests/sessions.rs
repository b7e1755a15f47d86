//! The library over sessions, against a site that does what the test says.

mod fake;

use std::time::Duration;

use bytes::Bytes;
use fake::Site as FakeSite;
use serde_json::json;
use unanimous::{Error, Event, Events, Group, JoinOptions, Order, Process, Replies, Site};

const ME: &str = "s1.1/1#1";
const OTHER: &str = "s2.1/1#1";

async fn connected(sites: &[&FakeSite]) -> (Process, fake::Session) {
    let addresses = sites.iter().map(|site| site.address());
    let (process, session) = tokio::join!(Site::connect_any(addresses, "test"), sites[0].accept());
    (process.expect("a session"), session)
}

async fn joined(process: &Process, session: &mut fake::Session) -> (Group, Events) {
    let (joined, ()) = tokio::join!(process.join("chat", JoinOptions::default()), async {
        session.agree("join", json!({ "member": ME })).await;
        session.view(2, &[OTHER, ME]).await;
    });
    let (group, mut events) = joined.expect("a membership");
    assert!(matches!(events.next().await, Some(Event::View(_))));
    (group, events)
}

#[tokio::test]
async fn a_member_takes_views_and_messages_in_their_order_and_replies() {
    let site = FakeSite::new("s1");
    let (process, mut session) = connected(&[&site]).await;
    let (group, mut events) = joined(&process, &mut session).await;
    assert_eq!(group.rank(), Some(1));
    assert_eq!(group.member().map(|member| member.to_string()).as_deref(), Some(ME));

    let message = json!({"event": "message", "group": "chat", "view": "2-0-s1.1", "from": OTHER, "order": "cbcast",
                         "reply_to": "m1", "body_len": 4});
    session.say_with(message, b"what").await;
    session.view(3, &[ME]).await;
    let Some(Event::Message(message)) = events.next().await else { panic!("a message") };
    assert_eq!(group.rank(), Some(1), "the view changes when the program takes it, not before");
    assert_eq!((message.order, &message.payload[..]), (Order::Cbcast, &b"what"[..]));
    let (replied, (request, body)) = tokio::join!(message.reply("that"), session.agree("reply", json!({})));
    replied.expect("taken");
    assert_eq!((request["to"].as_str(), &body[..]), (Some("m1"), &b"that"[..]));

    assert!(matches!(events.next().await, Some(Event::View(_))));
    assert_eq!(group.rank(), Some(0));
}

#[tokio::test]
async fn a_view_that_overtakes_the_join_s_answer_is_not_lost() {
    let site = FakeSite::new("s1");
    let (process, mut session) = connected(&[&site]).await;
    let (joined, ()) = tokio::join!(process.join("chat", JoinOptions::default()), async {
        let (request, _) = session.hear().await;
        session.view(2, &[ME]).await;
        session.say(json!({"re": request["id"], "ok": true, "member": ME})).await;
    });
    let (_, mut events) = joined.expect("a membership");
    assert!(matches!(events.next().await, Some(Event::View(_))));
}

#[tokio::test]
async fn a_refused_join_leaves_the_process_free_to_join_again() {
    let site = FakeSite::new("s1");
    let (process, mut session) = connected(&[&site]).await;
    let (refused, ()) = tokio::join!(process.join("chat", JoinOptions::default()), async {
        let (request, _) = session.hear().await;
        session.say(json!({"re": request["id"], "error": "not-admitted", "message": "wait"})).await;
    });
    let error = refused.expect_err("refused");
    assert!(error.is_temporary(), "{error}");
    let (group, _events) = joined(&process, &mut session).await;
    let again = process.join("chat", JoinOptions::default()).await;
    assert!(matches!(again, Err(Error::Already)));
    drop(group);
}

#[tokio::test]
async fn a_join_ends_with_a_first_view_or_with_the_reason_why_not() {
    let (first, second) = (FakeSite::new("s1"), FakeSite::new("s2"));
    let (process, mut session) = connected(&[&first, &second]).await;
    let (left, ()) = tokio::join!(process.join("chat", JoinOptions::default()), async {
        session.agree("join", json!({ "member": ME })).await;
        session.say(json!({"event": "left", "group": "chat", "why": "expelled"})).await;
    });
    assert!(matches!(left, Err(Error::Refused { message, .. }) if message == "expelled"));

    let (lost, ()) = tokio::join!(process.join("chat", JoinOptions::default()), async {
        session.agree("join", json!({ "member": ME })).await;
        drop(session);
        drop(first);
    });
    assert!(matches!(lost, Err(Error::Interrupted)), "{lost:?}");
    // What never was a membership is not resumed; the process may join again.
    let mut session = second.accept().await;
    joined(&process, &mut session).await;
}

#[tokio::test]
async fn a_member_whose_site_dies_is_told_so_and_is_a_new_member_elsewhere() {
    let (first, second) = (FakeSite::new("s1"), FakeSite::new("s2"));
    let (process, mut session) = connected(&[&first, &second]).await;
    let (group, mut events) = joined(&process, &mut session).await;
    drop(session);
    drop(first);

    let mut session = second.accept().await;
    session.agree("join", json!({ "member": "s2.1/9#4" })).await;
    session.view(7, &["s2.1/1#1", "s2.1/9#4"]).await;

    assert!(matches!(events.next().await, Some(Event::SiteLost { .. })));
    let refused = group.cast("from the old member").send().await;
    assert!(matches!(refused, Err(Error::SiteLost)), "nothing is cast under an identity that is not known");
    let Some(Event::Rejoined { member, site }) = events.next().await else { panic!("another membership") };
    assert_eq!((member.to_string().as_str(), site.as_str()), ("s2.1/9#4", "s2"));
    let Some(Event::View(view)) = events.next().await else { panic!("its first view") };
    assert_eq!(view.me, Some(member));
    let (cast, _) = tokio::join!(group.cast("from the new one").send(), session.agree("cast", json!({})));
    cast.expect("taken");
}

#[tokio::test]
async fn an_outsider_s_call_is_repeated_at_the_next_site_only_if_it_may_be() {
    let (first, second) = (FakeSite::new("s1"), FakeSite::new("s2"));
    let (process, mut session) = connected(&[&first, &second]).await;
    let outsider = process.group("chat").expect("a name");
    let once = outsider.cast("once").replies(Replies::All).send();
    let twice =
        outsider.cast("twice").idempotent().replies(Replies::All).timeout(Duration::from_secs(9)).send();
    let sites = async {
        session.hear().await;
        session.hear().await;
        drop(session);
        drop(first);
        let mut session = second.accept().await;
        let (request, body) = session.hear().await;
        assert_eq!((request["replies"].as_str(), &body[..]), (Some("all"), &b"twice"[..]));
        let replies = json!({"wanted": "all", "members": 3, "got": [{"from": OTHER, "body_len": 2}], "null": 1,
                             "failed": 1, "aborted_by": null, "timed_out": false});
        let answer = json!({"re": request["id"], "ok": true, "replies": replies, "body_len": 2});
        session.say_with(answer, b"ok").await;
    };
    let (once, twice, ()) = tokio::join!(once, twice, sites);
    assert!(matches!(once, Err(Error::Interrupted)), "{once:?}");
    let outcome = twice.expect("an outcome");
    assert_eq!(outcome.replies.len(), 1);
    assert_eq!(&outcome.replies[0].payload[..], b"ok");
    assert_eq!((outcome.members, outcome.nulls, outcome.failed), (3, 1, 1));
    assert!(!outcome.is_complete());
}

#[tokio::test]
async fn many_messages_go_out_in_few_requests() {
    let site = FakeSite::new("s1");
    let (process, mut session) = connected(&[&site]).await;
    let (group, _events) = joined(&process, &mut session).await;
    let more = (0..5_000u32).map(|n| Bytes::from(n.to_string()));
    let cast = group.cast("first").order(Order::Fbcast).send_with(more);
    let (cast, messages) = tokio::join!(cast, async {
        let mut messages = 0;
        while messages < 5_001 {
            let (request, body) = session.agree("cast", json!({})).await;
            let lens = request["lens"].as_array().expect("several");
            let total: u64 = lens.iter().filter_map(|len| len.as_u64()).sum();
            assert_eq!(total, body.len() as u64);
            messages += lens.len();
        }
        messages
    });
    cast.expect("taken");
    assert_eq!(messages, 5_001);
}

#[tokio::test]
async fn a_probe_is_answered_when_the_program_takes_its_events() {
    let site = FakeSite::new("s1");
    let (process, mut session) = connected(&[&site]).await;
    let (_group, mut events) = joined(&process, &mut session).await;
    session.say(json!({"event": "probe", "id": 7, "groups": ["chat"]})).await;
    let silent = tokio::time::timeout(Duration::from_millis(50), session.hear()).await;
    assert!(silent.is_err(), "a program that takes nothing shows no life");
    let (_, (alive, _)) =
        tokio::join!(tokio::time::timeout(Duration::from_millis(200), events.next()), session.hear());
    assert_eq!((alive["op"].as_str(), alive["probe"].as_u64()), (Some("alive"), Some(7)));
}

#[tokio::test]
async fn a_probe_passes_what_waits_and_is_answered_by_the_next_event_taken() {
    let site = FakeSite::new("s1");
    let (process, mut session) = connected(&[&site]).await;
    let (_group, mut events) = joined(&process, &mut session).await;
    let body = vec![b'x'; 1 << 20];
    for _ in 0..8 {
        let message = json!({
            "event": "message", "group": "chat", "view": "1-0-s1.1", "from": "s1.1/1#1", "order": "abcast",
            "body_len": body.len(),
        });
        session.say_with(message, &body).await;
    }
    session.say(json!({"event": "probe", "id": 8, "groups": ["chat", "another"]})).await;
    // More waits than the program's streams hold. An event taken after the probe has come is enough: the first,
    // or if that one was quicker, the next.
    let mut answer = std::pin::pin!(session.hear());
    let mut answered = None;
    for _ in 0..3 {
        assert!(matches!(events.next().await, Some(Event::View(_) | Event::Message(_))));
        let heard = tokio::time::timeout(Duration::from_secs(1), &mut answer).await;
        if let Ok((alive, _)) = heard {
            answered = Some(alive);
            break;
        }
    }
    let alive = answered.expect("an answer, long before the program has taken what waits");
    assert_eq!((alive["op"].as_str(), alive["probe"].as_u64()), (Some("alive"), Some(8)));
}

#[tokio::test]
async fn answers_do_not_wait_behind_events_that_nobody_takes() {
    let site = FakeSite::new("s1");
    let address = site.address();
    let (connected, mut session) = tokio::join!(unanimous::session::connect(&address, "test"), site.accept());
    let (program, mut events) = connected.expect("greeted");
    let lens = vec![1; 1_000];
    for _ in 0..20 {
        let run = json!({
            "event": "message", "group": "chat", "view": "1-0-s1.1", "from": "s1.1/1#1", "order": "abcast",
            "lens": lens, "body_len": lens.len(),
        });
        session.say_with(run, &[b'x'; 1_000]).await;
    }
    let (status, _) = tokio::join!(program.status(), session.agree("status", json!({"primary": true})));
    assert_eq!(status.expect("an answer")["primary"], true);
    for _ in 0..20_000 {
        assert!(matches!(events.next().await, Some(unanimous::session::Event::Message { .. })));
    }
}

#[tokio::test]
async fn a_member_for_which_its_site_joins_again_is_told_that_it_is_another() {
    let site = FakeSite::new("s1");
    let (process, mut session) = connected(&[&site]).await;
    let (group, mut events) = joined(&process, &mut session).await;
    session.view(9, &[OTHER, "s1.1/9#4"]).await;
    let Some(Event::Rejoined { member, site }) = events.next().await else { panic!("another membership") };
    assert_eq!((member.to_string().as_str(), site.as_str()), ("s1.1/9#4", "s1"));
    assert!(matches!(events.next().await, Some(Event::View(_))));
    let (cast, _) = tokio::join!(group.cast("by the new one").send(), session.agree("cast", json!({})));
    cast.expect("taken");
    // The next view changes nothing.
    session.view(10, &["s1.1/9#4"]).await;
    assert!(matches!(events.next().await, Some(Event::View(_))));
}

#[tokio::test]
async fn closing_says_good_bye_and_ends_every_stream() {
    let site = FakeSite::new("s1");
    let (process, mut session) = connected(&[&site]).await;
    let (group, mut events) = joined(&process, &mut session).await;
    tokio::join!(process.close(), session.agree("bye", json!({})));
    assert!(matches!(events.next().await, Some(Event::Left { .. })));
    assert!(events.next().await.is_none());
    assert!(matches!(group.cast("late").send().await, Err(Error::Over(_))));
}

#[tokio::test]
async fn a_watcher_follows_views_from_site_to_site() {
    let (first, second) = (FakeSite::new("s1"), FakeSite::new("s2"));
    let (process, mut session) = connected(&[&first, &second]).await;
    let (events, _) = tokio::join!(process.watch("chat"), session.agree("watch", json!({})));
    let mut events = events.expect("watched");
    drop(session);
    drop(first);
    let mut session = second.accept().await;
    session.agree("watch", json!({})).await;
    session
        .say(json!({"event": "view", "group": "chat", "id": "9-0-s1.1", "primary": true, "lives": true,
                       "rank": null, "members": [OTHER], "joined": [], "left": []}))
        .await;
    assert!(matches!(events.next().await, Some(Event::SiteLost { .. })));
    let Some(Event::View(view)) = events.next().await else { panic!("a view") };
    assert_eq!((view.rank(), view.members.len()), (None, 1));
}

#[tokio::test]
async fn a_process_whose_certificate_is_revoked_is_over_and_looks_for_no_other_site() {
    let (first, second) = (FakeSite::new("s1"), FakeSite::new("s2"));
    let (process, mut session) = connected(&[&first, &second]).await;
    let (group, mut events) = joined(&process, &mut session).await;
    let (cast, ()) = tokio::join!(group.cast("under way").send(), async {
        session.hear().await;
        session.say(json!({"event": "going", "why": "revoked; ask for another", "error": "revoked"})).await;
        drop(session);
    });
    assert!(matches!(&cast, Err(Error::Over(why)) if why.contains("revoked")), "{cast:?}");
    while let Some(event) = events.next().await {
        assert!(!matches!(event, Event::SiteLost { .. } | Event::Rejoined { .. }), "{event:?}");
    }
    let again = process.join("other", JoinOptions::default()).await;
    assert!(matches!(&again, Err(Error::Over(why)) if why.contains("revoked")), "{again:?}");
}
