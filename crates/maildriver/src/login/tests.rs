//! Logins against a state in memory.

use std::net::IpAddr;
use std::time::Duration;

use mail::command::{AddAppPassword, AddUser, Quota, SetDomain, SetPassword};
use mail::{Command, Domain, Entry, EntryTime, Outcome, Position, Principal, State, UserId, UserName};
use wire::Time;

use super::limits::CACHE_LIFE;
use super::scram::tests::answer;
use super::{Exchange, Logins, Password, app_password, hash_password};
use crate::edge::{Answer, Peer, Request};
use crate::{imap, smtp};

const HOME: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));
const ANN: UserId = UserId(1);

struct Site {
    state: State,
    logins: Logins,
    now: Time,
}

impl Site {
    /// `ann`, whose password is `secret`, and `bob`, who has none.
    fn new() -> Site {
        let (state, now) = (State::new(mail::Limits::default()), Time::ZERO);
        let mut site = Site { state, logins: Logins::new([7; 32]), now };
        for (name, password) in [("ann", Some("secret")), ("bob", None)] {
            let name = UserName::parse(name).unwrap();
            let password = password.map(|text| hash_password(text.as_bytes(), [1; 16]).unwrap().into());
            let add = AddUser { name, password, privileged: false, quota: Quota::default() };
            site.apply(Command::AddUser(add));
        }
        let domain = Domain::parse("x.org").unwrap();
        site.apply(Command::SetDomain(SetDomain { domain, catch_all: None }));
        site
    }

    fn apply(&mut self, command: Command) {
        let entry = Entry::new(Principal::Operator, None, command).unwrap();
        let position = Position(self.state.position().0 + 1);
        let outcome = self.state.apply(position, EntryTime(1), &entry);
        assert!(!matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
    }

    fn generate(&mut self, user: UserId, label: &str, secret: u8) -> String {
        let others = self.state.user(user).unwrap().app_passwords();
        let (text, scram) = app_password([secret; 16], [secret; 16], others);
        self.apply(Command::AddAppPassword(AddAppPassword { user, label: label.into(), scram }));
        text
    }

    /// The answer, and whether it had to be computed.
    fn password(&mut self, name: &str, password: &str) -> (Answer, bool) {
        match self.logins.password(self.now, &self.state, HOME, name, password.as_bytes()) {
            Password::Answered(answer) => (answer, false),
            Password::Check(check) => {
                let checked = check.run();
                (self.logins.checked(self.now, &self.state, checked), true)
            }
        }
    }

    fn scram(&mut self, exchange: &mut Exchange, message: &str, first: bool) -> Answer {
        self.logins.scram(self.now, &self.state, HOME, exchange, message.as_bytes(), first, [9; 18])
    }

    /// A whole exchange; what the server said last.
    fn whole_scram(&mut self, name: &str, password: &str) -> Answer {
        let mut exchange = Exchange::default();
        let bare = format!("n={name},r=clientnonce");
        let challenge = self.scram(&mut exchange, &format!("n,,{bare}"), true);
        let Answer::Challenge(challenge) = challenge else { return challenge };
        let (message, server) = answer(password, &bare, &String::from_utf8(challenge).unwrap());
        match self.scram(&mut exchange, &message, false) {
            Answer::Challenge(proof) => {
                assert_eq!(String::from_utf8(proof).unwrap(), server);
                let last = self.scram(&mut exchange, "", false);
                assert_eq!(self.scram(&mut exchange, "", false), Answer::LoginRefused, "once only");
                last
            }
            other => other,
        }
    }
}

#[test]
fn a_password_is_computed_once_and_then_remembered_for_minutes() {
    let mut site = Site::new();
    assert_eq!(site.password("Ann", "secret"), (Answer::LoggedIn(ANN), true));
    assert_eq!(site.password("ann@X.org", "secret"), (Answer::LoggedIn(ANN), false));
    assert_eq!(site.password("ann", "Secret"), (Answer::LoginRefused, true));
    assert_eq!(site.password("ann@y.org", "secret"), (Answer::LoginRefused, true));
    site.now = site.now + CACHE_LIFE;
    assert_eq!(site.password("ann", "secret"), (Answer::LoggedIn(ANN), true));
    site.logins.forget(ANN);
    assert_eq!(site.password("ann", "secret"), (Answer::LoggedIn(ANN), true));
}

#[test]
fn a_changed_password_counts_at_once() {
    let mut site = Site::new();
    assert_eq!(site.password("ann", "secret").0, Answer::LoggedIn(ANN));
    let asked = site.logins.password(site.now, &site.state, HOME, "ann", b"wrong");
    let password = Some(hash_password(b"other", [2; 16]).unwrap().into());
    site.apply(Command::SetPassword(SetPassword { user: ANN, password }));
    // Remembered, but of before.
    assert_eq!(site.password("ann", "secret"), (Answer::LoginRefused, true));
    // Computed while it was changed.
    let Password::Check(check) = asked else { panic!("{asked:?}") };
    assert_eq!(site.logins.checked(site.now, &site.state, check.run()), Answer::Unavailable);
    assert_eq!(site.password("ann", "other").0, Answer::LoggedIn(ANN));
    site.apply(Command::DeleteUser(ANN));
    assert_eq!(site.password("ann", "other").0, Answer::LoginRefused);
}

#[test]
fn nobody_is_told_who_exists() {
    let mut site = Site::new();
    for name in ["nobody", "bob", "", "a b", &"x".repeat(5_000)] {
        assert_eq!(site.password(name, "secret"), (Answer::LoginRefused, true), "{name:.9}");
    }
    let mut challenge = |name: &str| {
        let answer = site.scram(&mut Exchange::default(), &format!("n,,n={name},r=clientnonce"), true);
        let Answer::Challenge(challenge) = answer else { panic!("{answer:?}") };
        String::from_utf8(challenge).unwrap()
    };
    let (nobody, bob) = (challenge("nobody"), challenge("bob"));
    assert!(nobody.len() == bob.len() && nobody != bob);
    assert_eq!(challenge("nobody@x.org"), nobody, "an invented salt is always the same");
    assert_eq!(site.whole_scram("nobody", "secret"), Answer::LoginRefused);
    assert_eq!(site.whole_scram("ann", "secret"), Answer::LoginRefused, "no SCRAM with a chosen password");
}

#[test]
fn generated_passwords_of_several_programs() {
    let mut site = Site::new();
    let (phone, laptop) = (site.generate(ANN, "phone", 3), site.generate(ANN, "laptop", 4));
    for password in [&phone, &laptop] {
        assert_eq!(site.whole_scram("ann", password), Answer::LoggedIn(ANN));
        assert_eq!(site.password("ann", password), (Answer::LoggedIn(ANN), true));
        assert_eq!(site.password("ann", password), (Answer::LoggedIn(ANN), false));
    }
    assert_eq!(site.password("ann", "secret").0, Answer::LoggedIn(ANN));
    assert_eq!(site.password("bob", &phone), (Answer::LoginRefused, true));
    let remove = mail::command::RemoveAppPassword { user: ANN, label: "phone".into() };
    site.apply(Command::RemoveAppPassword(remove));
    assert_eq!(site.password("ann", &phone), (Answer::LoginRefused, true));
    assert_eq!(site.whole_scram("ann", &phone), Answer::LoginRefused);
    assert_eq!(site.whole_scram("ann", &laptop), Answer::LoggedIn(ANN));
}

#[test]
fn guessing_is_throttled_whatever_the_way() {
    let mut site = Site::new();
    for _ in 0..2 {
        assert_eq!(site.password("ann", "guess").0, Answer::LoginRefused);
        assert_eq!(site.whole_scram("ann", "guess"), Answer::LoginRefused);
    }
    assert_eq!(site.password("ann", "guess").0, Answer::LoginRefused);
    assert_eq!(site.password("ann@x.org", "secret"), (Answer::Unavailable, false));
    assert_eq!(site.whole_scram("ann", "secret"), Answer::Unavailable);
    site.now = site.now + Duration::from_secs(2);
    assert_eq!(site.password("ann", "secret").0, Answer::LoggedIn(ANN));
}

#[test]
fn messages_of_scram_out_of_turn() {
    let mut site = Site::new();
    let mut exchange = Exchange::default();
    assert_eq!(site.scram(&mut exchange, "c=biws,r=x,p=y", false), Answer::LoginRefused);
    assert_eq!(site.scram(&mut exchange, "\u{0}", true), Answer::LoginRefused);
    assert!(matches!(site.scram(&mut exchange, "n,,n=ann,r=clientnonce", true), Answer::Challenge(_)));
    assert_eq!(site.scram(&mut exchange, "", false), Answer::LoginRefused);
    assert_eq!(site.scram(&mut exchange, "", false), Answer::LoginRefused);
}

/// A line of a client through a session, its requests answered by the logins; what the session says.
macro_rules! say {
    ($site:ident, $exchange:ident, $session:ident, $line:expr, $($clock:expr)?) => {{
        let line = format!("{}\r\n", $line);
        assert_eq!($session.handle_bytes($site.now, line.as_bytes()), line.len());
        let mut out = String::new();
        loop {
            $session.advance($site.now, $($clock,)? &$site.state);
            while let Some(bytes) = $session.poll_output() {
                out += std::str::from_utf8(&bytes).unwrap();
            }
            let Some((ticket, request)) = $session.poll_request() else { break out };
            let Request::Sasl { message, first, .. } = request else { panic!("{request:?}") };
            let message = String::from_utf8(message).unwrap();
            let answer = $site.scram(&mut $exchange, &message, first);
            $session.handle_answer($site.now, ticket, answer);
        }
    }};
}

/// Three messages of the client, the last of them empty, through both protocols.
#[test]
fn scram_through_the_sessions() {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;

    let mut site = Site::new();
    let password = site.generate(ANN, "phone", 3);
    let peer = Peer { tls: true, loopback: false };
    let bare = "n=ann,r=clientnonce";
    let first = BASE64.encode(format!("n,,{bare}"));
    let decoded = |line: &str, prompt: &str| {
        let line = line.trim_end().rsplit("\r\n").next().unwrap().strip_prefix(prompt).unwrap();
        String::from_utf8(BASE64.decode(line).unwrap()).unwrap()
    };

    let (mut exchange, config) = (Exchange::default(), smtp::Config::new(smtp::Mode::Submission, "mx.x.org"));
    let mut session = smtp::Session::new(config, peer, HOME, site.now);
    say!(site, exchange, session, "EHLO l", EntryTime(1));
    let challenge = say!(site, exchange, session, format!("AUTH SCRAM-SHA-256 {first}"), EntryTime(1));
    let (message, server) = answer(&password, bare, &decoded(&challenge, "334 "));
    let proof = say!(site, exchange, session, BASE64.encode(message), EntryTime(1));
    assert_eq!(decoded(&proof, "334 "), server);
    assert_eq!(say!(site, exchange, session, "", EntryTime(1)), "235 2.7.0 Logged in\r\n");
    assert_eq!(session.user(), Some(ANN));

    let mut session = imap::Session::new(imap::Config::default(), peer, site.now);
    let challenge = say!(site, exchange, session, format!("a AUTHENTICATE SCRAM-SHA-256 {first}"),);
    let (message, server) = answer(&password, bare, &decoded(&challenge, "+ "));
    let proof = say!(site, exchange, session, BASE64.encode(message),);
    assert_eq!(decoded(&proof, "+ "), server);
    assert!(say!(site, exchange, session, "",).starts_with("a OK "));
    assert_eq!(session.user(), Some(ANN));
}
