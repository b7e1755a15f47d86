//! `mail who`: each site knows who is logged in there, so every site that is known here is asked.

use std::time::Duration;

use serde_json::{Value, json};
use unanimous::LoginLine;
use unanimous::session::protocol::MailOp;
use unanimous::session::{Address, Error, connect};

use super::plain;
use crate::args::Find;
use crate::failure::Failure;
use crate::locate;
use crate::output::{Table, Tone, say, say_json, utc_ms};

/// A site that hangs is not waited for longer.
const TOLD_WITHIN: Duration = Duration::from_secs(5);

/// What a site says.
type Told = (String, Vec<LoginLine>);

/// `unanimous mail who`. Fails if no site tells; one that does not is named.
pub async fn run(find: &Find, json: bool) -> Result<(), Failure> {
    let (mut told, mut silent) = (Vec::new(), Vec::new());
    let asked = |address: Address| (address.to_string(), tokio::spawn(async move { at(&address).await }));
    let asked: Vec<_> = locate::candidates(find)?.into_iter().map(asked).collect();
    for (address, asked) in asked {
        match asked.await.map_err(|error| Failure::refused(error.to_string()))? {
            Ok(site) => told.push(site),
            Err(failure) => silent.push((address, failure)),
        }
    }
    if told.is_empty() {
        let none = || Failure::unreachable("the cluster has no sites");
        return Err(silent.pop().map_or_else(none, |(_, failure)| failure));
    }
    match json {
        true => print_json(&told, &silent),
        false => print(&told, &silent),
    }
}

/// A site's name, and who is logged in there.
async fn at(address: &Address) -> Result<Told, Failure> {
    let asked = async {
        let (session, _events) = connect(address, "mail").await?;
        Ok((session.site().to_owned(), session.mail_pages(MailOp::Who).await?))
    };
    let told: Result<Told, Error> = match tokio::time::timeout(TOLD_WITHIN, asked).await {
        Ok(told) => told,
        Err(_) => {
            let why = format!(
                "{address} has not answered for {TOLD_WITHIN:?}; look at its log, or restart the site"
            );
            return Err(Failure::unreachable(why));
        }
    };
    Ok(told?)
}

fn print(told: &[Told], silent: &[(String, Failure)]) -> Result<(), Failure> {
    let mut table = Table::new(&["USER", "SITE", "PROTOCOL", "TLS", "FROM", "SINCE"]);
    for (site, logins) in told {
        for login in logins {
            table.row(vec![
                plain(&login.user),
                plain(site),
                plain(&login.protocol),
                if login.tls { plain("yes") } else { ("no".to_owned(), Tone::Bad) },
                plain(login.from),
                (utc_ms(login.since_ms), Tone::Dim),
            ]);
        }
    }
    table.lines().iter().try_for_each(|line| say(line))?;
    let sites: Vec<&str> = told.iter().map(|(site, _)| site.as_str()).collect();
    say(&format!("\nseen at {}; of other sites ask those, with --site", sites.join(", ")))?;
    silent.iter().try_for_each(|(address, why)| say(&format!("not at {address}: {why}")))
}

fn print_json(told: &[Told], silent: &[(String, Failure)]) -> Result<(), Failure> {
    let logins = |(site, logins): &Told| -> Vec<Value> {
        let line = |login: &LoginLine| {
            let mut line = serde_json::to_value(login).unwrap_or_default();
            line["site"] = site.as_str().into();
            line
        };
        logins.iter().map(line).collect()
    };
    let all: Vec<Value> = told.iter().flat_map(logins).collect();
    let sites: Vec<&String> = told.iter().map(|(site, _)| site).collect();
    let silent: Vec<Value> =
        silent.iter().map(|(address, why)| json!({"address": address, "why": why.to_string()})).collect();
    say_json(&json!({"logins": all, "sites": sites, "silent": silent}))
}
