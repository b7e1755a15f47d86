//! IMAP's modified UTF-7 for names of mailboxes (RFC 3501, 5.1.3). One name has one encoding: what could be
//! read in two ways is refused, or two clients would see one mailbox under two names [Mail 3].

use crate::name::{BadName, MailboxName};

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

impl MailboxName {
    /// A name as a client of IMAP4rev1 writes it.
    pub fn parse_utf7(typed: &str) -> Result<MailboxName, BadName> {
        MailboxName::parse(&decoded(typed)?)
    }

    /// The name as clients of IMAP4rev1 are told it.
    pub fn to_utf7(&self) -> String {
        encoded(self.as_str())
    }
}

fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut shifted = Vec::new();
    for c in text.chars() {
        if !(' '..='~').contains(&c) {
            shifted.extend_from_slice(c.encode_utf16(&mut [0; 2]));
            continue;
        }
        shift(&mut out, &mut shifted);
        out.push(c);
        if c == '&' {
            out.push('-');
        }
    }
    shift(&mut out, &mut shifted);
    out
}

/// Writes what was gathered as one shifted part.
fn shift(out: &mut String, units: &mut Vec<u16>) {
    if units.is_empty() {
        return;
    }
    out.push('&');
    let (mut bits, mut count) = (0u32, 0);
    for unit in units.drain(..) {
        bits = bits << 16 | u32::from(unit);
        count += 16;
        while count >= 6 {
            count -= 6;
            out.push(char::from(DIGITS[(bits >> count & 63) as usize]));
        }
    }
    if count > 0 {
        out.push(char::from(DIGITS[(bits << (6 - count) & 63) as usize]));
    }
    out.push('-');
}

fn decoded(typed: &str) -> Result<String, BadName> {
    let mut out = String::with_capacity(typed.len());
    let mut rest = typed;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        let (part, after) = rest[at + 1..].split_once('-').ok_or(BadName::NotNormal)?;
        match part {
            "" => out.push('&'),
            _ => out.push_str(&unshift(part)?),
        }
        rest = after;
    }
    out.push_str(rest);
    // Two shifted parts side by side, shifted ASCII, bits left over: all show here.
    if encoded(&out) == typed { Ok(out) } else { Err(BadName::NotNormal) }
}

fn unshift(part: &str) -> Result<String, BadName> {
    let (mut bits, mut count, mut units) = (0u32, 0, Vec::new());
    for digit in part.bytes() {
        let value = DIGITS.iter().position(|d| *d == digit).ok_or(BadName::NotNormal)?;
        bits = bits << 6 | value as u32;
        count += 6;
        if count >= 16 {
            count -= 16;
            units.push((bits >> count) as u16);
        }
    }
    String::from_utf16(&units).map_err(|_| BadName::NotNormal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for (name, wire) in [
            ("INBOX", "INBOX"),
            ("Entw\u{fc}rfe", "Entw&APw-rfe"),
            ("a&b", "a&-b"),
            ("\u{65e5}\u{672c}\u{8a9e}", "&ZeVnLIqe-"),
            ("\u{1f600}/x", "&2D3eAA-/x"),
            ("~peter/mail/\u{53f0}\u{5317}", "~peter/mail/&U,BTFw-"),
        ] {
            let name = MailboxName::parse(name).unwrap();
            assert_eq!(name.to_utf7(), wire);
            assert_eq!(MailboxName::parse_utf7(wire).unwrap(), name);
        }
    }

    #[test]
    fn a_name_in_two_spellings_is_refused() {
        for wire in [
            "&AGE-",              // ASCII, shifted
            "&U,BTFw-&ZeVnLIqe-", // two parts that are one
            "&U,BTFx-",           // bits left over
            "&U,BTF",             // no end
            "&2D0-",              // half a pair
            "Entw\u{fc}rfe",      // not encoded at all
            "&AP=-",
            "&APwA-",
        ] {
            assert!(MailboxName::parse_utf7(wire).is_err(), "{wire}");
        }
    }
}
