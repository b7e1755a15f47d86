//! The fields that say how a letter came here (RFC 5321, 4.4; RFC 8601).

use std::net::IpAddr;

use mail::{Address, EntryTime};
use ring::digest::{SHA256, digest};

use super::limits::RESULTS_BYTES_MAX;
use crate::dates;

/// How a letter came here.
#[derive(Clone, Debug)]
pub(super) struct Trace<'a> {
    /// The site's host name.
    pub site: &'a str,
    /// The envelope sender; empty for the null reverse path.
    pub sender: &'a str,
    /// What the client calls itself.
    pub hello: &'a str,
    pub address: Option<IpAddr>,
    /// The protocol's name.
    pub with: String,
    /// The only recipient, if there is only one.
    pub recipient: Option<&'a Address>,
    pub clock: EntryTime,
    /// What was found out about the sender, if anybody asked.
    pub results: Option<&'a str>,
}

impl Trace<'_> {
    pub fn date(&self) -> String {
        dates::in_header(self.clock)
    }

    /// The envelope sender as it is written between angle brackets.
    pub fn sender_path(&self) -> String {
        path(self.sender)
    }

    /// The fields, the newest first.
    pub fn fields(&self) -> String {
        let mut out = format!("Return-Path: <{}>\r\n", self.sender_path());
        if let Some(results) = self.results {
            let results: String = results.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            let end = results.floor_char_boundary(RESULTS_BYTES_MAX);
            let results = folded(results[..end].trim(), ';');
            out += &format!("Authentication-Results: {};\r\n\t{results}\r\n", self.site);
        }
        let address = match self.address.map(|address| address.to_canonical()) {
            Some(IpAddr::V4(v4)) => format!(" ([{v4}])"),
            Some(IpAddr::V6(v6)) => format!(" ([IPv6:{v6}])"),
            None => String::new(),
        };
        let to = self.recipient.map_or_else(String::new, |to| format!("\r\n\tfor <{to}>"));
        let (hello, site, with) = (host(self.hello), self.site, &self.with);
        out += &format!(
            "Received: from {hello}{address}\r\n\tby {site} with {with}{to};\r\n\t{}\r\n",
            self.date()
        );
        out
    }

    /// An id for a letter that has none: a function of what it is and when it came.
    pub fn message_id(&self, letter: &[u8]) -> String {
        let text = [digest(&SHA256, letter).as_ref(), self.fields().as_bytes(), &self.clock.0.to_be_bytes()]
            .concat();
        let id: String = digest(&SHA256, &text).as_ref()[..16].iter().map(|b| format!("{b:02x}")).collect();
        format!("{id}@{}", self.site)
    }
}

/// What a client calls itself, with nothing in it that means something in a header.
fn host(hello: &str) -> String {
    let good = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    let name: String = hello.chars().take(255).map(|c| if good(c) { c } else { '?' }).collect();
    if name.is_empty() { "unknown".to_owned() } else { name }
}

/// An address with the quotes that it needs.
fn path(address: &str) -> String {
    let Some((local, domain)) = address.rsplit_once('@') else { return String::new() };
    let atom = |c: char| c.is_alphanumeric() || !c.is_ascii() || "!#$%&'*+-/=?^_`{|}~".contains(c);
    if !local.is_empty() && local.split('.').all(|word| !word.is_empty() && word.chars().all(atom)) {
        return address.to_owned();
    }
    format!("\"{}\"@{domain}", local.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Text over several lines, each beginning behind a separator.
fn folded(text: &str, separator: char) -> String {
    text.split(separator).map(str::trim).collect::<Vec<_>>().join(";\r\n\t")
}

/// Whether the value of an `Authentication-Results:` speaks in this site's name (RFC 8601, 5): its first word,
/// comments left out, quoted or not.
pub(super) fn is_results_of(value: &[u8], site: &str) -> bool {
    let text = String::from_utf8_lossy(value);
    let mut word = String::new();
    let (mut depth, mut quoted, mut escaped) = (0u32, false, false);
    for c in text.chars() {
        match c {
            _ if escaped => {
                escaped = false;
                word.extend((depth == 0).then_some(c));
            }
            '\\' if quoted || depth > 0 => escaped = true,
            '"' if depth == 0 => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if depth > 0 => depth -= 1,
            _ if depth > 0 => {}
            ';' if !quoted => break,
            c if c.is_whitespace() && !quoted && word.is_empty() => {}
            c if c.is_whitespace() && !quoted => break,
            '\r' | '\n' => {}
            c => word.push(c),
        }
    }
    word.eq_ignore_ascii_case(site)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_results_they_are() {
        let ours = |value: &str| is_results_of(value.as_bytes(), "mx.x.org");
        for value in [
            " mx.x.org; spf=pass",
            "MX.X.ORG 1; none",
            "\r\n\t(hi; (there)) mx.x.org;x",
            "\"mx.x.org\"; x",
            "\"m\\x.x.org\"",
            "(a\\)b) mx.x.org(c);",
            "mx(.).x.org",
        ] {
            assert!(ours(value), "{value:?}");
        }
        for value in ["", "x.org; mx.x.org", "mx.x.org.evil; x", "(mx.x.org) y;"] {
            assert!(!ours(value), "{value:?}");
        }
    }

    #[test]
    fn names_cannot_say_more_than_names() {
        assert_eq!(host("a b\r\n(c)<d>;\"\u{e9}\""), "a?b???c??d?????");
        assert_eq!(host(""), "unknown");
        assert_eq!(path("a b\"@x.org"), "\"a b\\\"\"@x.org");
        assert_eq!((path("").as_str(), path("a.b+c@x").as_str()), ("", "a.b+c@x"));
        assert_eq!(path("a..b@x"), "\"a..b\"@x");
    }

    #[test]
    fn results_are_folded_and_stay_one_field() {
        let trace = Trace {
            site: "mx.x.org",
            sender: "a@y.org",
            hello: "y.org",
            address: Some("2001:db8::1".parse().expect("an address")),
            with: "ESMTPS".into(),
            recipient: None,
            clock: EntryTime(1_700_000_000_000),
            results: Some("spf=pass;dkim=fail\r\nSubject: x"),
        };
        assert_eq!(
            trace.fields(),
            "Return-Path: <a@y.org>\r\nAuthentication-Results: mx.x.org;\r\n\tspf=pass;\r\n\tdkim=fail  Subject: x\r\n\
             Received: from y.org ([IPv6:2001:db8::1])\r\n\tby mx.x.org with ESMTPS;\r\n\tTue, 14 Nov 2023 22:13:20 +0000\r\n"
        );
    }
}
