//! The server's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), without channel binding.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mail::command::Scram;
use mail::{AppPassword, Position, UserId};

use super::limits::{MESSAGE_BYTES_MAX, NAME_BYTES_MAX, SCRAM_ITERATIONS};
use super::password::{mac, named, same, sha256};

/// How far a connection's exchange has come. One for each connection; begun anew by each first message.
#[derive(Debug, Default)]
pub struct Exchange(pub(super) Stage);

#[derive(Debug, Default)]
pub(super) enum Stage {
    /// Nothing was said.
    #[default]
    Idle,
    /// The client owes its proof.
    Challenged(Box<Challenged>),
    /// The proof was right, and the client was given ours; it owes an empty message.
    Proved(UserId),
}

/// What was said so far.
#[derive(Debug)]
pub(super) struct Challenged {
    /// As the client wrote it.
    pub name: String,
    /// If there is such a user.
    pub user: Option<UserId>,
    /// The entry that last changed its passwords.
    pub credentials: Position,
    /// Keys of which one is the client's, all of the salt that it was told.
    keys: Vec<([u8; 32], [u8; 32])>,
    channel: String,
    nonce: String,
    /// `client-first-message-bare , server-first-message`
    said: String,
}

/// What a client begins with.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct First {
    pub name: String,
    channel: String,
    nonce: String,
    bare: String,
}

impl First {
    /// Reads `n,,n=name,r=nonce`. None if it cannot be read, asks for channel binding or for somebody else's rights.
    pub fn parse(message: &[u8]) -> Option<First> {
        let text = std::str::from_utf8(message).ok().filter(|text| text.len() <= MESSAGE_BYTES_MAX)?;
        let mut fields = text.splitn(3, ',');
        let (flag, other, bare) = (fields.next()?, fields.next()?, fields.next()?);
        let mut attributes = bare.split(',');
        let name = unescaped(attributes.next()?.strip_prefix("n=")?)?;
        let nonce = attributes.next()?.strip_prefix("r=").filter(|nonce| is_nonce(nonce))?.to_owned();
        let itself = other.is_empty() || unescaped(other.strip_prefix("a=")?)? == name;
        (matches!(flag, "n" | "y") && itself).then(|| First {
            name,
            channel: format!("{flag},{other},"),
            nonce,
            bare: bare.to_owned(),
        })
    }
}

/// `=2C` stands for a comma, `=3D` for `=`.
fn unescaped(name: &str) -> Option<String> {
    let mut pieces = name.split('=');
    let mut out = pieces.next()?.to_owned();
    for piece in pieces {
        let (code, rest) = piece.split_at_checked(2)?;
        out.push(match code {
            "2C" => ',',
            "3D" => '=',
            _ => return None,
        });
        out.push_str(rest);
    }
    (!out.is_empty() && out.len() <= NAME_BYTES_MAX).then_some(out)
}

fn is_nonce(nonce: &str) -> bool {
    (8..=512).contains(&nonce.len()) && nonce.bytes().all(|b| b.is_ascii_graphic())
}

impl Challenged {
    /// The challenge for a client, and what is needed to judge its answer. Who has no generated passwords, or does
    /// not exist, is challenged alike: with `salt`, which is always the same for the name.
    pub fn new(
        first: First,
        user: Option<(UserId, Position, &[AppPassword])>,
        salt: &[u8],
        random: [u8; 18],
    ) -> (Challenged, Vec<u8>) {
        let passwords = user.map_or(&[][..], |(_, _, passwords)| passwords);
        let told = named(passwords);
        let (salt, iterations) = told.map_or((salt, SCRAM_ITERATIONS), |t| (&t.salt, t.iterations));
        let alike = |scram: &&Scram| scram.salt == salt && scram.iterations == iterations;
        let all = passwords.iter().map(|password| &password.scram).filter(alike);
        let keys = all.map(|scram| (scram.stored_key, scram.server_key)).collect();
        let nonce = format!("{}{}", first.nonce, BASE64.encode(random));
        let message = format!("r={nonce},s={},i={iterations}", BASE64.encode(salt));
        let challenged = Challenged {
            name: first.name,
            user: user.map(|(user, _, _)| user),
            credentials: user.map_or(Position(0), |(_, credentials, _)| credentials),
            keys,
            channel: BASE64.encode(&first.channel),
            nonce,
            said: format!("{},{message}", first.bare),
        };
        (challenged, message.into_bytes())
    }

    /// The server's own proof, if the client's is right.
    pub fn judge(&self, message: &[u8]) -> Option<Vec<u8>> {
        let text = std::str::from_utf8(message).ok().filter(|text| text.len() <= MESSAGE_BYTES_MAX)?;
        let (without_proof, proof) = text.rsplit_once(",p=")?;
        let mut attributes = without_proof.split(',');
        let channel = attributes.next()?.strip_prefix("c=")?;
        let nonce = attributes.next()?.strip_prefix("r=")?;
        if channel != self.channel || nonce != self.nonce {
            return None;
        }
        let proof: [u8; 32] = BASE64.decode(proof).ok()?.try_into().ok()?;
        let said = format!("{},{without_proof}", self.said);
        let found = self.keys.iter().find(|(stored, _)| {
            let mut client_key = mac(stored, said.as_bytes());
            client_key.iter_mut().zip(proof).for_each(|(key, proof)| *key ^= proof);
            same(&sha256(&client_key), stored)
        });
        let (_, server_key) = found?;
        Some(format!("v={}", BASE64.encode(mac(server_key, said.as_bytes()))).into_bytes())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::password::keys;
    use super::*;

    /// What a client answers to a challenge.
    pub fn answer(password: &str, bare: &str, challenge: &str) -> (String, String) {
        let field = |name: &str| challenge.split(',').find_map(|f| f.strip_prefix(name)).expect("a field");
        let salt = BASE64.decode(field("s=")).expect("base64");
        let scram = keys(password.as_bytes(), &salt, field("i=").parse().expect("a number"));
        let without_proof = format!("c=biws,r={}", field("r="));
        let said = format!("{bare},{challenge},{without_proof}");
        let mut salted = [0; 32];
        let rounds = std::num::NonZeroU32::new(scram.iterations).expect("rounds");
        let algorithm = ring::pbkdf2::PBKDF2_HMAC_SHA256;
        ring::pbkdf2::derive(algorithm, rounds, &salt, password.as_bytes(), &mut salted);
        let mut proof = mac(&salted, b"Client Key");
        let signature = mac(&scram.stored_key, said.as_bytes());
        proof.iter_mut().zip(signature).for_each(|(p, s)| *p ^= s);
        let server = format!("v={}", BASE64.encode(mac(&scram.server_key, said.as_bytes())));
        (format!("{without_proof},p={}", BASE64.encode(proof)), server)
    }

    /// The example of RFC 7677, 3.
    #[test]
    fn the_published_example() {
        let first = First::parse(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO").expect("it can be read");
        let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64");
        let password = AppPassword { label: "x".into(), scram: keys(b"pencil", &salt, 4_096) };
        let user = Some((UserId(1), Position(1), std::slice::from_ref(&password)));
        let (mut challenged, _) = Challenged::new(first, user, b"", [0; 18]);
        challenged.nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0".to_owned();
        challenged.said =
            format!("n=user,r=rOprNGfwEbeRWgbNEkqO,r={},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", challenged.nonce);
        let last = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        let server = challenged.judge(last).expect("the proof is right");
        assert_eq!(server, b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        let mut wrong = last.to_vec();
        wrong[90] ^= 1;
        assert_eq!(challenged.judge(&wrong), None);
    }

    proptest::proptest! {
        #[test]
        fn any_message(first in "[nyp],(a=[a-z=]{0,3})?,n=[a-z=2C\u{e9}]{0,6},r=[!-~]{0,12}(,[a-z]=x)?", last in "c=[a-z]{0,6},r=[!-~]{0,20},p=[A-Za-z=]{0,50}") {
            if let Some(first) = First::parse(first.as_bytes()) {
                let (challenged, challenge) = Challenged::new(first, None, b"salt", [1; 18]);
                proptest::prop_assert!(challenge.is_ascii() && challenged.judge(last.as_bytes()).is_none());
            }
        }

        #[test]
        fn any_bytes(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..100)) {
            proptest::prop_assert!(First::parse(&bytes).is_none());
        }
    }

    #[test]
    fn first_messages() {
        let name = |text: &str| First::parse(text.as_bytes()).map(|first| first.name);
        assert_eq!(name("y,,n=a=2Cb=3D,r=12345678"), Some("a,b=".to_owned()));
        assert_eq!(name("n,a=ann,n=ann,r=12345678,x=y"), Some("ann".to_owned()));
        for wrong in [
            "",
            "n,,",
            "n,,n=ann",
            "p=tls-exporter,,n=ann,r=12345678",
            "n,a=bob,n=ann,r=12345678",
            "n,,m=1,n=ann,r=12345678",
            "n,,n=a=2,r=12345678",
            "n,,n=a=20,r=12345678",
            "n,,n=,r=12345678",
            "n,,n=ann,r=short",
            "x,,n=ann,r=12345678",
        ] {
            assert_eq!(name(wrong), None, "{wrong}");
        }
    }
}
