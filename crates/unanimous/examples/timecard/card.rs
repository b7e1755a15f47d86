//! A time card, put together from the members' answers; and how one is asked for until it is whole.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::bail;
use unanimous::session::protocol::ErrorCode;
use unanimous::{Error, Order, Outcome, Outsider, Replies};

use crate::records::Department;
use crate::words::{Answer, Ask};

/// Members have so long to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Between two tries: doubled from the first to the last.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// One person's hours in every department.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// Hours by department.
    pub hours: BTreeMap<Department, u64>,
    /// How many updates they take into account.
    pub updates: u64,
    /// How many members' answers they come from.
    pub answers: usize,
}

/// Why answers are no card.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotACard {
    /// Nobody answered for some department: ask again.
    #[error("no answer for departments {0:?}")]
    Incomplete(Vec<Department>),
    /// Members did not agree who answers for what, or on what they answer: this must not happen.
    #[error("{0}")]
    Contradiction(String),
}

impl Card {
    /// Puts the answers together.
    pub fn merge(answers: Vec<Answer>) -> Result<Card, NotACard> {
        let Some(first) = answers.first() else { return Err(NotACard::Incomplete(Vec::new())) };
        let (of, updates) = (first.of, first.updates);
        let mut card = Card { hours: BTreeMap::new(), updates, answers: answers.len() };
        for answer in answers {
            if (answer.of, answer.updates) != (of, updates) {
                return Err(NotACard::Contradiction(format!(
                    "one member answers for {of} departments after {updates} updates, another for {} after {}",
                    answer.of, answer.updates
                )));
            }
            for (department, hours) in answer.hours {
                if card.hours.insert(department, hours).is_some() {
                    let problem = format!("two members answered for department {department}");
                    return Err(NotACard::Contradiction(problem));
                }
            }
        }
        let missing: Vec<_> = (1..=of).filter(|department| !card.hours.contains_key(department)).collect();
        if missing.is_empty() { Ok(card) } else { Err(NotACard::Incomplete(missing)) }
    }
}

/// A whole card, and how many times it had to be asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The card.
    pub card: Card,
    /// Why tries were not enough: a member failed before it answered, or no site was ready.
    pub repeated: Vec<String>,
}

/// Asks until the card is whole, for at most so long.
pub async fn ask(service: &Outsider, who: &str, patience: Duration) -> anyhow::Result<Asked> {
    let question = Ask::Query { who: who.to_owned() }.encode()?;
    let mut repeated = Vec::new();
    let asking = async {
        let mut pause = PAUSE_MIN;
        loop {
            let call = service.cast(question.clone()).order(Order::Abcast).idempotent();
            let incomplete = match call.replies(Replies::All).timeout(ANSWER_WITHIN).send().await {
                Ok(outcome) => {
                    let answers: Result<Vec<_>, _> =
                        outcome.replies.iter().map(|reply| Answer::decode(&reply.payload)).collect();
                    match Card::merge(answers?) {
                        Ok(card) => return Ok(card),
                        Err(incomplete @ NotACard::Incomplete(_)) => {
                            format!("{incomplete}; {}", told(&outcome))
                        }
                        Err(contradiction @ NotACard::Contradiction(_)) => bail!(contradiction),
                    }
                }
                Err(error) if may_ask_again(&error) => error.to_string(),
                Err(error) => bail!(error),
            };
            repeated.push(incomplete);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    };
    let asked = tokio::time::timeout(patience, asking).await;
    match asked {
        Ok(card) => Ok(Asked { card: card?, repeated }),
        Err(_) => {
            let last = repeated.last().map_or("nothing was answered", String::as_str);
            bail!("no whole card for {who} within {} s: {last}", patience.as_secs())
        }
    }
}

fn told(outcome: &Outcome) -> String {
    format!(
        "of {} members {} replied, {} had nothing to say, {} failed{}",
        outcome.members,
        outcome.replies.len(),
        outcome.nulls,
        outcome.failed,
        if outcome.timed_out { ", and the time was up" } else { "" }
    )
}

/// A query may be asked twice, so only what no second try can mend ends it.
fn may_ask_again(error: &Error) -> bool {
    match error {
        Error::Interrupted => true,
        Error::Refused { code: ErrorCode::NoSuchGroup, message: _ } => true,
        Error::Unreachable(_)
        | Error::Name(_)
        | Error::Refused { .. }
        | Error::Already
        | Error::SiteLost
        | Error::Over(_) => error.is_temporary(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(hours: &[(Department, u64)], updates: u64) -> Answer {
        Answer { hours: hours.to_vec(), of: 3, updates }
    }

    #[test]
    fn a_card_is_whole_when_every_department_is_answered_once() {
        let card = Card::merge(vec![answer(&[(1, 8), (3, 0)], 0), answer(&[(2, 5)], 0)]).expect("whole");
        assert_eq!(card.hours, BTreeMap::from([(1, 8), (2, 5), (3, 0)]));
        assert_eq!(card.answers, 2);
    }

    #[test]
    fn a_member_that_failed_leaves_a_gap() {
        assert_eq!(Card::merge(vec![answer(&[(1, 8), (3, 0)], 0)]), Err(NotACard::Incomplete(vec![2])));
        assert!(matches!(Card::merge(Vec::new()), Err(NotACard::Incomplete(_))));
    }

    #[test]
    fn answers_from_two_divisions_or_two_states_are_no_gap_but_a_contradiction() {
        let twice = vec![answer(&[(1, 8), (2, 0)], 0), answer(&[(2, 0), (3, 1)], 0)];
        assert!(matches!(Card::merge(twice), Err(NotACard::Contradiction(_))));
        let apart = vec![answer(&[(1, 8), (2, 0)], 0), answer(&[(3, 1)], 1)];
        assert!(matches!(Card::merge(apart), Err(NotACard::Contradiction(_))));
    }
}
