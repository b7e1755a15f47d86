//! A checkpoint takes the place of a log that goes further: what is behind it stays, if it is of that log; else the store must
//! not be sure of its end any more.

use std::time::Duration;

use bytes::Bytes;
use durable::{
    Body, CheckpointHead, Chunk, ClientId, Configuration, Done, Durable, Entry, Life, Locator, Number,
    Recovery, Request, Settings, StoreOp, View,
};
use wire::{Incarnation, SiteId, StoreId, Time, ViewId};

const A: SiteId = SiteId(1);
const B: SiteId = SiteId(2);
/// An empty window of answers.
const WINDOW: &[u8] = &[0x82, 0, 0x80];

fn number(epoch: u64, position: u64) -> Number {
    Number { view: ViewId { epoch, ..ViewId::default() }, position }
}

/// Of the first view up to the fourth, of the second from there on.
fn record(position: u64) -> Bytes {
    let epoch = if position > 4 { 2 } else { 1 };
    let payload = Bytes::from_static(b"x");
    let request = Request { client: ClientId([1; 16]), sequence: position, answered: 0, payload };
    Entry { number: number(epoch, position), time: 0, body: Body::Request(request) }.to_record()
}

fn configuration() -> Configuration {
    Configuration::majority((1..=3).map(|n| (StoreId(n.into()), SiteId(n))))
}

fn view(epoch: u64) -> View {
    View { id: number(epoch, 0).view, primary: true, sites: vec![A, B] }
}

fn start(site: SiteId, recovery: Recovery) -> Durable {
    let life = Life { incarnation: Incarnation(2), nonce: 2 };
    recovery.start(site, StoreId(site.0.into()), life, Some(configuration())).expect("a sound disk")
}

/// The meta record of a store that has promised the second view.
fn meta() -> Bytes {
    let mut machine = start(A, Recovery::new(Settings::default(), None, None));
    machine.handle_view(Time::ZERO, view(2));
    match machine.poll_store() {
        Some(StoreOp::Meta { record, .. }) => record,
        other => panic!("it promises first, not {other:?}"),
    }
}

#[test]
fn what_stands_behind_a_checkpoint_in_the_same_log_stays() {
    assert_eq!(installed(&[2]), (true, number(2, 5), None));
}

#[test]
fn what_a_checkpoint_cuts_off_is_a_floor_before_it_is_gone() {
    // What stands behind the fourth says that it was of the second view: this is another log than the checkpoint's.
    assert_eq!(installed(&[2, 4]), (false, number(1, 4), Some(number(2, 5))));
}

/// A has a checkpoint at the fourth entry and two entries behind it. B has five entries, but for those that are damaged, all
/// of which it may have acknowledged; A has not all that B lacks. B installs A's checkpoint, and dies: whether the rest was
/// to be kept, and the end and the floor of B's log when it starts again.
fn installed(damaged: &[u64]) -> (bool, Number, Option<Number>) {
    let head = CheckpointHead {
        number: number(1, 4),
        clock: 0,
        configuration: (Number::default(), configuration()),
    };
    let checkpoint = Some((head.clone(), Bytes::from_static(WINDOW)));
    let mut of_a = Recovery::new(Settings::default(), Some(meta()), checkpoint.clone());
    let mut of_b = Recovery::new(Settings::default(), Some(meta()), None);
    (5..=6).for_each(|position| of_a.record(position, record(position), true).expect("in order"));
    for position in 1..=5 {
        match damaged.contains(&position) {
            true => of_b.missing(position, position).expect("in order"),
            false => of_b.record(position, record(position), true).expect("in order"),
        }
    }
    let mut machines = [(A, start(A, of_a)), (B, start(B, of_b))];
    let (mut now, mut saved) = (Time::ZERO, meta());
    machines.iter_mut().for_each(|(_, machine)| machine.handle_view(now, view(3)));
    for _ in 0..400 {
        now = now + Duration::from_millis(50);
        let (mut casts, mut messages) = (Vec::new(), Vec::new());
        for (site, machine) in &mut machines {
            machine.handle_timeout(now);
            while let Some(op) = machine.poll_store() {
                let token = op.token();
                let done = match op {
                    StoreOp::InstallCheckpoint { keep, .. } => {
                        // Everything that was asked for before is on the disk, and then it dies.
                        let checkpoint = Some((head, Bytes::from_static(WINDOW)));
                        let mut again = Recovery::new(Settings::default(), Some(saved), checkpoint);
                        if keep {
                            again.record(5, record(5), true).expect("in order");
                        }
                        let status = start(B, again).status();
                        return (keep, status.last, status.floor);
                    }
                    StoreOp::Meta { record, .. } => {
                        saved = if *site == B { record } else { saved };
                        Done::Stored(token)
                    }
                    StoreOp::ReadCheckpoint { at, .. } => {
                        assert_eq!(at, Locator::default());
                        Done::Part(token, Some(Chunk { bytes: Bytes::from_static(WINDOW), next: None }))
                    }
                    StoreOp::Read { from, .. } => {
                        let record = durable::Record { position: from, bytes: record(from) };
                        Done::Read(token, vec![record])
                    }
                    _ => Done::Stored(token),
                };
                machine.handle_done(now, done);
            }
            casts.extend(std::iter::from_fn(|| machine.poll_cast()).map(|cast| (*site, cast)));
            messages.extend(std::iter::from_fn(|| machine.poll_transmit()).map(|sent| (*site, sent)));
            while machine.poll_event().is_some() {}
        }
        for (site, machine) in &mut machines {
            for (from, cast) in &casts {
                machine.handle_delivery(now, *from, cast.clone()).expect("its own kind");
            }
            for (from, sent) in messages.iter().filter(|(_, sent)| sent.to.contains(site)) {
                machine.handle_message(now, *from, &sent.message).expect("its own kind");
            }
        }
    }
    panic!("B is to get a checkpoint: {:#?}", machines.map(|(_, machine)| machine.status()));
}
