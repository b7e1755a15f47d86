//! Reads and runs a session's requests. Those that wait do not hold up later ones; casts to one group keep their
//! order.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use stack::{Change, ReplyKind};
use tokio::io::AsyncRead;
use tokio::sync::Semaphore;
use wire::SiteId;
use wire::session::{self, Decoder, ErrorCode, Failure, MailOp, Op, Principal, Request};

use super::casts::{Cast, Lanes};
use super::connection::{End, Shared, done, failed, next_item, object};
use super::translate::{self, group_name};
use super::{backup, maps, upgrade};
use crate::hosting::{Step, Wish};

/// Requests of one session that may be in work; more wait to be read.
const REQUESTS_MAX: usize = 256;
/// Groups of which an answer says how they move.
const PLACED_MAX: usize = 32;

pub(super) async fn serve<R: AsyncRead + Unpin>(
    shared: &Arc<Shared>,
    read: &mut R,
    mut decoder: Decoder,
) -> End {
    let mut lanes = Lanes::default();
    let places = Arc::new(Semaphore::new(REQUESTS_MAX));
    loop {
        let item = match next_item(read, &mut decoder).await {
            Ok(Some(item)) => item,
            Ok(None) => return End::Broken(None),
            Err(why) => return End::Broken(Some(why)),
        };
        let request: Request = match item.parse() {
            Ok(request) => request,
            Err(why) => {
                let id = item.parse::<Value>().ok().and_then(|v| v.get("id")?.as_u64()).unwrap_or(0);
                shared.answer(failed(id, translate::bad(why)), Bytes::new()).await;
                continue;
            }
        };
        let id = request.id;
        match request.op {
            Op::Credit { bytes } => shared.credit.grant(bytes),
            // If the site is going down, the session ends anyway.
            Op::Alive { probe } => drop(shared.site.handle.alive(shared.process, probe).await),
            Op::Bye => {
                shared.answer(done(id, Map::new(), 0), Bytes::new()).await;
                return End::InOrder;
            }
            Op::Cast { .. } => {
                let cast = shared.may(Principal::Client).and_then(|()| Cast::parse(request.op, item.body));
                match cast {
                    Ok(cast) => lanes.put(shared, id, cast).await,
                    Err(failure) => shared.answer(failed(id, failure), Bytes::new()).await,
                }
            }
            op => {
                let Ok(place) = Arc::clone(&places).acquire_owned().await else { return End::Broken(None) };
                let shared = Arc::clone(shared);
                tokio::spawn(async move {
                    let ran = match op {
                        op if maps::is_one(&op) => of_a_map(&shared, op, item.body).await,
                        op if backup::is_one(&op) => backup::run(&shared, op, item.body).await,
                        op if upgrade::is_one(&op) => upgrade::run(&shared, op).await,
                        Op::Mail(op) => of_mail(&shared, op, item.body).await,
                        op => run(&shared, op, item.body).await.map(|result| (result, Bytes::new())),
                    };
                    let (answer, body) = match ran {
                        Ok((result, body)) => (done(id, result, body.len()), body),
                        Err(failure) => (failed(id, failure), Bytes::new()),
                    };
                    shared.answer(answer, body).await;
                    drop(place);
                });
            }
        }
    }
}

/// Runs a request of a durable map. Whoever goes away is waited for no longer.
async fn of_a_map(shared: &Shared, op: Op, body: Bytes) -> maps::Answered {
    shared.may(maps::needs(&op))?;
    tokio::select! {
        answered = maps::run(&shared.site.handle, op, body) => answered,
        () = shared.out.closed() => Err(translate::failure(ErrorCode::Stopping, "the session is over")),
    }
}

/// Runs a request of mail, likewise.
async fn of_mail(shared: &Shared, op: MailOp, body: Bytes) -> maps::Answered {
    tokio::select! {
        answered = shared.site.handle.service_request(shared.principal, op, body) => answered,
        () = shared.out.closed() => Err(translate::failure(ErrorCode::Stopping, "the session is over")),
    }
}

/// Runs one request that is no cast.
async fn run(shared: &Shared, op: Op, body: Bytes) -> Result<Map<String, Value>, Failure> {
    let (handle, process) = (&shared.site.handle, shared.process);
    let refused = |error| translate::refused(&error);
    match op {
        Op::Join { group, role, create, consistency, lives, merges, probe_ms, aggregate_ms } => {
            shared.may(Principal::Member)?;
            let fields =
                translate::JoinFields { role, create, consistency, lives, merges, probe_ms, aggregate_ms };
            let options = translate::join_options(fields)?;
            let member = handle.join(process, group_name(&group)?, options).await.map_err(refused)?;
            Ok(object(json!({"member": member.to_string()})))
        }
        Op::Leave { group } => {
            shared.may(Principal::Member)?;
            handle.leave(process, group_name(&group)?).await.map_err(refused)?;
            Ok(Map::new())
        }
        Op::Reply { to, kind } => {
            shared.may(Principal::Member)?;
            let kind = match kind {
                session::ReplyKind::Reply => ReplyKind::Reply,
                session::ReplyKind::Null => ReplyKind::Null,
                session::ReplyKind::Abort => ReplyKind::Abort,
            };
            let ticket = shared.take_ticket(&to)?;
            handle.reply(process, ticket, kind, body).await.map_err(refused)?;
            Ok(Map::new())
        }
        Op::Flush { group } => {
            shared.may(Principal::Client)?;
            handle.flush(process, group_name(&group)?).await.map_err(refused)?;
            Ok(Map::new())
        }
        Op::Status => {
            let status = handle.status().await.map_err(refused)?;
            shared.site.outlook.observe(&status.sites);
            let mut told = object(translate::status(&status, &shared.site.outlook));
            let durable = handle.durable_groups().await.unwrap_or_default();
            let durable: Vec<Value> = durable.iter().map(maps::status).collect();
            told.insert("durable".to_owned(), durable.into());
            if let Some((name, service)) = handle.requests().map(|requests| requests.status()) {
                told.insert(name.to_owned(), service);
            }
            Ok(told)
        }
        Op::Groups => {
            let status = handle.status().await.map_err(refused)?;
            let groups = status.groups.iter().filter(|group| !translate::is_own(&group.view.name));
            let groups: Vec<_> = groups.map(|group| translate::view(&group.view, None, &[])).collect();
            Ok(object(json!({ "groups": groups })))
        }
        Op::View { group } => {
            let view = handle.view(group_name(&group)?).await.map_err(refused)?;
            Ok(object(serde_json::to_value(translate::view(&view, None, &[])).unwrap_or(Value::Null)))
        }
        Op::Watch { group } => watch(shared, &group, true).await,
        Op::Unwatch { group } => watch(shared, &group, false).await,
        Op::Probe => handle.status().await.map(|_| Map::new()).map_err(refused),
        Op::Reorder { group, member } => {
            shared.may(Principal::Administer)?;
            let (name, member) = (group_name(&group)?, translate::member(&member)?);
            handle.change(Change::Reorder { group: name, member }).await.map_err(refused)?;
            Ok(Map::new())
        }
        Op::Split { group, members, into } => {
            shared.may(Principal::Administer)?;
            let (group, into) = (group_name(&group)?, group_name(&into)?);
            let members = members.iter().map(|text| translate::member(text)).collect::<Result<_, _>>()?;
            handle.change(Change::Split { group, members, into }).await.map_err(refused)?;
            Ok(Map::new())
        }
        Op::Merge { group, into } => {
            shared.may(Principal::Administer)?;
            let (from, into) = (group_name(&group)?, group_name(&into)?);
            handle.change(Change::Merge { from, into }).await.map_err(refused)?;
            Ok(Map::new())
        }
        Op::PlaceStores { from, to } => place_stores(shared, from.as_deref(), to.as_deref()).await,
        Op::Stop => {
            shared.may(Principal::Administer)?;
            handle.stop().await.map_err(refused)?;
            Ok(Map::new())
        }
        Op::Hello { .. } => Err(translate::bad("hello was said already")),
        Op::CreateMap { .. }
        | Op::Put { .. }
        | Op::Delete { .. }
        | Op::Get { .. }
        | Op::List { .. }
        | Op::Changes { .. }
        | Op::Backup { .. }
        | Op::BackupNext
        | Op::RestorePart { .. }
        | Op::Mail(_)
        | Op::Levels
        | Op::RaiseLevel { .. } => Err(translate::bad("handled with the others of its kind")),
        Op::Cast { .. } | Op::Alive { .. } | Op::Credit { .. } | Op::Bye => {
            Err(translate::bad("handled where requests are read"))
        }
    }
}

/// Takes the next step in every durable group towards the stores that it should have.
async fn place_stores(
    shared: &Shared,
    from: Option<&str>,
    to: Option<&str>,
) -> Result<Map<String, Value>, Failure> {
    shared.may(Principal::Administer)?;
    let handle = &shared.site.handle;
    let sites = handle.sites().await.map_err(|error| translate::refused(&error))?;
    let site = |name: &str| {
        let found = sites.iter().find(|site| site.name == name).map(|site| site.site);
        found.ok_or_else(|| {
            translate::bad(format!("no site is called {name}; `unanimous status` lists those that are known"))
        })
    };
    let wish = Wish { from: from.map(site).transpose()?, to: to.map(site).transpose()? };
    if wish == (Wish { from: None, to: None }) {
        return Err(translate::bad("from, to: name at least one of them"));
    }
    let placed = handle.place_stores(wish).await;
    let placed = placed.map_err(|error| translate::failure(error.code(), error.to_string()))?;
    let name = |site: SiteId| {
        let known = sites.iter().find(|known| known.site == site).map(|known| known.name.clone());
        known.unwrap_or_else(|| site.to_string())
    };
    let total = placed.len();
    // The header line has a bound: those that are not there yet come first.
    let (there, open): (Vec<_>, Vec<_>) = placed.into_iter().partition(|group| group.step == Step::Done);
    let (done, there_already) = (open.is_empty(), there.len());
    let told = open.into_iter().chain(there).take(PLACED_MAX).map(|placed| translate::placed(placed, name));
    let groups: Vec<_> = told.collect();
    Ok(object(json!({"done": done, "total": total, "there": there_already, "groups": groups})))
}

async fn watch(shared: &Shared, group: &str, on: bool) -> Result<Map<String, Value>, Failure> {
    let name = group_name(group)?;
    shared.site.handle.watch(shared.process, name, on).await.map_err(|error| translate::refused(&error))?;
    Ok(Map::new())
}
