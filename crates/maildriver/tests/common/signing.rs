//! Letters that are signed, with keys that everybody may know.

#![allow(dead_code, reason = "each test uses a part")]

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use mail_auth::common::crypto::{Ed25519Key, RsaKey, Sha256};
use mail_auth::common::headers::HeaderWriter;
use mail_auth::dkim::DkimSigner;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer};

/// The key of the example in RFC 8463.
const ED25519_SEED: &str = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
const ED25519_PUBLIC: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
/// 2,048 bits, made for this test and used nowhere else.
const RSA: &str = "\
MIIEogIBAAKCAQEAmdIg69UGnR/npQiaFJxPufVTy9BEh6aMMzDhXSwWCkfgjDsWFddPB3qIqEitIJxXN3RcfXJlavO3BtLoLUKb\
mBV35se6XX38ydymDQ/q53SB4ExmrRjI1BL2p2mIC1bGqtNBva0s6aLeFTq99tpnYTZXwIVd5xcpdW1QLcq6n3GNIwidXu+ORlH8\
tE7avemnvpgnn1MjGtiWXfuzXZ9xn3nV/YDpUTVVEwhdVbM5nZIK2nRsuq7BUY9RekgSMEG+50wPRxAlpE/NEaN2YKmOOfeQJA5c\
S09qNR3XfwHZcCJ4DMvtY3b3h/1xpc9tBeWkgf062ISoGg6bbtRvgwyOlQIDAQABAoIBAAOP/swyIFeWQWlXPtOjCnj+P2UVMJPL\
CIHiVsMvfgkvQKTuyg79GsBLwbYoDL5txdqrxWfwX3yaeA7ekUWvE7xyJCyXoUTWDKXo3X2oSeKiFk9JZbK07r3JUftu8cQqy9TG\
qhtIU1B2lwR7L6LJIc4kvI6MaDAtyfuFacR4Zq8XoHcvf00dN/Cf8sACiIZ7l54uY337XHHUAYGiDn/zXmpRV//XgfLqgdJrEB8g\
07eLmRJt3KiUCFbM46WCeEyvrfMutz2bqEdd6rDBUu7ktrzUj/1IlNqVpbfYHPeQhBvGbLZau36KyqoVOt7UxL7JZgAtqHhgif+J\
5Fjza6TItaECgYEAx8ZvXhsKBDn7SPUFUcW6bQSqiF+/sGFVTNCcGpxZsbZzMNBCklumTVLIXMuHi+L5x8wrTAiOFw5FGUjGBAxS\
8+8k+soFdG4QsC/ZFDu5DLTyzv7UnxhowCVQq7Di4OGNbF/jJR02Qh+aEH86u26Xn8pWjmeWoMBJ4QSwHW26xdECgYEAxRy9CKDT\
ZiZU1wEocX6k4cR37GBnxved4SCasKzxW3DeACNnXBaRS5DDWsT8ZSt15DUPkj5Ax+tSk8P4i0LF9CyUE4/6J4YaVb+FkNrfTvhN\
5k4V/N5fklaOJtPqH2JjJuxkPWtzW0eEXFVjmbAhRlBRswqFyfHdCN5jhk5EeYUCgYAfocr2gp+GZcvlFG7gMMfBBVEfQNHwUqkX\
/ZwKFqGZIwOAQimYVQyzB52UG+H9g1X7jdd5NY2SFv9X7o70CyODXmVjlGNiuR7JVvovWvmFCo27utvdyRak/gOU+/AgnXYwJ8qm\
kMaLl8dkP1EEZpF5iqdD6yENmQTZrU1Zi4tcUQKBgCZ3w1SJvnfzBx+mtDPiGV+OLjFNZzNnY8Jp0IamWbwUvN6eCi/on5Z1vApc\
4z0DTFCrIkzSJWZewJDh8AGNmIBcqtFeid1oyH7vj6uDa41H3DwUBSqCY3h1t+xP8yMI2nzgKXfrHmoz/NrgNz3pJ7VHO4qLhSyy\
LQbsD9RINgjZAoGABJKvZ6LOdp2SVM/fa/JkRRwQdWC8uNVyumc6/Y6ws3O5bpTY2bIec0A/V4rs2qGxoy4J2FkhWvxbL1j1JvSp\
1fexMSFhyMl2IScvJWgQz0TXZrBuQIQLkTPYVnTBPoFyM9RbTv5/JKrzCvf4jjz34Udlhc/Id2D14D3vAWhxpKE=\
";

/// A key to sign with.
#[derive(Clone, Copy, Debug)]
pub enum Key {
    Rsa,
    Ed25519,
}

impl Key {
    /// What it is called in a domain that has it.
    pub fn selector(self) -> &'static str {
        match self {
            Key::Rsa => "rsa",
            Key::Ed25519 => "ed",
        }
    }

    /// What a name server says of it.
    pub fn record(self) -> String {
        match self {
            Key::Rsa => format!("v=DKIM1; k=rsa; p={}", BASE64_STANDARD.encode(rsa().public_key())),
            Key::Ed25519 => format!("v=DKIM1; k=ed25519; p={ED25519_PUBLIC}"),
        }
    }
}

/// The letter with a signature of these fields of it.
pub fn signed(key: Key, domain: &str, selector: &str, fields: &[&str], letter: &str) -> String {
    let made = match key {
        Key::Rsa => {
            let signer = DkimSigner::from_key(rsa()).domain(domain).selector(selector);
            signer.headers(fields.iter().copied()).sign(letter.as_bytes())
        }
        Key::Ed25519 => {
            let signer = DkimSigner::from_key(ed25519()).domain(domain).selector(selector);
            signer.headers(fields.iter().copied()).sign(letter.as_bytes())
        }
    };
    format!("{}{letter}", made.expect("it can be signed").to_header())
}

fn rsa() -> RsaKey<Sha256> {
    let der = PrivatePkcs1KeyDer::from(decoded(RSA));
    RsaKey::from_key_der(PrivateKeyDer::Pkcs1(der)).expect("a good key")
}

fn ed25519() -> Ed25519Key {
    Ed25519Key::from_seed_and_public_key(&decoded(ED25519_SEED), &decoded(ED25519_PUBLIC))
        .expect("a good key")
}

fn decoded(text: &str) -> Vec<u8> {
    BASE64_STANDARD.decode(text).expect("base64")
}
