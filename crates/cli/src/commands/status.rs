//! `status` and `groups`: who is up, and which groups there are.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};
use unanimous::session::protocol::View;

use crate::args::Find;
use crate::failure::Failure;
use crate::locate;
use crate::output::{Table, Tone, say, say_json, utc};

/// `unanimous status`.
pub async fn status(find: &Find, json: bool) -> Result<(), Failure> {
    let (session, _events) = locate::session(find, "status").await?;
    let status = session.status().await?;
    if json {
        return say_json(&status);
    }
    let text = |key: &str| status.get(key).and_then(Value::as_str).map(str::to_owned);
    let mut table = Table::new(&["SITE", "STATE", "INCARNATION", "RANK", "CERTIFICATE", "CLOCK", "LACKS"]);
    for site in status.get("sites").and_then(Value::as_array).into_iter().flatten() {
        table.row(site_row(site));
    }
    for line in table.lines() {
        say(&line)?;
    }
    say("")?;
    let view = text("view").unwrap_or_else(|| "none".to_owned());
    let primary = status.get("primary").and_then(Value::as_bool).unwrap_or(false);
    let groups = status.get("groups").and_then(Value::as_array).map_or(0, Vec::len);
    let kind = if primary { "primary" } else { "not primary" };
    say(&format!("seen from {}: view {view} ({kind}), {groups} group{}", session.site(), plural(groups)))?;
    for line in status.get("sites").and_then(Value::as_array).into_iter().flatten().filter_map(absence) {
        say(&line)?;
    }
    for group in status.get("durable").and_then(Value::as_array).into_iter().flatten() {
        for line in durable(group) {
            say(&line)?;
        }
    }
    for line in mail(&status, session.site()) {
        say(&line)?;
    }
    if let Some(waiting) = text("waiting_for") {
        say(&waiting)?;
    }
    let ends =
        |site: &&Value| site.get("certificate").and_then(|c| c.get("renew")) == Some(&Value::Bool(true));
    let sites = status.get("sites").and_then(Value::as_array).into_iter().flatten();
    let ending: Vec<&str> = sites.filter(ends).filter_map(|site| site.get("name")?.as_str()).collect();
    if !ending.is_empty() {
        let names = ending.join(" ");
        say(&format!("time to renew certificates: `unanimous cert renew {names}`"))?;
    }
    Ok(())
}

/// What a durable group needs somebody to know; nothing if all is well.
fn durable(group: &Value) -> Vec<String> {
    let number = |value: &Value, key: &str| value.get(key).and_then(Value::as_u64).unwrap_or(0);
    let name = group.get("group").and_then(Value::as_str).unwrap_or("?");
    let mut lines = Vec::new();
    match group.get("state").and_then(Value::as_str) {
        Some("refused") => {
            let why = group.get("why").and_then(Value::as_str).unwrap_or("?");
            lines.push(format!("{name}: its store at this site can't be used: {why}"));
        }
        Some("read-only") if number(group, "stores_needed") > 0 => lines.push(format!(
            "{name}: can't be written: {} of its stores are here and {} are needed; start more of its sites",
            number(group, "stores_here"),
            number(group, "stores_needed")
        )),
        Some("read-only") => lines.push(format!("{name}: can't be written here now")),
        Some(_) | None => {}
    }
    if let Some(progress) = group.get("catching_up").filter(|progress| !progress.is_null()) {
        let (at, of) = (number(progress, "at"), number(progress, "of"));
        lines.push(match of {
            0 => format!(
                "{name}: this site receives a checkpoint, {} MiB so far",
                number(progress, "received_bytes") >> 20
            ),
            of => format!("{name}: this site catches up: {at} of {of}"),
        });
    }
    for absent in group.get("absent").and_then(Value::as_array).into_iter().flatten() {
        let (site, behind) = (number(absent, "site"), number(absent, "behind"));
        if behind > 0 {
            lines.push(format!(
                "{name}: s{site} has {behind} entr{} to catch up on",
                if behind == 1 { "y" } else { "ies" }
            ));
        }
    }
    let full = group.get("full").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if !full.is_empty() {
        let sites: Vec<String> =
            full.iter().filter_map(Value::as_u64).map(|site| format!("s{site}")).collect();
        let (sites, so) = (sites.join(" "), plural_of(full.len(), "the disk of", "the disks of"));
        let is = plural_of(full.len(), "is", "are");
        let but = match group.get("writable") {
            Some(Value::Bool(false)) => "can't be written here",
            _ => "goes on without",
        };
        lines.push(format!("{name}: {but}: {so} {sites} {is} full; make room there"));
    }
    let damaged = group.get("damaged").and_then(Value::as_array).map_or(0, Vec::len);
    if damaged > 0 {
        lines.push(format!("{name}: {damaged} damaged records at this site, which others are asked for"));
    }
    lines
}

/// What the site serves of mail, and how the mail's group is there; nothing if it serves none.
fn mail(status: &Map<String, Value>, site: &str) -> Vec<String> {
    let Some(mail) = status.get("mail") else { return Vec::new() };
    let text = |key: &str| mail.get(key).and_then(Value::as_str).unwrap_or("?");
    let listeners = mail.get("listeners").and_then(Value::as_object);
    let at =
        listeners.into_iter().flatten().filter_map(|(what, at)| Some(format!("{what} {}", at.as_str()?)));
    let at: Vec<String> = at.collect();
    let at = if at.is_empty() { "no listeners".to_owned() } else { at.join(", ") };
    let mut lines = vec![format!("mail for {} at {site}: {at}", text("domain"))];
    let groups = status.get("durable").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let group = groups.iter().find(|group| group.get("group").and_then(Value::as_str) == Some(text("group")));
    let Some(group) = group else {
        lines.push(format!("{}: not there yet; more than half of the sites must be up", text("group")));
        return lines;
    };
    let state = group.get("state").and_then(Value::as_str).unwrap_or("being opened");
    let stores = group.get("stores").and_then(Value::as_array).map_or(0, Vec::len);
    let needed = group.get("writes").and_then(Value::as_u64).unwrap_or(0);
    lines.push(format!("{}: {state}; {stores} stores count, and {needed} of them are needed", text("group")));
    let missing = group.get("payloads_missing").and_then(Value::as_u64).unwrap_or(0);
    if missing > 0 {
        lines.push(format!(
            "{}: {missing} letters are still to come from other sites; keep those up",
            text("group")
        ));
    }
    let held =
        |what: &str| mail.get("held").and_then(|held| held.get(what)).and_then(Value::as_u64).unwrap_or(0);
    if held("letters") + held("changes") > 0 {
        lines.push(format!(
            "{}: {} letters and {} changes wait at this site for a majority; keep its disk",
            text("group"),
            held("letters"),
            held("changes")
        ));
    }
    lines
}

fn site_row(site: &Value) -> Vec<(String, Tone)> {
    let text = |key: &str| match site.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) | None => "-".to_owned(),
    };
    let state = text("state");
    let tone = if state == "up" { Tone::Good } else { Tone::Bad };
    vec![
        (text("name"), Tone::Plain),
        (state, tone),
        (text("incarnation"), Tone::Plain),
        (text("rank"), Tone::Plain),
        certificate(site),
        clock(site),
        (text("lacks"), Tone::Plain),
    ]
}

/// For how long the site's certificate holds.
fn certificate(site: &Value) -> (String, Tone) {
    let certificate = site.get("certificate");
    let Some(left) = certificate.and_then(|c| c.get("left_s")).and_then(Value::as_i64) else {
        return ("-".to_owned(), Tone::Plain);
    };
    let renew = certificate.and_then(|c| c.get("renew")).and_then(Value::as_bool).unwrap_or(false);
    let text = match left {
        ..=0 => "expired".to_owned(),
        1..=172_800 => format!("{} h", left / 3_600),
        _ => format!("{} d", left / 86_400),
    };
    (text, if renew { Tone::Bad } else { Tone::Plain })
}

/// How far the site's clock is from that of the one that is asked.
fn clock(site: &Value) -> (String, Tone) {
    let clock = |key: &str| site.get("clock")?.get(key);
    let (Some(ahead), Some(error)) =
        (clock("ahead_us").and_then(Value::as_i64), clock("error_us").and_then(Value::as_u64))
    else {
        return ("-".to_owned(), Tone::Plain);
    };
    let millis = |micros: f64| micros / 1_000.0;
    let text = format!("{:+.1} ms ± {:.1}", millis(ahead as f64), millis(error as f64));
    let far = clock("far") == Some(&Value::Bool(true));
    (text, if far { Tone::Bad } else { Tone::Plain })
}

/// Since when a site is not there, and what is known of it, if it is not.
fn absence(site: &Value) -> Option<String> {
    let absent = site.get("absent")?;
    let moment = |key: &str| {
        let at = absent.get(key).and_then(Value::as_u64);
        at.map(|at| utc(SystemTime::UNIX_EPOCH + Duration::from_secs(at)))
    };
    let name = site.get("name").and_then(Value::as_str).unwrap_or_default();
    let mut line = match (moment("since"), moment("seen"), moment("not_seen_since")) {
        (Some(since), _, _) => format!("{name}: not there since {since}"),
        (None, Some(seen), Some(started)) => {
            format!("{name}: not seen since {started}, when this site started; was there at {seen}")
        }
        (None, _, started) => format!("{name}: never seen here, since {}", started.unwrap_or_default()),
    };
    if let Some(life) = absent.get("incarnation").and_then(Value::as_u64) {
        line += &format!("; incarnation {life}");
    }
    let problem = absent.get("problem").and_then(|problem| problem.get("text")).and_then(Value::as_str);
    match (problem, absent.get("linked") == Some(&Value::Bool(true))) {
        (_, true) => line += "; linked, and not in the view yet",
        (Some(problem), false) => line += &format!("; {problem}"),
        (None, false) => {}
    }
    Some(line)
}

/// `unanimous groups`.
pub async fn groups(find: &Find, json: bool) -> Result<(), Failure> {
    let (session, _events) = locate::session(find, "groups").await?;
    let groups = session.groups().await?;
    if json {
        let mut object = Map::new();
        let groups = serde_json::to_value(&groups).map_err(|error| Failure::refused(error.to_string()))?;
        object.insert("groups".to_owned(), groups);
        return say_json(&object);
    }
    if groups.is_empty() {
        return say("no groups; `unanimous join NAME` makes one");
    }
    let mut table = Table::new(&["GROUP", "VIEW", "STATE", "MEMBERS"]);
    for view in &groups {
        table.row(group_row(view));
    }
    for line in table.lines() {
        say(&line)?;
    }
    Ok(())
}

fn group_row(view: &View) -> Vec<(String, Tone)> {
    let (state, tone) = match (view.primary, view.lives) {
        (true, _) => ("primary", Tone::Good),
        (false, true) => ("minority", Tone::Bad),
        (false, false) => ("read-only", Tone::Bad),
    };
    vec![
        (view.group.clone(), Tone::Plain),
        (view.id.clone(), Tone::Plain),
        (state.to_owned(), tone),
        (format!("{}: {}", view.members.len(), view.members.join(" ")), Tone::Plain),
    ]
}

fn plural_of(n: usize, one: &'static str, more: &'static str) -> &'static str {
    if n == 1 { one } else { more }
}

/// `s`, unless there is just one.
pub fn plural(n: usize) -> &'static str {
    if n == 1 { "" } else { "s" }
}
