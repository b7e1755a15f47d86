//! Names of mailboxes and users. `parse` is for the edge: it normalises what a client typed. Decoding an
//! entry only checks rules that no version of Unicode changes, so that replicas built with different tables
//! read the same entry alike [Mail 3].

use std::fmt;

use unicode_normalization::UnicodeNormalization;

use crate::limits::{MAILBOX_DEPTH_MAX, MAILBOX_NAME_BYTES_MAX, USER_NAME_BYTES_MAX};

/// Why a text is no name. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// Nothing, or an empty level.
    #[error("a name, or one of its levels, is empty")]
    Empty,
    /// Longer than allowed.
    #[error("a name is too long")]
    TooLong,
    /// More levels than allowed.
    #[error("a name has too many levels")]
    TooDeep,
    /// A character that has no place in a name.
    #[error("a name has a character that is not allowed")]
    Character,
    /// Not in the form that is kept: a name that did not go through `parse`.
    #[error("a name is not in its normal form")]
    NotNormal,
}

/// The name of a mailbox: levels with [`SEPARATOR`](MailboxName::SEPARATOR) between, INBOX in capitals.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MailboxName(Box<str>);

const INBOX: &str = "INBOX";
const HELD: &str = "Held";

impl MailboxName {
    /// Between two levels.
    pub const SEPARATOR: char = '/';

    /// What a client typed (already out of IMAP's modified UTF-7), in the normal form: NFC, the first level
    /// INBOX or Held in one spelling [Mail 3].
    pub fn parse(typed: &str) -> Result<MailboxName, BadName> {
        if typed.len() > 4 * MAILBOX_NAME_BYTES_MAX {
            return Err(BadName::TooLong);
        }
        let mut text: String = typed.nfc().collect();
        for special in [INBOX, HELD] {
            let first = text.split(Self::SEPARATOR).next().unwrap_or_default();
            if first.eq_ignore_ascii_case(special) {
                text.replace_range(..special.len(), special);
            }
        }
        MailboxName::normal(&text)
    }

    /// A name that is in the normal form already, as an entry carries it.
    pub fn normal(text: &str) -> Result<MailboxName, BadName> {
        if text.len() > MAILBOX_NAME_BYTES_MAX {
            return Err(BadName::TooLong);
        }
        if text.split(Self::SEPARATOR).count() > MAILBOX_DEPTH_MAX {
            return Err(BadName::TooDeep);
        }
        for level in text.split(Self::SEPARATOR) {
            if level.is_empty() {
                return Err(BadName::Empty);
            }
            let blank = |c: Option<char>| c == Some(' ');
            if level == "." || level == ".." || blank(level.chars().next()) || blank(level.chars().last()) {
                return Err(BadName::Character);
            }
        }
        if text.starts_with('#') || text.chars().any(|c| deceptive(c) || matches!(c, '%' | '*')) {
            return Err(BadName::Character);
        }
        let first = text.split(Self::SEPARATOR).next().unwrap_or_default();
        if [INBOX, HELD].iter().any(|special| first.eq_ignore_ascii_case(special) && first != *special) {
            return Err(BadName::NotNormal);
        }
        Ok(MailboxName(text.into()))
    }

    /// The mailbox that every user has.
    pub fn inbox() -> MailboxName {
        MailboxName(INBOX.into())
    }

    /// The mailbox in which a minority shows the letters that wait for the primary. No real mailbox has this
    /// name or one below it [Mail 12].
    pub fn held() -> MailboxName {
        MailboxName(HELD.into())
    }

    /// Whether this is INBOX.
    pub fn is_inbox(&self) -> bool {
        &*self.0 == INBOX
    }

    /// Whether this is `Held` or below it.
    pub fn is_held(&self) -> bool {
        self.0.split(Self::SEPARATOR).next() == Some(HELD)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this name is below another: `a/b` is below `a`, `ab` is not.
    pub fn is_below(&self, above: &MailboxName) -> bool {
        self.0.strip_prefix(&*above.0).is_some_and(|rest| rest.starts_with(Self::SEPARATOR))
    }

    /// This name, which is `from` or below it, as it is called when `from` is called `to`.
    pub(crate) fn moved(&self, from: &MailboxName, to: &MailboxName) -> Result<MailboxName, BadName> {
        let rest = self.0.strip_prefix(&*from.0).unwrap_or_default();
        MailboxName::normal(&format!("{}{rest}", to.0))
    }

    /// The levels above, the nearest last: `a`, `a/b` for `a/b/c`.
    pub(crate) fn ancestors(&self) -> impl Iterator<Item = &str> {
        self.0.match_indices(Self::SEPARATOR).map(|(at, _)| &self.0[..at])
    }

    /// Whether a pattern of IMAP's LIST matches: `*` stands for anything, `%` for anything within a level.
    pub fn matches(&self, pattern: &str) -> bool {
        let name: Vec<char> = self.0.chars().collect();
        if pattern.chars().count() > 2 * MAILBOX_NAME_BYTES_MAX {
            return false;
        }
        let inbox = self.0.split(Self::SEPARATOR).next() == Some(INBOX);
        let same = |at: usize, p: char| {
            name[at] == p || inbox && at < INBOX.len() && name[at].eq_ignore_ascii_case(&p)
        };
        // Which prefixes of the name the pattern so far matches: no recursion, so no pattern is expensive.
        let mut reached = vec![false; name.len() + 1];
        reached[0] = true;
        for p in pattern.chars() {
            if p == '*' || p == '%' {
                for at in 1..=name.len() {
                    reached[at] |= reached[at - 1] && (p == '*' || name[at - 1] != Self::SEPARATOR);
                }
                continue;
            }
            for at in (1..=name.len()).rev() {
                reached[at] = reached[at - 1] && same(at - 1, p);
            }
            reached[0] = false;
        }
        reached[name.len()]
    }
}

/// Characters that a name could lie with: controls, line and paragraph separators, invisible ones and those
/// that turn the direction. These sets are fixed in Unicode.
fn deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fffd}')
}

/// The name of a user, which is also the local part of its address: lower case, without `@`, `/`, `+`, quotes or spaces.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserName(Box<str>);

impl UserName {
    /// What somebody typed, in the normal form: NFC and lower case.
    pub fn parse(typed: &str) -> Result<UserName, BadName> {
        if typed.len() > 4 * USER_NAME_BYTES_MAX {
            return Err(BadName::TooLong);
        }
        UserName::normal(&typed.nfc().flat_map(char::to_lowercase).nfc().collect::<String>())
    }

    /// A name that is in the normal form already.
    pub fn normal(text: &str) -> Result<UserName, BadName> {
        if text.is_empty() {
            return Err(BadName::Empty);
        }
        if text.len() > USER_NAME_BYTES_MAX {
            return Err(BadName::TooLong);
        }
        let wrong = |c: char| deceptive(c) || " @/+\"\\<>(),:;[]%*".contains(c);
        if text.chars().any(wrong) || text.starts_with(['.', '-', '#']) || text.ends_with('.') {
            return Err(BadName::Character);
        }
        if text.contains("..") {
            return Err(BadName::Character);
        }
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(BadName::NotNormal);
        }
        Ok(UserName(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! text_name {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }

        impl<C> minicbor::Encode<C> for $name {
            fn encode<W: minicbor::encode::Write>(
                &self,
                e: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                e.str(self.as_str())?.ok()
            }
        }

        impl<'b, C> minicbor::Decode<'b, C> for $name {
            fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
                $name::normal(d.str()?).map_err(minicbor::decode::Error::custom)
            }
        }
    };
}
pub(crate) use text_name;

text_name!(MailboxName);
text_name!(UserName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inbox_has_one_spelling() {
        for typed in ["inbox", "Inbox", "INBOX"] {
            assert_eq!(MailboxName::parse(typed).unwrap(), MailboxName::inbox());
        }
        assert_eq!(MailboxName::parse("inbox/Work").unwrap().as_str(), "INBOX/Work");
        assert_eq!(MailboxName::parse("inboxes").unwrap().as_str(), "inboxes");
        assert_eq!(MailboxName::normal("inbox"), Err(BadName::NotNormal));
        assert!(MailboxName::parse("held/x").unwrap().is_held());
    }

    #[test]
    fn two_spellings_of_one_name_are_one() {
        let composed = MailboxName::parse("Entw\u{fc}rfe").unwrap();
        assert_eq!(MailboxName::parse("Entwu\u{308}rfe").unwrap(), composed);
        assert_eq!(UserName::parse("J\u{d6}RG").unwrap(), UserName::parse("jo\u{308}rg").unwrap());
    }

    #[test]
    fn names_that_lie_are_refused() {
        for typed in [
            "",
            "/",
            "a//b",
            "/a",
            "a/",
            "..",
            "a/../b",
            "a\r\nb",
            "a\0",
            "a*",
            "%",
            "#news",
            " a",
            "x\u{202e}y",
        ] {
            assert!(MailboxName::parse(typed).is_err(), "{typed:?}");
        }
        for typed in ["", "a@b", "a/b", "a+b", ".a", "a..b", "a b", "\u{feff}a"] {
            assert!(UserName::parse(typed).is_err(), "{typed:?}");
        }
        assert!(MailboxName::parse(&"a".repeat(MAILBOX_NAME_BYTES_MAX + 1)).is_err());
        assert!(MailboxName::parse(&["a"; MAILBOX_DEPTH_MAX + 1].join("/")).is_err());
    }

    #[test]
    fn patterns_match_as_imap_says() {
        let name = |typed| MailboxName::parse(typed).unwrap();
        assert!(name("a/b/c").matches("*"));
        assert!(!name("a/b/c").matches("%"));
        assert!(name("a/b/c").matches("a/%/c"));
        assert!(name("a/b/c").matches("a*c"));
        assert!(!name("a/b/c").matches("a/%"));
        assert!(name("INBOX").matches("inbox"));
        assert!(name("INBOX").matches("InB%"));
        assert!(!name("work").matches("WORK"));
        assert!(!name("work").matches("") && !name("work").matches(&"*".repeat(1_000)));
        assert!(name("inbox/X").matches("inbox/X") && !name("inbox/X").matches("*x"));
    }
}
