//! `upgrade`: which feature levels the sites have, and the raising of the one in force.

use serde_json::Value;

use crate::args::{Find, Upgrade};
use crate::failure::Failure;
use crate::locate;
use crate::output::{Table, Tone, say, say_json};
use unanimous::session::Levels;

/// `unanimous upgrade`.
pub async fn run(find: &Find, args: &Upgrade, json: bool) -> Result<(), Failure> {
    let (session, _events) = locate::session(find, "upgrade").await?;
    let levels = session.levels().await?;
    let highest = levels.sites.iter().filter_map(|site| site.highest).max().unwrap_or(levels.in_force);
    if !args.finish {
        return show(&levels, highest, json);
    }
    if highest <= levels.in_force {
        return Err(Failure::refused(format!(
            "level {} is in force, and no site has a higher one: start the sites with the new release first, one after another",
            levels.in_force
        )));
    }
    let in_force = session.raise_level(highest, args.force).await?;
    match json {
        true => say_json(&serde_json::json!({ "in_force": in_force })),
        false => say(&format!("level {in_force} is in force; a site whose program lacks it will not serve")),
    }
}

fn show(levels: &Levels, highest: u32, json: bool) -> Result<(), Failure> {
    if json {
        let levels = serde_json::to_value(levels).map_err(|error| Failure::refused(error.to_string()))?;
        let mut object = levels;
        object["highest"] = Value::from(highest);
        return say_json(&object);
    }
    let mut table = Table::new(&["SITE", "STATE", "LEVELS"]);
    for site in &levels.sites {
        let tone = if site.linked { Tone::Good } else { Tone::Bad };
        let state = match (site.up, site.linked) {
            (_, false) => "not linked",
            (true, true) => "up",
            (false, true) => "down",
        };
        let has = match (site.lowest, site.highest) {
            (Some(lowest), Some(highest)) => format!("{lowest} to {highest}"),
            _ => "not known".to_owned(),
        };
        table.row(vec![
            (site.name.clone(), Tone::Plain),
            (state.to_owned(), tone),
            (has, if site.highest == Some(highest) { Tone::Plain } else { Tone::Bad }),
        ]);
    }
    table.lines().iter().try_for_each(|line| say(line))?;
    say("")?;
    let in_force = levels.in_force;
    if highest <= in_force {
        return say(&format!("level {in_force} is in force; nothing is to be done"));
    }
    let old = |site: &&unanimous::session::SiteLevels| site.highest != Some(highest) || !site.linked;
    let old: Vec<&str> = levels.sites.iter().filter(old).map(|site| site.name.as_str()).collect();
    say(&match old[..] {
        [] => format!(
            "level {in_force} is in force, and all sites have {highest}: `unanimous upgrade --finish`"
        ),
        _ => format!(
            "level {in_force} is in force; before level {highest} can be, start with the new release: {}",
            old.join(" ")
        ),
    })
}
