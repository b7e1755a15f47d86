//! `site replace`, `site remove`, `site add --stores`: which sites' stores count in the durable groups.
//!
//! A site takes one step at a time and remembers nothing; this asks for the next until there is none. If the site that it
//! asks dies, it goes on with the next one that answers.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use serde_json::json;
use unanimous::session::protocol::{PlacedGroup, PlacedState};
use unanimous::session::{Error as SessionError, Placed, Session};

use crate::args::{Find, SiteAdd, SiteRemove, SiteReplace};
use crate::failure::Failure;
use crate::locate;
use crate::output::{say, say_json};

/// Between two steps.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Whose store goes, whose comes, and for how long nothing may move.
struct Wish<'a> {
    from: Option<&'a str>,
    to: Option<&'a str>,
    patience: Duration,
}

/// `unanimous site add NAME --stores`.
pub async fn add(find: &Find, args: &SiteAdd, json: bool) -> Result<(), Failure> {
    if args.site.contains('=') {
        return Err(Failure::usage(
            "--stores takes the name alone of a site that runs, as `unanimous status` has it",
        ));
    }
    let patience = Duration::from_secs(args.patience.patience);
    let groups = place(find, &Wish { from: None, to: Some(&args.site), patience }).await?;
    told(&groups, json, &[format!("the store of {} counts in every durable group", args.site)])
}

/// `unanimous site replace NAME [--with NAME]`.
pub async fn replace(find: &Find, args: &SiteReplace, json: bool) -> Result<(), Failure> {
    let new = args.with.as_deref().unwrap_or(&args.name);
    let patience = Duration::from_secs(args.patience.patience);
    let groups = place(find, &Wish { from: Some(&args.name), to: Some(new), patience }).await?;
    let line = match new == args.name {
        true => {
            format!("the store that {new} has now counts in every durable group, and no earlier one of it")
        }
        false => {
            format!("the store of {new} counts in every durable group in place of that of {}", args.name)
        }
    };
    told(&groups, json, &[line])
}

/// `unanimous site remove NAME`.
pub async fn remove(find: &Find, args: &SiteRemove, json: bool) -> Result<(), Failure> {
    let name = &args.name;
    let patience = Duration::from_secs(args.patience.patience);
    let groups = place(find, &Wish { from: Some(name), to: None, patience }).await?;
    let lines = [
        format!("no durable group counts on {name} any longer"),
        format!(
            "stop it for good if it still runs; `unanimous cert revoke {name}` lets nobody in under its name"
        ),
    ];
    told(&groups, json, &lines)
}

/// Asks for step after step until every group is as wished.
async fn place(find: &Find, wish: &Wish<'_>) -> Result<Placed, Failure> {
    let mut line = Line::default();
    let mut moved = Moved::now();
    let mut session: Option<Session> = None;
    loop {
        let asked = match &session {
            Some(session) => session.place_stores(wish.from, wish.to).await,
            None => {
                let (new, _events) = locate::session(find, "site").await?;
                session.insert(new).place_stores(wish.from, wish.to).await
            }
        };
        match asked {
            Ok(placed) if placed.done => {
                line.end();
                return Ok(placed);
            }
            Ok(placed) => {
                line.show(&placed);
                if let Some(why) = refused(&placed.groups) {
                    line.end();
                    return Err(Failure::refused(why));
                }
                if moved.not_for(wish.patience, &placed.groups) {
                    line.end();
                    let why = placed.groups.first().map(reason).unwrap_or_default();
                    return Err(Failure::refused(format!(
                        "{why}; gave up after {} s; what was done stays, and asking again goes on",
                        wish.patience.as_secs()
                    )));
                }
            }
            // Another may answer; what was begun there goes on by itself.
            Err(SessionError::Ended(why)) => {
                session = None;
                if moved.not_for(wish.patience, &[]) {
                    return Err(SessionError::Ended(why).into());
                }
            }
            Err(error) => {
                line.end();
                return Err(error.into());
            }
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

/// Why nothing will move any more, if no group can.
fn refused(groups: &[PlacedGroup]) -> Option<String> {
    let mut open = groups.iter().filter(|group| group.state != PlacedState::Done).peekable();
    let why = open.peek().map(|group| reason(group));
    why.filter(|_| open.all(|group| group.state == PlacedState::Refused))
}

/// When something was last seen to move.
struct Moved {
    at: Instant,
    groups: Vec<PlacedGroup>,
}

impl Moved {
    #[allow(clippy::disallowed_methods, reason = "the program's edge has a clock")]
    fn now() -> Moved {
        Moved { at: Instant::now(), groups: Vec::new() }
    }

    /// Whether nothing has for so long.
    fn not_for(&mut self, patience: Duration, groups: &[PlacedGroup]) -> bool {
        if !groups.is_empty() && groups != self.groups {
            *self = Moved { groups: groups.to_vec(), ..Moved::now() };
        }
        self.at.elapsed() > patience
    }
}

/// The progress line, on standard error: one that is replaced on a terminal, else one for each change of state.
#[derive(Default)]
struct Line {
    shown: String,
    states: Vec<PlacedState>,
}

impl Line {
    fn show(&mut self, placed: &Placed) {
        let states: Vec<PlacedState> = placed.groups.iter().map(|group| group.state).collect();
        let terminal = std::io::stderr().is_terminal();
        if !terminal && states == self.states {
            return;
        }
        self.states = states;
        let next = placed.groups.first().map(reason).unwrap_or_default();
        let text = format!("{} of {} groups; {next}", placed.there, placed.total);
        let mut out = std::io::stderr().lock();
        // Who can't be shown how it goes may still be told how it ended.
        let _ = match terminal {
            true => write!(out, "\r\x1b[K{text}").and_then(|()| out.flush()),
            false => writeln!(out, "{text}"),
        };
        self.shown = text;
    }

    fn end(&self) {
        if std::io::stderr().is_terminal() && !self.shown.is_empty() {
            eprintln!();
        }
    }
}

/// What a group is at, for people.
fn reason(group: &PlacedGroup) -> String {
    let name = &group.group;
    match (group.state, &group.why, group.at, group.of) {
        (PlacedState::CatchingUp, _, Some(at), Some(of)) => {
            format!("{name}: the new store catches up: {at} of {of}")
        }
        (PlacedState::Changing, ..) => format!("{name}: its stores change"),
        (PlacedState::Done, ..) => format!("{name}: done"),
        (_, Some(why), ..) => format!("{name}: {why}"),
        (_, None, ..) => format!("{name}: waits"),
    }
}

fn told(placed: &Placed, json: bool, lines: &[String]) -> Result<(), Failure> {
    if json {
        return say_json(&json!({"done": true, "total": placed.total, "groups": placed.groups}));
    }
    lines.iter().try_for_each(|line| say(line))?;
    for group in &placed.groups {
        let stores = group.stores.len();
        // As long as W is a majority.
        let spare = (stores - 1) / 2;
        let may = match spare {
            0 => "none of them may fail".to_owned(),
            1 => "one of them may fail".to_owned(),
            more => format!("{more} of them may fail"),
        };
        say(&format!("  {}: {} ({may})", group.group, group.stores.join(", ")))?;
    }
    match placed.total - placed.groups.len() {
        0 => Ok(()),
        more => say(&format!("  and {more} more")),
    }
}
