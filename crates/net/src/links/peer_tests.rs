//! Which of two connections between a pair of sites is the one.

use wire::ClusterId;

use super::*;
use crate::cert::{Authority, Role, Validity};
use crate::input::{Inputs, inputs};

fn peer(me: u32, site: u32) -> (Peer, Inputs) {
    let (sender, receiver) = inputs();
    (Peer::new(SiteId(me), SiteId(site), false, sender, Arc::default()), receiver)
}

fn certificate() -> Certificate {
    let ca = Authority::generate(ClusterId(7), Validity::days(1)).expect("an authority");
    ca.issue(Role::Client, "x", Validity::days(1)).expect("issued").certificate().clone()
}

fn new(id: u64, incarnation: u64) -> Established {
    Established {
        id: ConnectionId(id),
        incarnation: Incarnation(incarnation),
        hello: Bytes::new(),
        certificate: certificate(),
        generation: 0,
        probes: None,
        queue_bytes_max: 1 << 20,
    }
}

/// Two sites dial each other at once; every order of the events that matter leaves one connection, the
/// same at both.
#[test]
fn crossed_dials_leave_the_lower_sites_connection() {
    let (low, _low_inputs) = peer(1, 2);
    let (high, _high_inputs) = peer(2, 1);
    let (c1, c2) = (ConnectionId(1), ConnectionId(2));
    assert!(low.begin_dial(c1) && high.begin_dial(c2));
    assert!(low.may_send_hello(c1) && high.may_send_hello(c2));
    assert_eq!(high.answer(c1, Incarnation(1)), Answer::Welcome);
    assert_eq!(low.answer(c2, Incarnation(1)), Answer::Busy);
    assert!(low.establish(new(1, 1)).is_some());
    assert!(high.establish(new(1, 1)).is_some());
    assert!(high.establish(new(2, 1)).is_none());
}

#[test]
fn of_two_welcomed_dials_only_the_lower_sites_is_confirmed() {
    let (low, _low_inputs) = peer(1, 2);
    let (high, _high_inputs) = peer(2, 1);
    let (c1, c2) = (ConnectionId(1), ConnectionId(2));
    assert!(low.begin_dial(c1) && high.begin_dial(c2));
    assert!(low.may_send_hello(c1) && high.may_send_hello(c2));
    assert_eq!(high.answer(c1, Incarnation(1)), Answer::Welcome);
    assert!(low.establish(new(1, 1)).is_some());
    // The higher site's Hello comes late, and the Welcome to it overtakes the lower site's Confirm.
    assert_eq!(low.answer(c2, Incarnation(1)), Answer::Welcome);
    assert!(high.establish(new(2, 1)).is_none());
    assert!(high.establish(new(1, 1)).is_some());
    low.end_accept(c2);
    assert!(low.take(c1).is_some_and(|confirm| confirm.bytes() > 0));
}

#[test]
fn a_dial_without_a_hello_gives_way_to_one_with() {
    let (low, _inputs) = peer(1, 2);
    let (c1, c2) = (ConnectionId(1), ConnectionId(2));
    assert!(low.begin_dial(c1));
    assert_eq!(low.answer(c2, Incarnation(1)), Answer::Welcome);
    assert!(!low.may_send_hello(c1), "the dial has been given up");
    assert!(!low.begin_dial(ConnectionId(3)), "and no other begins");
    low.end_accept(c2);
    assert!(low.begin_dial(ConnectionId(3)));
}

#[test]
fn a_crossed_dial_that_was_given_up_does_not_replace_the_winner() {
    let (low, _inputs) = peer(1, 2);
    let (c1, c2) = (ConnectionId(1), ConnectionId(2));
    assert!(low.begin_dial(c1) && low.may_send_hello(c1));
    assert!(low.establish(new(1, 1)).is_some());
    // The late hello of the other's dial: welcomed, but never confirmed.
    assert_eq!(low.answer(c2, Incarnation(1)), Answer::Welcome);
    low.end_accept(c2);
    assert!(low.take(c1).is_some());
}

#[test]
fn a_confirmed_connection_replaces_one_that_the_peer_lost() {
    let (high, mut inputs) = peer(2, 1);
    for id in [1, 2] {
        assert_eq!(high.answer(ConnectionId(id), Incarnation(id)), Answer::Welcome);
        assert!(high.establish(new(id, id)).is_some());
    }
    assert!(matches!(inputs.try_recv(), Some(Input::Up { incarnation: Incarnation(1), .. })));
    assert!(matches!(inputs.try_recv(), Some(Input::Down { reason: Down::Replaced, .. })));
    assert!(matches!(inputs.try_recv(), Some(Input::Up { incarnation: Incarnation(2), .. })));
    assert!(!high.hand_over(ConnectionId(1), |_| panic!("of the replaced connection")));
    assert!(!high.down(ConnectionId(1), Down::Closed), "its end is nobody's news");
}

#[test]
fn a_nudge_begins_a_new_series_of_dials_but_not_too_often_nor_beside_a_connection() {
    let (low, _inputs) = peer(1, 2);
    let series = || low.addresses().1;
    let start = Instant::now();
    low.nudge(start);
    assert_eq!(series(), 0, "nowhere to dial");
    low.set_addresses(vec![SocketAddr::from(([127, 0, 0, 1], 1))]);
    low.nudge(start);
    assert_eq!(series(), 2);
    low.nudge(start + NUDGE_EVERY / 2);
    assert_eq!(series(), 2);
    low.nudge(start + NUDGE_EVERY);
    assert_eq!(series(), 3);
    assert_eq!(low.answer(ConnectionId(1), Incarnation(1)), Answer::Welcome);
    low.nudge(start + NUDGE_EVERY * 2);
    assert_eq!(series(), 3, "the peer's own dial has come");
}

/// The connection in use with a peer shows an identity that has been replaced since.
fn stale(me: u32, site: u32) -> (Peer, Inputs) {
    let (peer, mut inputs) = peer(me, site);
    assert_eq!(peer.answer(ConnectionId(1), Incarnation(1)), Answer::Welcome);
    assert!(peer.establish(new(1, 1)).is_some());
    assert!(matches!(inputs.try_recv(), Some(Input::Up { .. })));
    assert!(!peer.begin_dial(ConnectionId(9)), "it shows what is shown now");
    peer.refresh(1);
    (peer, inputs)
}

fn fresh(id: u64) -> Established {
    Established { generation: 1, ..new(id, 1) }
}

#[test]
fn a_connection_with_an_old_identity_is_in_use_until_a_new_one_replaces_it() {
    let (peer, mut inputs) = stale(1, 2);
    let (c1, c2) = (ConnectionId(1), ConnectionId(2));
    assert!(peer.begin_dial(c2));
    assert!(peer.take(c1).is_some() && peer.may_send_hello(c2) && peer.take(c1).is_some());
    assert!(peer.establish(fresh(2)).is_some());
    assert!(matches!(inputs.try_recv(), Some(Input::Down { reason: Down::Replaced, .. })));
    assert!(matches!(inputs.try_recv(), Some(Input::Up { .. })));
    assert!(peer.take(c1).is_none() && peer.take(c2).is_some_and(|confirm| confirm.bytes() > 0));
    assert!(!peer.begin_dial(ConnectionId(3)), "once is enough");
}

#[test]
fn two_sites_that_both_replace_their_connection_end_up_with_the_lower_ones() {
    let ((low, _low_inputs), (high, _high_inputs)) = (stale(1, 2), stale(2, 1));
    let (c2, c3) = (ConnectionId(2), ConnectionId(3));
    assert!(low.begin_dial(c2) && high.begin_dial(c3));
    assert!(low.may_send_hello(c2) && high.may_send_hello(c3));
    assert_eq!(high.answer(c2, Incarnation(1)), Answer::Welcome);
    assert_eq!(low.answer(c3, Incarnation(1)), Answer::Busy);
    assert!(low.establish(fresh(2)).is_some() && high.establish(fresh(2)).is_some());
    assert!(high.establish(fresh(3)).is_none());
    high.end_dial(c3);
    assert!(!low.begin_dial(ConnectionId(4)) && !high.begin_dial(ConnectionId(4)));
}

#[test]
fn an_end_that_overtakes_the_confirm_of_the_next_connection_is_no_news() {
    let (peer, mut inputs) = stale(2, 1);
    let (c1, c2) = (ConnectionId(1), ConnectionId(2));
    assert_eq!(peer.answer(c2, Incarnation(1)), Answer::Welcome);
    assert!(peer.down(c1, Down::Closed));
    assert!(inputs.try_recv().is_none());
    assert!(peer.establish(fresh(2)).is_some());
    peer.end_accept(c2);
    assert!(matches!(inputs.try_recv(), Some(Input::Down { reason: Down::Replaced, .. })));
    assert!(matches!(inputs.try_recv(), Some(Input::Up { .. })));
    // Without a Confirm it is news, late.
    assert_eq!(peer.answer(c1, Incarnation(1)), Answer::Welcome);
    assert!(peer.down(c2, Down::Closed));
    peer.end_accept(c1);
    assert!(matches!(inputs.try_recv(), Some(Input::Down { reason: Down::Closed, .. })));
    // A next life's connection is no successor: that this one is over is news at once.
    assert_eq!(peer.answer(c1, Incarnation(1)), Answer::Welcome);
    assert!(peer.establish(fresh(1)).is_some());
    assert!(matches!(inputs.try_recv(), Some(Input::Up { .. })));
    assert_eq!(peer.answer(c2, Incarnation(2)), Answer::Welcome);
    assert!(peer.down(c1, Down::Closed));
    assert!(matches!(inputs.try_recv(), Some(Input::Down { reason: Down::Closed, .. })));
}

#[test]
fn an_earlier_life_is_refused() {
    let (high, _inputs) = peer(2, 1);
    assert_eq!(high.answer(ConnectionId(1), Incarnation(5)), Answer::Welcome);
    assert!(high.establish(new(1, 5)).is_some());
    assert_eq!(high.answer(ConnectionId(2), Incarnation(4)), Answer::Stale(Incarnation(5)));
}
