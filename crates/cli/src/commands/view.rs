//! `view`: a group's view, once or as it changes.

use unanimous::session::{Event, protocol::View};

use crate::args;
use crate::args::Find;
use crate::failure::Failure;
use crate::locate;
use crate::output::{say, say_json};

/// `unanimous view GROUP [--watch]`.
pub async fn run(find: &Find, args: &args::View, json: bool) -> Result<(), Failure> {
    let (session, mut events) = locate::session(find, "view").await?;
    if !args.watch {
        let view = session.view(&args.group).await?;
        return print(&view, json);
    }
    session.watch(&args.group).await?;
    let mut ended = "the session ended".to_owned();
    while let Some(event) = events.next().await {
        match event {
            Event::View(view) if view.group == args.group => print(&view, json)?,
            Event::Ended { why, error: Some(_) } => return Err(Failure::refused(why)),
            Event::Ended { why, error: None } => ended = why,
            Event::View(_)
            | Event::Message { .. }
            | Event::Signal { .. }
            | Event::Blocked { .. }
            | Event::Writable { .. }
            | Event::Left { .. } => {}
        }
    }
    Err(Failure::unreachable(format!("{ended}; run the command again to watch from another site")))
}

/// Prints one view: a line of JSON, or a line for people and one for each change.
pub fn print(view: &View, json: bool) -> Result<(), Failure> {
    if json {
        return say_json(&with_event_name(view)?);
    }
    say(&for_people(view))
}

/// The view as the contract writes it: with `"event":"view"` in front.
pub fn with_event_name(view: &View) -> Result<serde_json::Value, Failure> {
    let mut value = serde_json::to_value(view).map_err(|error| Failure::refused(error.to_string()))?;
    if let Some(object) = value.as_object_mut() {
        object.insert("event".to_owned(), "view".into());
    }
    Ok(value)
}

/// The view as a line.
pub fn for_people(view: &View) -> String {
    let kind = match (view.primary, view.lives) {
        (true, _) => "primary",
        (false, true) => "minority",
        (false, false) => "read-only",
    };
    let mut line = format!("view {} of {} ({kind}): {}", view.id, view.group, view.members.join(" "));
    if !view.joined.is_empty() {
        line.push_str(&format!("; joined {}", view.joined.join(" ")));
    }
    for left in &view.left {
        line.push_str(&format!("; {} {}", left.member, left.why));
    }
    line
}
