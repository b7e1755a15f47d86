//! What SEARCH asks (RFC 3501, 6.4.4; ESEARCH, RFC 4731; MODSEQ, RFC 7162).

use mail::{Flags, Keyword};

use super::cursor::{Bad, Cursor, Read, Set};
use super::limits::{DEPTH_MAX, SEARCH_TERMS_MAX};
use crate::dates::{self, Day};

/// SEARCH as it was asked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SearchCommand {
    pub uid: bool,
    /// What ESEARCH tells; none is a plain SEARCH.
    pub returns: Option<Returns>,
    /// A charset that is not known; the text after it was not read.
    pub bad_charset: bool,
    pub key: Key,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Returns {
    pub min: bool,
    pub max: bool,
    pub all: bool,
    pub count: bool,
}

/// A condition on a letter. Texts are in lower case.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Key {
    All,
    And(Vec<Key>),
    Or(Box<Key>, Box<Key>),
    Not(Box<Key>),
    Sequence(Set),
    Uid(Set),
    Flag(Flags),
    Keyword(Option<Keyword>),
    Larger(u32),
    Smaller(u32),
    ModSeq(u64),
    Before(Day),
    On(Day),
    Since(Day),
    SentBefore(Day),
    SentOn(Day),
    SentSince(Day),
    Header { name: String, text: String },
    Body(String),
    Text(String),
}

impl Key {
    /// Whether MODSEQs were asked for.
    pub fn has_modseq(&self) -> bool {
        match self {
            Key::And(keys) => keys.iter().any(Key::has_modseq),
            Key::Or(a, b) => a.has_modseq() || b.has_modseq(),
            Key::Not(key) => key.has_modseq(),
            other => matches!(other, Key::ModSeq(_)),
        }
    }
}

struct Parser<'a, 'b> {
    c: &'a mut Cursor<'b>,
    terms: usize,
}

pub(crate) fn parse(c: &mut Cursor<'_>, uid: bool) -> Read<SearchCommand> {
    c.space()?;
    let mut returns = None;
    if c.keyword("RETURN") {
        c.space()?;
        returns = Some(self::returns(c)?);
        c.space()?;
    }
    let mut bad_charset = false;
    if c.keyword("CHARSET") {
        c.space()?;
        let charset = c.astring()?;
        c.space()?;
        let known = ["US-ASCII", "UTF-8"].iter().any(|known| known.as_bytes().eq_ignore_ascii_case(&charset));
        bad_charset = !known;
    }
    let mut parser = Parser { c, terms: 0 };
    let mut keys = vec![parser.key(0)?];
    while parser.c.take(b' ') {
        keys.push(parser.key(0)?);
    }
    Ok(SearchCommand { uid, returns, bad_charset, key: Key::And(keys) })
}

fn returns(c: &mut Cursor<'_>) -> Read<Returns> {
    c.expect(b'(', "a list was expected")?;
    let mut returns = Returns::default();
    while !c.take(b')') {
        match c.word()?.as_str() {
            "MIN" => returns.min = true,
            "MAX" => returns.max = true,
            "ALL" => returns.all = true,
            "COUNT" => returns.count = true,
            _ => return Err(Bad("a result that is not known")),
        }
        if c.peek() != Some(b')') {
            c.space()?;
        }
    }
    if returns == Returns::default() {
        returns.all = true;
    }
    Ok(returns)
}

impl Parser<'_, '_> {
    fn key(&mut self, depth: usize) -> Read<Key> {
        self.terms += 1;
        if depth > DEPTH_MAX || self.terms > SEARCH_TERMS_MAX {
            return Err(Bad("a search that is too large"));
        }
        if self.c.take(b'(') {
            let mut keys = vec![self.key(depth + 1)?];
            while !self.c.take(b')') {
                self.c.space()?;
                keys.push(self.key(depth + 1)?);
            }
            return Ok(Key::And(keys));
        }
        if self.c.peek().is_some_and(|b| b.is_ascii_digit() || b == b'*') {
            return Ok(Key::Sequence(self.c.set()?));
        }
        let word = self.c.word()?;
        Ok(match word.as_str() {
            "ALL" => Key::All,
            "ANSWERED" => Key::Flag(Flags::ANSWERED),
            "DELETED" => Key::Flag(Flags::DELETED),
            "DRAFT" => Key::Flag(Flags::DRAFT),
            "FLAGGED" => Key::Flag(Flags::FLAGGED),
            "SEEN" => Key::Flag(Flags::SEEN),
            "UNANSWERED" => not(Key::Flag(Flags::ANSWERED)),
            "UNDELETED" => not(Key::Flag(Flags::DELETED)),
            "UNDRAFT" => not(Key::Flag(Flags::DRAFT)),
            "UNFLAGGED" => not(Key::Flag(Flags::FLAGGED)),
            "UNSEEN" => not(Key::Flag(Flags::SEEN)),
            // No session claims letters as recent, so none is.
            "RECENT" | "NEW" => not(Key::All),
            "OLD" => Key::All,
            "KEYWORD" => self.keyword()?,
            "UNKEYWORD" => not(self.keyword()?),
            "LARGER" => Key::Larger(self.number()?),
            "SMALLER" => Key::Smaller(self.number()?),
            "UID" => {
                self.c.space()?;
                Key::Uid(self.c.set()?)
            }
            "MODSEQ" => self.modseq()?,
            "BEFORE" => Key::Before(self.day()?),
            "ON" => Key::On(self.day()?),
            "SINCE" => Key::Since(self.day()?),
            "SENTBEFORE" => Key::SentBefore(self.day()?),
            "SENTON" => Key::SentOn(self.day()?),
            "SENTSINCE" => Key::SentSince(self.day()?),
            "FROM" | "TO" | "CC" | "BCC" | "SUBJECT" => {
                Key::Header { name: word.to_ascii_lowercase(), text: self.text()? }
            }
            "HEADER" => Key::Header { name: self.text()?, text: self.text()? },
            "BODY" => Key::Body(self.text()?),
            "TEXT" => Key::Text(self.text()?),
            "NOT" => {
                self.c.space()?;
                not(self.key(depth + 1)?)
            }
            "OR" => {
                self.c.space()?;
                let first = self.key(depth + 1)?;
                self.c.space()?;
                Key::Or(Box::new(first), Box::new(self.key(depth + 1)?))
            }
            _ => return Err(Bad("a search key that is not known")),
        })
    }

    fn keyword(&mut self) -> Read<Key> {
        self.c.space()?;
        let name = self.c.atom()?;
        Ok(Key::Keyword(std::str::from_utf8(name).ok().and_then(|name| Keyword::normal(name).ok())))
    }

    fn number(&mut self) -> Read<u32> {
        self.c.space()?;
        self.c.number()
    }

    fn day(&mut self) -> Read<Day> {
        self.c.space()?;
        dates::parse_day(&self.c.astring()?).ok_or(Bad("a date that cannot be read"))
    }

    fn text(&mut self) -> Read<String> {
        self.c.space()?;
        Ok(String::from_utf8_lossy(&self.c.astring()?).to_lowercase())
    }

    /// The name of a flag may stand before the number; we keep one MODSEQ for all.
    fn modseq(&mut self) -> Read<Key> {
        self.c.space()?;
        if self.c.peek() == Some(b'"') {
            self.c.string()?;
            self.c.space()?;
            if !["ALL", "SHARED", "PRIV"].contains(&self.c.word()?.as_str()) {
                return Err(Bad("a kind of flag that is not known"));
            }
            self.c.space()?;
        }
        Ok(Key::ModSeq(self.c.number64()?))
    }
}

fn not(key: Key) -> Key {
    Key::Not(Box::new(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imap::input::Part;

    fn read(text: &str) -> Read<SearchCommand> {
        let parts = [Part::Text(text.into())];
        let mut c = Cursor::new(&parts);
        parse(&mut c, false).and_then(|search| c.end().map(|()| search))
    }

    #[test]
    fn keys() {
        let search =
            read(" return (min count) charset utf-8 or (seen 1:3) not subject \"X Y\" since 1-Feb-2024")
                .unwrap();
        assert!(!search.key.has_modseq());
        assert_eq!(search.returns, Some(Returns { min: true, count: true, ..Returns::default() }));
        assert!(read(" modseq \"/flags/\\\\seen\" all 17").unwrap().key.has_modseq());
        assert!(read(" charset x-klingon text a").unwrap().bad_charset);
        for wrong in [
            "",
            " ",
            " foo",
            " or seen",
            " not",
            " (seen",
            " since 1-1-1",
            " return (all",
            " seen  seen",
            " larger x",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn bounds() {
        assert!(read(&format!(" {}seen", "not ".repeat(DEPTH_MAX + 1))).is_err());
        assert!(read(&format!(" {}", "(".repeat(60_000))).is_err());
        assert!(read(&" seen".repeat(SEARCH_TERMS_MAX + 1)).is_err());
        assert!(read(&" seen".repeat(SEARCH_TERMS_MAX)).is_ok());
    }
}
