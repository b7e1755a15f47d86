//! Hashes of passwords, as the state keeps them: argon2id for those that people choose, keys of SCRAM for those
//! that are generated.

use argon2::password_hash::{self, PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use mail::AppPassword;
use mail::command::Scram;
use ring::{digest, hmac, pbkdf2};
use unicode_normalization::UnicodeNormalization as _;

use super::limits::{
    ARGON2_KIB, ARGON2_KIB_MAX, ARGON2_PASSES, ARGON2_PASSES_MAX, PASSWORD_BYTES_MAX, SCRAM_ITERATIONS,
    SCRAM_ITERATIONS_MAX,
};

/// Why a password cannot be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPassword {
    /// Nothing.
    #[error("a password is empty")]
    Empty,
    /// Longer than allowed.
    #[error("a password is longer than {PASSWORD_BYTES_MAX} bytes")]
    TooLong,
    /// The hash could not be made.
    #[error("a password cannot be hashed: {0}")]
    Hash(password_hash::Error),
    /// The site ends.
    #[error("a password could not be hashed; try again")]
    Interrupted,
}

/// The hash of a password that somebody chose, for `SetPassword`: argon2id in PHC form. `salt` is drawn at random.
/// It takes 19 MiB and its time: run it where it may wait.
pub fn hash_password(password: &[u8], salt: [u8; 16]) -> Result<String, BadPassword> {
    let params = Params::new(ARGON2_KIB, ARGON2_PASSES, 1, None).expect("these parameters are valid");
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    match password.len() {
        0 => return Err(BadPassword::Empty),
        1..=PASSWORD_BYTES_MAX => {}
        _ => return Err(BadPassword::TooLong),
    }
    let salt = SaltString::encode_b64(&salt).map_err(BadPassword::Hash)?;
    let hash = argon2.hash_password(&normal(password), &salt).map_err(BadPassword::Hash)?;
    Ok(hash.to_string())
}

/// Whether this is the password of a hash. A hash of another kind, or one that asks for more than a site gives, is
/// nobody's.
pub(super) fn verify(password: &[u8], hash: &str) -> bool {
    let Ok(hash) = PasswordHash::new(hash) else { return false };
    let Ok(params) = Params::try_from(&hash) else { return false };
    let within = params.m_cost() <= ARGON2_KIB_MAX
        && params.t_cost() <= ARGON2_PASSES_MAX
        && params.p_cost() <= ARGON2_PASSES_MAX;
    let argon2id = hash.algorithm == Algorithm::Argon2id.ident();
    within && argon2id && Argon2::default().verify_password(&normal(password), &hash).is_ok()
}

/// One form for what two keyboards may send in two (RFC 8265, 4.2.2); bytes that are no UTF-8 stay as they are.
pub(super) fn normal(password: &[u8]) -> Vec<u8> {
    match std::str::from_utf8(password) {
        Ok(text) => text.nfc().collect::<String>().into_bytes(),
        Err(_) => password.to_vec(),
    }
}

/// Letters and digits that nobody takes for one another: 5 bits each.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
const APP_PASSWORD_LETTERS: usize = 26;

/// A generated password of 128 bits and its keys, for `AddAppPassword`. Both `secret` and `salt` are drawn at random;
/// a user's application passwords share one salt, that of the first, because SCRAM names it before it knows which of them is
/// meant.
pub fn app_password(secret: [u8; 16], salt: [u8; 16], others: &[AppPassword]) -> (String, Scram) {
    let bits = u128::from_be_bytes(secret);
    let letter = |n: usize| LETTERS[(bits >> (5 * n) & 31) as usize] as char;
    let text: String = (0..APP_PASSWORD_LETTERS).map(letter).collect();
    let (salt, iterations) = match named(others) {
        Some(first) => (first.salt.clone(), first.iterations),
        None => (salt.to_vec(), SCRAM_ITERATIONS),
    };
    let scram = keys(text.as_bytes(), &salt, iterations);
    (text, scram)
}

/// Whether a password may be a generated one.
pub(super) fn is_app_password(password: &[u8]) -> bool {
    password.len() == APP_PASSWORD_LETTERS && password.iter().all(|b| LETTERS.contains(b))
}

/// The keys whose salt SCRAM names for a user with these passwords: of the first that can be used.
pub(crate) fn named(passwords: &[AppPassword]) -> Option<&Scram> {
    passwords.iter().map(|password| &password.scram).find(|scram| usable(scram))
}

/// Whether keys of the state can be used.
pub(super) fn usable(scram: &Scram) -> bool {
    (1..=SCRAM_ITERATIONS_MAX).contains(&scram.iterations)
}

/// RFC 5802, 3.
pub(super) fn keys(password: &[u8], salt: &[u8], iterations: u32) -> Scram {
    let mut salted = [0; 32];
    let rounds = std::num::NonZeroU32::new(iterations).unwrap_or(std::num::NonZeroU32::MIN);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, salt, &normal(password), &mut salted);
    let client_key = mac(&salted, b"Client Key");
    Scram {
        salt: salt.to_vec(),
        iterations,
        stored_key: sha256(&client_key),
        server_key: mac(&salted, b"Server Key"),
    }
}

pub(super) fn mac(key: &[u8], message: &[u8]) -> [u8; 32] {
    array(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref())
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    array(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn array(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(bytes);
    out
}

/// Whether two secrets are the same, in a time that does not tell where they differ.
pub(super) fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    std::hint::black_box(a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b))) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_knows_its_password_in_either_form() {
        let hash = hash_password("Entw\u{fc}rfe".as_bytes(), [7; 16]).unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(verify("Entwu\u{308}rfe".as_bytes(), &hash));
        assert!(!verify(b"entwurfe", &hash));
        assert_eq!(hash_password(b"", [0; 16]), Err(BadPassword::Empty));
        assert_eq!(hash_password(&[b'x'; PASSWORD_BYTES_MAX + 1], [0; 16]), Err(BadPassword::TooLong));
    }

    #[test]
    fn a_hash_that_asks_for_too_much_is_nobodys() {
        let strange = [
            "",
            "secret",
            "$argon2id$v=19$m=4194304,t=2,p=1$BwcHBwcHBwcHBwcHBwcHBw$PFBNwCg3gQXMTOaHOHJIQNXQ4LVXEyKXFT0XD/Fdh5E",
            "$argon2id$v=19$m=64,t=4000000,p=1$BwcHBwcHBwcHBwcHBwcHBw$PFBNwCg3gQXMTOaHOHJIQNXQ4LVXEyKXFT0XD/Fdh5E",
            "$argon2d$v=19$m=64,t=1,p=1$BwcHBwcHBwcHBwcHBwcHBw$PFBNwCg3gQXMTOaHOHJIQNXQ4LVXEyKXFT0XD/Fdh5E",
        ];
        assert!(strange.iter().all(|hash| !verify(b"secret", hash)));
    }

    #[test]
    fn generated_passwords_differ_and_share_a_salt() {
        let (one, scram) = app_password([0xff; 16], [1; 16], &[]);
        assert_eq!(one, "9999999999999999999999999h");
        assert!(is_app_password(one.as_bytes()) && !is_app_password(b"secret"));
        let other = AppPassword { label: "phone".into(), scram: scram.clone() };
        let (two, second) = app_password([3; 16], [2; 16], &[other]);
        assert!(one != two && second.salt == scram.salt && second.stored_key != scram.stored_key);
    }

    #[test]
    fn the_salt_is_that_of_the_first_that_can_be_used() {
        let password = |salt: u8, iterations| AppPassword {
            label: salt.to_string().into(),
            scram: Scram { salt: vec![salt; 16], iterations, stored_key: [0; 32], server_key: [0; 32] },
        };
        // Two that were made at two sites in the same moment.
        let both = [password(1, 0), password(2, 5_000), password(3, 4_096)];
        assert_eq!(named(&both), Some(&both[1].scram));
        let (_, next) = app_password([3; 16], [4; 16], &both);
        assert_eq!((next.salt, next.iterations), (vec![2; 16], 5_000));
        assert_eq!(named(&both[..1]), None);
    }
}
