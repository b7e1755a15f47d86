//! `mail who`: each site knows who is logged in there, so every site that is known here is asked.

use serde_json::{Value, json};
use unanimous::LoginLine;
use unanimous::session::protocol::MailOp;
use unanimous::session::{Address, Error, connect};

use super::plain;
use crate::args::Find;
use crate::failure::Failure;
use crate::locate;
use crate::output::{Table, Tone, say, say_json, utc_ms};

/// `unanimous mail who`. Fails if no site answers; one that does not is named.
pub async fn run(find: &Find, json: bool) -> Result<(), Failure> {
    let (mut asked, mut silent) = (Vec::new(), Vec::new());
    for address in locate::candidates(find)? {
        match at(&address).await {
            Ok(told) => asked.push(told),
            Err(error @ (Error::Unreachable { .. } | Error::Ended(_))) => silent.push((address, error)),
            Err(error) => return Err(error.into()),
        }
    }
    if asked.is_empty() {
        let none = || Failure::unreachable("the cluster has no sites");
        return Err(silent.pop().map_or_else(none, |(_, error)| error.into()));
    }
    let silent: Vec<String> = silent.iter().map(|(address, _)| address.to_string()).collect();
    match json {
        true => print_json(&asked, &silent),
        false => print(&asked, &silent),
    }
}

/// A site's name, and who is logged in there.
async fn at(address: &Address) -> Result<(String, Vec<LoginLine>), Error> {
    let (session, _events) = connect(address, "mail").await?;
    Ok((session.site().to_owned(), session.mail_pages(MailOp::Who).await?))
}

fn print(asked: &[(String, Vec<LoginLine>)], silent: &[String]) -> Result<(), Failure> {
    let mut table = Table::new(&["USER", "SITE", "PROTOCOL", "TLS", "FROM", "SINCE"]);
    for (site, logins) in asked {
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
    let sites: Vec<&str> = asked.iter().map(|(site, _)| site.as_str()).collect();
    say(&format!("\nseen at {}; of other sites ask those, with --site", sites.join(", ")))?;
    silent.iter().try_for_each(|address| say(&format!("{address} does not answer")))
}

fn print_json(asked: &[(String, Vec<LoginLine>)], silent: &[String]) -> Result<(), Failure> {
    let logins = |(site, logins): &(String, Vec<LoginLine>)| -> Vec<Value> {
        let line = |login: &LoginLine| {
            let mut line = serde_json::to_value(login).unwrap_or_default();
            line["site"] = site.as_str().into();
            line
        };
        logins.iter().map(line).collect()
    };
    let all: Vec<Value> = asked.iter().flat_map(logins).collect();
    let sites: Vec<&String> = asked.iter().map(|(site, _)| site).collect();
    say_json(&json!({"logins": all, "sites": sites, "silent": silent}))
}
