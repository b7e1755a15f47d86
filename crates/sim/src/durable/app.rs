//! The application under test: a service, and a digest of all that was ever done to it, in order.

use bytes::Bytes;
use durable::{Applying, ClientId, Entry, Locator, Request};

use super::Options;
use super::service::Service;
use crate::trace::Digest;

/// The domain of its checkpoints behind the service's.
const DIGEST: u16 = u16::MAX;

/// The state.
#[derive(Clone, Debug)]
pub struct App<S> {
    /// The service's.
    pub service: S,
    digest: Digest,
    /// How far it has come.
    pub applied: u64,
    /// A part of the service that has not come to its end: its domain, and what there is of it.
    part: Option<(u16, Vec<u8>)>,
}

impl<S: Service> App<S> {
    /// Of a new service.
    pub fn new(options: &Options) -> App<S> {
        App { service: S::new(options), digest: Digest::EMPTY, applied: 0, part: None }
    }

    /// The digest of its history, and of the service at each step of it.
    pub fn digest(&self) -> u64 {
        self.digest.value()
    }

    /// Applies a request to the service. Answers with the digest, which no other history has, and the service's answer.
    pub fn apply(&mut self, entry: &Entry, request: &Request, clock: u64) -> Bytes {
        let position = entry.number.position;
        let Request { client, sequence, payload, .. } = request.clone();
        let answer = self.service.apply(Applying { position, clock, client, payload });
        let ClientId(client) = client;
        self.digest.bytes(&client);
        self.digest.number(sequence);
        self.digest.bytes(&request.payload);
        self.digest.bytes(&answer);
        self.digest.number(self.service.digest());
        self.applied = position;
        [&self.digest().to_le_bytes()[..], &answer].concat().into()
    }

    /// Its state in the parts of a checkpoint: each piece of a service's part is at its offset there.
    pub fn parts(&self) -> Vec<(Locator, Bytes)> {
        let mut parts = Vec::new();
        for (n, (at, part)) in self.service.snapshot().enumerate() {
            // One of the service's parts a domain, whose first piece begins with the service's own locator.
            let mut whole = wire::codec::encode(&at).to_vec();
            let head = u16::try_from(whole.len()).unwrap_or(u16::MAX).to_le_bytes();
            whole.splice(..0, head);
            whole.extend_from_slice(&part);
            let domain = u16::try_from(n + 1).unwrap_or(DIGEST - 1);
            for (m, piece) in whole.chunks(S::PIECE_BYTES).enumerate() {
                let key = if m == 0 { Vec::new() } else { (m as u32).to_be_bytes().to_vec() };
                parts.push((Locator { domain, key }, Bytes::copy_from_slice(piece)));
            }
        }
        let digest = Bytes::copy_from_slice(&self.digest().to_le_bytes());
        parts.push((Locator { domain: DIGEST, key: Vec::new() }, digest));
        parts
    }

    /// Takes one part.
    ///
    /// # Panics
    ///
    /// The service does not take what it has written, which is a violation.
    pub fn restore(&mut self, at: &Locator, part: &[u8]) {
        if let Some((_, whole)) = self.part.take_if(|(domain, _)| *domain != at.domain) {
            self.take_whole(&whole);
        }
        if at.domain == DIGEST {
            self.digest = Digest::of(part.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)));
            self.service.whole();
            return;
        }
        self.part.get_or_insert_with(|| (at.domain, Vec::new())).1.extend_from_slice(part);
    }

    fn take_whole(&mut self, whole: &[u8]) {
        let (head, rest) = whole.split_first_chunk().expect("a part begins with its locator's length");
        let (at, part) = rest.split_at(usize::from(u16::from_le_bytes(*head)));
        let at: Locator = wire::codec::decode(at).expect("a locator of the service's");
        let part = Bytes::copy_from_slice(part);
        self.service.restore(&at, part).expect("a part that the service has written");
    }
}

#[cfg(test)]
mod tests {
    use super::super::map::value_of;
    use super::*;
    use durable::{Application as _, Body, Number};
    use tools::map::{Delete, Map, Put, Request as Of};

    #[test]
    fn a_state_is_the_same_from_its_parts() {
        let mut app = App::<Map>::new(&Options::default());
        for n in 1..40u8 {
            let (key, value) = ([n % 16], value_of(u64::from(n) << 40 | u64::from(n)));
            let payload = match n % 5 {
                0 => Of::Delete(Delete { key: &key, only_if: None }).encode(),
                _ => Of::Put(Put { key: &key, value: &value, ttl_ms: None, only_if: None }).encode(),
            };
            let request = Request { client: ClientId([1; 16]), sequence: n.into(), answered: 0, payload };
            let number = Number { position: n.into(), ..Number::default() };
            app.apply(&Entry { number, time: 0, body: Body::Request(request.clone()) }, &request, 7);
        }
        let mut again = App::<Map> { applied: app.applied, ..App::new(&Options::default()) };
        let parts = app.parts();
        assert!(parts.windows(2).all(|two| two[0].0 < two[1].0) && parts.len() > 5);
        parts.iter().for_each(|(at, part)| again.restore(at, part));
        assert_eq!((again.digest(), again.service.digest()), (app.digest(), app.service.digest()));
        assert_eq!(again.service.all(), app.service.all());
        assert!(app.service.look(1).word.is_some());
        assert_eq!(again.parts(), parts);
    }
}
