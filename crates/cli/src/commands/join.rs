//! `join`: a member in this terminal. Prints views and messages; lines typed are cast. When its site dies, it
//! joins again from another and says so.

use bytes::Bytes;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin};
use unanimous::session::protocol::ReplyKind;
use unanimous::session::{Error as SessionError, Event, Events, JoinOptions, Session};

use crate::args;
use crate::args::Find;
use crate::commands::view::{for_people, with_event_name};
use crate::failure::Failure;
use crate::locate;
use crate::output::{Tone, say, say_json, toned};

/// How often another site is tried, with growing pauses, before the command gives up.
const RECONNECTS_MAX: u32 = 8;

/// `unanimous join GROUP`.
pub async fn run(find: &Find, args: &args::Join, json: bool) -> Result<(), Failure> {
    let terminal = Terminal { args, json };
    let mut lines = Some(BufReader::new(tokio::io::stdin()).lines());
    let mut connected = locate::session(find, "join").await?;
    loop {
        let (session, events) = &mut connected;
        match terminal.member(session, events, &mut lines).await? {
            Over::InputEnded => {
                let (session, _) = connected;
                return session.bye().await.map_err(Failure::from);
            }
            Over::Left(why) => return Err(Failure::refused(why)),
            Over::SiteGone(why) => {
                terminal.error(&format!("{}: {why}; looking for another site", session.site()))?;
                connected = reconnect(find).await?;
                terminal.note(&format!("joining again from {}, as a new member", connected.0.site()))?;
            }
        }
    }
}

enum Over {
    InputEnded,
    Left(String),
    SiteGone(String),
}

struct Terminal<'a> {
    args: &'a args::Join,
    json: bool,
}

impl Terminal<'_> {
    async fn member(
        &self,
        session: &Session,
        events: &mut Events,
        lines: &mut Option<Lines<BufReader<Stdin>>>,
    ) -> Result<Over, Failure> {
        let options = JoinOptions {
            role: self.args.role.clone(),
            create: None,
            consistency: None,
            lives: self.args.lives.clone(),
            merges: self.args.merges.clone(),
            probe_ms: self.args.probe_ms,
            aggregate_ms: 0,
        };
        let me = match session.join(&self.args.group, options).await {
            Ok(member) => member,
            Err(SessionError::Ended(why)) => return Ok(Over::SiteGone(why)),
            Err(error) => return Err(error.into()),
        };
        let mut joined = false;
        loop {
            tokio::select! {
                event = events.next() => match event {
                    // It would be refused everywhere.
                    Some(Event::Ended { why, error: Some(_) }) => return Err(Failure::refused(why)),
                    Some(Event::Ended { why, error: None }) => return Ok(Over::SiteGone(why)),
                    Some(Event::Left { group, why }) if group == self.args.group => return Ok(Over::Left(why)),
                    Some(event) => {
                        joined |= matches!(event, Event::View(_));
                        self.show(session, &me, event).await?;
                    }
                    None => return Ok(Over::SiteGone("the session ended".to_owned())),
                },
                line = next_line(lines), if joined => match line {
                    Some(line) => match self.cast(session, line).await {
                        Ok(()) => {}
                        Err(SessionError::Ended(why)) => return Ok(Over::SiteGone(why)),
                        Err(error @ SessionError::Expelled(_)) => return Err(error.into()),
                        Err(error) => self.error(&error.to_string())?,
                    },
                    None => return Ok(Over::InputEnded),
                },
            }
        }
    }

    async fn cast(&self, session: &Session, line: String) -> Result<(), SessionError> {
        session.cast(&self.args.group, self.args.order.name(), Bytes::from(line)).await
    }

    async fn show(&self, session: &Session, me: &str, event: Event) -> Result<(), Failure> {
        match event {
            Event::View(view) if self.json => say_json(&with_event_name(&view)?),
            Event::View(view) => say(&toned(&for_people(&view), Tone::Dim)),
            Event::Message { group, view, from, order, reply_to, payload } => {
                let text = String::from_utf8_lossy(&payload);
                if self.json {
                    say_json(&json!({
                        "event": "message", "group": group, "view": view, "from": from, "order": order, "text": text,
                    }))?;
                } else {
                    let who = if from == me { "you" } else { &from };
                    say(&format!("{who}: {text}"))?;
                }
                match reply_to {
                    Some(to) => self.answer(session, &to).await,
                    None => Ok(()),
                }
            }
            Event::Blocked { .. }
            | Event::Writable { .. }
            | Event::Signal { .. }
            | Event::Left { .. }
            | Event::Ended { .. } => Ok(()),
        }
    }

    async fn answer(&self, session: &Session, to: &str) -> Result<(), Failure> {
        let (kind, text) = match &self.args.answer {
            Some(text) => (ReplyKind::Reply, Bytes::from(text.clone())),
            None => (ReplyKind::Null, Bytes::new()),
        };
        match session.reply(to, kind, text).await {
            Ok(()) => Ok(()),
            Err(error) => self.error(&format!("the reply was not taken: {error}")),
        }
    }

    fn error(&self, what: &str) -> Result<(), Failure> {
        if self.json {
            return say_json(&json!({"event": "error", "group": self.args.group, "message": what}));
        }
        eprintln!("unanimous: {what}");
        Ok(())
    }

    fn note(&self, what: &str) -> Result<(), Failure> {
        if self.json { Ok(()) } else { say(&toned(what, Tone::Dim)) }
    }
}

async fn next_line(lines: &mut Option<Lines<BufReader<Stdin>>>) -> Option<String> {
    lines.as_mut()?.next_line().await.ok().flatten()
}

async fn reconnect(find: &Find) -> Result<(Session, Events), Failure> {
    let mut pause = std::time::Duration::from_millis(100);
    let mut tries = 0;
    loop {
        match locate::session(find, "join").await {
            Ok(connected) => return Ok(connected),
            Err(failure) if tries == RECONNECTS_MAX || failure.status != 3 => return Err(failure),
            Err(_) => {}
        }
        tokio::time::sleep(pause).await;
        tries += 1;
        pause *= 2;
    }
}
