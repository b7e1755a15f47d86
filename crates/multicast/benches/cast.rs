//! Messages a second through three endpoints wired in memory: one thread, no network, no encryption. Each
//! message is cast at one site and delivered at all three; the rate counts it once.
//!
//! `cargo bench -p unanimous-multicast`

#![allow(clippy::disallowed_methods, reason = "a bench measures the real clock")]

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use membership::group::{GroupMember, GroupOptions, GroupView};
use multicast::{Cast, CastError, Config, Endpoint, Event, Order};
use wire::{GroupId, GroupName, Incarnation, MemberId, ProcessId, SiteId, SiteIncarnation, Time, ViewId};

fn life(site: u32) -> SiteIncarnation {
    SiteIncarnation { site: SiteId(site), incarnation: Incarnation(1) }
}

fn member(site: u32) -> MemberId {
    MemberId { process: ProcessId { birth: life(site), local: 1 }, join: 1 }
}

fn view(sites: u32) -> Arc<GroupView> {
    let listed = |site| GroupMember { id: member(site), role: None, previous: None };
    Arc::new(GroupView {
        group: GroupId::default(),
        name: GroupName::parse("bench").expect("a good name"),
        id: ViewId { epoch: 1, ..ViewId::default() },
        primary: true,
        lives: true,
        members: (1..=sites).map(listed).collect(),
        joined: Vec::new(),
        left: Vec::new(),
        options: GroupOptions::default(),
    })
}

/// Hands frames around until nothing moves; counts deliveries.
fn settle(now: Time, endpoints: &mut [Endpoint], delivered: &mut u64) {
    loop {
        let mut moved = false;
        for from in 0..endpoints.len() {
            while let Some(transmit) = endpoints[from].poll_transmit(now) {
                moved = true;
                for to in transmit.to.iter() {
                    let name = SiteId(from as u32 + 1);
                    endpoints[to.0 as usize - 1]
                        .handle_frame(now, name, transmit.frame.clone())
                        .expect("honest endpoints");
                }
            }
            while let Some(event) = endpoints[from].poll_event() {
                if let Event::Deliver(_) = event {
                    *delivered += 1;
                }
            }
        }
        if !moved {
            return;
        }
    }
}

fn run(order: Order, safe: bool, bytes: usize, senders: &[u32], total: u64) {
    let mut endpoints: Vec<Endpoint> =
        (1..=3).map(|site| Endpoint::new(Config::default(), GroupId::default(), life(site))).collect();
    let mut now = Time::ZERO;
    let mut delivered = 0;
    for endpoint in &mut endpoints {
        endpoint.handle_view(now, view(3)).expect("a small view");
    }
    settle(now, &mut endpoints, &mut delivered);
    let payload = Bytes::from(vec![7; bytes]);
    let begin = Instant::now();
    let mut cast = 0;
    while cast < total {
        for sender in senders {
            for _ in 0..500 {
                let what = Cast { order, safe, payload: payload.clone() };
                match endpoints[*sender as usize - 1].cast(now, member(*sender), what) {
                    Ok(_) => cast += 1,
                    Err(CastError::Full) => break,
                    Err(other) => panic!("{other}"),
                }
            }
        }
        now = now + std::time::Duration::from_micros(300);
        settle(now, &mut endpoints, &mut delivered);
    }
    while delivered < 3 * cast {
        now = now + std::time::Duration::from_millis(5);
        settle(now, &mut endpoints, &mut delivered);
    }
    let took = begin.elapsed().as_secs_f64();
    println!(
        "{order:?}{} {bytes:6} B, {} sender(s): {:9.0} messages/s, {:7.1} MB/s, {:6.1} ns a message and endpoint",
        if safe { " safe" } else { "" },
        senders.len(),
        cast as f64 / took,
        cast as f64 * bytes as f64 / took / 1e6,
        took * 1e9 / (3 * cast) as f64,
    );
}

fn main() {
    for (bytes, total) in [(64, 2_000_000), (1_024, 500_000), (8_192, 100_000), (65_536, 20_000)] {
        run(Order::Abcast, false, bytes, &[1], total);
        run(Order::Abcast, false, bytes, &[2], total);
        run(Order::Abcast, false, bytes, &[1, 2, 3], total);
        run(Order::Abcast, true, bytes, &[1, 2, 3], total);
    }
    run(Order::Mbcast, false, 64, &[1, 2, 3], 2_000_000);
    run(Order::Fbcast, false, 64, &[1, 2, 3], 2_000_000);
    run(Order::Cbcast, false, 64, &[1, 2, 3], 2_000_000);
}
