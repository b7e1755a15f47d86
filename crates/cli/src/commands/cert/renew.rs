//! `cert renew`: new certificates for sites, under the authority that issues now.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use net::cert::{Certificate, Role, Validity};
use net::shown::Files;
use serde_json::{Value, json};
use unanimous::SiteConfig;
use wire::SiteId;

use super::keeper::Keeper;
use super::place::{File, replace};
use crate::args::{CertRenew, Find};
use crate::commands::site_add::known;
use crate::failure::Failure;
use crate::locate::default_dir;
use crate::output::{say, say_json, utc};

/// `unanimous cert renew`.
pub fn run(find: &Find, args: &CertRenew, json: bool) -> Result<(), Failure> {
    let dir = find.dir.clone().unwrap_or_else(default_dir);
    let keeper = Keeper::load(&dir.join("ca"))?;
    let sites = named(&dir, &keeper, args)?;
    if let Some(out) = args.out.as_deref().filter(|out| out.exists()) {
        return Err(Failure::refused(format!("{} exists; name a folder that does not", out.display())));
    }
    // Nothing is written before all of it is known to be possible.
    let renewed = sites.iter().map(|site| renew(site, &keeper, args)).collect::<Result<Vec<_>, _>>()?;
    let mut lines = Vec::new();
    for (site, renewed) in sites.iter().zip(&renewed) {
        let folder = match &args.out {
            Some(out) => {
                let folder = out.join(&site.site.name);
                std::fs::create_dir_all(&folder)?;
                folder
            }
            None => site.site.certificates.clone(),
        };
        replace(&folder, &renewed.files(&keeper), &[])?;
        lines.push(renewed.describe(site, &folder, &keeper));
        if !json {
            say(&format!("{}: valid until {}, in {}", site.site.name, utc(renewed.until), folder.display()))?;
        }
    }
    if json {
        return say_json(&json!({ "renewed": lines }));
    }
    say(
        "A site that runs on this folder takes its certificate into use within three seconds; `unanimous status` shows it.",
    )?;
    say(
        "For a site elsewhere, copy the three files over those in its folder of certificates, also while it runs.",
    )
}

/// The configurations of the sites that are meant.
fn named(dir: &Path, keeper: &Keeper, args: &CertRenew) -> Result<Vec<SiteConfig>, Failure> {
    let cluster = keeper.authority().cluster().to_string();
    let mut sites: Vec<SiteConfig> =
        known(dir)?.into_iter().filter(|config| config.cluster == cluster).collect();
    if let Some(stranger) =
        args.names.iter().find(|name| sites.iter().all(|config| config.site.name != **name))
    {
        return Err(Failure::refused(format!(
            "{} has no folder of a site called {stranger}; the sites that were made there have one",
            dir.display()
        )));
    }
    sites.retain(|config| args.all || args.names.contains(&config.site.name));
    if sites.is_empty() {
        return Err(Failure::usage("name the sites to renew, or say --all"));
    }
    Ok(sites)
}

struct Renewed {
    certificate: String,
    key: String,
    serial: String,
    until: SystemTime,
}

fn renew(config: &SiteConfig, keeper: &Keeper, args: &CertRenew) -> Result<Renewed, Failure> {
    let failed = |error: net::cert::CertError| Failure::refused(format!("{}: {error}", config.site.name));
    let role = role(config)?;
    let authority = keeper.authority();
    let identity = authority.issue(role, &config.site.name, Validity::days(args.days)).map_err(failed)?;
    Ok(Renewed {
        certificate: identity.certificate_pem(),
        key: identity.key_pem(),
        serial: identity.serial().to_string(),
        until: identity.certificate().validity().until,
    })
}

/// The certificate's role stays as it is: a site that is certified by name alone remains so.
fn role(config: &SiteConfig) -> Result<Role, Failure> {
    let configured = match config.site.id {
        0 => Role::NamedSite,
        id => Role::Site(SiteId(id)),
    };
    match Certificate::load(&config.site.certificates.join(Files::NAMES[0])) {
        Ok(old) if old.principal().role != configured || old.principal().name != config.site.name => {
            Err(Failure::refused(format!(
                "{}: its certificate is that of {}, and its configuration says otherwise; make it a folder with `site add`",
                config.site.name,
                old.principal()
            )))
        }
        // One that was lost can be made again.
        Ok(_) | Err(_) => Ok(configured),
    }
}

impl Renewed {
    fn files(&self, keeper: &Keeper) -> [File; 3] {
        let [certificate, key, roots] = Files::NAMES;
        [
            File::secret(key, self.key.clone()),
            File::open(certificate, self.certificate.clone()),
            File::open(roots, keeper.trusted_pem()),
        ]
    }

    fn describe(&self, config: &SiteConfig, folder: &PathBuf, keeper: &Keeper) -> Value {
        let until = self.until.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        json!({
            "name": config.site.name, "serial": self.serial, "until": until,
            "authority": keeper.id().to_string(), "folder": folder,
        })
    }
}
