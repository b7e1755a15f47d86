//! Answered As Asked: clients ask for nothing that cannot be done, so nothing is refused; every answer is of the kind that was
//! asked for, and a repeat is told what the first was.

use std::collections::BTreeMap;

use ::mail::{Command, Entry, Outcome, Receipt, RequestId};

use super::told::outcome_of;
use crate::durable::{Observation, Seen, What};
use crate::property::durable::Broken;

pub(super) fn check(seen: &[Observation<Seen>]) -> Result<(), Broken> {
    let mut asked: BTreeMap<_, (RequestId, Command)> = BTreeMap::new();
    let mut first: BTreeMap<RequestId, Outcome> = BTreeMap::new();
    for (at, observation) in seen.iter().enumerate() {
        match &observation.what {
            What::Asked(attempt, payload) => {
                let Ok(entry) = Entry::decode(payload) else { return Err((at, "no entry".to_owned())) };
                if let Some(request) = entry.head().request {
                    asked.insert(*attempt, (request, entry.head().command.clone()));
                }
            }
            What::Answered(attempt, answer) => {
                let Some((request, command)) = asked.get(attempt) else { continue };
                let outcome = outcome_of(answer);
                let Some(outcome) = outcome.filter(|outcome| fits(command, outcome)) else {
                    return Err((at, format!("{command:?} is answered with {:?}", outcome_of(answer))));
                };
                let told = first.entry(*request).or_insert_with(|| outcome.clone());
                if *told != outcome {
                    return Err((at, format!("{request:?} is told {outcome:?}, and was told {told:?}")));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn fits(command: &Command, outcome: &Outcome) -> bool {
    match (command, outcome) {
        (Command::Deliver(deliver), Outcome::Delivered(receipts)) => {
            let all = receipts.iter().all(|receipt| *receipt == Receipt::Delivered);
            all && receipts.len() == deliver.recipients.len()
        }
        (Command::Append(_), Outcome::Appended { .. })
        | (Command::Store(_), Outcome::Stored { .. })
        | (Command::Expunge(_), Outcome::Expunged { .. })
        | (Command::Copy(_) | Command::Move(_), Outcome::Copied { .. })
        | (Command::CreateMailbox(_), Outcome::Created { .. })
        | (Command::AddUser(_), Outcome::Added(_))
        | (Command::EnrolStore(_), Outcome::Enrolled { .. }) => true,
        // Whatever came of what was held, the group has decided.
        (Command::Merge(_), _) => true,
        (_, Outcome::Done) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use ::mail::{Outcome, Position, Receipt, Refusal};

    use super::super::script::{delivered, history, sends, told};
    use super::check;

    #[test]
    fn nothing_is_refused_and_a_repeat_is_told_the_same() {
        let repeated = |answer| Outcome::Repeated { first: Position(3), answer: Box::new(answer) };
        let same = repeated(Outcome::Delivered(vec![Receipt::Delivered]));
        assert!(check(&history([sends(1), delivered(1), told(1, &same)])).is_ok());
        assert!(check(&history([sends(1), delivered(1), told(1, &repeated(Outcome::Done))])).is_err());
        assert!(check(&history([sends(1), told(1, &Outcome::Refused(Refusal::NoUser))])).is_err());
        let refused = Outcome::Delivered(vec![Receipt::Refused(Refusal::Full)]);
        assert!(check(&history([sends(1), told(1, &refused)])).is_err());
    }
}
