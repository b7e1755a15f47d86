//! What a member of the service knows and does, without I/O: views and messages in, replies and casts out.
//!
//! A member is *ready* when it has the state. At every view the senior ready member casts the state, as it was
//! when the view began, to those who joined; they hold what is delivered meanwhile and take it up behind the
//! state. A cast is delivered to all who go on to the next view or to none, so all agree on who still waits: if
//! the sender dies with its message, the next view has the next sender.

use std::collections::BTreeSet;

use anyhow::Context;
use unanimous::{Bytes, MemberId, View, ViewId};

use crate::divide::Division;
use crate::records::{Department, Records};
use crate::words::{Answer, Ask, State};

/// Messages that may wait for the state. One more query gets a null reply; one more update ends the member.
const HELD_MAX: usize = 10_000;

/// What the member is to do. `T` stands for a message that may be replied to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action<T> {
    /// Reply.
    Reply(T, Bytes),
    /// Reply that there is nothing to say.
    NullReply(T),
    /// Cast this to the group.
    Cast(Bytes),
    /// A department's hours have changed.
    Changed(Department),
    /// Tell the people at the terminal.
    Say(String),
}

/// A member of the service.
#[derive(Debug)]
pub struct Service<T> {
    records: Records,
    division: Division,
    updates: u64,
    me: Option<MemberId>,
    view: Option<ViewId>,
    ready: bool,
    /// Members without the state, as far as this one knows.
    waiting: BTreeSet<MemberId>,
    held: Vec<(T, Ask)>,
}

impl<T> Service<T> {
    /// A member that has read its files and is not in the group yet.
    pub fn new(records: Records, division: Division) -> Service<T> {
        Service {
            records,
            division,
            updates: 0,
            me: None,
            view: None,
            ready: false,
            waiting: BTreeSet::new(),
            held: Vec::new(),
        }
    }

    /// The hours.
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// A new view.
    pub fn view(&mut self, view: &View) -> anyhow::Result<Vec<Action<T>>> {
        // What came in the view before was for the state that came with it, and did not come.
        let mut actions: Vec<_> = self.held.drain(..).map(|(to, _)| Action::NullReply(to)).collect();
        self.me = view.me;
        self.view = Some(view.id);
        self.waiting.retain(|member| view.members.contains(member));
        self.waiting.extend(&view.joined);
        let me = view.me.context("a member's view names it")?;
        let source = view.members.iter().find(|member| !self.waiting.contains(member));
        if source.is_none() && view.senior() == Some(me) {
            // Nobody has a state that could be handed on: the senior's files are it.
            self.ready = true;
            self.waiting.remove(&me);
        }
        if !self.ready {
            actions.push(Action::Say("waiting for the state".to_owned()));
            return Ok(actions);
        }
        self.division.view(&view.members, self.records.count());
        actions.push(self.say_share());
        if !self.waiting.is_empty() && source.is_none_or(|source| *source == me) {
            actions.push(Action::Cast(Ask::State(self.state(view.id)).encode()?));
        }
        Ok(actions)
    }

    /// A message. An error is the sender's fault and changes nothing, unless it says that this member must go.
    pub fn message(&mut self, message: T, payload: &Bytes) -> anyhow::Result<Vec<Action<T>>> {
        match Ask::decode(payload) {
            Ok(Ask::State(state)) => self.take_state(state),
            Ok(ask) if self.ready => self.answer(message, ask),
            Ok(ask) => self.hold(message, ask),
            Err(error) => {
                Ok(vec![Action::Say(format!("not understood: {error:#}")), Action::NullReply(message)])
            }
        }
    }

    fn take_state(&mut self, state: State) -> anyhow::Result<Vec<Action<T>>> {
        for member in &state.to {
            self.waiting.remove(member);
        }
        let for_me = self.me.is_some_and(|me| state.to.contains(&me));
        if self.ready || !for_me || Some(state.view) != self.view {
            return Ok(Vec::new());
        }
        (self.records, self.division, self.updates) = (state.records, state.division, state.updates);
        self.ready = true;
        let mut actions: Vec<_> = self.records.departments().map(Action::Changed).collect();
        actions.push(self.say_share());
        for (message, ask) in std::mem::take(&mut self.held) {
            actions.extend(self.answer(message, ask)?);
        }
        Ok(actions)
    }

    fn hold(&mut self, message: T, ask: Ask) -> anyhow::Result<Vec<Action<T>>> {
        if self.held.len() < HELD_MAX {
            self.held.push((message, ask));
            return Ok(Vec::new());
        }
        match ask {
            Ask::Query { who: _ } => Ok(vec![Action::NullReply(message)]),
            Ask::Update { .. } | Ask::State(_) => {
                anyhow::bail!("more than {HELD_MAX} messages came before the state; join again")
            }
        }
    }

    fn answer(&mut self, message: T, ask: Ask) -> anyhow::Result<Vec<Action<T>>> {
        let me = self.me.context("messages come in views")?;
        match ask {
            Ask::Query { who } => {
                let mine = self.division.of(me, self.records.count());
                if mine.is_empty() {
                    // A standby.
                    return Ok(vec![Action::NullReply(message)]);
                }
                let hours =
                    mine.into_iter().map(|department| (department, self.records.hours(department, &who)));
                let answer =
                    Answer { hours: hours.collect(), of: self.records.count(), updates: self.updates };
                Ok(vec![Action::Reply(message, answer.encode()?)])
            }
            Ask::Update { who, department, hours } => {
                self.updates += 1;
                if !self.records.set(department, &who, hours) {
                    let problem = format!("there is no department {department}");
                    return Ok(vec![Action::Say(problem), Action::NullReply(message)]);
                }
                let answer = Answer {
                    hours: vec![(department, hours)],
                    of: self.records.count(),
                    updates: self.updates,
                };
                Ok(vec![Action::Changed(department), Action::Reply(message, answer.encode()?)])
            }
            Ask::State(state) => self.take_state(state),
        }
    }

    fn state(&self, view: ViewId) -> State {
        State {
            view,
            to: self.waiting.iter().copied().collect(),
            records: self.records.clone(),
            division: self.division.clone(),
            updates: self.updates,
        }
    }

    fn say_share(&self) -> Action<T> {
        let mine = self.me.map(|me| self.division.of(me, self.records.count())).unwrap_or_default();
        Action::Say(match mine.as_slice() {
            [] => "standing by".to_owned(),
            mine => {
                let numbers: Vec<String> = mine.iter().map(Department::to_string).collect();
                format!("departments {}", numbers.join(", "))
            }
        })
    }
}

#[cfg(test)]
#[path = "service_test.rs"]
mod tests;
