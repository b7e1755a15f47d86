//! `mail mailing-list`.

use serde_json::{Map, Value};
use unanimous::session::Session;
use unanimous::session::mail::number;
use unanimous::session::protocol::{MailOp, PageOf};
use unanimous::{Bytes, ListLine, Posting};

use super::addresses::name;
use super::{done, plain, table, tell};
use crate::args::{Find, MailingList};
use crate::failure::Failure;
use crate::locate;
use crate::output::{say, say_json};

/// Members in one request: the longest addresses fit into its line.
const MEMBERS_AT_ONCE: usize = 150;

/// `unanimous mail mailing-list …`.
pub async fn run(find: &Find, args: &MailingList, json: bool) -> Result<(), Failure> {
    match args.clone() {
        MailingList::Create { list, members, owners, posting } => {
            let (first, rest) = members.split_at(members.len().min(MEMBERS_AT_ONCE));
            let posting = posting.into();
            let op = MailOp::CreateList { list: list.clone(), members: first.to_vec(), owners, posting };
            let (session, _events) = locate::session(find, "mail").await?;
            let (mut told, _) = session.mail(op, Bytes::new()).await?;
            let op = |members| MailOp::AddMembers { list: list.clone(), members };
            if let Some(grown) = in_turn(&session, rest, op).await? {
                told = grown;
            }
            told.retain(|name, _| name != "ok" && name != "changed");
            tell(&told, json, &format!("{} is a mailing list of {}", name(&told, "list"), members_of(&told)))
        }
        MailingList::Set { list, owners, no_owner, posting } => {
            let owners = (no_owner || !owners.is_empty()).then_some(owners);
            let posting: Option<Posting> = posting.map(Posting::from);
            let told = done(find, MailOp::ChangeList { list, owners, posting }).await?;
            tell(&told, json, &format!("{} is changed", name(&told, "list")))
        }
        MailingList::Add { list, members } => {
            let op = |members| MailOp::AddMembers { list: list.clone(), members };
            change(find, &members, op, "more", json).await
        }
        MailingList::Drop { list, members } => {
            let op = |members| MailOp::RemoveMembers { list: list.clone(), members };
            change(find, &members, op, "fewer", json).await
        }
        MailingList::Members { list } => {
            let op = |page: PageOf| MailOp::Members { list: list.clone(), page };
            let (session, _events) = locate::session(find, "mail").await?;
            let members: Vec<String> = session.mail_pages(op).await?;
            members.iter().try_for_each(|member| if json { say_json(member) } else { say(member) })
        }
        MailingList::List => {
            let row = |list: &ListLine| {
                let posting = serde_json::to_value(list.posting).unwrap_or_default();
                vec![
                    plain(&list.list),
                    plain(list.members),
                    plain(posting.as_str().unwrap_or("?")),
                    plain(list.owners.join(" ")),
                ]
            };
            table(find, MailOp::Lists, json, &["LIST", "MEMBERS", "POSTING", "OWNERS"], row).await
        }
        MailingList::Remove { list } => {
            let told = done(find, MailOp::RemoveList { list }).await?;
            let had = members_of(&told);
            tell(&told, json, &format!("{} is no mailing list any more; it had {had}", name(&told, "list")))
        }
    }
}

/// Adds or drops members, as many at a time as a request has room for.
async fn change(
    find: &Find,
    members: &[String],
    op: impl Fn(Vec<String>) -> MailOp,
    which: &str,
    json: bool,
) -> Result<(), Failure> {
    let (session, _events) = locate::session(find, "mail").await?;
    let mut told = in_turn(&session, members, op).await?.unwrap_or_default();
    told.remove("ok");
    let changed = number(&told, "changed")?;
    tell(&told, json, &format!("{} has {changed} {which}: {}", name(&told, "list"), members_of(&told)))
}

/// Changes members, as many at a time as a request has room for: the last answer, with how many are new or gone in all. None, if
/// there is nothing to change.
async fn in_turn(
    session: &Session,
    members: &[String],
    op: impl Fn(Vec<String>) -> MailOp,
) -> Result<Option<Map<String, Value>>, Failure> {
    let (mut changed, mut last) = (0, None);
    for some in members.chunks(MEMBERS_AT_ONCE) {
        let (mut told, _) = session.mail(op(some.to_vec()), Bytes::new()).await?;
        changed += number(&told, "changed")?;
        told.insert("changed".to_owned(), changed.into());
        last = Some(told);
    }
    Ok(last)
}

fn members_of(told: &Map<String, Value>) -> String {
    match told.get("members").and_then(Value::as_u64).unwrap_or(0) {
        1 => "1 member".to_owned(),
        count => format!("{count} members"),
    }
}
