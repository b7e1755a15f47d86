//! Addresses and domains, in the form in which they are compared.

use unicode_normalization::UnicodeNormalization;

use crate::limits::{DOMAIN_BYTES_MAX, LOCAL_PART_BYTES_MAX};
use crate::name::{BadName, UserName, text_name};

/// A domain in lower case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(Box<str>);

impl Domain {
    /// What somebody typed, in the normal form.
    pub fn parse(typed: &str) -> Result<Domain, BadName> {
        if typed.len() > 4 * DOMAIN_BYTES_MAX {
            return Err(BadName::TooLong);
        }
        Domain::normal(&fold(typed))
    }

    /// A domain that is in the normal form already.
    pub fn normal(text: &str) -> Result<Domain, BadName> {
        if text.len() > DOMAIN_BYTES_MAX {
            return Err(BadName::TooLong);
        }
        if text.split('.').any(str::is_empty) {
            return Err(BadName::Empty);
        }
        let wrong =
            |c: char| c.is_control() || c.is_ascii() && !c.is_ascii_alphanumeric() && !"-.".contains(c);
        if text.chars().any(wrong) || text.split('.').any(|l| l.starts_with('-') || l.ends_with('-')) {
            return Err(BadName::Character);
        }
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(BadName::NotNormal);
        }
        Ok(Domain(text.into()))
    }

    /// The domain as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `local@domain`, both in lower case: local parts are compared without case here.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(Box<str>);

impl Address {
    /// What somebody typed, in the normal form: NFC, lower case, no quotes, no comments, no source route.
    pub fn parse(typed: &str) -> Result<Address, BadName> {
        if typed.len() > 4 * (LOCAL_PART_BYTES_MAX + DOMAIN_BYTES_MAX + 1) {
            return Err(BadName::TooLong);
        }
        Address::normal(&fold(typed))
    }

    /// An address that is in the normal form already.
    pub fn normal(text: &str) -> Result<Address, BadName> {
        let (local, domain) = text.rsplit_once('@').ok_or(BadName::Empty)?;
        Domain::normal(domain)?;
        if local.is_empty() || local.split('.').any(str::is_empty) {
            return Err(BadName::Empty);
        }
        if local.len() > LOCAL_PART_BYTES_MAX {
            return Err(BadName::TooLong);
        }
        if local.chars().any(|c| c.is_control() || c.is_whitespace() || "\"(),:;<>@[]\\".contains(c)) {
            return Err(BadName::Character);
        }
        if local.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(BadName::NotNormal);
        }
        Ok(Address(text.into()))
    }

    /// A user's address in a domain.
    pub fn of_user(user: &UserName, domain: &Domain) -> Result<Address, BadName> {
        Address::normal(&format!("{user}@{domain}"))
    }

    /// The address as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands before the `@`.
    pub fn local(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(local, _)| local)
    }

    /// What stands behind the `@`.
    pub fn domain(&self) -> Domain {
        Domain(self.0.rsplit_once('@').map_or("", |(_, domain)| domain).into())
    }

    /// The address without `+detail`, and the detail, if it has one.
    pub fn without_detail(&self) -> Option<(Address, &str)> {
        let (base, detail) = self.local().split_once('+')?;
        let address = Address::normal(&format!("{base}@{}", self.domain())).ok()?;
        Some((address, detail))
    }
}

fn fold(typed: &str) -> String {
    typed.nfc().flat_map(char::to_lowercase).nfc().collect()
}

text_name!(Domain);
text_name!(Address);

// The macro of `name` writes `fmt` and the encodings.
use std::fmt;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart() {
        let address = Address::parse("Ann+Work@Example.ORG").unwrap();
        assert_eq!((address.local(), address.domain().as_str()), ("ann+work", "example.org"));
        let (base, detail) = address.without_detail().unwrap();
        assert_eq!((base.as_str(), detail), ("ann@example.org", "work"));
        assert!(base.without_detail().is_none());
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for typed in [
            "",
            "ann",
            "@x.org",
            "ann@",
            "a b@x.org",
            "a@b@x.org",
            "ann@x..org",
            "ann@-x.org",
            "a\r@x.org",
            ".a@x",
            "\"a\"@x",
        ] {
            assert!(Address::parse(typed).is_err(), "{typed:?}");
        }
    }
}
