//! What the service and its users say to each other, as messages of fields.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use unanimous::message::{FieldError, Message};
use unanimous::{Bytes, MemberId, ViewId};

use crate::divide::Division;
use crate::records::{Department, Records};

/// What the service is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// How long has somebody worked?
    Query {
        /// Who.
        who: String,
    },
    /// Somebody has worked so long in a department.
    Update {
        /// Who.
        who: String,
        /// Where.
        department: Department,
        /// How long.
        hours: u64,
    },
    /// From one member to those who have just joined.
    State(State),
}

/// All that a member knows, as it was when a view began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// That view.
    pub view: ViewId,
    /// Whom it is for.
    pub to: Vec<MemberId>,
    /// The hours.
    pub records: Records,
    /// Who searches what.
    pub division: Division,
    /// How many updates are in it.
    pub updates: u64,
}

/// What one member answers to a query: its departments' hours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Departments and hours.
    pub hours: Vec<(Department, u64)>,
    /// How many departments there are in all.
    pub of: u32,
    /// How many updates the member had taken: the same at all who answer one query.
    pub updates: u64,
}

impl Ask {
    /// As bytes.
    pub fn encode(&self) -> anyhow::Result<Bytes> {
        let message = match self {
            Ask::Query { who } => Message::new().with("ask", "query").with("who", who.as_str()),
            Ask::Update { who, department, hours } => Message::new()
                .with("ask", "update")
                .with("who", who.as_str())
                .with("department", *department)
                .with("hours", *hours),
            Ask::State(state) => state.message().with("ask", "state"),
        };
        Ok(message.encode()?)
    }

    /// From bytes. Fields that this version does not know are left alone.
    pub fn decode(bytes: &Bytes) -> anyhow::Result<Ask> {
        let message = Message::decode(bytes)?;
        match message.get::<&str>("ask")? {
            "query" => Ok(Ask::Query { who: message.get::<&str>("who")?.to_owned() }),
            "update" => Ok(Ask::Update {
                who: message.get::<&str>("who")?.to_owned(),
                department: message.get("department")?,
                hours: message.get("hours")?,
            }),
            "state" => Ok(Ask::State(State::read(&message)?)),
            other => bail!("the service is not asked for {other:?}"),
        }
    }
}

impl State {
    fn message(&self) -> Message {
        let texts: Vec<String> =
            self.records.departments().map(|department| self.records.text(department)).collect();
        let message = Message::new()
            .with("view", self.view)
            .with("to", self.to.clone())
            .with("records", texts)
            .with("updates", self.updates);
        match &self.division {
            Division::ByRank { members } => message.with("members", members.clone()),
            Division::Steady { of } => {
                let share = |(member, departments): (&MemberId, &Vec<Department>)| {
                    Message::new().with("member", *member).with("departments", departments.clone())
                };
                message.with("shares", of.iter().map(share).collect::<Vec<Message>>())
            }
        }
    }

    fn read(message: &Message) -> anyhow::Result<State> {
        let texts: Vec<&str> = message.get("records")?;
        let division = match message.find::<Vec<&Message>>("shares")? {
            None => Division::ByRank { members: message.get("members")? },
            Some(shares) => {
                let share = |share: &Message| Ok((share.get("member")?, share.get("departments")?));
                let of: Result<BTreeMap<_, _>, FieldError> = shares.into_iter().map(share).collect();
                Division::Steady { of: of? }
            }
        };
        Ok(State {
            view: message.get("view")?,
            to: message.get("to")?,
            records: Records::from_texts(texts)?,
            division,
            updates: message.get("updates")?,
        })
    }
}

impl Answer {
    /// As bytes.
    pub fn encode(&self) -> anyhow::Result<Bytes> {
        let (departments, hours): (Vec<Department>, Vec<u64>) = self.hours.iter().copied().unzip();
        let message = Message::new()
            .with("departments", departments)
            .with("hours", hours)
            .with("of", self.of)
            .with("updates", self.updates);
        Ok(message.encode()?)
    }

    /// From bytes.
    pub fn decode(bytes: &Bytes) -> anyhow::Result<Answer> {
        let message = Message::decode(bytes).context("an answer of the service")?;
        let departments: Vec<Department> = message.get("departments")?;
        let hours: Vec<u64> = message.get("hours")?;
        if departments.len() != hours.len() {
            bail!("{} departments with {} hours", departments.len(), hours.len());
        }
        Ok(Answer {
            hours: departments.into_iter().zip(hours).collect(),
            of: message.get("of")?,
            updates: message.get("updates")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        let state = State {
            view: ViewId { epoch: 4, ..ViewId::default() },
            to: vec![MemberId::default()],
            records: Records::from_texts(["kane 8\n", "kane 1\nwood 2\n"]).expect("two files"),
            division: Division::Steady { of: [(MemberId::default(), vec![1, 2])].into() },
            updates: 7,
        };
        let by_rank =
            State { division: Division::ByRank { members: vec![MemberId::default()] }, ..state.clone() };
        for ask in [
            Ask::Query { who: "kane".into() },
            Ask::Update { who: "kane".into(), department: 2, hours: 9 },
            Ask::State(state),
            Ask::State(by_rank),
        ] {
            let bytes = ask.encode().expect("encodes");
            assert_eq!(Ask::decode(&bytes).expect("decodes"), ask);
        }
        let answer = Answer { hours: vec![(1, 8), (3, 0)], of: 5, updates: 2 };
        assert_eq!(Answer::decode(&answer.encode().expect("encodes")).expect("decodes"), answer);
    }

    #[test]
    fn anything_else_is_refused() {
        assert!(Ask::decode(&Bytes::from_static(b"hello")).is_err());
        let unknown = Message::new().with("ask", "dance").encode().expect("encodes");
        assert!(Ask::decode(&unknown).is_err());
        assert!(Answer::decode(&unknown).is_err());
    }
}
