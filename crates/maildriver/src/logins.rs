//! Passwords: hashed with argon2id, and checked so that a name that nobody has takes as long as one that somebody has.

use std::sync::Arc;

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use mail::{UserId, UserName};
use tokio::sync::Semaphore;

use crate::service::{Mail, MailError};

/// Passwords that are hashed at once: each takes 19 MiB and a processor for some tens of milliseconds.
const HASHES_MAX: usize = 2;
/// Longer passwords are refused before they are hashed.
const PASSWORD_BYTES_MAX: usize = 1_024;
/// Salts, in bytes.
const SALT_BYTES: usize = 16;

/// Why a password cannot be hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// Nothing, or more than is taken.
    #[error("a password has 1 to {PASSWORD_BYTES_MAX} bytes")]
    Length,
    /// The system has no room for it.
    #[error("a password could not be hashed; try again")]
    Failed,
}

/// Who checks passwords.
#[derive(Clone, Debug)]
pub(crate) struct Logins {
    places: Arc<Semaphore>,
}

impl Default for Logins {
    fn default() -> Logins {
        Logins { places: Arc::new(Semaphore::new(HASHES_MAX)) }
    }
}

impl Logins {
    /// The user of this name and password; none if one of them is wrong. Names are given alone or as an address.
    pub(crate) async fn check(
        &self,
        mail: &Mail,
        name: &str,
        password: Vec<u8>,
    ) -> Result<Option<UserId>, MailError> {
        let state = mail.view()?;
        let local = name.rsplit_once('@').map_or(name, |(local, _)| local);
        let user = UserName::parse(local).ok().and_then(|name| state.user_named(&name));
        let (id, hash) = (user.map(mail::User::id), user.and_then(|user| user.password().map(str::to_owned)));
        if password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
            return Ok(None);
        }
        let Ok(_place) = self.places.acquire().await else { return Ok(None) };
        let verified = tokio::task::spawn_blocking(move || verify(hash.as_deref(), &password));
        // A check that could not be made lets nobody in.
        let verified = verified.await.unwrap_or(false);
        Ok(id.filter(|_| verified))
    }

    /// The hash of a new password.
    pub(crate) async fn hash(&self, password: String) -> Result<String, HashError> {
        let Ok(_place) = self.places.acquire().await else { return Err(HashError::Failed) };
        let hashed = tokio::task::spawn_blocking(move || hash_password(&password));
        hashed.await.unwrap_or(Err(HashError::Failed))
    }
}

/// The hash of a password, as an entry carries it. Blocks for some tens of milliseconds.
///
/// # Errors
///
/// The password is empty or too long, or there is no memory for it.
pub fn hash_password(password: &str) -> Result<String, HashError> {
    if password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
        return Err(HashError::Length);
    }
    let salt: [u8; SALT_BYTES] = net::random().to_ne_bytes();
    let salt = SaltString::encode_b64(&salt).map_err(|_| HashError::Failed)?;
    let hash = hasher().hash_password(password.as_bytes(), &salt).map_err(|_| HashError::Failed)?;
    Ok(hash.to_string())
}

/// Without a hash as much is computed as with one.
fn verify(hash: Option<&str>, password: &[u8]) -> bool {
    let parsed = hash.and_then(|hash| PasswordHash::new(hash).ok());
    match parsed {
        Some(hash) => hasher().verify_password(password, &hash).is_ok(),
        None => {
            let mut out = [0; Params::DEFAULT_OUTPUT_LEN];
            let _ = hasher().hash_password_into(password, &[0; SALT_BYTES], &mut out);
            false
        }
    }
}

fn hasher() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::DEFAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_known_by_its_hash_and_no_other_is() {
        let hash = hash_password("correct horse").expect("hashed");
        assert!(hash.starts_with("$argon2id$v=19$") && hash.len() < mail::limits::PASSWORD_HASH_BYTES_MAX);
        assert!(verify(Some(&hash), b"correct horse"));
        assert!(!verify(Some(&hash), b"correct horsf"));
        assert_ne!(hash_password("correct horse").expect("hashed"), hash, "salted");
        assert!(!verify(None, b"correct horse") && !verify(Some("no hash"), b"correct horse"));
        assert_eq!(hash_password(""), Err(HashError::Length));
    }
}
