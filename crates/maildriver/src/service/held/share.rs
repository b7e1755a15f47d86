//! Sites of one side share what they hold: each has it on its own disk, and shows it [Mail 12].
//!
//! ```text
//!  what a client brings ─▶ the own disk ─▶ a cast to the side ─▶ each other disk ─▶ a verdict ─▶ the client is answered
//!  what was missed      ◀─ a batch ◀────── asked of one after the other, in every view and from time to time
//! ```
//!
//! The sites that serve mail are members of an ordinary group, which lives on every side of a partition and becomes one again.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mail::{BadEntry, BadMessage, BadSpool, Batch, Circle, Entry, Having, SpoolId, Told, Verdict};
use membership::group::{Create, GroupOptions, GroupView, Lives, Merges};
use multicast::Order;
use multicast::call::Replies;
use serde_json::{Value, json};
use site::{Events, HostError, ProcessEvent, RequestError, Standing};
use stack::{CastOptions, JoinOptions, ReplyKind};
use tokio::sync::Notify;
use wire::{GroupName, MemberId, ProcessId, Time};

use super::super::{Mail, MailError, group, lock};
use super::desk;

/// The group of the sites that serve mail, in whatever partition.
const GROUP: &str = "unanimous.mail.held";
/// A join that came to nothing is tried again after so long.
const AGAIN: Duration = Duration::from_millis(500);
/// How long a client waits for the disks of other sites. Then what it brought is on those that have answered.
const SHARED_WITHIN: Duration = Duration::from_secs(5);
/// How long another site may take for a batch.
const ASKED_WITHIN: Duration = Duration::from_secs(10);
/// A site waits so long, once for each member before its own in the view, for others to merge what it holds for them.
const PATIENCE: Duration = Duration::from_secs(1);
/// But for so many members at most.
const RANKS_MAX: usize = 9;

/// Whom this site shares with.
#[derive(Debug)]
pub(crate) struct Sharing {
    process: OnceLock<ProcessId>,
    circle: Mutex<Circle<MemberId>>,
    /// Members before this site's own in the view.
    rank: AtomicUsize,
    /// There is another view.
    news: Notify,
    /// Messages of other sites that could not be taken.
    refused: AtomicU64,
    began: Instant,
}

impl Default for Sharing {
    #[allow(clippy::disallowed_methods, reason = "others are asked again in real time")]
    fn default() -> Sharing {
        Sharing {
            process: OnceLock::new(),
            circle: Mutex::default(),
            rank: AtomicUsize::new(0),
            news: Notify::new(),
            refused: AtomicU64::new(0),
            began: Instant::now(),
        }
    }
}

/// Why another site did not send what is missing here.
#[derive(Debug, thiserror::Error)]
enum NotSent {
    #[error(transparent)]
    Site(#[from] RequestError),
    #[error("it has not answered, or has nothing to say now")]
    Silent,
    #[error(transparent)]
    Message(#[from] BadMessage),
    #[error(transparent)]
    Entry(#[from] BadEntry),
    #[error(transparent)]
    Here(#[from] MailError),
}

impl Sharing {
    fn now(&self) -> Time {
        Time::ZERO + self.began.elapsed()
    }

    fn enter(&self, view: &GroupView, me: MemberId) {
        let members = view.members.iter().map(|member| member.id);
        self.rank.store(members.clone().take_while(|member| *member != me).count(), Ordering::Relaxed);
        lock(&self.circle).enter(self.now(), members.filter(|member| *member != me));
        self.news.notify_one();
    }

    fn leave(&self) {
        lock(&self.circle).leave();
    }

    fn refuse(&self, from: MemberId, why: &dyn std::fmt::Display) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(%from, %why, "refused what another site says of what it holds");
    }

    /// How long to wait for others to merge what this site holds for them.
    pub(super) fn patience(&self) -> Duration {
        let before = self.rank.load(Ordering::Relaxed).min(RANKS_MAX);
        PATIENCE * (1 + before as u32)
    }

    /// As `status` tells it: other sites with mail in reach, those of them that nobody waits for, messages that were refused.
    pub(crate) fn told(&self) -> Value {
        let (others, late) = lock(&self.circle).count();
        json!({"others": others, "late": late, "refused": self.refused.load(Ordering::Relaxed)})
    }
}

/// Shares what this site holds with the others of its side, until the site ends.
pub(crate) async fn share(mail: Mail) {
    let Ok((process, events)) = mail.site.open().await else { return };
    let _ = mail.sharing().process.set(process);
    tokio::select! {
        () = mail.hear(process, events) => {}
        () = mail.ask_others(process) => {}
    }
}

impl Mail {
    pub(super) fn sharing(&self) -> &Sharing {
        &self.shared.sharing
    }

    /// Lets the others of this side have it on their disks, too. Done when they have it, or have no use or no room for it, or have
    /// gone, or were silent for too long: nobody waits for those again before they have answered something.
    pub(super) async fn tell_others(&self, entry: &Entry) {
        let sharing = self.sharing();
        let Some(process) = sharing.process.get() else { return };
        let awaited = lock(&sharing.circle).awaited();
        if awaited.is_empty() {
            return;
        }
        let options = asking(awaited, Replies::All, SHARED_WITHIN);
        let call = self.site.call(*process, name(), options, Told::Hold(entry.clone()).encode());
        // While a view changes nothing is cast, and its time does not run.
        match tokio::time::timeout(2 * SHARED_WITHIN, call).await {
            Ok(Ok(outcome)) => {
                for member in outcome.missing {
                    tracing::warn!(%member, "has not said that it holds a letter or change too: nobody waits for it now");
                    lock(&sharing.circle).silent(member);
                }
                let verdicts = outcome.replies.iter().map(|(from, said)| (from, Verdict::decode(said)));
                for (from, verdict) in verdicts.filter(|(_, verdict)| !matches!(verdict, Ok(Verdict::Held))) {
                    tracing::debug!(%from, ?verdict, "does not hold a letter or change of this site");
                }
            }
            Ok(Err(error)) => tracing::warn!(%error, "a letter or change is held at this site alone"),
            Err(_) => tracing::warn!("a letter or change is held at this site alone: a view takes too long"),
        }
    }

    /// Is a member of the group, and answers the others.
    async fn hear(&self, process: ProcessId, mut events: Events) {
        let mut joined = false;
        loop {
            if !joined {
                let rules =
                    GroupOptions { lives: Lives::All, merges: Merges::SameName, ..GroupOptions::default() };
                let options = JoinOptions { role: None, create: Create::IfMissing, rules };
                match self.site.join(process, name(), options).await {
                    Ok(_) => joined = true,
                    Err(RequestError::Stopped) => return,
                    Err(_) => {
                        tokio::time::sleep(AGAIN).await;
                        continue;
                    }
                }
            }
            match events.next().await {
                Some(ProcessEvent::View { view, me: Some(me), .. }) => self.sharing().enter(&view, me),
                Some(ProcessEvent::Message { from, reply_to: Some(to), payload, .. }) => {
                    let (kind, answer) = self.answer(from, &payload).await;
                    // Who waits no longer misses nothing.
                    let _ = self.site.reply(process, to, kind, answer).await;
                }
                Some(ProcessEvent::Left { why, .. }) => {
                    tracing::debug!(why, "no longer shares what is held");
                    self.sharing().leave();
                    tokio::time::sleep(AGAIN).await;
                    joined = false;
                }
                Some(
                    ProcessEvent::View { .. }
                    | ProcessEvent::Message { .. }
                    | ProcessEvent::Signal { .. }
                    | ProcessEvent::Blocked { .. },
                ) => {}
                None => return,
            }
        }
    }

    /// One after the other: what somebody was told is on this disk is in what the next is sent.
    async fn answer(&self, from: MemberId, told: &Bytes) -> (ReplyKind, Bytes) {
        match Told::decode(told) {
            Ok(Told::Hold(entry)) => (ReplyKind::Reply, self.hold_too(from, &entry).await.encode()),
            Ok(Told::Lack(having)) => match self.batch(&having).await {
                Ok(batch) => (ReplyKind::Reply, batch.encode()),
                Err(_) => (ReplyKind::Null, Bytes::new()),
            },
            Err(why) => {
                self.sharing().refuse(from, &why);
                (ReplyKind::Reply, Verdict::Unreadable.encode())
            }
        }
    }

    async fn hold_too(&self, from: MemberId, entry: &Entry) -> Verdict {
        if self.desk().standing() == Standing::Active {
            return Verdict::Majority;
        }
        match self.write_down(entry).await {
            Ok(()) => Verdict::Held,
            Err(MailError::Spool(BadSpool::Full) | MailError::Host(HostError::NotActive(_))) => Verdict::Full,
            Err(why @ MailError::Spool(_)) => {
                self.sharing().refuse(from, &why);
                Verdict::Unreadable
            }
            Err(_) => Verdict::NotReady,
        }
    }

    /// Makes what another site holds durable here too, and shows it.
    async fn write_down(&self, entry: &Entry) -> Result<(), MailError> {
        let desk = self.desk();
        let _writing = desk.writing.lock().await;
        let view = self.view()?;
        if !desk.wants(&view, entry)? {
            return Ok(());
        }
        let payload = entry.encode();
        if payload.len() > durable::Settings::default().payload_bytes_max {
            return Err(MailError::Spool(BadSpool::NotQueued));
        }
        let place = self.site.spool_write(group(), payload).await?;
        desk.accept(&view, place, entry)?;
        self.shared.tell_of(desk::changes(entry));
        Ok(())
    }

    /// What this site has beyond that.
    async fn batch(&self, having: &Having) -> Result<Batch, MailError> {
        let view = self.view()?;
        let lacking = self.desk().lacking(&view, having)?;
        let mut batch = Batch::new();
        for (id, place) in lacking.things {
            // What is damaged here somebody else may have.
            let Some(payload) = self.spooled(u64::from(place)).await? else { continue };
            if !batch.add(id, payload) {
                return Ok(batch);
            }
        }
        batch.reached = lacking.upto;
        Ok(batch)
    }

    /// What the spool's log has at a place; none if it was damaged or dropped.
    pub(super) async fn spooled(&self, place: u64) -> Result<Option<Bytes>, MailError> {
        let found = self.site.spool_next(group(), place).await?;
        Ok(found.filter(|(at, _)| *at == place).map(|(_, payload)| payload))
    }

    /// Asks the others for what is missing here, whenever there is another view and from time to time. With a majority nothing is:
    /// whoever holds something merges it.
    async fn ask_others(&self, process: ProcessId) {
        let sharing = self.sharing();
        let (mut standing, mut count) = self.desk().follow();
        loop {
            let news = sharing.news.notified();
            let may_lack =
                *standing.borrow_and_update() != Standing::Active && count.borrow_and_update().is_some();
            let next = may_lack.then(|| lock(&sharing.circle).ask_next(sharing.now())).flatten();
            if let Some((of, after)) = next {
                self.ask(process, of, after).await;
                continue;
            }
            let due = lock(&sharing.circle).poll_timeout().filter(|_| may_lack);
            let time_out = async {
                match due {
                    Some(at) => tokio::time::sleep(at.since(sharing.now())).await,
                    None => std::future::pending().await,
                }
            };
            let ended = tokio::select! {
                () = news => false,
                () = time_out => false,
                changed = standing.changed() => changed.is_err(),
                changed = count.changed() => changed.is_err(),
            };
            if ended {
                return;
            }
        }
    }

    async fn ask(&self, process: ProcessId, of: MemberId, after: SpoolId) {
        let sharing = self.sharing();
        match self.fetch(process, of, after).await {
            Ok((reached, upto)) => {
                let got = lock(&sharing.circle).got(sharing.now(), of, reached, upto);
                if !got {
                    sharing.refuse(of, &BadMessage::Stretch);
                }
            }
            Err(why) => {
                match &why {
                    NotSent::Message(_) | NotSent::Entry(_) | NotSent::Here(MailError::Spool(_)) => {
                        sharing.refuse(of, &why);
                    }
                    NotSent::Site(_) | NotSent::Silent | NotSent::Here(_) => {
                        tracing::debug!(%of, %why, "has not sent what is missing here");
                    }
                }
                lock(&sharing.circle).failed(sharing.now(), of);
            }
        }
    }

    /// Has another site send what is missing here behind a name: up to where it says that there is no more, and up to where it was
    /// asked.
    async fn fetch(
        &self,
        process: ProcessId,
        of: MemberId,
        after: SpoolId,
    ) -> Result<(SpoolId, SpoolId), NotSent> {
        let having = self.desk().having(after)?;
        let upto = having.upto;
        let options = asking(vec![of], Replies::Count(1), ASKED_WITHIN);
        let outcome = self.site.call(process, name(), options, Told::Lack(having).encode()).await?;
        let (_, payload) = outcome.replies.into_iter().next().ok_or(NotSent::Silent)?;
        let batch = Batch::decode(&payload)?;
        for entry in &batch.entries {
            self.write_down(&Entry::decode(entry)?).await?;
        }
        Ok((batch.reached, upto))
    }
}

fn asking(only: Vec<MemberId>, replies: Replies, timeout: Duration) -> CastOptions {
    CastOptions { exclude_self: true, only, replies, timeout, ..CastOptions::plain(Order::Fbcast) }
}

fn name() -> GroupName {
    GroupName::parse(GROUP).expect("the group has a good name")
}
