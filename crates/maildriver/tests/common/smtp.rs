//! A session of SMTP or LMTP on a state in memory.

use bytes::Bytes;
use mail::address::{Address, Domain};
use mail::command::{Posting, Queued, SetAlias, SetDomain, SetList, SetQuota};
use mail::{Ask, Command, Entry, EntryTime, Principal, Queuing, Spool, SpoolLimits, SpoolNext, UserId};
use maildriver::login::{Logins, Password};
use maildriver::smtp::{Answer, Config, Mode, Peer, Request, Session, Ticket, Verified};
use wire::{StoreId, Time};

use super::Site;

pub const ANN: UserId = UserId(1);
pub const BOB: UserId = UserId(2);
const STORE: StoreId = StoreId(7);
const CLIENT: [u8; 4] = [192, 0, 2, 7];

/// A site with addresses, and what it does with what is asked of it.
pub struct Mail {
    pub site: Site,
    /// Whether it is in a minority; then, whether it spools letters of users.
    pub minority: Option<bool>,
    pub spool: Spool,
    /// What is found out about senders.
    pub verified: Verified,
    /// What happens at the next barrier, because another site had done it before.
    pub lagging: Vec<Command>,
    /// Whether notices cannot be proposed.
    pub no_notices: bool,
    pub asked: Vec<Request>,
    /// Who judges passwords; without it, `secret` is everybody's.
    pub logins: Option<Logins>,
}

pub fn address(text: &str) -> Address {
    Address::parse(text).expect("a good address")
}

impl Mail {
    /// The domain `x.org` with `ann`, whose quota is 1 MiB, and `bob`, whose quota is 2,000 bytes; the alias `both`
    /// of both; the lists `users` of both for users and `own` of ann's.
    pub fn new() -> Mail {
        let spool = Spool::new(STORE, SpoolNext::FIRST, SpoolLimits::default());
        let verified = Verified { results: "spf=pass smtp.mailfrom=y.org".to_owned(), refuse: false };
        let site = Site::new();
        let mut mail = Mail {
            site,
            minority: None,
            spool,
            verified,
            lagging: Vec::new(),
            no_notices: false,
            asked: Vec::new(),
            logins: None,
        };
        let both = vec![address("ann@x.org"), address("bob@x.org")];
        mail.apply(Command::EnrolStore(STORE));
        mail.apply(Command::SetDomain(SetDomain {
            domain: Domain::parse("x.org").unwrap(),
            catch_all: None,
        }));
        mail.apply(Command::SetAlias(SetAlias { address: address("both@x.org"), targets: both.clone() }));
        for (name, members, posting) in
            [("users@x.org", both.clone(), Posting::Users), ("own@x.org", both, Posting::Owners)]
        {
            let list = SetList { address: address(name), members, owners: vec![ANN], posting };
            mail.apply(Command::SetList(list));
        }
        mail.quota(BOB, 2_000);
        mail
    }

    pub fn apply(&mut self, command: Command) {
        let entry = Entry::new(Principal::Operator, None, command).expect("a good entry");
        let outcome = self.site.apply(&entry);
        assert!(!outcome.is_refusal(), "{outcome:?}");
    }

    pub fn quota(&mut self, user: UserId, bytes: u64) {
        let quota = mail::command::Quota { bytes_max: Some(bytes), letters_max: None };
        self.apply(Command::SetQuota(SetQuota { user, quota }));
    }

    /// A user's letters, the oldest first.
    pub fn letters(&self, user: UserId) -> Vec<Bytes> {
        let records = self.site.state.receive(user);
        records.map(|(record, _)| self.site.letters[&record.letter].clone()).collect()
    }

    /// A user's newest letter.
    pub fn newest(&self, user: UserId) -> String {
        let letters = self.letters(user);
        String::from_utf8_lossy(letters.last().expect("there is a letter")).into_owned()
    }

    fn answer(&mut self, request: Request) -> Answer {
        self.asked.push(request.clone());
        match request {
            Request::Authenticate { user, password } if self.logins.is_some() => self.judge(&user, &password),
            Request::Barrier if self.minority.is_some() => Answer::Unavailable,
            Request::Barrier => {
                std::mem::take(&mut self.lagging).into_iter().for_each(|command| self.apply(command));
                Answer::Reached
            }
            Request::Verify(_) => Answer::Verified(self.verified.clone()),
            Request::Propose(entry) if self.minority.is_some() => self.queue(&entry),
            Request::Propose(entry) if self.no_notices && is_notice(&entry) => Answer::Unavailable,
            other => self.site.answer(other),
        }
    }

    /// What a driver does with a password.
    fn judge(&mut self, user: &str, password: &[u8]) -> Answer {
        let logins = self.logins.as_mut().expect("somebody judges");
        let (now, state) = (Time::ZERO, &self.site.state);
        match logins.password(now, state, Some(CLIENT.into()), user, password) {
            Password::Answered(answer) => answer,
            Password::Check(check) => logins.checked(now, state, check.run()),
        }
    }

    /// What a driver does in a minority.
    fn queue(&mut self, entry: &Entry) -> Answer {
        let head = entry.head();
        let (Command::Deliver(deliver), Principal::User(_), Some(true)) =
            (&head.command, head.by, self.minority)
        else {
            return Answer::Unavailable;
        };
        let count = deliver.recipients.len();
        let letter = entry.letter().cloned().expect("a delivery has a letter");
        let ask = Ask::Deliver(deliver.clone(), letter);
        match self.spool.queue(&self.site.state, EntryTime(1), head.by, head.request, ask) {
            Ok(Queuing::Write { entry, receipts }) => {
                let place = self.spool.held_uid_next();
                self.spool.accept(&self.site.state, place, &entry).expect("there is room");
                let Command::Merge(merge) = &entry.head().command else { panic!("{entry:?}") };
                assert!(matches!(merge.change, Queued::Deliver(_)));
                Answer::Held(receipts)
            }
            Ok(Queuing::Held(_) | Queuing::Done) => Answer::Held(vec![mail::Receipt::Delivered; count]),
            Err(_) => Answer::Unavailable,
        }
    }
}

fn is_notice(entry: &Entry) -> bool {
    matches!(&entry.head().command, Command::Deliver(deliver) if deliver.sender.is_empty())
}

/// One client's connection.
pub struct Client {
    pub session: Session,
    pub now: Time,
    unread: Vec<u8>,
    /// The most output that one step made, and the most memory.
    pub most_at_once: usize,
    pub most_memory: usize,
}

impl Client {
    pub fn new(mode: Mode, tls: bool) -> Client {
        let config =
            Config { letter_bytes_max: 100_000, recipients_max: 150, ..Config::new(mode, "mx.x.org") };
        Client::with(config, tls)
    }

    pub fn with(config: Config, tls: bool) -> Client {
        let peer = Peer { tls, loopback: false };
        let session = Session::new(config, peer, Some(CLIENT.into()), Time::ZERO);
        Client { session, now: Time::ZERO, unread: Vec::new(), most_at_once: 0, most_memory: 0 }
    }

    /// Sends bytes and returns all that the session answers.
    pub fn send(&mut self, mail: &mut Mail, bytes: &[u8]) -> Vec<u8> {
        self.unread.extend_from_slice(bytes);
        let mut out = Vec::new();
        let mut at = 0;
        loop {
            let taken = self.session.handle_bytes(self.now, &self.unread[at..]);
            at += taken;
            self.most_memory = self.most_memory.max(self.session.memory_bytes());
            self.session.advance(self.now, EntryTime(1_700_000_000_000), &mail.site.state);
            let before = out.len();
            while let Some(bytes) = self.session.poll_output() {
                self.most_at_once = self.most_at_once.max(bytes.len());
                out.extend_from_slice(&bytes);
            }
            let request = self.session.poll_request();
            let idle = request.is_none() && taken == 0 && out.len() == before;
            if let Some((ticket, request)) = request {
                let begins_tls = request == Request::StartTls;
                let answer = mail.answer(request);
                self.session.handle_answer(self.now, Ticket(ticket.0 + 1), Answer::Unavailable);
                self.session.handle_answer(self.now, ticket, answer);
                if begins_tls {
                    at = self.unread.len();
                }
            }
            if idle {
                self.unread.drain(..at);
                return out;
            }
        }
    }

    pub fn say(&mut self, mail: &mut Mail, text: &str) -> String {
        String::from_utf8_lossy(&self.send(mail, text.as_bytes())).into_owned()
    }

    /// A client of submission that has logged in as ann, of LMTP or of the outside that has said hello.
    pub fn ready(mode: Mode, mail: &mut Mail) -> Client {
        let mut client = Client::new(mode, true);
        let hello = if mode == Mode::Lmtp { "LHLO y.org\r\n" } else { "EHLO y.org\r\n" };
        assert!(client.say(mail, hello).ends_with("250 SIZE 100000\r\n"));
        if mode == Mode::Submission {
            // \0ann\0secret
            assert!(client.say(mail, "AUTH PLAIN AGFubgBzZWNyZXQ=\r\n").starts_with("235 "));
        }
        client
    }

    /// Sends one letter; the last reply's code and enhanced code.
    pub fn letter(&mut self, mail: &mut Mail, from: &str, to: &[&str], text: &str) -> String {
        let rcpts: String = to.iter().map(|to| format!("RCPT TO:<{to}>\r\n")).collect();
        let out = self.say(mail, &format!("MAIL FROM:<{from}>\r\n{rcpts}DATA\r\n{text}\r\n.\r\n"));
        codes(&out).pop().unwrap_or_default()
    }
}

/// Codes of replies: `250 2.1.0`.
pub fn codes(out: &str) -> Vec<String> {
    let last = |line: &&str| line.as_bytes().get(3) == Some(&b' ');
    let code = |line: &str| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
    out.lines().filter(last).map(code).collect()
}
