//! Between the session's vocabulary and the site's.

use membership::group::{Consistency, Create, GroupOptions, GroupView, Lives, Merges};
use membership::step::Why;
use multicast::Order;
use multicast::call::{Outcome, Replies};
use stack::{JoinOptions, SiteState, Status};
use wire::session::{
    self, ErrorCode, Failure, GotReply, LeftMember, NamedReplies, PlacedGroup, PlacedState, Reply, View,
};
use wire::{GroupName, Incarnation, MemberId, ProcessId, SiteId, SiteIncarnation};

use crate::handle::RequestError;
use crate::hosting::{Placed, Step};
use crate::outlook::Outlook;

/// What the names of the sites' own groups begin with.
const OWN: &str = "unanimous.";

/// A failure with its code and its line for people.
pub(super) fn failure(error: ErrorCode, message: impl Into<String>) -> Failure {
    Failure { error, message: message.into() }
}

pub(super) fn bad(message: impl Into<String>) -> Failure {
    failure(ErrorCode::BadRequest, message)
}

pub(super) fn group_name(text: &str) -> Result<GroupName, Failure> {
    if text.starts_with(OWN) {
        return Err(bad(format!("group: names that begin with {OWN} are the sites' own")));
    }
    GroupName::parse(text).map_err(|error| bad(format!("group: {error}")))
}

/// Whether a group is the sites' own, of which programs are not told.
pub(super) fn is_own(group: &GroupName) -> bool {
    group.to_string().starts_with(OWN)
}

pub(super) fn refused(error: &RequestError) -> Failure {
    failure(error.code(), error.to_string())
}

/// The fields of a `join`.
pub(super) struct JoinFields {
    pub(super) role: Option<String>,
    pub(super) create: Option<String>,
    pub(super) consistency: Option<String>,
    pub(super) lives: Option<String>,
    pub(super) merges: Option<String>,
    pub(super) probe_ms: u32,
    pub(super) aggregate_ms: u32,
}

pub(super) fn join_options(fields: JoinFields) -> Result<JoinOptions, Failure> {
    let create = match fields.create.as_deref() {
        None | Some("if-missing") => Create::IfMissing,
        Some("must-exist") => Create::MustExist,
        Some("must-create") => Create::MustCreate,
        Some(other) => {
            return Err(bad(format!("create: {other:?}; say if-missing, must-exist or must-create")));
        }
    };
    let consistency = match fields.consistency.as_deref() {
        None | Some("virtually-synchronous") => Consistency::VirtuallySynchronous,
        Some("strong") => Consistency::Strong,
        Some("weak") => Consistency::Weak,
        Some(other) => {
            return Err(bad(format!("consistency: {other:?}; say weak, strong or virtually-synchronous")));
        }
    };
    let rules = GroupOptions {
        consistency,
        lives: lives(fields.lives.as_deref())?,
        merges: merges(fields.merges.as_deref())?,
        probe_ms: fields.probe_ms,
        aggregate_ms: fields.aggregate_ms,
    };
    Ok(JoinOptions { role: fields.role, create, rules })
}

fn lives(text: Option<&str>) -> Result<Lives, Failure> {
    let Some(text) = text else { return Ok(Lives::Primary) };
    if let Some(n) = text.strip_prefix("at-least:") {
        return n.parse().map(Lives::AtLeast).map_err(|_| bad(format!("lives: {n:?} is no number")));
    }
    match (text, text.strip_prefix("role:")) {
        ("primary", _) => Ok(Lives::Primary),
        ("all", _) => Ok(Lives::All),
        (_, Some(role)) if !role.is_empty() => Ok(Lives::ContainingRole(role.to_owned())),
        (other, _) => Err(bad(format!("lives: {other:?}; say primary, all, at-least:N or role:R"))),
    }
}

fn merges(text: Option<&str>) -> Result<Merges, Failure> {
    let Some(text) = text else { return Ok(Merges::SameName) };
    match (text, text.strip_prefix("role:")) {
        ("same-name", _) => Ok(Merges::SameName),
        ("never", _) => Ok(Merges::Never),
        (_, Some(role)) if !role.is_empty() => Ok(Merges::ContainingRole(role.to_owned())),
        (other, _) => Err(bad(format!("merges: {other:?}; say same-name, never or role:R"))),
    }
}

pub(super) fn order(text: Option<&str>) -> Result<Order, Failure> {
    match text {
        Some("mbcast") => Ok(Order::Mbcast),
        Some("fbcast") => Ok(Order::Fbcast),
        Some("cbcast") => Ok(Order::Cbcast),
        None | Some("abcast") => Ok(Order::Abcast),
        Some("gbcast") => Ok(Order::Gbcast),
        Some(other) => Err(bad(format!("order: {other:?}; say mbcast, fbcast, cbcast, abcast or gbcast"))),
    }
}

pub(super) fn order_name(order: Order) -> &'static str {
    match order {
        Order::Mbcast => "mbcast",
        Order::Fbcast => "fbcast",
        Order::Cbcast => "cbcast",
        Order::Abcast => "abcast",
        Order::Gbcast => "gbcast",
    }
}

pub(super) fn replies(replies: session::Replies) -> Replies {
    match replies {
        session::Replies::Default
        | session::Replies::Named(NamedReplies::None)
        | session::Replies::Count(0) => Replies::None,
        session::Replies::Named(NamedReplies::All) => Replies::All,
        session::Replies::Named(NamedReplies::Majority) => Replies::Majority,
        session::Replies::Count(n) => Replies::Count(n),
    }
}

pub(super) fn reply_summary(outcome: &Outcome) -> Reply {
    Reply {
        members: outcome.targets,
        got: outcome
            .replies
            .iter()
            .map(|(from, body)| GotReply { from: from.to_string(), body_len: body.len() })
            .collect(),
        null: outcome.nulls.len(),
        failed: outcome.failed.len(),
        aborted_by: outcome.aborted_by.as_ref().map(|(by, _)| by.to_string()),
        timed_out: outcome.timed_out,
    }
}

pub(super) fn view(view: &GroupView, me: Option<MemberId>, transitional: &[MemberId]) -> View {
    View {
        group: view.name.to_string(),
        id: view.id.to_string(),
        primary: view.primary,
        lives: view.lives,
        rank: me.and_then(|me| view.members.iter().position(|member| member.id == me)),
        members: view.members.iter().map(|member| member.id.to_string()).collect(),
        joined: view.joined.iter().map(ToString::to_string).collect(),
        left: view
            .left
            .iter()
            .map(|(member, why)| LeftMember { member: member.to_string(), why: why_name(*why).to_owned() })
            .collect(),
        transitional: transitional.iter().map(ToString::to_string).collect(),
    }
}

fn why_name(why: Why) -> &'static str {
    match why {
        Why::Left => "left",
        Why::Failed => "failed",
        Why::Partitioned => "partitioned",
    }
}

pub(super) fn status(status: &Status, outlook: &Outlook) -> serde_json::Value {
    let site = |site: &stack::SiteSummary| {
        let state = match site.state {
            SiteState::Up => "up",
            SiteState::Suspected => "suspected",
            SiteState::Down => "down",
        };
        let lacks = match site.state {
            SiteState::Up => None,
            SiteState::Suspected => Some("does not answer"),
            SiteState::Down => Some("not in the view"),
        };
        let mut object = serde_json::json!({
            "name": site.name, "id": site.site.0, "state": state, "rank": site.rank, "lacks": lacks,
            "incarnation": site.incarnation.map(|incarnation| incarnation.0),
        });
        for (key, value) in outlook.describe(site) {
            object[key] = value;
        }
        object
    };
    let groups: Vec<_> = status
        .groups
        .iter()
        .filter(|group| !is_own(&group.view.name))
        .map(|group| view(&group.view, None, &[]))
        .collect();
    serde_json::json!({
        "view": status.view.map(|id| id.to_string()),
        "primary": status.primary,
        "position": status.position,
        "sites": status.sites.iter().map(site).collect::<Vec<_>>(),
        "groups": groups,
        "waiting_for": status.waiting_for,
        "authorities": outlook.authorities(),
    })
}

pub(super) fn placed(placed: Placed, name: impl Fn(SiteId) -> String) -> PlacedGroup {
    let Placed { group, step, sites } = placed;
    let (state, why, come) = match step {
        Step::Done => (PlacedState::Done, None, None),
        Step::Change(_) => (PlacedState::Changing, None, None),
        Step::CatchUp { at, of } => (PlacedState::CatchingUp, None, Some((at, of))),
        Step::Wait(why) => (PlacedState::Waiting, Some(why), None),
        Step::Absent(site) => {
            let of = name(site);
            let why = format!("the store of {of} is not here: start the site, or see what its log says");
            (PlacedState::Waiting, Some(why), None)
        }
        Step::TooFew { count, needed, missing } => {
            let missing: Vec<String> = missing.into_iter().map(&name).collect();
            let why = format!(
                "{count} stores would count then and {needed} of them be needed, but those of {} are not here: start them \
                 first, or replace them",
                missing.join(", ")
            );
            (PlacedState::Refused, Some(why), None)
        }
        Step::Refused(why) => (PlacedState::Refused, Some(why), None),
    };
    PlacedGroup {
        group: group.to_string(),
        state,
        why,
        at: come.map(|(at, _)| at),
        of: come.map(|(_, of)| of),
        stores: sites.into_iter().map(name).collect(),
    }
}

/// Reads a member's id as it is printed: `s1.3/7#2`.
pub(super) fn member(text: &str) -> Result<MemberId, Failure> {
    let parse = || {
        let (process, join) = text.split_once('#')?;
        let (birth, local) = process.split_once('/')?;
        let (site, incarnation) = birth.strip_prefix('s')?.split_once('.')?;
        let site = SiteId(site.parse().ok()?);
        let birth = SiteIncarnation { site, incarnation: Incarnation(incarnation.parse().ok()?) };
        let process = ProcessId { birth, local: local.parse().ok()? };
        Some(MemberId { process, join: join.parse().ok()? })
    };
    parse().ok_or_else(|| bad(format!("{text:?} is no member; members are written like s1.3/7#2")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_reads_back_as_it_is_printed() {
        let birth = SiteIncarnation { site: SiteId(3), incarnation: Incarnation(9) };
        let id = MemberId { process: ProcessId { birth, local: 4 }, join: 12 };
        assert_eq!(member(&id.to_string()), Ok(id));
        for garbage in ["", "s1", "s1.2/3", "s1.2/3#", "x1.2/3#4", "s1.2/3#4x"] {
            assert!(member(garbage).is_err(), "{garbage}");
        }
    }

    #[test]
    fn rules_are_read_or_refused_with_what_may_be_said() {
        assert_eq!(lives(Some("at-least:2")), Ok(Lives::AtLeast(2)));
        assert_eq!(lives(Some("role:master")), Ok(Lives::ContainingRole("master".into())));
        assert_eq!(merges(Some("role:master")), Ok(Merges::ContainingRole("master".into())));
        assert!(lives(Some("at-least:many")).is_err());
        assert!(lives(Some("role:")).is_err());
        assert!(merges(Some("sometimes")).is_err());
    }
}
