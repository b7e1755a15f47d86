//! `cert root`: a cluster's authority replaced by another, with both trusted in between.

use std::path::Path;

use net::cert::Certificate;
use net::shown::Files;
use serde_json::{Value, json};
use unanimous::SiteConfig;

use super::keeper::Keeper;
use super::place::{File, replace};
use crate::args::{CertRoot, Find};
use crate::commands::site_add::known;
use crate::failure::Failure;
use crate::locate;
use crate::output::{say, say_json};

/// `unanimous cert root`.
pub async fn run(find: &Find, args: &CertRoot, json: bool) -> Result<(), Failure> {
    let dir = find.dir.clone().unwrap_or_else(locate::default_dir);
    match args {
        CertRoot::Add => add(&dir, json),
        CertRoot::Retire { force } => retire(find, &dir, *force, json).await,
    }
}

fn add(dir: &Path, json: bool) -> Result<(), Failure> {
    let keeper = Keeper::load(&dir.join("ca"))?;
    let keeper = match keeper.retiring()?.is_some() && !all_have(dir, &keeper)? {
        // It was interrupted before every folder had both.
        true => keeper,
        false => keeper.add()?,
    };
    let sites = give_roots(dir, &keeper, &keeper.trusted_pem())?;
    if json {
        let retiring = keeper.retiring()?.map(|id| id.to_string());
        return say_json(
            &json!({ "authority": keeper.id().to_string(), "retiring": retiring, "sites": sites }),
        );
    }
    say(&format!("The authority {} issues from now on; the old one is still trusted.", keeper.id()))?;
    say(&format!("ca.pem of {} has both. Now, in this order:", sites.join(", ")))?;
    say(
        "  1. copy each ca.pem to its site's machine, if that is another, and ca/roots.pem to programs as their ca.pem",
    )?;
    say("  2. unanimous cert renew --all           when every site trusts both (`unanimous status`)")?;
    say("  3. issue the programs' certificates anew (`unanimous cert issue`)")?;
    say("  4. unanimous cert root retire")
}

async fn retire(find: &Find, dir: &Path, force: bool, json: bool) -> Result<(), Failure> {
    let keeper = Keeper::load(&dir.join("ca"))?;
    let Some(retiring) = keeper.retiring()? else {
        return Err(Failure::refused("only one root is trusted; `unanimous cert root add` makes another"));
    };
    let mut old = Vec::new();
    for config in sites(dir, &keeper)? {
        let certificate = Certificate::load(&config.site.certificates.join(Files::NAMES[0]));
        let certificate = certificate.map_err(|error| Failure::refused(error.to_string()))?;
        let issuer = keeper
            .issuer(&certificate)
            .map_err(|failure| Failure::refused(format!("{}: {}", config.site.name, failure.message)))?;
        if issuer == retiring {
            old.push(config.site.name);
        }
    }
    let seen = match locate::session(find, "cert root retire").await {
        Ok((session, _events)) => Some(session.status().await?),
        Err(_) => None,
    };
    let mut unseen = Vec::new();
    for site in seen.iter().filter_map(|status| status.get("sites")?.as_array()).flatten() {
        let name = site.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        match site
            .get("certificate")
            .and_then(|certificate| certificate.get("authority"))
            .and_then(Value::as_str)
        {
            Some(shown) if shown == retiring.to_string() && !old.contains(&name) => old.push(name),
            Some(_) => {}
            None => unseen.push(name),
        }
    }
    old.sort();
    if !old.is_empty() && !force {
        return Err(Failure::refused(format!(
            "{} still show{} a certificate of the old authority and would be shut out; `unanimous cert renew` makes new ones",
            old.join(", "),
            if old.len() == 1 { "s" } else { "" }
        )));
    }
    // The authority's folder is last: interrupted before, it can be said again.
    let sites = give_roots(dir, &keeper, keeper.authority().certificate_pem())?;
    let keeper = keeper.retire()?;
    if json {
        return say_json(&json!({
            "authority": keeper.id().to_string(), "retired": retiring.to_string(), "sites": sites,
            "asked": seen.is_some(), "unseen": unseen,
        }));
    }
    say(&format!("{retiring} is retired: ca.pem of {} trusts {} alone.", sites.join(", "), keeper.id()))?;
    match (&seen, unseen.is_empty()) {
        (None, _) => {
            say("No site answered (--site names one): what they show was not seen, only the files here.")?
        }
        (Some(_), false) => say(&format!("Not seen, because they are not linked: {}.", unseen.join(", ")))?,
        (Some(_), true) => {}
    }
    say(
        "Copy each ca.pem to its site's machine, if that is another. Whoever shows an old certificate is cut off then.",
    )
}

fn sites(dir: &Path, keeper: &Keeper) -> Result<Vec<SiteConfig>, Failure> {
    let cluster = keeper.authority().cluster().to_string();
    Ok(known(dir)?.into_iter().filter(|config| config.cluster == cluster).collect())
}

fn all_have(dir: &Path, keeper: &Keeper) -> Result<bool, Failure> {
    let trusted = keeper.trusted_pem();
    let has = |config: &SiteConfig| {
        let roots = std::fs::read_to_string(config.site.certificates.join(Files::NAMES[2]));
        roots.is_ok_and(|roots| roots == trusted)
    };
    Ok(sites(dir, keeper)?.iter().all(has))
}

/// Writes what is to be trusted into the sites' folders. Gives their names.
fn give_roots(dir: &Path, keeper: &Keeper, roots: &str) -> Result<Vec<String>, Failure> {
    let mut names = Vec::new();
    for config in sites(dir, keeper)? {
        replace(&config.site.certificates, &[File::open(Files::NAMES[2], roots.to_owned())], &[])?;
        names.push(config.site.name);
    }
    Ok(names)
}
