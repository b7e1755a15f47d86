//! A session's requests for feature levels: which each site has, and the raising of the one in force.

use bytes::Bytes;
use serde_json::{Value, json};
use stack::{SiteState, SiteSummary};
use wire::session::{ErrorCode, Op, Principal};

use super::connection::{Shared, object};
use super::maps::{Answered, refused};
use super::translate::{self, bad, failure};

pub(super) fn is_one(op: &Op) -> bool {
    matches!(op, Op::Levels | Op::RaiseLevel { .. })
}

/// Runs one of them.
pub(super) async fn run(shared: &Shared, op: Op) -> Answered {
    match op {
        Op::Levels => {
            let in_force = shared.site.handle.feature_level().await.map_err(refused)?;
            let sites: Vec<Value> = sites(shared).await?.iter().map(|site| told(shared, site)).collect();
            Ok((object(json!({ "in_force": in_force, "sites": sites })), Bytes::new()))
        }
        Op::RaiseLevel { to, force } => {
            shared.may(Principal::Administer)?;
            let lacking: Vec<String> =
                sites(shared).await?.iter().filter_map(|site| lack(shared, site, to, force)).collect();
            if !lacking.is_empty() {
                let why = format!("level {to} can't be put in force: {}", lacking.join("; "));
                return Err(failure(ErrorCode::Unmet, why));
            }
            shared.site.handle.raise_level(to).await.map_err(refused)?;
            let in_force = shared.site.handle.feature_level().await.map_err(refused)?;
            Ok((object(json!({ "in_force": in_force })), Bytes::new()))
        }
        _ => Err(bad("no request of feature levels")),
    }
}

async fn sites(shared: &Shared) -> Result<Vec<SiteSummary>, wire::session::Failure> {
    shared.site.handle.sites().await.map_err(|error| translate::refused(&error))
}

fn told(shared: &Shared, site: &SiteSummary) -> Value {
    let levels = shared.site.outlook.levels_of(site.site);
    json!({
        "name": site.name,
        "id": site.site.0,
        "up": site.state != SiteState::Down,
        "linked": shared.site.outlook.is_seen(site.site),
        "lowest": levels.as_ref().map(|levels| *levels.start()),
        "highest": levels.as_ref().map(|levels| *levels.end()),
    })
}

/// Why a site is in the way of a level; those that are not there may be passed over.
fn lack(shared: &Shared, site: &SiteSummary, to: u32, pass_over: bool) -> Option<String> {
    let name = &site.name;
    if !shared.site.outlook.is_seen(site.site) {
        let why = format!("{name} is not linked with this site, and what its program has now is not known");
        return (!pass_over).then_some(why);
    }
    match shared.site.outlook.levels_of(site.site) {
        Some(levels) if levels.contains(&to) => None,
        Some(levels) => Some(format!(
            "{name} runs a program that has {} to {}; start it with the new release",
            levels.start(),
            levels.end()
        )),
        None => Some(format!("{name} has not said what its program has")),
    }
}
