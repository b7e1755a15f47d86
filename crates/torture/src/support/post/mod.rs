//! Mail under load: senders by SMTP, owners of mailboxes by IMAP, and readers, at all sites; and the judgement of what the
//! mailboxes have in the end.

mod imap;
mod judge;
mod letter;
mod owner;
mod smtp;
mod told;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use unanimous::config::MailConfig;
use unanimous::session::protocol::{ErrorCode, MailOp};
use unanimous::session::{Error, connect};
use unanimous::{Bytes, Running, SiteConfig};

use super::cluster::Cluster;
use super::hosts::Loopback;
use super::run::Run;
use super::verdict::{Verdict, eventually};
use imap::{Fetched, Imap};
use owner::Owner;
use smtp::{Sent, Smtp};
use told::{At, INBOX, Told};

const USERS: usize = 3;
const SENDERS: usize = 4;
const READERS: usize = 2;
const PASSWORD: &str = "correct-horse-battery";
/// What has no answer by then has none.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// Letters of a sender over one connection: then it looks for another site.
const LETTERS_AT_ONE: u64 = 12;
const SENDER_PAUSE_MS: u64 = 40;
const READER_PAUSE_MS: u64 = 400;

/// Mail on a site: in clear, at ports that the system chooses. The log is short, so that letters leave it.
pub fn serve(config: &mut SiteConfig) {
    let at = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    config.limits.checkpoint_bytes = 128 << 10;
    config.limits.retain_entries = 16;
    config.mail = Some(MailConfig {
        imap: at,
        smtp: at,
        trial: true,
        connections: 64,
        connections_of_one: 64,
        ..MailConfig::of(letter::DOMAIN)
    });
}

/// Clients at work.
pub struct Post {
    world: Arc<World>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

struct World {
    /// The sites' data folders, where their ports are written, and how they are reached.
    sites: Vec<(PathBuf, Loopback)>,
    over: AtomicBool,
    told: Mutex<Told>,
    random: Mutex<u64>,
}

impl Post {
    /// Adds the users and sets the clients to work.
    pub async fn start(run: &Run, cluster: &Cluster) -> Verdict<Post> {
        for user in 0..USERS {
            add_user(cluster, user).await?;
        }
        let world = Arc::new(World {
            sites: cluster
                .sites
                .iter()
                .map(|site| (site.config.site.data.clone(), site.loopback()))
                .collect(),
            over: AtomicBool::new(false),
            told: Mutex::default(),
            random: Mutex::new(run.below(u64::MAX)),
        });
        let mut clients = Vec::new();
        for number in 0..SENDERS {
            clients.push(tokio::spawn(send(Arc::clone(&world), number)));
        }
        for user in 0..USERS {
            clients.push(tokio::spawn(Owner::new(Arc::clone(&world), user).run()));
        }
        for _ in 0..READERS {
            clients.push(tokio::spawn(read(Arc::clone(&world))));
        }
        Ok(Post { world, clients })
    }
}

impl World {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn below(&self, bound: u64) -> u64 {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*random >> 33) % bound.max(1)
    }

    /// A port of some site, if it says one. It may be of an earlier life, where nobody listens any more.
    fn port(&self, what: &str) -> Option<(&Loopback, u16)> {
        let (data, loopback) = &self.sites[self.below(self.sites.len() as u64) as usize];
        Some((loopback, Running::read(data)?.ports.get(what).copied()?))
    }

    async fn pause(&self, below_ms: u64) {
        tokio::time::sleep(Duration::from_millis(self.below(below_ms))).await;
    }

    /// Some site, by IMAP, as a user.
    async fn log_in(&self, user: usize) -> Option<Imap> {
        let (at, port) = self.port("imap")?;
        let name = name(user);
        answered(Imap::open(at, port, &name, PASSWORD)).await?.ok()
    }
}

/// The answer, if one comes in time.
async fn answered<T>(asking: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(ANSWER_WITHIN, asking).await.ok()
}

fn name(user: usize) -> String {
    format!("user{user}")
}

async fn add_user(cluster: &Cluster, user: usize) -> Verdict {
    eventually("a user of mail is added", async || {
        let (session, _events) = connect(&cluster.sites[0].address(), "torture").await.ok()?;
        let (user, password) = (name(user), Some(PASSWORD.to_owned()));
        let add = MailOp::AddUser { user, password, privileged: false };
        match session.mail(add, Bytes::new()).await {
            Ok(_) => Some(()),
            Err(Error::Refused(failure)) if failure.error == ErrorCode::Exists => Some(()),
            Err(_) => None,
        }
    })
    .await
}

/// Sends letters to one user or all, one after another. One with a Message-ID is sent until somebody says 250, as mail servers
/// do; one without is sent once.
async fn send(world: Arc<World>, sender: usize) {
    let (mut smtp, mut letters) = (None, 0_u64);
    while !world.is_over() {
        letters += 1;
        let id = format!("sent-{sender}-{letters:05}");
        let named = world.below(4) > 0;
        let users: Vec<usize> = match world.below(4) {
            0 => (0..USERS).collect(),
            _ => vec![world.below(USERS as u64) as usize],
        };
        let copies: Vec<told::Copy> = users.iter().map(|user| (*user, id.clone())).collect();
        let to: Vec<String> =
            users.iter().map(|user| format!("{}@{}", name(*user), letter::DOMAIN)).collect();
        copies.iter().for_each(|copy| world.told().begins(copy, Some(At::new(None))));
        let text = letter::text(&id, named);
        loop {
            let sent = deliver(&world, &mut smtp, &to, &text).await;
            if sent == Sent::Taken {
                copies.iter().for_each(|copy| world.told().done(copy, Some(At::new(None))));
            } else {
                smtp = None;
            }
            let again = sent == Sent::Not || (sent == Sent::Unknown && named);
            if !again || world.is_over() {
                break;
            }
            world.told().repeated += u64::from(sent == Sent::Unknown);
        }
        if letters % LETTERS_AT_ONE == 0 {
            smtp = None;
        }
        world.pause(SENDER_PAUSE_MS).await;
    }
}

async fn deliver(world: &World, smtp: &mut Option<Smtp>, to: &[String], text: &str) -> Sent {
    if smtp.is_none() {
        *smtp = match world.port("smtp") {
            Some((at, port)) => answered(Smtp::open(at, port)).await.and_then(Result::ok),
            None => None,
        };
    }
    match smtp {
        Some(smtp) => answered(smtp.send(to, text)).await.unwrap_or(Sent::Unknown),
        None => {
            world.pause(SENDER_PAUSE_MS).await;
            Sent::Not
        }
    }
}

/// Looks at mailboxes, at any site: what was acknowledged before it asked is there, once, what was removed before is not, and
/// UIDs name what they named.
async fn read(world: Arc<World>) {
    while !world.is_over() {
        world.pause(READER_PAUSE_MS).await;
        let user = world.below(USERS as u64) as usize;
        let Some(Some(look)) = answered(look(&world, user)).await else { continue };
        look.judge(&mut world.told(), user);
    }
}

/// What a reader knew before it asked, and what it saw then.
struct Look {
    sure: BTreeSet<String>,
    away: BTreeSet<String>,
    validity: u32,
    letters: Vec<Fetched>,
    /// A letter that was looked for, and whether it was found.
    sought: Option<(String, bool)>,
}

/// Reads INBOX at some site, opened to change it or only to read it.
async fn look(world: &World, user: usize) -> Option<Look> {
    let mut imap = world.log_in(user).await?;
    let owned = |ids: BTreeSet<&str>| ids.into_iter().map(str::to_owned).collect::<BTreeSet<String>>();
    let (sure, away) = {
        let told = world.told();
        (owned(told.sure(user, INBOX)), owned(told.away(user, INBOX)))
    };
    let validity = match world.below(2) {
        0 => imap.select("INBOX").await.ok()?,
        _ => imap.examine("INBOX").await.ok()?,
    };
    let sought = match sure.iter().nth(world.below(sure.len() as u64) as usize) {
        Some(id) => Some((id.clone(), imap.has(id).await.ok()?)),
        None => None,
    };
    let letters = imap.letters(letter::HEADER).await.ok()?;
    Some(Look { sure, away, validity, letters, sought })
}

impl Look {
    fn judge(&self, told: &mut Told, user: usize) {
        let mut there = BTreeSet::new();
        for fetched in &self.letters {
            let Some(id) = letter::id(&fetched.text) else { continue };
            told.seen((user, INBOX), self.validity, fetched.uid, &id);
            if self.away.contains(&id) {
                told.broken.push(format!("{id} of {user} was taken out of INBOX before, and was seen"));
            }
            if !there.insert(id.clone()) {
                told.broken.push(format!("{id} is twice in INBOX of {user}"));
            }
        }
        // What an owner moves away meanwhile is not missed.
        let now = told.sure(user, INBOX);
        let missed = self.sure.iter().find(|id| now.contains(id.as_str()) && !there.contains(*id));
        let not_found = self.sought.iter().find(|(id, found)| !found && now.contains(id.as_str()));
        let missed = missed.or(not_found.map(|(id, _)| id));
        let missed = missed.map(|id| format!("{id} of {user} was acknowledged before, and was not seen"));
        told.broken.extend(missed);
    }
}
