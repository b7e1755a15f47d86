//! Commands as clients write them (RFC 3501, section 9, and the extensions that CAPABILITY names).

use bytes::Bytes;
use mail::command::SpecialUse;
use mail::{BadName, EntryTime, FlagNames, FlagOp, Flags, Keyword, MailboxName};

use super::cursor::{Bad, Cursor, Read, Set};
use super::fetch_items::{self, FetchItem};
use super::input::{Part, is_tag};
use super::limits;
use super::limits::{ITEMS_MAX, TAG_BYTES_MAX};
use super::listing::{self, ListCommand};
use super::search_keys::{self, SearchCommand};
use crate::dates;

/// What a client asks for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Command {
    Capability,
    Noop,
    Logout,
    Id,
    StartTls,
    Authenticate {
        mechanism: String,
        initial: Option<Vec<u8>>,
    },
    Login {
        user: Vec<u8>,
        password: Vec<u8>,
    },
    Enable(Vec<String>),
    Select {
        name: Name,
        read_only: bool,
        condstore: bool,
    },
    Create {
        name: Name,
        special_use: Option<SpecialUse>,
    },
    Delete(Name),
    Rename {
        from: Name,
        to: Name,
    },
    Subscribe(Name),
    Unsubscribe(Name),
    List(ListCommand),
    Namespace,
    Status {
        name: Name,
        items: Vec<StatusItem>,
    },
    Append {
        name: Name,
        flags: FlagNames,
        date: Option<EntryTime>,
        letter: Bytes,
    },
    Idle,
    GetQuota(Vec<u8>),
    GetQuotaRoot(Name),
    SetQuota,
    Close,
    Unselect,
    /// EXPUNGE, or with a set of UIDs UID EXPUNGE.
    Expunge(Option<Set>),
    Search(SearchCommand),
    Fetch {
        uid: bool,
        set: Set,
        items: Vec<FetchItem>,
        changed_since: Option<u64>,
    },
    Store {
        uid: bool,
        set: Set,
        op: FlagOp,
        flags: FlagNames,
        silent: bool,
        unchanged_since: Option<u64>,
    },
    /// COPY, or with `moves` MOVE.
    Transfer {
        uid: bool,
        set: Set,
        to: Name,
        moves: bool,
    },
}

impl Command {
    /// Whether it asks for MODSEQs, or is about them.
    pub fn asks_modseqs(&self) -> bool {
        match self {
            Command::Fetch { items, changed_since, .. } => {
                changed_since.is_some() || items.contains(&FetchItem::ModSeq)
            }
            Command::Store { unchanged_since, .. } => unchanged_since.is_some(),
            Command::Search(search) => search.key.has_modseq(),
            _ => false,
        }
    }
}

/// A mailbox as it was named; a name that cannot be is answered with NO, not BAD.
pub(crate) type Name = Result<MailboxName, BadName>;

/// What STATUS tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StatusItem {
    Messages,
    Recent,
    UidNext,
    UidValidity,
    Unseen,
    Deleted,
    Size,
    HighestModSeq,
}

/// A command and its tag; if the tag can be read but the command not, both.
pub(crate) fn parse(parts: &[Part]) -> Result<(String, Read<Command>), Bad> {
    let mut cursor = Cursor::new(parts);
    let tag = cursor.while_(is_tag);
    if tag.is_empty() || tag.len() > TAG_BYTES_MAX {
        return Err(Bad("a command begins with its tag"));
    }
    let tag = String::from_utf8_lossy(tag).into_owned();
    let command = (|| {
        cursor.space()?;
        let command = command(&mut cursor)?;
        cursor.end()?;
        Ok(command)
    })();
    Ok((tag, command))
}

fn command(c: &mut Cursor<'_>) -> Read<Command> {
    let word = c.word()?;
    Ok(match word.as_str() {
        "CAPABILITY" => Command::Capability,
        "NOOP" | "CHECK" => Command::Noop,
        "LOGOUT" => Command::Logout,
        "STARTTLS" => Command::StartTls,
        "NAMESPACE" => Command::Namespace,
        "IDLE" => Command::Idle,
        "CLOSE" => Command::Close,
        "UNSELECT" => Command::Unselect,
        "EXPUNGE" => Command::Expunge(None),
        "UID" => return uid(c),
        "ID" => id(c)?,
        "AUTHENTICATE" => authenticate(c)?,
        "LOGIN" => {
            c.space()?;
            let user = c.astring()?;
            c.space()?;
            Command::Login { user, password: c.astring()? }
        }
        "ENABLE" => {
            let mut names = Vec::new();
            while c.take(b' ') && names.len() < ITEMS_MAX {
                names.push(c.word()?);
            }
            if names.is_empty() {
                return Err(Bad("ENABLE needs the name of an extension"));
            }
            Command::Enable(names)
        }
        "SELECT" => select(c, false)?,
        "EXAMINE" => select(c, true)?,
        "CREATE" => create(c)?,
        "DELETE" => Command::Delete(mailbox(c)?),
        "RENAME" => Command::Rename { from: mailbox(c)?, to: mailbox(c)? },
        "SUBSCRIBE" => Command::Subscribe(mailbox(c)?),
        "UNSUBSCRIBE" => Command::Unsubscribe(mailbox(c)?),
        "LIST" => Command::List(listing::parse(c)?),
        "LSUB" => Command::List(listing::parse_lsub(c)?),
        "STATUS" => {
            let name = mailbox(c)?;
            c.space()?;
            Command::Status { name, items: status_items(c)? }
        }
        "APPEND" => append(c)?,
        "GETQUOTA" => {
            c.space()?;
            Command::GetQuota(c.astring()?)
        }
        "GETQUOTAROOT" => Command::GetQuotaRoot(mailbox(c)?),
        "SETQUOTA" => {
            c.space()?;
            c.astring()?;
            c.while_(|_| true);
            Command::SetQuota
        }
        _ => return letters(&word, c, false),
    })
}

fn uid(c: &mut Cursor<'_>) -> Read<Command> {
    c.space()?;
    let word = c.word()?;
    if word == "EXPUNGE" {
        c.space()?;
        return Ok(Command::Expunge(Some(c.set()?)));
    }
    letters(&word, c, true)
}

/// The commands that there are with and without UID.
fn letters(word: &str, c: &mut Cursor<'_>, uid: bool) -> Read<Command> {
    match word {
        "SEARCH" => Ok(Command::Search(search_keys::parse(c, uid)?)),
        "FETCH" => {
            c.space()?;
            let set = c.set()?;
            c.space()?;
            let items = fetch_items::parse(c)?;
            let changed_since = if c.take(b' ') { Some(modifier(c, "CHANGEDSINCE")?) } else { None };
            Ok(Command::Fetch { uid, set, items, changed_since })
        }
        "STORE" => {
            c.space()?;
            let set = c.set()?;
            c.space()?;
            let unchanged_since = if c.peek() == Some(b'(') {
                let since = modifier(c, "UNCHANGEDSINCE")?;
                c.space()?;
                Some(since)
            } else {
                None
            };
            let op = match (c.take(b'+'), c.take(b'-')) {
                (true, false) => FlagOp::Add,
                (false, true) => FlagOp::Remove,
                (false, false) => FlagOp::Replace,
                (true, true) => return Err(Bad("FLAGS was expected")),
            };
            let silent = match c.word()?.as_str() {
                "FLAGS" => false,
                "FLAGS.SILENT" => true,
                _ => return Err(Bad("FLAGS was expected")),
            };
            c.space()?;
            let flags = flags(c)?;
            Ok(Command::Store { uid, set, op, flags, silent, unchanged_since })
        }
        "COPY" | "MOVE" => {
            c.space()?;
            let set = c.set()?;
            Ok(Command::Transfer { uid, set, to: mailbox(c)?, moves: word == "MOVE" })
        }
        _ => Err(Bad("there is no such command")),
    }
}

/// `(WORD number)`
fn modifier(c: &mut Cursor<'_>, word: &str) -> Read<u64> {
    c.expect(b'(', "a modifier was expected")?;
    if !c.keyword(word) {
        return Err(Bad("a modifier that is not known"));
    }
    c.space()?;
    let value = c.number64()?;
    c.expect(b')', "a modifier has no end")?;
    if value > i64::MAX as u64 { Err(Bad("a MODSEQ is too high")) } else { Ok(value) }
}

/// A space and the name of a mailbox.
pub(crate) fn mailbox(c: &mut Cursor<'_>) -> Read<Name> {
    c.space()?;
    Ok(mailbox_name(&c.astring()?))
}

pub(crate) fn mailbox_name(typed: &[u8]) -> Name {
    let typed = std::str::from_utf8(typed).map_err(|_| BadName::Character)?;
    // Clients end a name with the separator when they mean to put others below it (RFC 3501, 6.3.3).
    MailboxName::parse_utf7(typed.strip_suffix(MailboxName::SEPARATOR).unwrap_or(typed))
}

fn id(c: &mut Cursor<'_>) -> Read<Command> {
    c.space()?;
    if c.keyword("NIL") {
        return Ok(Command::Id);
    }
    c.expect(b'(', "a list was expected")?;
    for n in 0.. {
        if c.take(b')') {
            break;
        }
        if n > 0 {
            c.space()?;
        }
        if n > 2 * ITEMS_MAX {
            return Err(Bad("too many fields"));
        }
        if !c.keyword("NIL") {
            c.string()?;
        }
    }
    Ok(Command::Id)
}

fn authenticate(c: &mut Cursor<'_>) -> Read<Command> {
    c.space()?;
    let mechanism = c.word()?;
    let initial = if c.take(b' ') { Some(c.while_(|b| b.is_ascii_graphic()).to_vec()) } else { None };
    Ok(Command::Authenticate { mechanism, initial })
}

fn select(c: &mut Cursor<'_>, read_only: bool) -> Read<Command> {
    let name = mailbox(c)?;
    let mut condstore = false;
    if c.take(b' ') {
        c.expect(b'(', "a list was expected")?;
        if !c.keyword("CONDSTORE") {
            return Err(Bad("a parameter that is not known"));
        }
        c.expect(b')', "a list has no end")?;
        condstore = true;
    }
    Ok(Command::Select { name, read_only, condstore })
}

fn create(c: &mut Cursor<'_>) -> Read<Command> {
    let name = mailbox(c)?;
    let mut special_use = None;
    if c.take(b' ') {
        c.expect(b'(', "a list was expected")?;
        if !c.keyword("USE") {
            return Err(Bad("a parameter that is not known"));
        }
        c.space()?;
        c.expect(b'(', "a list was expected")?;
        c.expect(b'\\', "a special use was expected")?;
        special_use = Some(self::special_use(&c.word()?).ok_or(Bad("a special use that is not known"))?);
        c.expect(b')', "a mailbox has one special use here")?;
        c.expect(b')', "a list has no end")?;
    }
    Ok(Command::Create { name, special_use })
}

fn special_use(word: &str) -> Option<SpecialUse> {
    listing::USES
        .iter()
        .find(|(_, name)| name[1..].eq_ignore_ascii_case(word))
        .map(|(special_use, _)| *special_use)
}

pub(crate) fn status_items(c: &mut Cursor<'_>) -> Read<Vec<StatusItem>> {
    c.expect(b'(', "a list was expected")?;
    let mut items = Vec::new();
    loop {
        items.push(match c.word()?.as_str() {
            "MESSAGES" => StatusItem::Messages,
            "RECENT" => StatusItem::Recent,
            "UIDNEXT" => StatusItem::UidNext,
            "UIDVALIDITY" => StatusItem::UidValidity,
            "UNSEEN" => StatusItem::Unseen,
            "DELETED" => StatusItem::Deleted,
            "SIZE" => StatusItem::Size,
            "HIGHESTMODSEQ" => StatusItem::HighestModSeq,
            _ => return Err(Bad("a STATUS item that is not known")),
        });
        if c.take(b')') {
            return Ok(items);
        }
        c.space()?;
        if items.len() > ITEMS_MAX {
            return Err(Bad("too many items"));
        }
    }
}

fn append(c: &mut Cursor<'_>) -> Read<Command> {
    let name = mailbox(c)?;
    c.space()?;
    let mut flags = FlagNames::default();
    if c.peek() == Some(b'(') {
        flags = self::flags(c)?;
        c.space()?;
    }
    let mut date = None;
    if c.peek() == Some(b'"') {
        date = Some(dates::parse_internal(&c.string()?).ok_or(Bad("a date that cannot be read"))?);
        c.space()?;
    }
    let letter = c.literal().ok_or(Bad("a letter comes as a literal"))?;
    Ok(Command::Append { name, flags, date, letter })
}

/// A list of flags, or flags with spaces between.
fn flags(c: &mut Cursor<'_>) -> Read<FlagNames> {
    let mut flags = FlagNames::default();
    let list = c.take(b'(');
    if list && c.take(b')') {
        return Ok(flags);
    }
    loop {
        let system = c.take(b'\\');
        let name = c.atom()?;
        let name = std::str::from_utf8(name).map_err(|_| Bad("a flag that cannot be"))?;
        if system {
            flags.system |= system_flag(name)?;
        } else {
            let keyword = Keyword::normal(name).map_err(|_| Bad("a flag that cannot be"))?;
            if !flags.keywords.contains(&keyword) {
                flags.keywords.push(keyword);
            }
            if flags.keywords.len() > mail::limits::KEYWORDS_MAX {
                return Err(Bad("too many flags"));
            }
        }
        if list && c.take(b')') || !list && c.is_at_end() {
            return Ok(flags);
        }
        c.space()?;
    }
}

pub(crate) const SYSTEM_FLAGS: [(Flags, &str); 5] = [
    (Flags::ANSWERED, "\\Answered"),
    (Flags::FLAGGED, "\\Flagged"),
    (Flags::DELETED, "\\Deleted"),
    (Flags::SEEN, "\\Seen"),
    (Flags::DRAFT, "\\Draft"),
];

fn system_flag(name: &str) -> Read<Flags> {
    if name.eq_ignore_ascii_case("Recent") {
        // Clients give back what they were told; it is the server's to set.
        return Ok(Flags::NONE);
    }
    let found = SYSTEM_FLAGS.iter().find(|(_, known)| known[1..].eq_ignore_ascii_case(name));
    found.map(|(flag, _)| *flag).ok_or(Bad("a flag that is not known"))
}

/// A list of names with spaces between, in parentheses.
pub(crate) fn astring_list(c: &mut Cursor<'_>) -> Read<Vec<Vec<u8>>> {
    c.expect(b'(', "a list was expected")?;
    let mut list = vec![c.astring()?];
    while !c.take(b')') {
        c.space()?;
        if list.len() == limits::ITEMS_MAX {
            return Err(Bad("too many names"));
        }
        list.push(c.astring()?);
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Read<Command> {
        parse(&[Part::Text(text.into())]).unwrap().1
    }

    #[test]
    fn commands_have_no_case() {
        assert_eq!(read("a noop"), Ok(Command::Noop));
        let name = Ok(MailboxName::inbox());
        assert_eq!(read("a Select inbox"), Ok(Command::Select { name, read_only: false, condstore: false }));
        assert!(matches!(
            read("a create \"x/\" (use (\\sent))"),
            Ok(Command::Create { special_use: Some(SpecialUse::Sent), .. })
        ));
        assert!(matches!(
            read("a store 1:* (unchangedsince 12) -flags.silent \\seen $X"),
            Ok(Command::Store { silent: true, .. })
        ));
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        for wrong in [
            "a",
            "a ",
            "a x",
            "a  noop",
            "a noop ",
            "a select",
            "a login x",
            "a store 1 flags (\\x)",
            "a fetch 1",
            "a status x ()",
            "a uid noop",
            "a list \"\" (",
            "a append x \"12\"",
            "a move 0 x",
            "a search",
            "a store 1 +-flags x",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", " noop", "+ noop", "\u{e9} noop"] {
            assert!(parse(&[Part::Text(wrong.into())]).is_err(), "{wrong}");
        }
        assert!(read("a delete a*b").is_err());
        assert!(matches!(read("a delete \"a*b\""), Ok(Command::Delete(Err(_)))));
    }
}
