//! LIST and LSUB (RFC 3501, 5258, 5819, 6154): what was asked, and the lines that answer it.

use mail::command::SpecialUse;
use mail::{Listed, MailboxName, State, UserId};

use super::command::{StatusItem, status_items};
use super::cursor::{Bad, Cursor, Read};
use super::limits::ITEMS_MAX;
use super::write;

pub(crate) const USES: [(SpecialUse, &str); 7] = [
    (SpecialUse::All, "\\All"),
    (SpecialUse::Archive, "\\Archive"),
    (SpecialUse::Drafts, "\\Drafts"),
    (SpecialUse::Flagged, "\\Flagged"),
    (SpecialUse::Junk, "\\Junk"),
    (SpecialUse::Sent, "\\Sent"),
    (SpecialUse::Trash, "\\Trash"),
];

/// LIST as it was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ListCommand {
    pub lsub: bool,
    /// Whether any extended form was used: only then CHILDINFO and the like are told.
    pub extended: bool,
    pub reference: Vec<u8>,
    pub patterns: Vec<Vec<u8>>,
    pub only_subscribed: bool,
    pub only_special_use: bool,
    pub recursive: bool,
    pub tell_subscribed: bool,
    pub tell_status: Vec<StatusItem>,
}

pub(crate) fn parse_lsub(c: &mut Cursor<'_>) -> Read<ListCommand> {
    let mut list = ListCommand { lsub: true, ..ListCommand::default() };
    c.space()?;
    list.reference = c.astring()?;
    c.space()?;
    list.patterns = vec![c.pattern()?];
    Ok(list)
}

pub(crate) fn parse(c: &mut Cursor<'_>) -> Read<ListCommand> {
    let mut list = ListCommand::default();
    c.space()?;
    if c.take(b'(') {
        list.extended = true;
        selection(c, &mut list)?;
        c.space()?;
    }
    list.reference = c.astring()?;
    c.space()?;
    if c.take(b'(') {
        list.extended = true;
        loop {
            list.patterns.push(c.pattern()?);
            if c.take(b')') {
                break;
            }
            c.space()?;
            if list.patterns.len() == ITEMS_MAX {
                return Err(Bad("too many patterns"));
            }
        }
    } else {
        list.patterns.push(c.pattern()?);
    }
    if c.take(b' ') {
        if !c.keyword("RETURN") {
            return Err(Bad("RETURN was expected"));
        }
        c.space()?;
        c.expect(b'(', "a list was expected")?;
        list.extended = true;
        returns(c, &mut list)?;
    }
    Ok(list)
}

fn selection(c: &mut Cursor<'_>, list: &mut ListCommand) -> Read<()> {
    while !c.take(b')') {
        match c.word()?.as_str() {
            "SUBSCRIBED" => list.only_subscribed = true,
            "SPECIAL-USE" => list.only_special_use = true,
            "RECURSIVEMATCH" => list.recursive = true,
            // There are no mailboxes on other servers.
            "REMOTE" => {}
            _ => return Err(Bad("a selection option that is not known")),
        }
        if c.peek() != Some(b')') {
            c.space()?;
        }
    }
    if list.recursive && !list.only_subscribed {
        return Err(Bad("RECURSIVEMATCH needs another selection option"));
    }
    list.tell_subscribed = list.only_subscribed;
    Ok(())
}

fn returns(c: &mut Cursor<'_>, list: &mut ListCommand) -> Read<()> {
    while !c.take(b')') {
        match c.word()?.as_str() {
            "SUBSCRIBED" => list.tell_subscribed = true,
            // Told always.
            "CHILDREN" | "SPECIAL-USE" => {}
            "STATUS" => {
                c.space()?;
                list.tell_status = status_items(c)?;
            }
            _ => return Err(Bad("a return option that is not known")),
        }
        if c.peek() != Some(b')') {
            c.space()?;
        }
    }
    Ok(())
}

/// One name to tell.
struct Line {
    attributes: Vec<&'static str>,
    listed: Listed,
    child_subscribed: bool,
}

/// The lines that answer, without line ends, each with the mailbox whose STATUS is to follow.
pub(crate) fn answer(list: &ListCommand, state: &State, user: UserId) -> Vec<String> {
    let word = if list.lsub { "LSUB" } else { "LIST" };
    if list.patterns.len() == 1 && list.patterns[0].is_empty() && !list.extended {
        // The separator and the root of the hierarchy.
        return vec![format!("* {word} (\\Noselect) \"/\" \"\"")];
    }
    let mut names = state.names_of(user);
    if list.lsub || list.only_subscribed {
        add_missing(&mut names, state, user);
    }
    let patterns: Vec<String> = list.patterns.iter().filter_map(|p| pattern(&list.reference, p)).collect();
    let matches = |name: &MailboxName| patterns.iter().any(|pattern| name.matches(pattern));
    let mut lines = Vec::new();
    let subscribed: Vec<MailboxName> =
        names.iter().filter(|l| l.subscribed).map(|l| l.name.clone()).collect();
    for listed in names {
        let below = || subscribed.iter().any(|name| name.is_below(&listed.name) && !matches(name));
        let child_subscribed = (list.recursive || list.lsub) && below();
        let wanted = match list.only_subscribed || list.lsub {
            true => listed.subscribed || child_subscribed,
            false => true,
        };
        let mailbox = listed.mailbox.and_then(|id| state.mailbox(id));
        let special_use = mailbox.and_then(|mailbox| mailbox.special_use());
        if !wanted || !matches(&listed.name) || list.only_special_use && special_use.is_none() {
            continue;
        }
        let mut attributes = Vec::new();
        if list.lsub && !listed.subscribed {
            attributes.push("\\Noselect");
        } else if listed.mailbox.is_none() && list.extended && !listed.has_children {
            attributes.push("\\NonExistent");
        } else if listed.mailbox.is_none() {
            attributes.push("\\Noselect");
        }
        if !list.lsub {
            attributes.push(if listed.has_children { "\\HasChildren" } else { "\\HasNoChildren" });
        }
        if list.tell_subscribed && listed.subscribed {
            attributes.push("\\Subscribed");
        }
        attributes
            .extend(USES.iter().filter(|(known, _)| special_use == Some(*known)).map(|(_, name)| *name));
        lines.push(Line { attributes, listed, child_subscribed: child_subscribed && list.recursive });
    }
    lines.into_iter().flat_map(|line| written(line, word, list, state)).collect()
}

fn written(line: Line, word: &str, list: &ListCommand, state: &State) -> Vec<String> {
    let name = write::mailbox(&line.listed.name);
    let info = if line.child_subscribed { " (\"CHILDINFO\" (\"SUBSCRIBED\"))" } else { "" };
    let mut lines = vec![format!("* {word} ({}) \"/\" {name}{info}", line.attributes.join(" "))];
    if !list.tell_status.is_empty()
        && let Some(mailbox) = line.listed.mailbox.and_then(|id| state.mailbox(id))
    {
        lines.push(status(mailbox, &list.tell_status));
    }
    lines
}

/// Subscriptions to names that are no mailboxes are told too.
fn add_missing(names: &mut Vec<Listed>, state: &State, user: UserId) {
    let Some(user) = state.user(user) else { return };
    for name in user.subscriptions() {
        if let Err(at) = names.binary_search_by(|listed| listed.name.cmp(name)) {
            let listed = Listed { name: name.clone(), mailbox: None, has_children: false, subscribed: true };
            names.insert(at, listed);
        }
    }
}

/// The reference and the pattern together, out of modified UTF-7; none if nothing can match it.
fn pattern(reference: &[u8], pattern: &[u8]) -> Option<String> {
    let whole = [reference, pattern].concat();
    let whole = String::from_utf8(whole).ok()?;
    // Wildcards divide the text, and no wildcard is inside a shifted part, so each piece decodes by itself.
    let mut out = String::new();
    for piece in whole.split_inclusive(['*', '%']) {
        let (text, wild) = match piece.char_indices().last() {
            Some((at, wild @ ('*' | '%'))) => (&piece[..at], Some(wild)),
            _ => (piece, None),
        };
        out.push_str(&decoded(text)?);
        out.extend(wild);
    }
    Some(out)
}

/// A piece of a pattern out of modified UTF-7. A name decodes as a whole only if it is a good name; a piece may
/// begin or end with a separator.
fn decoded(piece: &str) -> Option<String> {
    if !piece.contains('&') {
        return Some(piece.to_owned());
    }
    let inner = piece.trim_matches(MailboxName::SEPARATOR);
    let name = MailboxName::parse_utf7(inner).ok()?;
    Some(piece.replacen(inner, name.as_str(), 1))
}

/// `* STATUS`
pub(crate) fn status(mailbox: &mail::Mailbox, items: &[StatusItem]) -> String {
    let status = mailbox.status();
    let item = |item: &StatusItem| match item {
        StatusItem::Messages => format!("MESSAGES {}", status.exists),
        StatusItem::Recent => "RECENT 0".to_owned(),
        StatusItem::UidNext => format!("UIDNEXT {}", status.uid_next),
        StatusItem::UidValidity => format!("UIDVALIDITY {}", status.uid_validity),
        StatusItem::Unseen => format!("UNSEEN {}", status.unseen),
        StatusItem::Deleted => format!("DELETED {}", status.deleted),
        StatusItem::Size => format!("SIZE {}", status.bytes),
        // None can be told of what only this site shows (RFC 7162, 3.1.7).
        StatusItem::HighestModSeq if mail::shown_turn(status.modseq) > 0 => "HIGHESTMODSEQ 0".to_owned(),
        StatusItem::HighestModSeq => format!("HIGHESTMODSEQ {}", status.modseq),
    };
    let items: Vec<String> = items.iter().map(item).collect();
    format!("* STATUS {} ({})", write::mailbox(mailbox.name()), items.join(" "))
}
