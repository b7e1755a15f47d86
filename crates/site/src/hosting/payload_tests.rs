//! What a service keeps, while its log is shortened below it.

use std::time::Duration;

use durable::{
    Applying, Body, CheckpointHead, ClientId, Configuration, Done, Durable, Entry, Life, Locator,
    NotRestored, Number, Parts, Record, Request, Settings, StoreOp, Token, View,
};
use stack::store::Who;
use tokio::sync::{mpsc, oneshot};
use tools::catalog::Kind;
use wire::{GroupName, Incarnation, SiteId, StoreId, Time, ViewId};

use super::disk::{Disk, Job, Place, Said};
use super::served::Served;
use super::*;
use crate::service::{Kept, Service};

/// Keeps the entries at these positions, and has no other state.
#[derive(Clone)]
struct Keeper(Vec<u64>);

impl Application for Keeper {
    fn apply(&mut self, _: Applying) -> Bytes {
        Bytes::new()
    }

    fn snapshot(&self) -> Parts {
        let part = Bytes::from(self.0.iter().flat_map(|at| at.to_be_bytes()).collect::<Vec<u8>>());
        Box::new(std::iter::once((Locator { domain: 1, key: Vec::new() }, part)))
    }

    fn restore(&mut self, _: &Locator, part: Bytes) -> Result<(), NotRestored> {
        let number = |eight: &[u8]| eight.try_into().map_or(0, u64::from_be_bytes);
        self.0 = part.chunks(8).map(number).collect();
        Ok(())
    }

    fn digest(&self) -> u64 {
        0
    }
}

impl Service for Keeper {
    fn renewed(&self) -> Box<dyn Service> {
        Box::new(Keeper(Vec::new()))
    }

    fn whole(&mut self) -> Result<(), String> {
        Ok(())
    }

    fn enter(&mut self) {}

    fn kept(&self) -> Kept {
        let kept = self.0.clone();
        Box::new(move || kept)
    }

    fn keeps(&self, position: u64) -> bool {
        self.0.contains(&position)
    }

    fn is_payload(&self, _: u64, _: &Bytes) -> bool {
        true
    }
}

/// A store's thread, and what it says.
struct Store {
    disk: Disk,
    said: mpsc::UnboundedReceiver<(GroupName, Said)>,
}

fn number(position: u64) -> Number {
    Number { position, ..Number::default() }
}

/// The window of answers of a group that nobody has asked for anything.
fn window() -> Bytes {
    wire::codec::encode(&(0u64, Vec::<u64>::new()))
}

fn payload(position: u64) -> Bytes {
    format!("payload {position}").repeat(500).into()
}

impl Store {
    /// Makes one. It has promised a view: without a promise nobody opens what it holds again.
    async fn new(root: &std::path::Path) -> Store {
        let (mut store, mut machine, missing) = Store::start(root).await;
        assert!(missing.is_empty(), "{missing:?}");
        let id = ViewId { epoch: 1, ..ViewId::default() };
        let view = View { id, primary: true, sites: vec![SiteId(1)] };
        machine.handle_view(Time::ZERO, view);
        let Some(promise @ StoreOp::Meta { token, .. }) = machine.poll_store() else { panic!("no promise") };
        store.disk.ask(Job::Op(promise));
        store.until(|done| *done == Done::Stored(token)).await;
        store
    }

    /// Opens it again; gives what is missing of what it keeps.
    async fn open(root: &std::path::Path) -> (Store, Vec<u64>) {
        let (store, _, missing) = Store::start(root).await;
        (store, missing)
    }

    async fn start(root: &std::path::Path) -> (Store, Box<Durable>, Vec<u64>) {
        let (say, said) = mpsc::unbounded_channel();
        let life = Life { incarnation: Incarnation(1), nonce: 1 };
        let founders = Some(Configuration::majority([(StoreId(1), SiteId(1))]));
        let place = Place {
            group: GroupName::parse("kept").expect("a name"),
            root: root.to_owned(),
            settings: Settings::default(),
            who: Who { site: SiteId(1), store: StoreId(1), life, founders },
            empty: Served::Service(Kind::Mail, Box::new(Keeper(Vec::new()))),
        };
        let (disk, refused) = Disk::start(place, say);
        assert_eq!(refused, None);
        let mut store = Store { disk, said };
        match store.next().await {
            Said::Opened(machine, _, missing) => (store, machine, missing),
            Said::Refused(why) => panic!("it did not open: {why:?}"),
            _ => panic!("something else was said"),
        }
    }

    async fn next(&mut self) -> Said {
        let said = tokio::time::timeout(Duration::from_secs(60), self.said.recv()).await;
        said.expect("it says something").expect("it lives").1
    }

    /// Waits until something is done.
    async fn until(&mut self, wanted: impl Fn(&Done) -> bool) {
        loop {
            match self.next().await {
                Said::Done(done) if done.iter().any(&wanted) => return,
                Said::Done(_) => {}
                Said::Failed(why) => panic!("{why}"),
                _ => panic!("something else was said"),
            }
        }
    }

    async fn append(&mut self, first: u64, last: u64) {
        let record = |position| {
            let request = Request {
                client: ClientId([1; 16]),
                sequence: position,
                answered: 0,
                payload: payload(position),
            };
            let entry = Entry { number: number(position), time: 1, body: Body::Request(request) };
            Record { position, bytes: entry.to_record() }
        };
        let token = Token(last);
        self.disk.ask(Job::Op(StoreOp::Append { token, records: (first..=last).map(record).collect() }));
        self.until(|done| *done == Done::Stored(token)).await;
    }

    /// Takes a checkpoint behind a position, of a state that keeps these, and shortens the log.
    async fn checkpoint(&mut self, position: u64, kept: &[u64]) {
        let keeper = Keeper(kept.to_vec());
        let head = CheckpointHead { number: number(position), ..CheckpointHead::default() };
        let (state, kept) = (keeper.snapshot(), Some(keeper.kept()));
        self.disk.ask(Job::Take { head, window: window(), state, kept });
        self.until(|done| matches!(done, Done::Taken(..))).await;
        let token = Token(1_000 + position);
        self.disk.ask(Job::Op(StoreOp::Compact { token, before: position + 1 }));
        self.until(|done| *done == Done::Stored(token)).await;
    }

    async fn read(&mut self, position: u64) -> Option<Bytes> {
        let (told, answer) = oneshot::channel();
        self.disk.ask(Job::Payload { position, told });
        answer.await.expect("it answers")
    }
}

#[tokio::test]
async fn a_payload_stays_for_as_long_as_it_is_kept_wherever_the_log_is() {
    let root = tempfile::tempdir().expect("a folder");
    let mut store = Store::new(root.path()).await;
    store.append(1, 100).await;
    assert_eq!(store.read(50).await, Some(payload(50)), "from the log");
    let kept: Vec<u64> = (1..=100).filter(|at| at % 3 == 0).collect();
    store.checkpoint(100, &kept).await;
    store.append(101, 120).await;
    for position in [3, 99, 110] {
        assert_eq!(store.read(position).await, Some(payload(position)), "{position}");
    }
    // Some go; the log is shortened again, by a checkpoint that has none of them.
    store.checkpoint(120, &[6, 9, 110]).await;
    store.append(121, 121).await;
    for position in [6, 9, 110, 121] {
        assert_eq!(store.read(position).await, Some(payload(position)), "{position}");
    }
    assert_eq!(store.read(12).await, None, "nobody needs it any more");
    drop(store);
    let (mut store, missing) = Store::open(root.path()).await;
    assert!(missing.is_empty(), "{missing:?}");
    for position in [6, 9, 110, 121] {
        assert_eq!(store.read(position).await, Some(payload(position)), "{position}");
    }
}

#[tokio::test]
async fn what_a_received_checkpoint_keeps_is_missing_until_it_is_had_from_others() {
    let root = tempfile::tempdir().expect("a folder");
    let mut store = Store::new(root.path()).await;
    store.append(1, 20).await;
    store.checkpoint(20, &[4, 8]).await;
    let keeper = Keeper(vec![4, 30, 40]);
    let state = keeper.snapshot().next().expect("a part");
    for (token, (at, bytes)) in [(2_001, (Locator::default(), window())), (2_002, state)] {
        let token = Token(token);
        store.disk.ask(Job::Op(StoreOp::WriteCheckpoint { token, number: number(50), at, bytes }));
    }
    let head = CheckpointHead { number: number(50), ..CheckpointHead::default() };
    store.disk.ask(Job::Op(StoreOp::InstallCheckpoint { token: Token(2_003), head, keep: false }));
    store.until(|done| matches!(done, Done::Installed(..))).await;
    store.disk.ask(Job::Restore(Served::Service(Kind::Mail, Box::new(Keeper(Vec::new())))));
    match store.next().await {
        Said::Restored(_, missing) => assert_eq!(missing, [30, 40]),
        _ => panic!("something else was said"),
    }
    store.disk.ask(Job::Keep { position: 40, payload: payload(40) });
    assert_eq!(store.read(40).await, Some(payload(40)));
    assert_eq!(store.read(4).await, Some(payload(4)), "it was here");
    drop(store);
    let (mut store, missing) = Store::open(root.path()).await;
    assert_eq!(missing, [30], "the other was made durable");
    assert_eq!(store.read(40).await, Some(payload(40)));
}
