//! A process over sessions: one session at a time, and another with the next site when its site is gone.
//!
//! A pump takes the session's events to the streams of the groups. When the session ends, it tells every stream,
//! looks for another site, and joins and watches there what the process was in; the new membership is recognised
//! by its first view.

mod requests;

use std::sync::Arc;
use std::time::Duration;

use client::{Address, Session};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinHandle;
use wire::MemberId;
use wire::session::{Op, View as ViewLine};

use crate::cast::Order;
use crate::error::Error;
use crate::event::{AnswerTo, Delivery, Event};
use crate::ids::{self, IdError};
use crate::queue::{Budget, Pong};
use crate::routes::{Moved, Routes};
use crate::view::View;

/// A site that takes longer to say hello is passed over.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// For so long another site is looked for, and asked to take a process's memberships over.
const RECONNECT_FOR: Duration = Duration::from_secs(300);
/// Between two rounds through the sites: doubled from the first to the last.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// A site is given so long to part in order.
const BYE_WITHIN: Duration = Duration::from_secs(2);

/// A process over sessions.
#[derive(Debug)]
pub(crate) struct Remote {
    shared: Arc<Shared>,
    pump: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    program: String,
    addresses: Vec<Address>,
    line: watch::Sender<Line>,
    routes: Routes,
    moved: Mutex<mpsc::UnboundedReceiver<Moved>>,
    budget: Arc<Budget>,
}

/// The line to the site.
#[derive(Clone, Debug)]
enum Line {
    /// There is a session: the first is number 1.
    Up { number: u64, session: Session },
    /// The session is gone and another site is looked for. The last session tells who the process was.
    Down { last: Session },
    /// The process is over.
    Over(String),
}

impl Remote {
    pub(crate) async fn connect(addresses: Vec<Address>, program: &str) -> Result<Remote, Error> {
        let (at, session, events) = first_answer(&addresses, 0, program).await.map_err(Error::Unreachable)?;
        let (routes, moved) = Routes::new();
        let (line, _) = watch::channel(Line::Up { number: 1, session });
        let shared = Arc::new(Shared {
            program: program.to_owned(),
            addresses,
            line,
            routes,
            moved: Mutex::new(moved),
            budget: Arc::default(),
        });
        let pump = tokio::spawn(pump(Arc::clone(&shared), at, events));
        Ok(Remote { shared, pump })
    }

    pub(crate) fn budget(&self) -> &Arc<Budget> {
        &self.shared.budget
    }

    pub(crate) fn process(&self) -> String {
        self.shared.last_session().map_or_else(String::new, |session| session.process().to_owned())
    }

    pub(crate) fn site(&self) -> String {
        self.shared.last_session().map_or_else(String::new, |session| session.site().to_owned())
    }

    pub(crate) async fn close(&self) {
        self.pump.abort();
        if let Some(session) = self.shared.end("closed") {
            // A site that does not answer sees the session end all the same.
            let _ = tokio::time::timeout(BYE_WITHIN, session.bye()).await;
        }
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.pump.abort();
        if let Some(session) = self.shared.end("closed")
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move { tokio::time::timeout(BYE_WITHIN, session.bye()).await });
        }
    }
}

impl Shared {
    fn last_session(&self) -> Option<Session> {
        match &*self.line.borrow() {
            Line::Up { number: _, session } | Line::Down { last: session } => Some(session.clone()),
            Line::Over(_) => None,
        }
    }

    /// The session is gone: its number, unless the process is over.
    fn down(&self) -> Option<u64> {
        let mut gone = None;
        self.line.send_if_modified(|line| match line {
            Line::Up { number, session } => {
                gone = Some(*number);
                *line = Line::Down { last: session.clone() };
                true
            }
            Line::Down { .. } | Line::Over(_) => false,
        });
        gone
    }

    /// There is a new session, unless the process was closed meanwhile.
    fn up(&self, number: u64, session: &Session) -> bool {
        self.line.send_if_modified(|line| match line {
            Line::Up { .. } | Line::Down { .. } => {
                *line = Line::Up { number, session: session.clone() };
                true
            }
            Line::Over(_) => false,
        })
    }

    /// Ends every stream; hands out the session, if there is one.
    fn end(&self, why: &str) -> Option<Session> {
        let before = self.line.send_replace(Line::Over(why.to_owned()));
        self.routes.over(why);
        match before {
            Line::Up { number: _, session } => Some(session),
            Line::Down { .. } | Line::Over(_) => None,
        }
    }
}

/// Tries the addresses in turn, beginning with number `from`.
async fn first_answer(
    addresses: &[Address],
    from: usize,
    program: &str,
) -> Result<(usize, Session, client::Events), client::Error> {
    let mut last = client::Error::Ended("there is no site to connect to".to_owned());
    for step in 0..addresses.len() {
        let at = (from + step) % addresses.len();
        let address = &addresses[at];
        match tokio::time::timeout(CONNECT_WITHIN, client::connect(address, program)).await {
            Ok(Ok((session, events))) => return Ok((at, session, events)),
            Ok(Err(error)) => last = error,
            Err(_) => {
                let cause = std::io::Error::from(std::io::ErrorKind::TimedOut);
                last = client::Error::Unreachable { address: address.to_string(), cause };
            }
        }
    }
    Err(last)
}

/// Takes events to their streams, session after session.
async fn pump(shared: Arc<Shared>, mut at: usize, mut events: client::Events) {
    loop {
        let why = match pump_session(&shared, &mut events).await {
            SessionOver::Lost(why) => why,
            SessionOver::Expelled(why) => return drop(shared.end(&why)),
        };
        drop(events);
        let Some(number) = shared.down() else { return };
        shared.routes.lost(&why);
        let Some((next, session, its_events)) = reconnect(&shared, at + 1).await else {
            shared.end("no site answers any more");
            return;
        };
        (at, events) = (next, its_events);
        if !shared.up(number + 1, &session) {
            return;
        }
        // Beside the pump, because the answers may come behind events that it has to take.
        tokio::spawn(resume(Arc::clone(&shared), session));
    }
}

async fn reconnect(shared: &Shared, from: usize) -> Option<(usize, Session, client::Events)> {
    let (mut pause, mut waited) = (PAUSE_MIN, Duration::ZERO);
    loop {
        if let Ok(found) = first_answer(&shared.addresses, from, &shared.program).await {
            return Some(found);
        }
        if waited >= RECONNECT_FOR {
            return None;
        }
        tokio::time::sleep(pause).await;
        waited += pause;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Joins and watches again. Ends with the session.
async fn resume(shared: Arc<Shared>, session: Session) {
    for group in shared.routes.watched() {
        if session.watch(group.as_str()).await.is_err() {
            return;
        }
    }
    for (group, options) in shared.routes.memberships() {
        let (mut pause, mut waited) = (PAUSE_MIN, Duration::ZERO);
        loop {
            let result = match options.to_op(group.as_str()) {
                Ok(op) => session.request(op, bytes::Bytes::new()).await.map_err(Error::of_request),
                Err(error) => Err(error),
            };
            match result {
                Ok(_) => break,
                Err(error) if error.is_temporary() && waited < RECONNECT_FOR => {
                    // The site may be on its way into the cluster itself.
                    tokio::time::sleep(pause).await;
                    waited += pause;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                Err(error @ Error::Refused { .. }) => {
                    shared.routes.left(group.as_str(), &error.to_string());
                    break;
                }
                Err(_) => return,
            }
        }
    }
}

/// How a session ended.
enum SessionOver {
    /// Another site may do.
    Lost(String),
    /// No site of the cluster would have this process.
    Expelled(String),
}

/// Takes one session's events to their streams.
async fn pump_session(shared: &Shared, events: &mut client::Events) -> SessionOver {
    let mut probes = events.take_probes();
    loop {
        let next = async {
            shared.budget.room().await;
            events.next().await
        };
        let probe = async {
            match &mut probes {
                Some(probes) => probes.next().await,
                None => None,
            }
        };
        let event = tokio::select! {
            biased;
            // Past what waits for room.
            Some(probe) = probe => {
                if let Some(session) = shared.last_session() {
                    let pong = Pong::Session { session, probe: probe.id };
                    shared.routes.ask(probe.groups.iter().map(String::as_str), pong);
                }
                continue;
            }
            event = next => event,
        };
        let Some(event) = event else { return SessionOver::Lost("the session ended".to_owned()) };
        match route(shared, event) {
            Ok(()) => {}
            Err(Stop::Ended(over)) => return over,
            Err(Stop::Garbled(error)) => {
                return SessionOver::Lost(format!("the site can't be understood: {error}"));
            }
        }
    }
}

enum Stop {
    Ended(SessionOver),
    Garbled(IdError),
}

impl From<IdError> for Stop {
    fn from(error: IdError) -> Stop {
        Stop::Garbled(error)
    }
}

fn route(shared: &Shared, event: client::Event) -> Result<(), Stop> {
    let routes = &shared.routes;
    match event {
        client::Event::View(line) => view(shared, &line)?,
        client::Event::Message { group, view, from, order, reply_to, payload } => {
            let (view, from) = (ids::view(&view)?, ids::member(&from)?);
            // A site that knows orders which we do not still delivers in them.
            let order: Order = order.parse().unwrap_or_default();
            let session = if reply_to.is_some() { shared.last_session() } else { None };
            let answer =
                reply_to.zip(session).map(|(to, session)| Box::new(AnswerTo::Session { session, to }));
            routes.tell(&group, |name| {
                Event::Message(Delivery { group: name.clone(), view, from, order, payload, answer })
            });
        }
        client::Event::Signal { group, members } => {
            let members: Vec<MemberId> =
                members.iter().map(|member| ids::member(member)).collect::<Result<_, IdError>>()?;
            routes.tell(&group, |_| Event::Signal { members });
        }
        client::Event::Blocked { group, blocked } => {
            routes.tell(&group, |_| if blocked { Event::Blocked } else { Event::Unblocked });
        }
        // Casts wait for room at the site.
        client::Event::Writable { group: _ } => {}
        client::Event::Left { group, why } => routes.left(&group, &why),
        client::Event::Ended { why, error: None } => return Err(Stop::Ended(SessionOver::Lost(why))),
        client::Event::Ended { why, error: Some(_) } => return Err(Stop::Ended(SessionOver::Expelled(why))),
    }
    Ok(())
}

fn view(shared: &Shared, line: &ViewLine) -> Result<(), IdError> {
    // A name that can't be read is no name of a group that this process is in.
    let Ok(name) = wire::GroupName::parse(&line.group) else { return Ok(()) };
    let site = shared.last_session().map_or_else(String::new, |session| session.site().to_owned());
    shared.routes.view(&site, View::from_line(name, line)?, &shared.budget);
    Ok(())
}

/// A request whose answer says nothing but yes or no.
async fn ask(session: &Session, op: Op) -> Result<(), Error> {
    session.request(op, bytes::Bytes::new()).await.map(drop).map_err(Error::of_request)
}
