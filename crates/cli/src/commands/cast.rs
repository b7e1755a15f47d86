//! `cast`: one message from outside, and the replies.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use unanimous::session::protocol::{NamedReplies, Replies};

use crate::args;
use crate::args::Find;
use crate::commands::status::plural;
use crate::failure::Failure;
use crate::locate;
use crate::output::{say, say_json};

/// `unanimous cast GROUP TEXT`.
pub async fn run(find: &Find, args: &args::Cast, json: bool) -> Result<(), Failure> {
    let replies = replies(&args.replies)?;
    let (session, _events) = locate::session(find, "cast").await?;
    let text = Bytes::from(args.text.clone());
    let order = args.order.name();
    if matches!(replies, Replies::Default | Replies::Named(NamedReplies::None)) {
        session.cast(&args.group, order, text).await?;
        session.flush(&args.group).await?;
        return if json { say_json(&json!({"event": "cast", "group": args.group})) } else { Ok(()) };
    }
    let timeout = Some(Duration::from_millis(args.timeout_ms));
    let replied = session.call(&args.group, order, text, replies, timeout).await?;
    for (got, body) in replied.summary.got.iter().zip(&replied.bodies) {
        let text = String::from_utf8_lossy(body);
        if json {
            say_json(&json!({"event": "reply", "group": args.group, "from": got.from, "text": text}))?;
        } else {
            say(&format!("{}: {text}", got.from))?;
        }
    }
    let summary = &replied.summary;
    if json {
        return say_json(&json!({
            "event": "replies", "group": args.group, "members": summary.members, "got": summary.got.len(),
            "null": summary.null, "failed": summary.failed, "aborted_by": summary.aborted_by,
            "timed_out": summary.timed_out,
        }));
    }
    if summary.timed_out || summary.failed > 0 || summary.aborted_by.is_some() {
        let mut line =
            format!("{} of {} member{}", summary.got.len(), summary.members, plural(summary.members));
        line.push_str(" replied");
        if summary.failed > 0 {
            line.push_str(&format!(", {} failed meanwhile", summary.failed));
        }
        if let Some(by) = &summary.aborted_by {
            line.push_str(&format!(", {by} ended the call"));
        }
        if summary.timed_out {
            line.push_str("; the time was up (--timeout-ms waits longer)");
        }
        say(&line)?;
    }
    Ok(())
}

fn replies(text: &str) -> Result<Replies, Failure> {
    match text {
        "none" => Ok(Replies::Named(NamedReplies::None)),
        "all" => Ok(Replies::Named(NamedReplies::All)),
        "majority" => Ok(Replies::Named(NamedReplies::Majority)),
        number => match number.parse::<u32>() {
            Ok(0) => Ok(Replies::Named(NamedReplies::None)),
            Ok(n) => Ok(Replies::Count(n)),
            Err(_) => Err(Failure::usage(format!("--replies {text:?}: say none, all, majority or a number"))),
        },
    }
}
