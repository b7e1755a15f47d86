//! Logins of a running site: `login` with a clock, chance, and two places where passwords are computed.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mail::command::Scram;
use mail::{AppPassword, Change, State};
use tokio::sync::Semaphore;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use wire::Time;

use crate::edge::Answer;
use crate::login::{self, BadPassword, Exchange, Logins, Password};
use crate::service::{Mail, MailError};

/// Who logs in waits so long for what was done at other sites; in a minority the passwords are those that are known here.
const REACHED_WITHIN: Duration = Duration::from_secs(2);
/// Passwords that are computed at once: each takes 19 MiB and a processor for some tens of milliseconds.
const COMPUTED_MAX: usize = 2;

/// A site's logins, of all its listeners and sessions. A clone is the same.
#[derive(Clone, Debug)]
pub(crate) struct Passwords(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    logins: Mutex<Logins>,
    places: Arc<Semaphore>,
    began: Instant,
}

impl Passwords {
    /// A site's logins; `secret` as [`Logins::new`] wants it. Computes one hash.
    #[allow(clippy::disallowed_methods, reason = "guesses are held up in real time")]
    pub fn new(secret: [u8; 32]) -> Passwords {
        let places = Arc::new(Semaphore::new(COMPUTED_MAX));
        Passwords(Arc::new(Shared { logins: Mutex::new(Logins::new(secret)), places, began: Instant::now() }))
    }

    /// Answers `Request::Authenticate`.
    ///
    /// # Errors
    ///
    /// The site does not have the state yet.
    pub async fn check(
        &self,
        mail: &Mail,
        address: IpAddr,
        name: &str,
        password: &[u8],
    ) -> Result<Answer, MailError> {
        let state = mail.view()?;
        let answer = self.judge(&state, mail, address, name, password).await?;
        // A password that was given or taken at another site a moment ago is not judged by how things were.
        let reached = match answer {
            Answer::LoggedIn(_) => reached(mail).await,
            Answer::LoginRefused => mail.look().await.is_ok(),
            _ => false,
        };
        if !reached {
            return Ok(answer);
        }
        let reached = mail.view()?;
        match login::credentials(&reached, name) == login::credentials(&state, name) {
            true => Ok(answer),
            false => self.judge(&reached, mail, address, name, password).await,
        }
    }

    async fn judge(
        &self,
        state: &State,
        mail: &Mail,
        address: IpAddr,
        name: &str,
        password: &[u8],
    ) -> Result<Answer, MailError> {
        let judged = self.logins().password(self.now(), state, Some(address), name, password);
        let check = match judged {
            Password::Answered(answer) => return Ok(answer),
            Password::Check(check) => check,
        };
        let Some(checked) = self.computed(move || check.run()).await else { return Ok(Answer::Unavailable) };
        let state = mail.view()?;
        Ok(self.logins().checked(self.now(), &state, checked))
    }

    /// Runs something where it may take its time. Its place is its own until it is done, though nobody waits any more.
    async fn computed<T: Send + 'static>(&self, compute: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let place = Arc::clone(&self.0.places).acquire_owned().await.ok()?;
        let computed = tokio::task::spawn_blocking(move || {
            let computed = compute();
            drop(place);
            computed
        });
        computed.await.ok()
    }

    /// Answers `Request::Sasl`.
    ///
    /// # Errors
    ///
    /// The site does not have the state yet.
    pub async fn scram(
        &self,
        mail: &Mail,
        address: IpAddr,
        exchange: &Mutex<Exchange>,
        message: &[u8],
        first: bool,
    ) -> Result<Answer, MailError> {
        if first {
            // The challenge is made of the user's passwords.
            reached(mail).await;
        }
        let state = mail.view()?;
        let mut random = [0; 18];
        let drawn = [net::random().to_ne_bytes(), net::random().to_ne_bytes()].concat();
        random.copy_from_slice(&drawn[..18]);
        let now = self.now();
        let mut exchange = exchange.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(self.logins().scram(now, &state, Some(address), &mut exchange, message, first, random))
    }

    /// The hash of a new password, as an entry carries it.
    ///
    /// # Errors
    ///
    /// It cannot be one, or the site ends.
    pub async fn hash(&self, password: String) -> Result<String, BadPassword> {
        let salt = net::random().to_ne_bytes();
        let hashed = self.computed(move || login::hash_password(password.as_bytes(), salt)).await;
        hashed.unwrap_or(Err(BadPassword::Interrupted))
    }

    /// A new application password beside those that its user has, and its keys, as an entry carries them.
    ///
    /// # Errors
    ///
    /// The site ends.
    pub async fn generate(&self, others: Vec<AppPassword>) -> Result<(String, Scram), BadPassword> {
        let (secret, salt) = (net::random().to_ne_bytes(), net::random().to_ne_bytes());
        let made = self.computed(move || login::app_password(secret, salt, &others)).await;
        made.ok_or(BadPassword::Interrupted)
    }

    /// Forgets what is remembered of users whose passwords change, until the site ends.
    pub async fn follow(self, mut changes: Receiver<Arc<Change>>) {
        loop {
            match changes.recv().await {
                Ok(change) => match &*change {
                    Change::Credentials { user } | Change::UserRemoved { user } => {
                        self.logins().forget(*user);
                    }
                    _ => {}
                },
                // What is remembered names the entry that it holds for: it is of no use in memory, and does no harm.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn logins(&self) -> MutexGuard<'_, Logins> {
        self.0.logins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Time {
        Time::ZERO + self.0.began.elapsed()
    }
}

/// Waits for what was acknowledged anywhere, for a moment. False: it is not known to be here.
async fn reached(mail: &Mail) -> bool {
    tokio::time::timeout(REACHED_WITHIN, mail.look()).await.is_ok_and(|reached| reached.is_ok())
}
