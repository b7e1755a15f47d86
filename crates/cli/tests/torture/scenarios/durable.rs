//! A durable map under load while all its sites are killed at random points, again and again, and single ones in between.
//! Clients know what was acknowledged: all of it must be there at the end, at every site, and what they were told must
//! have an order (linearizability).

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use sim::property::linearizable::{self, Operation, Test, What};
use unanimous::Bytes;
use unanimous::session::protocol::{Condition, ErrorCode, Failure};
use unanimous::session::{Address, Error, Session, WriteOptions, connect};

use crate::support::cluster::Cluster;
use crate::support::run::Run;
use crate::support::verdict::{Verdict, ensure, eventually, failed};

const MAP: &str = "ledger";
const CLIENTS: u64 = 6;
/// Keys that all clients fight for.
const SHARED: u64 = 12;
/// Between two deaths, at most.
const CALM_MS: u64 = 1_500;
/// A request without an answer by then has none: it may have been done or not, then or later.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// So that few requests are concurrent on a key, and the search for an order stays small.
const PAUSE_MS: u64 = 8;

pub async fn run(run: &Run) -> Verdict {
    let times = run.times(3, 300);
    let mut cluster = Cluster::on_loopback(run, 3, |_| {}).await?;
    cluster.start().await?;
    let load = Load::start(run, &cluster).await?;
    for round in 1..=times {
        wait(run, CALM_MS).await;
        let all = round % 2 == 1 || run.below(2) == 0;
        let victims: Vec<usize> = match all {
            true => (0..cluster.sites.len()).collect(),
            false => vec![usize::try_from(run.below(3)).unwrap_or(0)],
        };
        for &victim in &victims {
            cluster.sites[victim].strike()?;
            wait(run, 10).await;
        }
        for &victim in &victims {
            cluster.sites[victim].kill().await?;
        }
        for &victim in &victims {
            cluster.sites[victim].start()?;
            wait(run, 100).await;
        }
        cluster.whole().await?;
        if round % 50 == 0 {
            run.say(format!("{round} rounds"));
        }
    }
    wait(run, CALM_MS).await;
    cluster.check_alive()?;
    load.judge(run, &cluster, &format!("{times} times killed")).await
}

/// Clients that write and read a durable map, until they are judged.
pub(super) struct Load {
    world: Arc<World>,
    clients: Vec<tokio::task::JoinHandle<Client>>,
}

impl Load {
    /// Makes the map and sets the clients to work, at whichever of the cluster's sites answers.
    pub(super) async fn start(run: &Run, cluster: &Cluster) -> Verdict<Load> {
        let addresses: Vec<Address> = cluster.sites.iter().map(|site| site.address()).collect();
        eventually("the map is made", async || {
            let (session, _events) = connect(&addresses[0], "torture").await.ok()?;
            match session.create_map(MAP).await {
                Ok(()) => Some(()),
                Err(Error::Refused(failure)) if failure.error == ErrorCode::Exists => Some(()),
                Err(_) => None,
            }
        })
        .await?;
        let begin = Instant::now();
        let world = World { addresses, begin, over: AtomicBool::new(false), answers: Mutex::default() };
        let world = Arc::new(world);
        let client = |number| Client::new(number, run.below(u64::MAX), Arc::clone(&world));
        let clients = (0..CLIENTS).map(|number| tokio::spawn(client(number).run())).collect();
        Ok(Load { world, clients })
    }

    /// Ends it: every acknowledged key at every site, one digest, one order.
    pub(super) async fn judge(self, run: &Run, cluster: &Cluster, after: &str) -> Verdict {
        let Load { world, clients } = self;
        world.over.store(true, Ordering::Relaxed);
        let (mut history, mut kept) = (Vec::new(), BTreeSet::new());
        for client in clients {
            let client = client.await?;
            history.extend(client.history);
            kept.extend(client.kept);
        }
        let digest = one_digest(cluster).await?;
        for site in &cluster.sites {
            finally(&site.address(), &world, &kept, &mut history).await?;
        }
        let answered = history.iter().filter(|operation| operation.answered.is_some()).count();
        ensure(answered > 100 && kept.len() > 20, || {
            format!("only {answered} answers and {} keys", kept.len())
        })?;
        match linearizable::check(&history) {
            Ok(()) => {}
            Err(linearizable::Failure::Broken(why)) => return failed(format!("not linearizable:\n{why}")),
            Err(linearizable::Failure::Undecided(key)) => {
                return failed(format!("{key}: too much at once to judge"));
            }
        }
        let stall = world.answers().longest;
        run.say(format!(
            "{after}; {} requests, {answered} answered, {} acknowledged keys at every site, one order, digest {digest}; \
             nobody's write was acknowledged for {} ms at most",
            history.len(),
            kept.len(),
            stall.as_millis()
        ));
        Ok(())
    }
}

/// When a write was acknowledged last, to anybody, and the longest time between two.
#[derive(Default)]
struct Answers {
    last: Option<Instant>,
    longest: Duration,
}

struct World {
    addresses: Vec<Address>,
    begin: Instant,
    over: AtomicBool,
    answers: Mutex<Answers>,
}

impl World {
    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn acknowledged(&self) {
        let (now, mut answers) = (Instant::now(), self.answers());
        if let Some(last) = answers.last.replace(now) {
            answers.longest = answers.longest.max(now.duration_since(last));
        }
    }

    fn now(&self) -> u64 {
        self.begin.elapsed().as_nanos() as u64
    }
}

/// A client that speaks to one site until that does not answer, and then to another.
struct Client {
    number: u64,
    random: u64,
    world: Arc<World>,
    session: Option<Session>,
    serial: u64,
    history: Vec<Operation<String, String>>,
    /// Keys of its own whose put was acknowledged.
    kept: BTreeSet<String>,
}

impl Client {
    fn new(number: u64, random: u64, world: Arc<World>) -> Client {
        Client { number, random, world, session: None, serial: 0, history: Vec::new(), kept: BTreeSet::new() }
    }

    async fn run(mut self) -> Client {
        while !self.world.over.load(Ordering::Relaxed) {
            if self.session.is_none() {
                let site = self.below(self.world.addresses.len() as u64) as usize;
                let opened = connect(&self.world.addresses[site], "torture").await;
                self.session = opened.ok().map(|(session, _events)| session);
            }
            if let Some(session) = self.session.clone() {
                self.act(&session).await;
            }
            let pause = self.below(PAUSE_MS);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        self
    }

    async fn act(&mut self, session: &Session) {
        self.serial += 1;
        let value = format!("{}-{}", self.number, self.serial);
        let shared = format!("shared-{}", self.below(SHARED));
        match self.below(5) {
            0 => {
                let key = format!("own-{value}");
                let put = session.put(MAP, &key, Bytes::from(value), WriteOptions::default());
                if self.told(put).await.is_some() {
                    self.world.acknowledged();
                    self.kept.insert(key);
                }
            }
            1 => {
                let asked = self.world.now();
                let got = self.told(session.get(MAP, &shared, false)).await;
                let text = |value: Bytes| String::from_utf8_lossy(&value).into_owned();
                let found = got.clone().flatten().map(|pair| text(pair.value));
                self.note(shared, What::Get(found), asked, got.is_some());
            }
            2 => {
                let asked = self.world.now();
                let done = self.told(session.delete(MAP, &shared, WriteOptions::default())).await;
                self.note(shared, What::Delete, asked, done.is_some());
            }
            3 => {
                let asked = self.world.now();
                let only_if = Some(Condition::Absent);
                let put = session.put(
                    MAP,
                    &shared,
                    Bytes::from(value.clone()),
                    WriteOptions { only_if, ..WriteOptions::default() },
                );
                let held = match tokio::time::timeout(ANSWER_WITHIN, put).await {
                    Ok(Ok(_)) => Some(true),
                    Ok(Err(Error::Refused(Failure { error: ErrorCode::Unmet, .. }))) => Some(false),
                    Ok(Err(error)) => {
                        self.failed(&error);
                        None
                    }
                    Err(_) => None,
                };
                let (test, then) = (Test::Absent, Some(value));
                self.note(shared, What::If { test, then, held: held.unwrap_or(true) }, asked, held.is_some());
            }
            _ => {
                let asked = self.world.now();
                let put = session.put(MAP, &shared, Bytes::from(value.clone()), WriteOptions::default());
                let done = self.told(put).await;
                done.inspect(|_| self.world.acknowledged());
                self.note(shared, What::Put(value), asked, done.is_some());
            }
        }
    }

    /// The answer, if one came. A refusal is none: some leave open what was done.
    async fn told<T>(&mut self, asking: impl Future<Output = Result<T, Error>>) -> Option<T> {
        match tokio::time::timeout(ANSWER_WITHIN, asking).await {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(error)) => {
                self.failed(&error);
                None
            }
            Err(_) => {
                self.session = None;
                None
            }
        }
    }

    /// A site that refuses is asked again; one that has gone is left.
    fn failed(&mut self, error: &Error) {
        if !matches!(error, Error::Refused(_)) {
            self.session = None;
        }
    }

    fn note(&mut self, key: String, what: What<String>, asked: u64, answered: bool) {
        let answered = answered.then(|| self.world.now());
        self.history.push(Operation { client: self.number, key, what, asked, answered });
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % bound.max(1)
    }
}

/// Waits until all sites have applied the same, and gives its digest.
async fn one_digest(cluster: &Cluster) -> Verdict<String> {
    eventually("every site has the same map", async || {
        let mut seen = BTreeSet::new();
        for site in &cluster.sites {
            let status = site.status().await?;
            let groups = status.get("durable")?.as_array()?;
            let map = groups.iter().find(|group| group.get("group").and_then(Value::as_str) == Some(MAP))?;
            let text = |key: &str| map.get(key).map(ToString::to_string);
            if map.get("state")?.as_str() != Some("active") {
                return None;
            }
            seen.insert((text("applied")?, text("digest")?));
        }
        (seen.len() == 1).then(|| seen.pop_first().map(|(_, digest)| digest)).flatten()
    })
    .await
}

/// What a site has in the end.
async fn finally(
    address: &Address,
    world: &World,
    kept: &BTreeSet<String>,
    history: &mut Vec<Operation<String, String>>,
) -> Verdict {
    let (session, _events) = connect(address, "torture").await?;
    let (mut there, mut after) = (BTreeSet::new(), None);
    loop {
        let page = session.list(MAP, "own-", after, None, true).await?;
        there.extend(page.pairs.into_iter().map(|pair| pair.header.key));
        after = page.after;
        if after.is_none() {
            break;
        }
    }
    let lost: Vec<&String> = kept.difference(&there).take(5).collect();
    ensure(lost.is_empty(), || format!("acknowledged and not there: {lost:?}"))?;
    for n in 0..SHARED {
        let key = format!("shared-{n}");
        let asked = world.now();
        let found = session.get(MAP, &key, false).await?;
        let value = found.map(|pair| String::from_utf8_lossy(&pair.value).into_owned());
        let answered = Some(world.now());
        history.push(Operation { client: CLIENTS, key, what: What::Get(value), asked, answered });
    }
    Ok(())
}

/// Not a wait for an event: the point at which something is done to the sites is what is random.
async fn wait(run: &Run, below_ms: u64) {
    tokio::time::sleep(Duration::from_millis(run.below(below_ms))).await;
}
