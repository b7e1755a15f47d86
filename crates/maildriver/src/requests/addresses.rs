//! Aliases and domains.

use mail::command::{SetAlias, SetDomain};
use mail::limits::TARGETS_MAX;
use mail::{Address, Command, Domain};
use serde_json::json;
use site::Answered;
use wire::session::{AliasLine, DomainLine, ErrorCode, Failure, PageOf};

use super::page::{after, page};
use super::{Asked, bad, failure, told};

impl Asked {
    pub(super) async fn set_alias(&self, address: &str, targets: &[String]) -> Answered {
        let (address, targets) = (self.address("alias", address)?, self.addresses("target", targets)?);
        match targets.len() {
            0 => return Err(bad("targets: name one; `unanimous mail alias remove` removes an alias")),
            1..=TARGETS_MAX => {}
            many => {
                let why = format!(
                    "an alias stands for at most {TARGETS_MAX} addresses, not {many}; make a mailing list"
                );
                return Err(failure(ErrorCode::TooLarge, why));
            }
        }
        let count = targets.len();
        self.change(Command::SetAlias(SetAlias { address: address.clone(), targets })).await?;
        told(json!({"alias": address.as_str(), "targets": count}))
    }

    pub(super) async fn remove_alias(&self, address: &str) -> Answered {
        let address = self.address("alias", address)?;
        if self.listed(false).await?.alias(&address).is_none() {
            return Err(bad(format!("there is no alias {address}; see `unanimous mail alias list`")));
        }
        self.change(Command::SetAlias(SetAlias { address: address.clone(), targets: Vec::new() })).await?;
        told(json!({"alias": address.as_str()}))
    }

    pub(super) async fn aliases(&self, asked: PageOf) -> Answered {
        let state = self.listed(asked.local).await?;
        let after = after(&asked, Address::parse)?;
        let item = |(address, targets): (&Address, &[Address])| {
            let (alias, targets) = (address.to_string(), targets.iter().map(Address::to_string).collect());
            (alias.clone(), AliasLine { alias, targets })
        };
        page(&asked, state.aliases_behind(after.as_ref()).map(item))
    }

    pub(super) async fn set_domain(&self, domain: &str, catch_all: Option<String>) -> Answered {
        let domain = domain_of(domain)?;
        let catch_all = catch_all.map(|target| self.address("catch_all", &target)).transpose()?;
        let told_of = catch_all.clone();
        self.change(Command::SetDomain(SetDomain { domain: domain.clone(), catch_all })).await?;
        told(json!({"domain": domain.as_str(), "catch_all": told_of.as_ref().map(Address::as_str)}))
    }

    pub(super) async fn remove_domain(&self, domain: &str) -> Answered {
        let domain = domain_of(domain)?;
        if domain == self.domain {
            let why = format!("{domain} is the domain of this site's configuration; it stays");
            return Err(bad(why));
        }
        let state = self.listed(false).await?;
        if !state.domains().any(|known| *known == domain) {
            return Err(bad(format!("mail is not for {domain}; see `unanimous mail domain list`")));
        }
        self.change(Command::RemoveDomain(domain.clone())).await?;
        told(json!({"domain": domain.as_str()}))
    }

    pub(super) async fn domains(&self, asked: PageOf) -> Answered {
        let state = self.listed(asked.local).await?;
        let after = after(&asked, Domain::parse)?;
        let item = |(domain, target): (&Domain, Option<&Address>)| {
            let (domain, catch_all) = (domain.to_string(), target.map(Address::to_string));
            (domain.clone(), DomainLine { domain, catch_all })
        };
        page(&asked, state.domains_behind(after.as_ref()).map(item))
    }
}

fn domain_of(text: &str) -> Result<Domain, Failure> {
    Domain::parse(text).map_err(|error| bad(format!("domain: {text:?}: {error}")))
}
