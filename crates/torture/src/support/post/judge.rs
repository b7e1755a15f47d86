//! What the mailboxes have in the end, at every site, held against what the clients were told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use super::imap::Imap;
use super::told::{ARCHIVE, At, INBOX, MAILBOXES, Told};
use super::{PASSWORD, Post, USERS, World, letter, name};
use crate::support::cluster::Cluster;
use crate::support::load::{group_status, one_digest};
use crate::support::run::Run;
use crate::support::site::Site;
use crate::support::verdict::{Verdict, ensure, eventually};

const GROUP: &str = "unanimous.mail";

impl Post {
    /// Ends it: every acknowledged letter once at every site, whole and as it was left; one digest; UIDs that rise and name one
    /// letter for ever.
    pub async fn judge(self, run: &Run, cluster: &Cluster, after: &str) -> Verdict {
        let Post { world, clients } = self;
        world.over.store(true, Ordering::Relaxed);
        for client in clients {
            client.await?;
        }
        let digest = one_digest(cluster, GROUP).await?;
        for site in &cluster.sites {
            eventually(&format!("site {} has all letters", site.number), async || {
                group_status(site, GROUP).await?.get("payloads_missing").is_none().then_some(())
            })
            .await?;
        }
        for user in 0..USERS {
            let mut first = None;
            for site in &cluster.sites {
                let there = mailboxes(&world, site, user).await?;
                let wrong = world.told().judge(user, &there);
                ensure(wrong.is_empty(), || few(&format!("at site {}", site.number), &wrong))?;
                in_order(&world.told(), user, &there)?;
                let first = first.get_or_insert_with(|| there.clone());
                ensure(*first == there, || format!("site {} has others than site 1", site.number))?;
            }
        }
        let told = world.told();
        ensure(told.broken.is_empty(), || few("meanwhile", &told.broken))?;
        let (copies, open) = told.counted();
        let (acknowledged, repeated, longest) = (told.acknowledged, told.repeated, told.longest);
        ensure(copies > 50, || format!("only {copies} letters"))?;
        run.say(format!(
            "{after}; {copies} letters, {open} of them never answered, {repeated} times one sent again, {acknowledged} things acknowledged; every letter once and \
             whole at every site, digest {digest}; nobody was answered for {} ms at most",
            longest.as_millis()
        ));
        Ok(())
    }
}

/// All that a user has at a site.
async fn mailboxes(world: &World, site: &Site, user: usize) -> Verdict<Vec<(String, At)>> {
    let port = site.port("imap").await?;
    let mut there = Vec::new();
    let mut imap = eventually("a user logs in", async || {
        Imap::open(&site.loopback(), port, &name(user), PASSWORD).await.ok()
    })
    .await?;
    for mailbox in [INBOX, ARCHIVE] {
        let Ok(validity) = imap.select(MAILBOXES[mailbox]).await else {
            // Nobody has come so far as to make it.
            ensure(mailbox == ARCHIVE, || {
                format!("{} cannot be opened at site {}", MAILBOXES[mailbox], site.number)
            })?;
            continue;
        };
        let mut last = 0;
        for fetched in imap.letters("BODY.PEEK[]").await? {
            let id = letter::id(&fetched.text).unwrap_or_default();
            ensure(letter::is_whole(&id, &fetched.text), || {
                format!("{id} is damaged at site {}", site.number)
            })?;
            ensure(fetched.uid > last, || format!("UID {} comes behind {last}", fetched.uid))?;
            last = fetched.uid;
            world.told().seen((user, mailbox), validity, fetched.uid, &id);
            there.push((id, At { mailbox, uid: Some(fetched.uid), flags: fetched.flags }));
        }
    }
    Ok(there)
}

/// Of two letters of one sender the one that was acknowledged before the other was sent has the lower UID.
fn in_order(told: &Told, user: usize, there: &[(String, At)]) -> Verdict {
    let sure: BTreeSet<&str> = told.sure(user, INBOX);
    let mut senders: BTreeMap<&str, Vec<(&str, u32)>> = BTreeMap::new();
    for (id, at) in there.iter().filter(|(id, _)| sure.contains(id.as_str())) {
        if let (Some((sender, _)), Some(uid)) = (id.rsplit_once('-'), at.uid) {
            senders.entry(sender).or_default().push((id, uid));
        }
    }
    for letters in senders.values_mut() {
        letters.sort_unstable();
        let wrong = letters.windows(2).find(|pair| pair[0].1 >= pair[1].1);
        ensure(wrong.is_none(), || format!("the letters {wrong:?} of one sender, with their UIDs"))?;
    }
    Ok(())
}

fn few(place: &str, wrong: &[String]) -> String {
    let few: Vec<&str> = wrong.iter().take(5).map(String::as_str).collect();
    format!("{place}: {} things are wrong: {}", wrong.len(), few.join("; "))
}
