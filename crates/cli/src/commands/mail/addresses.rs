//! `mail alias` and `mail domain`.

use serde_json::{Map, Value};
use unanimous::session::protocol::MailOp;
use unanimous::{AliasLine, DomainLine};

use super::{done, maybe, plain, table, tell};
use crate::args::{Alias, Find, MailDomain};
use crate::failure::Failure;

/// `unanimous mail alias …`.
pub async fn alias(find: &Find, args: &Alias, json: bool) -> Result<(), Failure> {
    match args.clone() {
        Alias::Set { address, targets } => {
            let means = targets.join(" ");
            let told = done(find, MailOp::SetAlias { address, targets }).await?;
            tell(&told, json, &format!("{} stands for {means}", name(&told, "alias")))
        }
        Alias::Remove { address } => {
            let told = done(find, MailOp::RemoveAlias { address }).await?;
            tell(&told, json, &format!("{} stands for nobody any more", name(&told, "alias")))
        }
        Alias::List => {
            let row = |alias: &AliasLine| vec![plain(&alias.alias), plain(alias.targets.join(" "))];
            table(find, MailOp::Aliases, json, &["ALIAS", "STANDS FOR"], row).await
        }
    }
}

/// `unanimous mail domain …`.
pub async fn domain(find: &Find, args: &MailDomain, json: bool) -> Result<(), Failure> {
    match args.clone() {
        MailDomain::Add { domain, catch_all } => {
            let told = done(find, MailOp::SetDomain { domain, catch_all }).await?;
            let rest = match told.get("catch_all").and_then(Value::as_str) {
                Some(target) => format!("; {target} gets what is for nobody"),
                None => String::new(),
            };
            tell(&told, json, &format!("mail for {} is taken{rest}", name(&told, "domain")))
        }
        MailDomain::Remove { domain } => {
            let told = done(find, MailOp::RemoveDomain { domain }).await?;
            tell(&told, json, &format!("mail for {} is taken no more", name(&told, "domain")))
        }
        MailDomain::List => {
            let row = |domain: &DomainLine| vec![plain(&domain.domain), maybe(domain.catch_all.as_ref())];
            table(find, MailOp::Domains, json, &["DOMAIN", "CATCH-ALL"], row).await
        }
    }
}

/// What an answer calls it: the whole address.
pub fn name<'a>(told: &'a Map<String, Value>, of: &str) -> &'a str {
    told.get(of).and_then(Value::as_str).unwrap_or("?")
}
