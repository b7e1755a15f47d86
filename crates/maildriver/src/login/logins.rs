//! A site's logins: passwords judged, remembered for minutes, and guesses held up.

use std::net::IpAddr;

use mail::command::Scram;
use mail::{Address, Position, State, User, UserId, UserName};
use wire::Time;

use super::limits::{CACHE_LIFE, CACHE_MAX, NAME_BYTES_MAX, PASSWORD_BYTES_MAX, SCRAM_ITERATIONS};
use super::password::{self, hash_password, is_app_password, mac, normal, same, usable};
use super::recent::Recent;
use super::scram::{Challenged, Exchange, First, Stage};
use super::throttle::{Account, Origin, Throttle};
use crate::edge::Answer;

/// All logins of a site.
///
/// [`password`](Logins::password) answers `Request::Authenticate` at once, or gives a [`Check`] to be run where it
/// may wait, at most two at a time; what comes of it goes to [`checked`](Logins::checked). [`scram`](Logins::scram)
/// answers `Request::Sasl`. When the feed says that credentials changed or a user was removed, call
/// [`forget`](Logins::forget).
pub struct Logins {
    secret: [u8; 32],
    throttle: Throttle,
    /// Passwords that were right, as keyed hashes, and the entry that last changed the user's passwords then.
    right: Recent<(UserId, [u8; 32]), Position>,
    /// What a password is compared with where there is none: it takes as long.
    decoy: String,
}

impl std::fmt::Debug for Logins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Logins").field("throttle", &self.throttle).finish_non_exhaustive()
    }
}

/// What becomes of a password.
#[derive(Debug)]
pub enum Password {
    /// It is known already what to answer.
    Answered(Answer),
    /// It has to be computed.
    Check(Box<Check>),
}

/// A password to be computed: [`run`](Check::run) it where it may take its time.
pub struct Check {
    guess: Guess,
    password: Vec<u8>,
    hash: String,
    /// Keys of generated passwords, if it looks like one.
    keys: Vec<Scram>,
}

impl std::fmt::Debug for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Check").field("guess", &self.guess).finish_non_exhaustive()
    }
}

/// Who guesses at whom.
#[derive(Clone, Copy, Debug)]
struct Guess {
    user: Option<UserId>,
    credentials: Position,
    account: Account,
    origin: Origin,
    remembered_as: [u8; 32],
}

/// A password that was computed.
#[derive(Debug)]
pub struct Checked {
    guess: Guess,
    right: bool,
}

impl Check {
    /// Computes, with 19 MiB, for as long whether there is such a user or not.
    pub fn run(self) -> Checked {
        let right = self.is_generated() || password::verify(&self.password, &self.hash);
        Checked { guess: self.guess, right: right && self.guess.user.is_some() }
    }

    fn is_generated(&self) -> bool {
        // Generated passwords of a user share a salt, so this is one computation.
        let mut computed: Option<Scram> = None;
        self.keys.iter().fold(false, |found, keys| {
            let again =
                computed.as_ref().is_some_and(|c| c.salt == keys.salt && c.iterations == keys.iterations);
            if !again {
                computed = Some(password::keys(&self.password, &keys.salt, keys.iterations));
            }
            found | computed.as_ref().is_some_and(|c| same(&c.stored_key, &keys.stored_key))
        })
    }
}

impl Logins {
    /// A site's logins. `secret` is random and best the same at every site and after a restart: from it come the
    /// salts that users are told who do not exist. Makes one hash.
    pub fn new(secret: [u8; 32]) -> Logins {
        let mut salt = [0; 16];
        salt.copy_from_slice(&mac(&secret, b"decoy salt")[..16]);
        let decoy = hash_password(&mac(&secret, b"decoy"), salt).expect("32 bytes are a password");
        let right = Recent::new(CACHE_LIFE, CACHE_MAX);
        Logins { secret, throttle: Throttle::new(), right, decoy }
    }

    /// Judges a password, or says what has to be computed for it.
    pub fn password(
        &mut self,
        now: Time,
        state: &State,
        address: Option<IpAddr>,
        name: &str,
        password: &[u8],
    ) -> Password {
        let user = find(state, name);
        let (account, origin) = (self.account(state, name), Origin::of(address));
        if !self.throttle.begin(now, account, origin) {
            return Password::Answered(Answer::Unavailable);
        }
        if password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
            return Password::Answered(Answer::LoginRefused);
        }
        let remembered_as = self.keyed(b"password", &normal(password));
        if let Some(user) = user {
            let known = self.right.get(now, &(user.id(), remembered_as));
            if known.is_some_and(|(_, credentials)| *credentials == user.credentials_changed()) {
                self.throttle.right(now, account, origin);
                return Password::Answered(Answer::LoggedIn(user.id()));
            }
        }
        let guess = Guess {
            user: user.map(User::id),
            credentials: user.map_or(Position(0), User::credentials_changed),
            account,
            origin,
            remembered_as,
        };
        let hash = user.and_then(User::password).unwrap_or(&self.decoy).to_owned();
        let keys = if is_app_password(password) { self.generated(user, &account) } else { Vec::new() };
        Password::Check(Box::new(Check { guess, password: password.to_vec(), hash, keys }))
    }

    /// Answers a password that was computed. `state` is this site's now.
    pub fn checked(&mut self, now: Time, state: &State, checked: Checked) -> Answer {
        let Checked { guess, right } = checked;
        let user = guess.user.and_then(|user| state.user(user));
        if user.map(User::credentials_changed) != guess.user.map(|_| guess.credentials) {
            // It was changed meanwhile: what was computed says nothing of the password now.
            self.throttle.take_back(guess.account, guess.origin);
            return Answer::Unavailable;
        }
        match user {
            Some(user) if right => {
                self.throttle.right(now, guess.account, guess.origin);
                self.right.put(now, (user.id(), guess.remembered_as), guess.credentials);
                Answer::LoggedIn(user.id())
            }
            _ => Answer::LoginRefused,
        }
    }

    /// Answers a message of SCRAM-SHA-256. `random` is drawn for each call.
    #[allow(clippy::too_many_arguments, reason = "what a request has, and what a pure function lacks")]
    pub fn scram(
        &mut self,
        now: Time,
        state: &State,
        address: Option<IpAddr>,
        exchange: &mut Exchange,
        message: &[u8],
        first: bool,
        random: [u8; 18],
    ) -> Answer {
        let origin = Origin::of(address);
        match std::mem::take(&mut exchange.0) {
            _ if first => {
                let Some(first) = First::parse(message) else { return Answer::LoginRefused };
                let user = find(state, &first.name);
                let account = self.account(state, &first.name);
                if !self.throttle.may_guess(now, account, origin) {
                    return Answer::Unavailable;
                }
                let known = user.map(|user| (user.id(), user.credentials_changed(), user.app_passwords()));
                let salt = self.invented_salt(&account);
                let (challenged, message) = Challenged::new(first, known, &salt, random);
                exchange.0 = Stage::Challenged(Box::new(challenged));
                Answer::Challenge(message)
            }
            Stage::Challenged(challenged) => self.proof(now, state, origin, exchange, &challenged, message),
            Stage::Proved(user) if message.is_empty() && state.user(user).is_some() => Answer::LoggedIn(user),
            Stage::Proved(_) | Stage::Idle => Answer::LoginRefused,
        }
    }

    fn proof(
        &mut self,
        now: Time,
        state: &State,
        origin: Origin,
        exchange: &mut Exchange,
        challenged: &Challenged,
        message: &[u8],
    ) -> Answer {
        let user = challenged.user.and_then(|user| state.user(user));
        let account = self.account(state, &challenged.name);
        if !self.throttle.begin(now, account, origin) {
            return Answer::Unavailable;
        }
        let Some(proof) = challenged.judge(message) else { return Answer::LoginRefused };
        match user {
            Some(user) if user.credentials_changed() == challenged.credentials => {
                self.throttle.right(now, account, origin);
                exchange.0 = Stage::Proved(user.id());
                Answer::Challenge(proof)
            }
            _ => Answer::LoginRefused,
        }
    }

    /// A user's passwords changed, or the user is gone.
    pub fn forget(&mut self, user: UserId) {
        for key in self.right.keys((user, [0; 32])..=(user, [0xff; 32])) {
            self.right.remove(&key);
        }
    }

    /// What failures are counted under, whether there is such a user or not.
    fn account(&self, state: &State, name: &str) -> Account {
        first_half(&self.keyed(b"account", meant(state, name).as_bytes()))
    }

    /// Keys to compare a generated password with, one at least: it takes as long for a user who has none.
    fn generated(&self, user: Option<&User>, account: &Account) -> Vec<Scram> {
        let passwords = user.map_or(&[][..], User::app_passwords);
        let keys: Vec<Scram> =
            passwords.iter().map(|p| &p.scram).filter(|scram| usable(scram)).cloned().collect();
        let salt = self.invented_salt(account).to_vec();
        let nobodys = Scram { salt, iterations: SCRAM_ITERATIONS, stored_key: [0; 32], server_key: [0; 32] };
        if keys.is_empty() { vec![nobodys] } else { keys }
    }

    /// The salt of who has no generated password: always the same, and nobody can tell it from a drawn one.
    fn invented_salt(&self, account: &Account) -> [u8; 16] {
        first_half(&self.keyed(b"salt", account))
    }

    fn keyed(&self, what: &[u8], text: &[u8]) -> [u8; 32] {
        mac(&mac(&self.secret, what), text)
    }
}

fn first_half(bytes: &[u8; 32]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&bytes[..16]);
    half
}

/// The name that somebody means: many programs have the address, in a local domain, for it.
fn meant(state: &State, typed: &str) -> String {
    let typed: String = typed.chars().take(NAME_BYTES_MAX).collect();
    let name = match Address::parse(&typed) {
        Ok(address) if state.is_local(&address) => address.local().to_owned(),
        Ok(_) | Err(_) => typed,
    };
    UserName::parse(&name).map_or(name, |name| name.as_str().to_owned())
}

/// Whom somebody means by a name, and the entry that last changed the user's passwords; none if there is nobody.
pub fn credentials(state: &State, name: &str) -> Option<(UserId, Position)> {
    find(state, name).map(|user| (user.id(), user.credentials_changed()))
}

fn find<'a>(state: &'a State, typed: &str) -> Option<&'a User> {
    state.user_named(&UserName::normal(&meant(state, typed)).ok()?)
}
