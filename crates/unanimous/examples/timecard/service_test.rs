//! A whole group of services on a table: views and messages are dealt out by hand.

use std::collections::BTreeMap;

use unanimous::{GroupName, ProcessId, Why};

use super::*;
use crate::card::Card;

fn member(n: u64) -> MemberId {
    MemberId { process: ProcessId { local: n, ..ProcessId::default() }, join: 1 }
}

fn files() -> Records {
    Records::from_texts(["kane 1", "kane 2", "kane 3", "kane 4", "kane 5"]).expect("five files")
}

/// The members of a group, and what they have cast but not been delivered.
struct Table {
    epoch: u64,
    members: Vec<MemberId>,
    services: BTreeMap<MemberId, Service<()>>,
    division: Division,
    on_the_way: Vec<Bytes>,
}

impl Table {
    fn new(division: Division) -> Table {
        Table { epoch: 0, members: Vec::new(), services: BTreeMap::new(), division, on_the_way: Vec::new() }
    }

    /// A view in which some are gone and some are new; what was on the way is lost with its sender.
    fn view(&mut self, gone: &[u64], new: &[u64]) {
        self.epoch += 1;
        self.on_the_way.clear();
        let joined: Vec<_> = new.iter().copied().map(member).collect();
        let left: Vec<_> = gone.iter().copied().map(member).collect();
        self.members.retain(|member| !left.contains(member));
        self.services.retain(|member, _| !left.contains(member));
        for &joiner in &joined {
            self.members.push(joiner);
            self.services.insert(joiner, Service::new(files(), self.division.clone()));
        }
        for (&me, service) in &mut self.services {
            let view = View {
                group: GroupName::parse("timeservice").expect("a name"),
                id: ViewId { epoch: self.epoch, ..ViewId::default() },
                primary: true,
                lives: true,
                me: Some(me),
                members: self.members.clone(),
                joined: joined.clone(),
                left: left.iter().map(|member| (*member, Why::Failed)).collect(),
                transitional: Vec::new(),
            };
            for action in service.view(&view).expect("a good view") {
                if let Action::Cast(bytes) = action {
                    self.on_the_way.push(bytes);
                }
            }
        }
    }

    /// Delivers a message to all; gives their replies.
    fn deliver(&mut self, payload: &Bytes) -> Vec<Answer> {
        let mut answers = Vec::new();
        for service in self.services.values_mut() {
            for action in service.message((), payload).expect("a good message") {
                if let Action::Reply((), bytes) = action {
                    answers.push(Answer::decode(&bytes).expect("an answer"));
                }
            }
        }
        answers
    }

    fn deliver_casts(&mut self) -> Vec<Answer> {
        let casts = std::mem::take(&mut self.on_the_way);
        casts.iter().flat_map(|cast| self.deliver(cast)).collect()
    }

    fn query(&mut self) -> Vec<Answer> {
        self.deliver(&Ask::Query { who: "kane".into() }.encode().expect("encodes"))
    }

    fn update(&mut self, department: Department, hours: u64) {
        self.deliver(&Ask::Update { who: "kane".into(), department, hours }.encode().expect("encodes"));
    }

    fn card(&mut self) -> Vec<u64> {
        Card::merge(self.query()).expect("a whole card").hours.into_values().collect()
    }
}

#[test]
fn any_number_of_members_gives_a_whole_card() {
    for division in [Division::by_rank(), Division::steady()] {
        let mut table = Table::new(division);
        for joiner in 1..=7 {
            table.view(&[], &[joiner]);
            table.deliver_casts();
            assert_eq!(table.card(), [1, 2, 3, 4, 5], "{joiner} members");
        }
        for leaver in 1..=6 {
            table.view(&[leaver], &[]);
            assert_eq!(table.card(), [1, 2, 3, 4, 5], "{} members", 7 - leaver);
        }
    }
}

#[test]
fn a_joiner_has_every_update_and_no_other() {
    let mut table = Table::new(Division::steady());
    table.view(&[], &[1]);
    table.update(2, 20);
    table.view(&[], &[2]);
    table.update(3, 30);
    table.deliver_casts();
    table.update(4, 40);
    assert_eq!(table.card(), [1, 20, 30, 40, 5]);
    table.view(&[1], &[]);
    assert_eq!(table.card(), [1, 20, 30, 40, 5], "all of it is with the one who joined");
}

#[test]
fn a_query_before_the_state_is_answered_when_it_comes() {
    let mut table = Table::new(Division::by_rank());
    table.view(&[], &[1]);
    table.view(&[], &[2]);
    let mut answers = table.query();
    assert_eq!(answers.len(), 1, "the joiner holds its answer back");
    answers.extend(table.deliver_casts());
    assert!(Card::merge(answers).is_ok());
}

#[test]
fn a_sender_that_dies_with_its_state_is_followed_by_the_next() {
    let mut table = Table::new(Division::steady());
    table.view(&[], &[1]);
    table.update(1, 10);
    table.view(&[], &[2]);
    table.deliver_casts();
    table.view(&[], &[3]);
    table.view(&[1], &[4]);
    table.deliver_casts();
    assert_eq!(table.card(), [10, 2, 3, 4, 5]);
    table.view(&[2], &[]);
    assert_eq!(table.card(), [10, 2, 3, 4, 5], "both who joined have it");
}

#[test]
fn if_all_who_have_the_state_die_the_senior_s_files_are_the_state() {
    let mut table = Table::new(Division::by_rank());
    table.view(&[], &[1]);
    table.update(1, 10);
    table.view(&[], &[2, 3]);
    table.view(&[1], &[]);
    table.deliver_casts();
    assert_eq!(table.card(), [1, 2, 3, 4, 5]);
}

#[test]
fn what_waits_for_the_state_is_bounded() {
    let mut service: Service<u32> = Service::new(files(), Division::by_rank());
    service.me = Some(member(1));
    let query = Ask::Query { who: "kane".into() }.encode().expect("encodes");
    for number in 0..HELD_MAX as u32 {
        assert_eq!(service.message(number, &query).expect("held"), []);
    }
    assert_eq!(service.message(0, &query).expect("refused"), [Action::NullReply(0)]);
    let update = Ask::Update { who: "kane".into(), department: 1, hours: 1 }.encode().expect("encodes");
    assert!(service.message(0, &update).is_err(), "an update must not be missed");
}
