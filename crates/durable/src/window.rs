//! The window of answers: what every member remembers of every client, so that a repeat at any site and after any
//! restart gets the first answer (D13). It is a function of the applied entries.

use std::collections::BTreeMap;

use bytes::Bytes;
use minicbor::{Decode, Encode};

use crate::entry::{ClientId, Request};
use crate::event::{Answer, Refused};
use crate::settings::Settings;

/// The answers of one client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(map)]
struct Client {
    /// The place of its last request among all: who was silent for longest has the lowest.
    #[n(0)]
    used: u64,
    /// The state's time then.
    #[n(1)]
    at: u64,
    /// Answers up to here are not kept.
    #[n(2)]
    floor: u64,
    /// By sequence; none: it was too long to be kept.
    #[n(3)]
    answers: BTreeMap<u64, Option<minicbor::bytes::ByteVec>>,
}

/// The window of answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Window {
    clients: BTreeMap<ClientId, Client>,
    by_use: BTreeMap<u64, ClientId>,
    used: u64,
}

impl Window {
    /// Whether a request is to be applied; if not, its answer. Told of every request in the log, in order.
    pub(crate) fn judge(&mut self, clock: u64, request: &Request, settings: &Settings) -> Option<Answer> {
        self.expire(clock, settings);
        let Some(client) = self.clients.get_mut(&request.client) else {
            if request.answered > 0 {
                return Some(Answer::Refused(Refused::Forgotten));
            }
            self.touch(request.client, clock, settings);
            return None;
        };
        if let Some(answer) = client.answer(request.sequence) {
            return Some(answer);
        }
        // The client is done with these: it keeps its open requests within the window, so none of them is below.
        client.floor = client.floor.max(request.answered);
        client.answers = client.answers.split_off(&(client.floor + 1));
        self.touch(request.client, clock, settings);
        None
    }

    /// What a request that was to be applied was answered.
    pub(crate) fn answered(&mut self, client: ClientId, sequence: u64, answer: &Bytes, settings: &Settings) {
        let Some(client) = self.clients.get_mut(&client) else { return };
        let kept = (answer.len() <= settings.window_answer_bytes).then(|| answer.to_vec().into());
        client.answers.insert(sequence, kept);
        while client.answers.len() > settings.window_answers
            && let Some((oldest, _)) = client.answers.pop_first()
        {
            client.floor = client.floor.max(oldest);
        }
    }

    /// The answer of a request, if it was applied.
    pub(crate) fn lookup(&self, client: ClientId, sequence: u64) -> Option<Answer> {
        self.clients.get(&client)?.answer(sequence)
    }

    fn touch(&mut self, id: ClientId, clock: u64, settings: &Settings) {
        let client = self.clients.entry(id).or_default();
        self.by_use.remove(&client.used);
        self.used += 1;
        (client.used, client.at) = (self.used, clock);
        self.by_use.insert(self.used, id);
        while self.clients.len() > settings.window_clients {
            self.forget_oldest();
        }
    }

    /// Who was silent for longest has the lowest time too: time never goes back.
    fn expire(&mut self, clock: u64, settings: &Settings) {
        while let Some((_, id)) = self.by_use.first_key_value()
            && self.clients.get(id).is_some_and(|c| c.at.saturating_add(settings.window_expiry_ms) < clock)
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, id)) = self.by_use.pop_first() {
            self.clients.remove(&id);
        }
    }

    /// The window as domain 0 of a checkpoint.
    pub(crate) fn encode(&self) -> Bytes {
        let clients: Vec<(ClientId, Client)> = self.clients.iter().map(|(id, c)| (*id, c.clone())).collect();
        wire::codec::encode(&(self.used, clients))
    }

    /// Reads domain 0; none if it is not one.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Window> {
        let (used, clients): (u64, Vec<(ClientId, Client)>) =
            wire::codec::decode_within(bytes, usize::MAX).ok()?;
        let by_use = clients.iter().map(|(id, client)| (client.used, *id)).collect();
        Some(Window { clients: clients.into_iter().collect(), by_use, used })
    }
}

impl Client {
    fn answer(&self, sequence: u64) -> Option<Answer> {
        match self.answers.get(&sequence) {
            Some(Some(answer)) => Some(Answer::Applied(Bytes::copy_from_slice(answer))),
            Some(None) => Some(Answer::AppliedLong),
            None if sequence <= self.floor => Some(Answer::Refused(Refused::Answered)),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(client: u8, sequence: u64, answered: u64) -> Request {
        Request { client: ClientId([client; 16]), sequence, answered, payload: Bytes::new() }
    }

    /// Applies as a machine does, and answers with the number of applications.
    fn apply(window: &mut Window, count: &mut u64, clock: u64, request: &Request, s: &Settings) -> Answer {
        if let Some(answer) = window.judge(clock, request, s) {
            return answer;
        }
        *count += 1;
        let answer = Bytes::from(count.to_string());
        window.answered(request.client, request.sequence, &answer, s);
        Answer::Applied(answer)
    }

    #[test]
    fn a_repeat_gets_the_first_answer_also_from_a_checkpoint() {
        let (mut window, mut n, s) = (Window::default(), 0, Settings::default());
        let first = apply(&mut window, &mut n, 1, &request(1, 1, 0), &s);
        let second = apply(&mut window, &mut n, 1, &request(1, 2, 0), &s);
        let mut window = Window::decode(&window.encode()).expect("its own encoding");
        assert_eq!(apply(&mut window, &mut n, 9, &request(1, 1, 0), &s), first);
        assert_eq!(apply(&mut window, &mut n, 9, &request(1, 2, 1), &s), second);
        assert_eq!(n, 2);
        // Once the client has said that it has the answer, it may go.
        apply(&mut window, &mut n, 9, &request(1, 3, 2), &s);
        let gone = Answer::Refused(Refused::Answered);
        assert_eq!(apply(&mut window, &mut n, 9, &request(1, 2, 1), &s), gone);
    }

    #[test]
    fn what_a_client_has_open_within_the_window_is_never_refused() {
        let (mut window, mut n, s) = (Window::default(), 0, Settings::default());
        let size = s.window_answers as u64;
        apply(&mut window, &mut n, 1, &request(1, 1, 0), &s);
        // The newest that it may send while 2 is open comes first.
        apply(&mut window, &mut n, 1, &request(1, 1 + size, 1), &s);
        let answer = apply(&mut window, &mut n, 1, &request(1, 2, 1), &s);
        assert_eq!(answer, Answer::Applied("3".into()));
    }

    #[test]
    fn the_silent_are_forgotten_by_number_and_by_the_time_of_entries() {
        let s = Settings { window_clients: 2, window_expiry_ms: 100, ..Settings::default() };
        let (mut window, mut n) = (Window::default(), 0);
        for client in [1, 2, 3] {
            apply(&mut window, &mut n, 10, &request(client, 1, 0), &s);
        }
        let forgotten = Answer::Refused(Refused::Forgotten);
        assert_eq!(apply(&mut window, &mut n, 10, &request(1, 2, 1), &s), forgotten);
        apply(&mut window, &mut n, 100, &request(3, 2, 1), &s);
        assert_eq!(apply(&mut window, &mut n, 111, &request(2, 2, 1), &s), forgotten);
        assert_eq!(window.clients.len(), 1);
    }
}
