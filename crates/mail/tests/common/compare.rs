//! Whatever can be asked of a state, compared with the model.

use std::collections::BTreeMap;

use mail::State;

use super::model::{Folder, Model, set};

/// Compares all that can be asked of a state with the model.
pub fn compare(state: &State, model: &Model) {
    assert!(state.users().map(|user| user.id().0).eq(model.users.keys().copied()));
    for user in state.users() {
        let wanted = &model.users[&user.id().0];
        assert_eq!(user.name().as_str(), wanted.name);
        let usage = user.usage();
        assert_eq!((usage.bytes, usage.letters), model.usage(user.id().0));
        assert!(user.mailboxes().map(|(name, _)| name.as_str()).eq(wanted.folders.keys()));
        assert!(user.subscriptions().map(|name| name.as_str()).eq(&wanted.subscriptions));
        for (name, id) in user.mailboxes() {
            compare_mailbox(state.mailbox(id).unwrap(), &wanted.folders[name.as_str()], model);
        }
        let inbox = &wanted.folders["INBOX"].letters;
        assert!(state.receive(user.id()).map(|(r, _)| r.letter.0).eq(inbox.iter().map(|l| l.body)));
        let unseen = inbox.iter().filter(|l| !l.flags.contains("\\seen")).count();
        assert_eq!(state.poll_mail(user.id()) as usize, unseen);
    }
    let everything = model.users.values().flat_map(|u| u.folders.values()).flat_map(|f| &f.letters);
    let mut live: BTreeMap<u64, u32> = BTreeMap::new();
    everything.for_each(|l| *live.entry(l.body).or_default() += 1);
    let (first, last) = (mail::Position(0), mail::Position(u64::MAX));
    let letters = state.live_letters(first, last).map(|l| (l.position.0, l.references, l.bytes, l.date.0));
    let wanted = live.iter().map(|(b, refs)| (*b, *refs, model.bodies[b].0, model.bodies[b].1));
    assert!(letters.eq(wanted));
    assert_eq!(state.storage().live_letters, live.len() as u64);
}

fn compare_mailbox(mailbox: &mail::Mailbox, folder: &Folder, model: &Model) {
    let status = mailbox.status();
    let without = |flag: &str| folder.letters.iter().filter(|l| !l.flags.contains(flag)).count() as u32;
    let exists = folder.letters.len() as u32;
    assert_eq!((mailbox.id().0, mailbox.special_use()), (folder.id, folder.special_use));
    assert_eq!((status.uid_validity, status.uid_next), (folder.validity, folder.next));
    assert_eq!((status.exists, status.unseen), (exists, without("\\seen")));
    assert_eq!((status.deleted, status.modseq), (exists - without("\\deleted"), folder.modseq));
    let recent = folder.letters.iter().filter(|l| l.uid >= folder.recent_from).count();
    assert_eq!(status.recent as usize, recent);
    let bytes: u64 = folder.letters.iter().map(|l| u64::from(model.bodies[&l.body].0)).sum();
    assert_eq!(status.bytes, bytes);
    assert_eq!(mailbox.records().count(), folder.letters.len());
    for (at, (record, letter)) in mailbox.records().zip(&folder.letters).enumerate() {
        assert_eq!((record.uid, record.modseq, record.letter.0), (letter.uid, letter.modseq, letter.body));
        assert_eq!(set(&mailbox.flag_names(record.flags)), letter.flags);
        assert_eq!(mailbox.by_uid(letter.uid), Some(record));
        assert_eq!(mailbox.by_sequence(at as u32 + 1), Some(record));
        assert_eq!(mailbox.sequence_of(letter.uid), Some(at as u32 + 1));
    }
    assert_eq!(mailbox.by_sequence(0), None);
    assert_eq!(mailbox.by_sequence(exists + 1), None);
    assert_eq!(mailbox.by_sequences(2, 4).count(), folder.letters.iter().skip(1).take(3).count());
    let unseen = folder.letters.iter().find(|l| !l.flags.contains("\\seen")).map(|l| l.uid);
    assert_eq!(mailbox.first_unseen().map(|r| r.uid), unseen);
    for since in [0, folder.modseq / 2, folder.modseq.saturating_sub(1), folder.modseq] {
        let changed = folder.letters.iter().filter(|l| l.modseq > since).map(|l| l.uid);
        assert!(mailbox.changed_since(since).map(|r| r.uid).eq(changed));
        let vanished = mailbox.vanished_since(since);
        let gone = folder.gone.iter().filter(|(modseq, _)| *modseq > since);
        assert!(gone.into_iter().all(|(_, uid)| vanished.contains(*uid)), "all that went is told");
        assert!(folder.letters.iter().all(|l| !vanished.contains(l.uid)), "and nothing that is there");
    }
}
