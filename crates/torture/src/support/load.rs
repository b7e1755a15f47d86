//! Clients that write and read a durable map while something is done to its sites, and what must be true of it in the end:
//! every acknowledged key is at every site, none of those that were refused is, all sites have one state, and what clients
//! were told has an order (linearizability).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use sim::property::linearizable::{self, Operation, Test, What};
use unanimous::Bytes;
use unanimous::session::protocol::{Condition, ErrorCode, Failure};
use unanimous::session::{Address, Error, Session, WriteOptions, connect};

use super::cluster::Cluster;
use super::run::Run;
use super::verdict::{Verdict, ensure, eventually, failed};

/// Writes of which a run has more, in the end.
const WRITES_MIN: u64 = 200;
/// The map's name.
pub const MAP: &str = "ledger";
const CLIENTS: u64 = 6;
/// Keys that all clients fight for.
const SHARED: u64 = 12;
/// A request without an answer by then has none: it may have been done or not, then or later.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// So that few requests are concurrent on a key, and the search for an order stays small.
const PAUSE_MS: u64 = 8;

type History = Vec<Operation<String, String>>;

/// Clients at work.
pub struct Load {
    world: Arc<World>,
    clients: Vec<tokio::task::JoinHandle<Client>>,
}

impl Load {
    /// Makes the map and sets the clients to work, at whichever of the cluster's sites answers.
    pub async fn start(run: &Run, cluster: &Cluster) -> Verdict<Load> {
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

    /// Waits until so many more writes are acknowledged, whoever asked for them.
    pub async fn goes_on(&self, writes: u64) -> Verdict {
        let enough = self.world.answers().acknowledged + writes;
        eventually(&format!("{writes} more writes are acknowledged"), async || {
            (self.world.answers().acknowledged >= enough).then_some(())
        })
        .await
    }

    /// Ends it, when there is enough to judge by: every acknowledged key at every site, no refused one, one digest, one order.
    pub async fn judge(self, run: &Run, cluster: &Cluster, after: &str) -> Verdict {
        // On a busy machine there may have been hardly any between two faults.
        let so_far = self.world.answers().acknowledged;
        self.goes_on(WRITES_MIN.saturating_sub(so_far)).await?;
        let Load { world, clients } = self;
        world.over.store(true, Ordering::Relaxed);
        let (mut history, mut told) = (History::new(), Keys::default());
        for client in clients {
            let mut client = client.await?;
            history.append(&mut client.history);
            told.kept.append(&mut client.keys.kept);
            told.refused.append(&mut client.keys.refused);
        }
        let digest = one_digest(cluster, MAP).await?;
        for site in &cluster.sites {
            finally(&site.address(), &world, &told, &mut history).await?;
        }
        let answered = history.iter().filter(|operation| operation.answered.is_some()).count();
        ensure(answered > 100 && told.kept.len() > 20, || {
            format!("only {answered} answers and {} keys", told.kept.len())
        })?;
        match linearizable::check(&history) {
            Ok(()) => {}
            Err(linearizable::Failure::Broken(why)) => return failed(format!("not linearizable:\n{why}")),
            Err(linearizable::Failure::Undecided(key)) => {
                return failed(format!("{key}: too much at once to judge"));
            }
        }
        run.say(format!("{after}; {}", counted(&history)));
        run.say(format!(
            "{} acknowledged keys at every site, none of {} refused ones, one order, digest {digest}; nobody's write was \
             acknowledged for {} ms at most",
            told.kept.len(),
            told.refused.len(),
            world.answers().longest.as_millis()
        ));
        Ok(())
    }
}

/// How many requests there were of each kind.
fn counted(history: &History) -> String {
    let (mut kinds, mut open) = (BTreeMap::new(), 0);
    for operation in history {
        let kind = match &operation.what {
            What::Get(_) => "gets",
            What::Put(_) => "puts",
            What::Delete | What::If { then: None, .. } => "deletes",
            What::If { test: Test::Is(_), .. } => "compare-and-sets",
            What::If { .. } => "puts of absent keys",
        };
        *kinds.entry(kind).or_insert(0u64) += 1;
        open += u64::from(operation.answered.is_none());
    }
    let kinds: Vec<String> = kinds.into_iter().map(|(kind, times)| format!("{times} {kind}")).collect();
    format!("on {SHARED} keys {}, {open} of them never answered", kinds.join(", "))
}

/// Keys that one client alone puts, once each.
#[derive(Default)]
struct Keys {
    /// The put was acknowledged.
    kept: BTreeSet<String>,
    /// It was refused, and nothing has changed by it.
    refused: BTreeSet<String>,
}

/// When a write was acknowledged last, to anybody, the longest time between two, and how many were.
#[derive(Default)]
struct Answers {
    last: Option<Instant>,
    longest: Duration,
    acknowledged: u64,
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
        answers.acknowledged += 1;
        if let Some(last) = answers.last.replace(now) {
            answers.longest = answers.longest.max(now.duration_since(last));
        }
    }

    fn now(&self) -> u64 {
        self.begin.elapsed().as_nanos() as u64
    }
}

/// What came of a request.
enum Came<T> {
    Answer(T),
    /// It was refused, and has changed nothing.
    Refused,
    /// It may have been done or not, then or later.
    Nothing,
}

/// A client that speaks to one site until that does not answer or refuses, and then to another.
struct Client {
    number: u64,
    random: u64,
    world: Arc<World>,
    session: Option<Session>,
    serial: u64,
    history: History,
    keys: Keys,
    /// What it has read last of each shared key: the value and its revision.
    read: BTreeMap<String, (String, u64)>,
}

impl Client {
    fn new(number: u64, random: u64, world: Arc<World>) -> Client {
        Client {
            number,
            random,
            world,
            session: None,
            serial: 0,
            history: Vec::new(),
            keys: Keys::default(),
            read: BTreeMap::new(),
        }
    }

    async fn run(mut self) -> Client {
        while !self.world.over.load(Ordering::Relaxed) {
            if self.session.is_none() {
                let site = self.below(self.world.addresses.len() as u64) as usize;
                let opened =
                    tokio::time::timeout(ANSWER_WITHIN, connect(&self.world.addresses[site], "torture"));
                self.session =
                    opened.await.ok().and_then(|opened| opened.ok()).map(|(session, _events)| session);
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
        let read = self.read.get(&shared).cloned();
        match (self.below(6), read) {
            (0, _) => self.put_own(session, value).await,
            (1 | 2, _) => self.get(session, shared).await,
            (3, _) => self.delete(session, shared).await,
            // Each value is put once: a key that has the revision has the value.
            (4, Some((was, revision))) => {
                self.put_if(session, shared, value, Condition::Revision(revision), Test::Is(was)).await;
            }
            (4, None) => self.put_if(session, shared, value, Condition::Absent, Test::Absent).await,
            _ => self.put(session, shared, value).await,
        }
    }

    async fn put_own(&mut self, session: &Session, value: String) {
        let key = format!("own-{value}");
        let put = session.put(MAP, &key, Bytes::from(value), WriteOptions::default());
        match self.told(put).await {
            Came::Answer(_) => {
                self.world.acknowledged();
                self.keys.kept.insert(key);
            }
            Came::Refused => drop(self.keys.refused.insert(key)),
            Came::Nothing => {}
        }
    }

    async fn get(&mut self, session: &Session, key: String) {
        let asked = self.world.now();
        // What was not answered has changed nothing.
        let Came::Answer(pair) = self.told(session.get(MAP, &key, false)).await else { return };
        let found =
            pair.map(|pair| (String::from_utf8_lossy(&pair.value).into_owned(), pair.header.revision));
        self.note(key.clone(), What::Get(found.clone().map(|(value, _)| value)), asked, true);
        match found {
            Some(found) => drop(self.read.insert(key, found)),
            None => drop(self.read.remove(&key)),
        }
    }

    async fn put(&mut self, session: &Session, key: String, value: String) {
        let asked = self.world.now();
        let put = session.put(MAP, &key, Bytes::from(value.clone()), WriteOptions::default());
        match self.told(put).await {
            Came::Answer(_) => {
                self.world.acknowledged();
                self.note(key, What::Put(value), asked, true);
            }
            Came::Refused => {}
            Came::Nothing => self.note(key, What::Put(value), asked, false),
        }
    }

    async fn delete(&mut self, session: &Session, key: String) {
        let asked = self.world.now();
        let what = |held| What::If { test: Test::Present, then: None, held };
        match self.told(session.delete(MAP, &key, WriteOptions::default())).await {
            Came::Answer((_, was_there)) => self.note(key, what(was_there), asked, true),
            Came::Refused => {}
            Came::Nothing => self.note(key, what(true), asked, false),
        }
    }

    async fn put_if(
        &mut self,
        session: &Session,
        key: String,
        value: String,
        only_if: Condition,
        test: Test<String>,
    ) {
        let asked = self.world.now();
        let options = WriteOptions { only_if: Some(only_if), ..WriteOptions::default() };
        let put = async {
            match session.put(MAP, &key, Bytes::from(value.clone()), options).await {
                Ok(_) => Ok(true),
                Err(Error::Refused(Failure { error: ErrorCode::Unmet, .. })) => Ok(false),
                Err(error) => Err(error),
            }
        };
        let came = self.told(put).await;
        let (held, answered) = match came {
            Came::Answer(held) => (held, true),
            Came::Refused => return,
            Came::Nothing => (true, false),
        };
        self.note(key, What::If { test, then: Some(value), held }, asked, answered);
    }

    /// The answer, if one came. Some refusals leave open what was done.
    async fn told<T>(&mut self, asking: impl Future<Output = Result<T, Error>>) -> Came<T> {
        let came = match tokio::time::timeout(ANSWER_WITHIN, asking).await {
            Ok(Ok(answer)) => return Came::Answer(answer),
            Ok(Err(Error::Refused(failure))) if nothing_has_changed(failure.error) => Came::Refused,
            Ok(Err(_)) | Err(_) => Came::Nothing,
        };
        self.session = None;
        came
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

/// Whether a request that was refused so was not done, and never will be.
fn nothing_has_changed(error: ErrorCode) -> bool {
    match error {
        ErrorCode::BadRequest
        | ErrorCode::NotAllowed
        | ErrorCode::NoSuchGroup
        | ErrorCode::NotPrimary
        | ErrorCode::NotAdmitted
        | ErrorCode::Busy
        | ErrorCode::TooLarge => true,
        ErrorCode::Exists
        | ErrorCode::NotMember
        | ErrorCode::Interrupted
        | ErrorCode::Unmet
        | ErrorCode::Compacted
        | ErrorCode::Stopping
        | ErrorCode::Revoked
        | ErrorCode::Unknown => false,
    }
}

/// How the map is at a site; nothing if the site does not answer, or has no such map yet.
pub async fn map_status(site: &super::site::Site) -> Option<Value> {
    group_status(site, MAP).await
}

/// The same of any durable group.
pub async fn group_status(site: &super::site::Site, name: &str) -> Option<Value> {
    let status = site.status().await?;
    let groups = status.get("durable")?.as_array()?;
    groups.iter().find(|group| group.get("group").and_then(Value::as_str) == Some(name)).cloned()
}

/// Waits until all sites have applied the same in a durable group, and gives its digest.
pub async fn one_digest(cluster: &Cluster, name: &str) -> Verdict<String> {
    eventually(&format!("every site has the same {name}"), async || {
        let mut seen = BTreeSet::new();
        for site in &cluster.sites {
            let map = group_status(site, name).await?;
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
async fn finally(address: &Address, world: &World, told: &Keys, history: &mut History) -> Verdict {
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
    let lost: Vec<&String> = told.kept.difference(&there).take(5).collect();
    ensure(lost.is_empty(), || format!("acknowledged and not there: {lost:?}"))?;
    let done: Vec<&String> = told.refused.intersection(&there).take(5).collect();
    ensure(done.is_empty(), || format!("refused and there: {done:?}"))?;
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
