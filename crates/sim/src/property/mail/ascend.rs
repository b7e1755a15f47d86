//! UIDs And MODSEQs Ascend: for who looks at one site, and for who reads behind the barrier at any, UIDNEXT and the highest
//! MODSEQ of a mailbox never go back. A MODSEQ is of one content of a mailbox at whatever site, and who asks for the changes
//! since one gets what makes that content the present one. In INBOX a letter stands behind those that were acknowledged before
//! it was sent.

use std::collections::BTreeMap;

use wire::SiteIncarnation;

use super::owned::INBOX;
use super::told::Told;
use super::{left, shown};
use crate::durable::{Folder, Observation, Seen, Shown, What};
use crate::property::durable::Broken;

/// UIDNEXT and the highest MODSEQ of each mailbox, by its UIDVALIDITY.
type Heights = BTreeMap<u32, (u32, u64)>;
/// What a mailbox has at a MODSEQ.
type Contents = BTreeMap<(u32, u64), Vec<Shown>>;

pub(super) fn check(seen: &[Observation<Seen>]) -> Result<(), Broken> {
    let mut sites: BTreeMap<SiteIncarnation, Heights> = BTreeMap::new();
    let mut known = Heights::new();
    let mut asked: BTreeMap<u64, Heights> = BTreeMap::new();
    let mut contents = Contents::new();
    for (at, observation) in seen.iter().enumerate() {
        match &observation.what {
            What::Looked(life, shown) => {
                rise(sites.entry(*life).or_default(), shown).map_err(|how| (at, format!("{life}: {how}")))?;
            }
            What::ReadAsked(read) => {
                asked.insert(*read, known.clone());
            }
            What::ReadDone { number, seen: shown, .. } => {
                let mut before = asked.remove(number).unwrap_or_default();
                rise(&mut before, shown).map_err(|how| (at, format!("a read: {how}")))?;
                known.extend(
                    before
                        .into_iter()
                        .filter(|(of, now)| known.get(of).is_none_or(|is| is < now))
                        .collect::<Vec<_>>(),
                );
            }
            _ => {}
        }
        for shown in shown(&observation.what) {
            for folder in &shown.folders {
                is_sound(folder).map_err(|how| (at, how))?;
                is_one(&mut contents, folder).map_err(|how| (at, how))?;
            }
            catches_up(&contents, shown).map_err(|how| (at, how))?;
        }
    }
    in_order(seen)
}

/// Nothing goes back.
fn rise(heights: &mut Heights, seen: &Seen) -> Result<(), String> {
    for folder in &seen.folders {
        let now = (folder.uid_next, folder.modseq);
        let before = heights.insert(folder.validity, now).unwrap_or((0, 0));
        if now.0 < before.0 || now.1 < before.1 {
            let name = &folder.name;
            return Err(format!("{name:?} has UIDNEXT and MODSEQ {now:?}, and had {before:?}"));
        }
    }
    Ok(())
}

/// UIDs ascend, below UIDNEXT; no letter has a MODSEQ above the mailbox's.
fn is_sound(folder: &Folder) -> Result<(), String> {
    let ascend = folder.letters.windows(2).all(|two| two[0].uid < two[1].uid);
    let below = folder
        .letters
        .iter()
        .all(|letter| (1..folder.uid_next).contains(&letter.uid) && letter.modseq <= folder.modseq);
    if ascend && below { Ok(()) } else { Err(format!("the UIDs or MODSEQs of {folder:?}")) }
}

/// One content for each MODSEQ.
fn is_one(contents: &mut Contents, folder: &Folder) -> Result<(), String> {
    let at = (folder.validity, folder.modseq);
    let known = contents.entry(at).or_insert_with(|| folder.letters.clone());
    if *known == folder.letters {
        return Ok(());
    }
    Err(format!(
        "{:?} has at MODSEQ {} other letters or flags than it had before",
        folder.name, folder.modseq
    ))
}

/// What was said of changes makes of the old content the present one.
fn catches_up(contents: &Contents, seen: &Seen) -> Result<(), String> {
    let Some(changes) = &seen.changes else { return Ok(()) };
    let Some(folder) = seen.folders.iter().find(|folder| folder.id == changes.mailbox) else { return Ok(()) };
    let Some(old) = contents.get(&(folder.validity, changes.since)) else { return Ok(()) };
    let mut letters: BTreeMap<u32, Shown> = old.iter().map(|shown| (shown.uid, *shown)).collect();
    letters.retain(|uid, _| !changes.vanished.contains(*uid));
    letters.extend(changes.changed.iter().map(|shown| (shown.uid, *shown)));
    if letters.into_values().eq(folder.letters.iter().copied()) {
        return Ok(());
    }
    let Folder { name, modseq, .. } = folder;
    Err(format!("the changes of {name:?} from {} to {modseq} leave something out", changes.since))
}

/// Of two letters of which one was sent when the other was acknowledged, that one has the higher UID.
fn in_order(seen: &[Observation<Seen>]) -> Result<(), Broken> {
    let told = Told::of(seen);
    for (at, shown) in left(seen) {
        let inbox = shown.folders.iter().filter(|folder| folder.name == INBOX);
        // The first acknowledgement of a letter behind.
        let mut first = (usize::MAX, 0);
        for letter in inbox.flat_map(|inbox| &inbox.letters).rev() {
            let Some(sent) = told.letters.get(&letter.letter) else { continue };
            if first.0 < sent.asked {
                let (letter, other) = (letter.letter, first.1);
                let how =
                    format!("letter {letter:x} was sent when {other:x} was acknowledged, and is before it");
                return Err((at, how));
            }
            first = first.min((sent.answered.unwrap_or(usize::MAX), letter.letter));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ::mail::{MailboxId, UidSet};

    use super::super::script::{delivered, history, inbox, left, looked, read, sends};
    use super::check;
    use crate::durable::{Changes, Seen};

    #[test]
    fn a_site_does_not_go_back_and_another_may_be_behind() {
        let (old, new) = (|| inbox(2, &[(1, 1)]), || inbox(3, &[(1, 1), (2, 2)]));
        assert!(check(&history([looked(1, new()), looked(2, old())])).is_ok());
        assert!(check(&history([looked(1, new()), looked(1, old())])).is_err());
        // Behind the barrier no site is.
        assert!(check(&history(read(1, new()).into_iter().chain(read(2, old())))).is_err());
    }

    #[test]
    fn a_modseq_is_of_one_content_and_changes_lead_from_one_to_the_other() {
        let old = || looked(1, inbox(2, &[(1, 1)]));
        assert!(check(&history([old(), looked(2, inbox(2, &[]))])).is_err());
        let changed = |vanished: &[u32]| {
            let vanished = UidSet::of(vanished.iter().copied());
            let changes = Changes { mailbox: MailboxId(1), since: 2, changed: Vec::new(), vanished };
            looked(2, Seen { changes: Some(changes), ..inbox(3, &[]) })
        };
        assert!(check(&history([old(), changed(&[1])])).is_ok());
        assert!(check(&history([old(), changed(&[])])).is_err());
    }

    #[test]
    fn a_letter_is_behind_those_that_were_acknowledged_before_it_was_sent() {
        let one_after_another = || [sends(1), delivered(1), sends(2), delivered(2)].into_iter();
        let end = |letters| [left(inbox(4, letters))];
        assert!(check(&history(one_after_another().chain(end(&[(1, 1), (2, 2)])))).is_ok());
        assert!(check(&history(one_after_another().chain(end(&[(1, 2), (2, 1)])))).is_err());
        let at_once = [sends(1), sends(2), delivered(1), delivered(2)].into_iter();
        assert!(check(&history(at_once.chain(end(&[(1, 2), (2, 1)])))).is_ok());
    }
}
