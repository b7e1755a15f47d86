//! `cert revoke`: a certificate that is valid and must not be believed any longer.

use std::path::Path;

use net::cert::{Certificate, Serial};
use net::shown::Files;
use unanimous::SiteConfig;

use super::place::{File, replace};
use crate::args::{CertRevoke, Find};
use crate::commands::site_add::known;
use crate::failure::Failure;
use crate::locate::default_dir;
use crate::output::{say, say_json};

/// The file beside a site's certificate.
const REVOKED: &str = "revoked";

/// `unanimous cert revoke`.
pub fn run(find: &Find, args: &CertRevoke, json: bool) -> Result<(), Failure> {
    let dir = find.dir.clone().unwrap_or_else(default_dir);
    let sites = known(&dir)?;
    let (serial, whose) = meant(&sites, args)?;
    let mut names = Vec::new();
    for config in &sites {
        revoke(&config.site.certificates, &serial, &whose)?;
        names.push(config.site.name.as_str());
    }
    if json {
        return say_json(&serde_json::json!({ "serial": serial.to_string(), "sites": names }));
    }
    say(&format!("{serial} ({whose}) is in certificates/{REVOKED} of {}.", names.join(", ")))?;
    say("A site that runs on such a folder cuts it off within two seconds; copy the file to sites elsewhere.")
}

fn meant(sites: &[SiteConfig], args: &CertRevoke) -> Result<(Serial, String), Failure> {
    let read = |path: &Path| {
        let certificate = Certificate::load(path).map_err(|error| Failure::refused(error.to_string()))?;
        Ok((certificate.serial().clone(), certificate.principal().to_string()))
    };
    if let Some(path) = &args.cert_file {
        return read(path);
    }
    if let Some(serial) = &args.serial {
        let read = Serial::parse(serial);
        let read =
            read.ok_or_else(|| Failure::usage(format!("{serial:?} is no serial number in hexadecimal")))?;
        return Ok((read, "by its number".to_owned()));
    }
    let Some(name) = &args.name else { return Err(Failure::usage("name a site, --serial or --file")) };
    let config = sites.iter().find(|config| config.site.name == *name);
    let config =
        config.ok_or_else(|| Failure::refused(format!("there is no folder of a site called {name}")))?;
    read(&config.site.certificates.join(Files::NAMES[0]))
}

fn revoke(certificates: &Path, serial: &Serial, whose: &str) -> Result<(), Failure> {
    let path = certificates.join(REVOKED);
    let mut text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(Failure::refused(format!("{}: {error}", path.display()))),
    };
    let listed = text.lines().filter_map(|line| Serial::parse(line.split('#').next()?.trim()));
    if listed.into_iter().any(|listed| listed == *serial) {
        return Ok(());
    }
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text += &format!("{serial} # {whose}\n");
    replace(certificates, &[File::open(REVOKED, text)], &[])
}
