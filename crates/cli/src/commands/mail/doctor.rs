//! `mail doctor`.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Map, Value, json};
use unanimous::Bytes;
use unanimous::session::protocol::MailOp;
use unanimous::session::{Session, mail};

use crate::args::Find;
use crate::failure::Failure;
use crate::locate;
use crate::output::{say, say_json};

/// What the letters of a site are.
#[derive(Default)]
struct Letters {
    read: u64,
    bytes: u64,
    not_here: u64,
    positions: Vec<Value>,
}

/// Looks for what is wrong at the site that is asked. Fails if something is.
pub async fn run(find: &Find, quick: bool, json: bool) -> Result<(), Failure> {
    let (session, _events) = locate::session(find, "mail").await?;
    let (mut state, _) = session.mail(MailOp::Examine, Bytes::new()).await?;
    state.remove("ok");
    let letters = match quick {
        true => None,
        false => Some(read(&session, mail::number(&state, "letters")?, json).await?),
    };
    let complaints = complaints(&state, letters.as_ref());
    if json {
        let letters = letters.map(|all| {
            json!({"read": all.read, "bytes": all.bytes, "not_here": all.not_here, "positions": all.positions})
        });
        say_json(&json!({"state": state, "letters": letters, "sound": complaints.is_empty()}))?;
    } else {
        print(&state, letters.as_ref())?;
    }
    match complaints.is_empty() {
        true => Ok(()),
        false => Err(Failure::refused(complaints.join("; "))),
    }
}

/// Has the site read all its letters.
async fn read(session: &Session, of: u64, json: bool) -> Result<Letters, Failure> {
    let bar = ProgressBar::new(of);
    if json || !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    if let Ok(style) = ProgressStyle::with_template("reading letters {wide_bar} {pos} of {len} {eta}") {
        bar.set_style(style);
    }
    let (mut all, mut after) = (Letters::default(), 0);
    loop {
        let (told, _) = session.mail(MailOp::ReadLetters { after }, Bytes::new()).await?;
        all.read += mail::number(&told, "read")?;
        all.bytes += mail::number(&told, "bytes")?;
        all.not_here += mail::number(&told, "not_here")?;
        let positions = told.get("positions").and_then(Value::as_array).cloned().unwrap_or_default();
        all.positions.extend(positions);
        bar.set_position(all.read);
        match told.get("after").and_then(Value::as_u64) {
            Some(behind) => after = behind,
            None => break,
        }
    }
    bar.finish_and_clear();
    Ok(all)
}

/// What somebody has to do something about.
fn complaints(state: &Map<String, Value>, letters: Option<&Letters>) -> Vec<String> {
    let mut complaints = Vec::new();
    let again = "stop this site, give it an empty data directory, start it, and `unanimous site replace` it";
    if let Some(why) = state.get("wrong").and_then(Value::as_str) {
        complaints.push(format!("the index is wrong ({why}): {again}"));
    }
    for line in state.get("compared").and_then(Value::as_array).into_iter().flatten() {
        if line.get("same") == Some(&Value::Bool(false)) {
            let text = |key: &str| line.get(key).map(Value::to_string).unwrap_or_default();
            complaints.push(format!(
                "the index differs from that of {} at position {}: run `unanimous mail doctor` at each site; of the one that \
                 differs from all others: {again}",
                text("site").trim_matches('"'),
                text("position"),
            ));
        }
    }
    if let Some(Letters { not_here: missing @ 1.., .. }) = letters {
        let are = if *missing == 1 { "letter is" } else { "letters are" };
        complaints.push(format!(
            "{missing} {are} not whole at this site, which asks the others for them: keep those up, and run this again"
        ));
    }
    complaints
}

fn print(state: &Map<String, Value>, letters: Option<&Letters>) -> Result<(), Failure> {
    let number = |key: &str| mail::number(state, key);
    say(&format!(
        "index     {} users, {} mailboxes, {} letters; digest {} at {}",
        number("users")?,
        number("mailboxes")?,
        number("letters")?,
        state.get("digest").and_then(Value::as_str).unwrap_or("-"),
        number("position")?,
    ))?;
    let wrong = state.get("wrong").and_then(Value::as_str);
    say(&format!(
        "          {}",
        wrong.unwrap_or("counted anew, and made anew from its own checkpoint: the same")
    ))?;
    let compared = state.get("compared").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if compared.is_empty() {
        say("          not compared: no other site has been where this one is; try again when one is up")?;
    }
    for line in compared {
        let verdict =
            if line.get("same") == Some(&Value::Bool(true)) { "the same as at" } else { "DIFFERS from" };
        let site = line.get("site").and_then(Value::as_str).unwrap_or("?");
        let position = line.get("position").and_then(Value::as_u64).unwrap_or(0);
        say(&format!("          {verdict} {site}, at position {position}"))?;
    }
    let Some(letters) = letters else { return Ok(()) };
    say(&format!(
        "letters   {} read, {} bytes; {} not whole here",
        letters.read, letters.bytes, letters.not_here
    ))
}
