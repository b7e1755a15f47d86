//! `group split`, `merge` and `reorder`: changes of groups that somebody decides.

use serde_json::json;
use unanimous::Bytes;
use unanimous::session::protocol::Op;

use crate::args::{Find, Group};
use crate::failure::Failure;
use crate::locate;
use crate::output::{say, say_json};

/// `unanimous group …`. Ends when it is decided; the views follow.
pub async fn run(find: &Find, args: &Group, json: bool) -> Result<(), Failure> {
    let (session, _events) = locate::session(find, "group").await?;
    let (op, done) = match args.clone() {
        Group::Split { group, into, members } => {
            let done = format!("{} of {group} go on as {into}", members.len());
            (Op::Split { group, members, into }, done)
        }
        Group::Merge { from, into } => {
            let done = format!("the members of {from} are in {into}");
            (Op::Merge { group: from, into }, done)
        }
        Group::Reorder { group, member } => {
            let done = format!("{member} has rank 0 in {group}");
            (Op::Reorder { group, member }, done)
        }
    };
    session.request(op, Bytes::new()).await?;
    if json { say_json(&json!({"done": true})) } else { say(&done) }
}
