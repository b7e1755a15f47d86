//! The owner of mailboxes: adds letters by IMAP, flags them, moves and removes them. Nobody else does that there, so it knows
//! how they are, but for what it was not answered; of a letter of which that happened it lets go.

use std::io;
use std::sync::Arc;

use super::imap::Imap;
use super::told::{ARCHIVE, At, Copy, INBOX, MAILBOXES};
use super::{World, answered, letter};

const PAUSE_MS: u64 = 40;
/// Then it looks for another site.
const ACTS_AT_ONE: u64 = 15;
const FLAGS: [&str; 5] = ["\\Answered", "\\Draft", "\\Flagged", "\\Seen", "lunch"];

pub struct Owner {
    world: Arc<World>,
    user: usize,
    imap: Option<Imap>,
    acts: u64,
    /// The letters in INBOX that it knows all about.
    own: Vec<(Copy, At)>,
}

impl Owner {
    pub fn new(world: Arc<World>, user: usize) -> Owner {
        Owner { world, user, imap: None, acts: 0, own: Vec::new() }
    }

    pub async fn run(mut self) {
        while !self.world.is_over() {
            if self.acts.is_multiple_of(ACTS_AT_ONE) || self.imap.is_none() {
                self.imap = self.open().await;
            }
            if let Some(mut imap) = self.imap.take() {
                self.acts += 1;
                // One that did not answer, or refused, is left.
                if answered(self.act(&mut imap)).await.is_some_and(|done| done.is_ok()) {
                    self.imap = Some(imap);
                }
            }
            self.world.pause(PAUSE_MS).await;
        }
    }

    async fn open(&self) -> Option<Imap> {
        let mut imap = self.world.log_in(self.user).await?;
        let opening = async {
            // It is there, but for the first time.
            let _ = imap.ask(&format!("CREATE {}", MAILBOXES[ARCHIVE]), b"").await;
            imap.select(MAILBOXES[INBOX]).await
        };
        answered(opening).await?.ok()?;
        Some(imap)
    }

    async fn act(&mut self, imap: &mut Imap) -> io::Result<()> {
        let what = self.world.below(8);
        if what < 3 || self.own.is_empty() {
            return self.append(imap).await;
        }
        let place = self.world.below(self.own.len() as u64) as usize;
        let (copy, at) = self.own.swap_remove(place);
        let Some(uid) = at.uid else { return Ok(()) };
        match what {
            3 => self.moves(imap, copy, at, uid).await,
            4 => self.expunge(imap, copy, at, uid).await,
            _ => {
                let drawn = self.world.below(1 << FLAGS.len());
                let flags = (0..FLAGS.len()).filter(|bit| drawn >> bit & 1 == 1);
                let at = At { flags: flags.map(|bit| FLAGS[bit].to_owned()).collect(), ..at };
                self.flag(imap, copy.clone(), at.clone(), uid).await?;
                self.own.push((copy, at));
                Ok(())
            }
        }
    }

    async fn append(&mut self, imap: &mut Imap) -> io::Result<()> {
        let id = format!("own-{}-{:05}", self.user, self.acts);
        let copy = (self.user, id.clone());
        let before = self.world.told().highest(self.user, INBOX);
        self.world.told().begins(&copy, Some(At::new(None)));
        let (validity, uid) = imap.append(MAILBOXES[INBOX], &letter::text(&id, false)).await?;
        let at = At::new(Some(uid));
        let mut told = self.world.told();
        told.done(&copy, Some(at.clone()));
        told.seen((self.user, INBOX), validity, uid, &id);
        if uid <= before {
            told.broken.push(format!("{id} has got UID {uid}, and {before} was there before"));
        }
        self.own.push((copy, at));
        Ok(())
    }

    async fn flag(&mut self, imap: &mut Imap, copy: Copy, at: At, uid: u32) -> io::Result<()> {
        self.world.told().begins(&copy, Some(at.clone()));
        imap.ask(&format!("UID STORE {uid} FLAGS ({})", at.flags.join(" ")), b"").await?;
        self.world.told().done(&copy, Some(at));
        Ok(())
    }

    async fn moves(&mut self, imap: &mut Imap, copy: Copy, at: At, uid: u32) -> io::Result<()> {
        let there = At { mailbox: ARCHIVE, uid: None, ..at };
        self.world.told().begins(&copy, Some(there.clone()));
        let (validity, uid) = imap.move_to(uid, MAILBOXES[ARCHIVE]).await?;
        let mut told = self.world.told();
        told.seen((self.user, ARCHIVE), validity, uid, &copy.1);
        told.done(&copy, Some(At { uid: Some(uid), ..there }));
        Ok(())
    }

    async fn expunge(&mut self, imap: &mut Imap, copy: Copy, mut at: At, uid: u32) -> io::Result<()> {
        at.flags = vec!["\\Deleted".to_owned()];
        self.flag(imap, copy.clone(), at, uid).await?;
        self.world.told().begins(&copy, None);
        imap.ask(&format!("UID EXPUNGE {uid}"), b"").await?;
        self.world.told().done(&copy, None);
        Ok(())
    }
}
