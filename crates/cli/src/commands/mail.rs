//! `mail`: letters and users from the command line.

mod addresses;
mod compose;
mod doctor;
mod mailing_list;
mod users;
mod who;

use std::io::Read;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use unanimous::Bytes;
use unanimous::session::protocol::{MailOp, Of, Once, PageOf};
use unanimous::session::{Letter, Letters, Session, mail};

use crate::args::{Find, Mail, MailOf, MailSend, Password};
use crate::failure::Failure;
use crate::locate;
use crate::output::{Table, Tone, say, say_json, utc_ms};

/// `unanimous mail …`.
pub async fn run(find: &Find, args: &Mail, json: bool) -> Result<(), Failure> {
    // What is asked for on the terminal is asked for before a site is.
    let op = match args {
        Mail::Send(send) => return self::send(find, send, json).await,
        Mail::Receive(of) => return letters(find, of, true, json).await,
        Mail::List(of) => return letters(find, of, false, json).await,
        Mail::Users { local } => return users::list(find, *local, json).await,
        Mail::Quota(args) => return users::quota(find, args, json).await,
        Mail::Rights(args) => return users::rights(find, args, json).await,
        Mail::AppPassword(args) => return users::app_password(find, args, json).await,
        Mail::Alias(args) => return addresses::alias(find, args, json).await,
        Mail::Domain(args) => return addresses::domain(find, args, json).await,
        Mail::MailingList(args) => return mailing_list::run(find, args, json).await,
        Mail::Who => return who::run(find, json).await,
        Mail::Delete { user, uids, mailbox } => {
            MailOp::Delete { user: user.clone(), mailbox: mailbox.clone(), uids: uids.clone() }
        }
        Mail::Poll { user } => MailOp::Poll { user: user.clone() },
        Mail::AddUser { name, password, privileged } => {
            let password = Some(password_of(password, name)?);
            MailOp::AddUser { user: name.clone(), password, privileged: *privileged }
        }
        Mail::DeleteUser { name } => MailOp::DeleteUser { user: name.clone() },
        Mail::SetPassword { name, password } => {
            MailOp::SetPassword { user: name.clone(), password: password_of(password, name)? }
        }
        Mail::ChangeMaster { of } => MailOp::ChangeMaster { site: of.clone() },
        Mail::Storage => MailOp::Storage,
        Mail::Doctor { quick } => return doctor::run(find, *quick, json).await,
    };
    let told = done(find, op).await?;
    if json {
        return say_json(&told);
    }
    let text = |name: &str| told.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
    match args {
        Mail::Delete { uids, .. } => {
            let deleted = told.get("deleted").and_then(Value::as_array).map_or(0, Vec::len);
            say(&format!("{deleted} of {} deleted", uids.len()))
        }
        Mail::Poll { .. } => say(&mail::number(&told, "unseen")?.to_string()),
        Mail::AddUser { .. } => say(&format!("{} is there", text("address"))),
        Mail::DeleteUser { name } => say(&format!("{name} is gone, and its mail")),
        Mail::SetPassword { name, .. } => say(&format!("{name} has another password")),
        Mail::ChangeMaster { .. } => say(&format!("{} is the Master", text("master"))),
        _ => told.iter().try_for_each(|(name, value)| match value {
            Value::String(text) => say(&format!("{}: {text}", name.replace('_', " "))),
            value => say(&format!("{}: {value}", name.replace('_', " "))),
        }),
    }
}

async fn send(find: &Find, args: &MailSend, json: bool) -> Result<(), Failure> {
    let said = match (&args.body, &args.file) {
        (Some(text), _) => text.clone().into_bytes(),
        (None, Some(path)) => std::fs::read(path)
            .map_err(|error| Failure::refused(format!("can't read {}: {error}", path.display())))?,
        (None, None) => from_stdin()?,
    };
    let (session, _events) = locate::session(find, "mail").await?;
    let domain = match args.raw {
        true => String::new(),
        false => domain(&session).await?,
    };
    let letter = match args.raw {
        true => compose::line_ends(&said),
        false => compose::letter(args, &said, &domain),
    };
    let (user, from) = match &args.from {
        Some(from) if from.contains('@') => (None, Some(from.clone())),
        Some(user) => (Some(user.clone()), None),
        None => (None, None),
    };
    let once = Some(Once { client: format!("{:032x}", net::random()), sequence: 1, answered: 0 });
    let (op, body) = mail::send(user, from, args.to.clone(), once, letter.into());
    let answer = session.mail(op, body).await?;
    let held = answer.0.get("held").and_then(Value::as_bool).unwrap_or(false);
    let receipts = mail::receipts(answer)?;
    let delivered = receipts.iter().all(|receipt| receipt.delivered);
    if json {
        say_json(&json!({"delivered": delivered, "held": held, "receipts": receipts}))?;
    } else {
        let done = if held { "held here, and delivered when there is a majority" } else { "delivered" };
        for receipt in &receipts {
            match (&receipt.why, receipt.delivered) {
                (None, _) => say(&format!("{}: {done}", receipt.to))?,
                (Some(why), true) => say(&format!("{}: {done}, but {why}", receipt.to))?,
                (Some(why), false) => say(&format!("{}: not delivered: {why}", receipt.to))?,
            }
        }
    }
    match delivered {
        true => Ok(()),
        false => Err(Failure::refused("some recipients do not have the letter")),
    }
}

/// Does one thing, and gives the answer's fields.
async fn done(find: &Find, op: MailOp) -> Result<Map<String, Value>, Failure> {
    let (session, _events) = locate::session(find, "mail").await?;
    let (mut told, _) = session.mail(op, Bytes::new()).await?;
    told.remove("ok");
    Ok(told)
}

/// Prints an answer, or what it means.
fn tell(told: &Map<String, Value>, json: bool, means: &str) -> Result<(), Failure> {
    if json { say_json(told) } else { say(means) }
}

/// Asks for all of something that is told in pages, and prints it: a line of JSON for each, or a table.
async fn table<T: DeserializeOwned + Serialize>(
    find: &Find,
    op: impl Fn(PageOf) -> MailOp,
    json: bool,
    head: &[&'static str],
    row: impl Fn(&T) -> Vec<(String, Tone)>,
) -> Result<(), Failure> {
    let (session, _events) = locate::session(find, "mail").await?;
    let all: Vec<T> = session.mail_pages(op).await?;
    if json {
        return all.iter().try_for_each(say_json);
    }
    let mut table = Table::new(head);
    all.iter().for_each(|item| table.row(row(item)));
    table.lines().iter().try_for_each(|line| say(line))
}

fn plain(text: impl std::fmt::Display) -> (String, Tone) {
    (printable(&text.to_string()), Tone::Plain)
}

/// What is there, or a dash.
fn maybe<T: std::fmt::Display>(text: Option<T>) -> (String, Tone) {
    match text {
        Some(text) => plain(text),
        None => ("-".to_owned(), Tone::Dim),
    }
}

/// The domain that the cluster's mail is of.
async fn domain(session: &Session) -> Result<String, Failure> {
    let (told, _) = session.mail(MailOp::Storage, Bytes::new()).await?;
    Ok(told.get("domain").and_then(Value::as_str).unwrap_or("localhost").to_owned())
}

async fn letters(find: &Find, args: &MailOf, whole: bool, json: bool) -> Result<(), Failure> {
    let (session, _events) = locate::session(find, "mail").await?;
    let mut left = args.limit.unwrap_or(usize::MAX);
    let mut after = args.after;
    let mut table = Table::new(&["UID", "CAME", "BYTES", "FLAGS", "FROM", "SUBJECT"]);
    while left > 0 {
        let of = Of {
            user: args.user.clone(),
            mailbox: args.mailbox.clone(),
            after,
            limit: Some(left.min(1_000)),
            unseen: args.unseen,
            local: args.local,
        };
        let op = if whole { MailOp::Receive(of) } else { MailOp::List(of) };
        let Letters { letters, after: next, .. } = mail::letters(session.mail(op, Bytes::new()).await?)?;
        for letter in &letters {
            match (json, whole) {
                (true, _) => say_json(&shown(letter))?,
                (false, true) => print(letter)?,
                (false, false) => table.row(row(letter)),
            }
        }
        left -= letters.len().min(left);
        match next {
            Some(next) => after = next,
            None => break,
        }
    }
    if !json && !whole {
        table.lines().iter().try_for_each(|line| say(line))?;
    }
    Ok(())
}

fn shown(letter: &Letter) -> Value {
    let mut object = serde_json::to_value(&letter.header).unwrap_or_default();
    if let Some(bytes) = &letter.bytes {
        object["letter"] = String::from_utf8_lossy(bytes).into();
    }
    object
}

fn row(letter: &Letter) -> Vec<(String, Tone)> {
    let header = &letter.header;
    let plain = |text: &Option<String>| (printable(text.as_deref().unwrap_or("-")), Tone::Plain);
    vec![
        (header.uid.to_string(), Tone::Plain),
        (utc_ms(header.date_ms), Tone::Dim),
        (header.bytes.to_string(), Tone::Dim),
        (header.flags.join(" "), Tone::Plain),
        plain(&header.from),
        plain(&header.subject),
    ]
}

/// What a stranger wrote, without what a terminal would take for more than text.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A letter as text, with a line in front that says which it is.
fn print(letter: &Letter) -> Result<(), Failure> {
    let header = &letter.header;
    say(&format!("--- {} ({}) {}", header.uid, utc_ms(header.date_ms), header.flags.join(" ")))?;
    match &letter.bytes {
        Some(bytes) => String::from_utf8_lossy(bytes).lines().try_for_each(|line| say(&printable(line))),
        None => say("(this letter is not at this site at the moment; try again, or ask another site)"),
    }
}

fn password_of(args: &Password, name: &str) -> Result<String, Failure> {
    let password = match (&args.password, args.password_stdin) {
        (Some(password), _) => password.clone(),
        (None, true) => {
            let text = String::from_utf8(from_stdin()?);
            let text = text.map_err(|_| Failure::usage("the password is no text"))?;
            text.trim_end_matches(['\r', '\n']).to_owned()
        }
        (None, false) => {
            let terminal = console::Term::stderr();
            if !terminal.is_term() {
                return Err(Failure::usage("name a password with --password or --password-stdin"));
            }
            terminal.write_str(&format!("Password for {name}: "))?;
            terminal.read_secure_line()?
        }
    };
    match password.is_empty() {
        true => Err(Failure::usage("the password is empty")),
        false => Ok(password),
    }
}

fn from_stdin() -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes)?;
    Ok(bytes)
}
