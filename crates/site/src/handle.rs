//! How programs in the same process, and the session server, speak to the site's one loop: commands in,
//! events out. All of it is bounded: a command waits in `send` when the loop is behind, and a process that does
//! not take its events is paused, which its groups feel as back-pressure.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use membership::group::GroupView;
use multicast::call::Outcome;
use stack::{
    CallFailed, CastError, CastOptions, Change, ChangeError, JoinError, JoinOptions, ReplyKind, ReplyTo,
    SiteSummary, Status,
};
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use wire::session::ErrorCode;
use wire::{GroupName, MemberId, ProcessId, ViewId};

use crate::hosting::Ask;
use crate::service::Requests;

/// Commands that may wait for the loop; more wait in `send`.
const COMMANDS_MAX: usize = 1_024;
/// Bytes of messages that a process may have left untaken before it is paused.
const UNTAKEN_BYTES_MAX: usize = 4 << 20;
/// What a message costs beside its bytes.
const MESSAGE_OVERHEAD_BYTES: usize = 128;

/// Why the site did not do what it was asked. Nothing has changed, unless the variant says so.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The site is going down, or has gone. Whether the last request was done is not known.
    #[error("the site is going down; connect to another")]
    Stopped,
    /// The join came to nothing.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// The cast was not taken.
    #[error(transparent)]
    Cast(#[from] CastError),
    /// A change of groups came to nothing, or nobody can say.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// A cast from outside came to nothing, or nobody can say.
    #[error(transparent)]
    Call(#[from] CallFailed),
}

impl RequestError {
    /// The code that programs are told, over a session or in the site's own process.
    pub fn code(&self) -> ErrorCode {
        match self {
            RequestError::Stopped => ErrorCode::Stopping,
            RequestError::Join(error) => match error {
                JoinError::Refused(_) => ErrorCode::Exists,
                JoinError::NotPrimary => ErrorCode::NotPrimary,
                JoinError::NotAdmitted => ErrorCode::NotAdmitted,
                JoinError::Busy => ErrorCode::Busy,
                JoinError::Unknown => ErrorCode::NotMember,
            },
            RequestError::Cast(error) => match error {
                CastError::ReadOnly => ErrorCode::NotPrimary,
                CastError::NotMember | CastError::NotAwaited => ErrorCode::NotMember,
                CastError::NoSuchGroup => ErrorCode::NoSuchGroup,
                CastError::TooLarge => ErrorCode::TooLarge,
                CastError::NotOffered => ErrorCode::BadRequest,
                CastError::Blocked | CastError::Full | CastError::Busy => ErrorCode::Busy,
            },
            RequestError::Change(error) => match error {
                ChangeError::Refused(_) => ErrorCode::BadRequest,
                ChangeError::NotPrimary => ErrorCode::NotPrimary,
                ChangeError::Unanswered => ErrorCode::Interrupted,
                ChangeError::NoSuchGroup => ErrorCode::NoSuchGroup,
                ChangeError::Busy => ErrorCode::Busy,
            },
            RequestError::Call(CallFailed::NotSent) => ErrorCode::Busy,
            RequestError::Call(CallFailed::Unknown) => ErrorCode::Interrupted,
        }
    }
}

/// A way to speak to a running site. What is asked through one handle is done in the order in which it was asked; a clone
/// has an order of its own.
#[derive(Debug)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    /// Held until a request has its place in the queue. A channel alone promises a place to who waits for room, and
    /// lets who comes later, and need not wait, go before.
    turn: Mutex<()>,
    requests: Option<Arc<dyn Requests>>,
}

impl Clone for Handle {
    fn clone(&self) -> Handle {
        let (commands, requests) = (self.commands.clone(), self.requests.clone());
        Handle { commands, turn: Mutex::new(()), requests }
    }
}

pub(crate) type Answer<T> = oneshot::Sender<Result<T, RequestError>>;

/// What the loop is asked.
#[derive(Debug)]
pub(crate) enum Command {
    /// Something for durable groups.
    Host(Ask),
    Open {
        answer: oneshot::Sender<(ProcessId, Events)>,
    },
    Close {
        process: ProcessId,
        in_order: bool,
    },
    Join {
        process: ProcessId,
        group: GroupName,
        options: JoinOptions,
        answer: Answer<MemberId>,
    },
    Leave {
        process: ProcessId,
        group: GroupName,
        answer: Answer<()>,
    },
    Cast {
        process: ProcessId,
        group: GroupName,
        options: CastOptions,
        payloads: Vec<Bytes>,
        /// For so long it may be held back to travel with another.
        lazy: Option<Duration>,
        answer: Answer<()>,
    },
    Call {
        process: ProcessId,
        group: GroupName,
        options: CastOptions,
        payload: Bytes,
        answer: Answer<Outcome>,
    },
    Reply {
        process: ProcessId,
        to: ReplyTo,
        kind: ReplyKind,
        payload: Bytes,
        answer: Answer<()>,
    },
    Flush {
        process: ProcessId,
        group: GroupName,
        answer: Answer<()>,
    },
    Watch {
        process: ProcessId,
        group: GroupName,
        on: bool,
    },
    Change {
        change: Change,
        answer: Answer<()>,
    },
    Status {
        answer: oneshot::Sender<Status>,
    },
    Sites {
        answer: oneshot::Sender<Vec<SiteSummary>>,
    },
    View {
        group: GroupName,
        answer: Answer<Arc<GroupView>>,
    },
    Alive {
        process: ProcessId,
        probe: u64,
    },
    Resume {
        process: ProcessId,
    },
    Stop,
}

/// What a process is told.
#[derive(Clone, Debug)]
pub enum ProcessEvent {
    /// A view of a group that the process is in, or watches.
    View {
        /// The view.
        view: Arc<GroupView>,
        /// The process's member of the group, if it is in it.
        me: Option<MemberId>,
        /// Who came from the same previous view together with this site.
        transitional: Arc<[MemberId]>,
    },
    /// A message.
    Message {
        /// The group.
        group: GroupName,
        /// The view in which it is delivered.
        view: ViewId,
        /// Who cast it.
        from: MemberId,
        /// In which order.
        order: multicast::Order,
        /// Set if a reply is wanted.
        reply_to: Option<ReplyTo>,
        /// The message.
        payload: Bytes,
    },
    /// Only these are sure to have what is delivered from here to the next view.
    Signal {
        /// The group.
        group: GroupName,
        /// They.
        members: Vec<MemberId>,
    },
    /// Casting is refused, or possible again. Casts made meanwhile wait.
    Blocked {
        /// The group.
        group: GroupName,
        /// Which.
        blocked: bool,
    },
    /// The process's member is no longer in the group.
    Left {
        /// The group.
        group: GroupName,
        /// Why, for people.
        why: String,
    },
}

impl ProcessEvent {
    fn cost(&self) -> usize {
        match self {
            ProcessEvent::Message { payload, .. } => payload.len() + MESSAGE_OVERHEAD_BYTES,
            ProcessEvent::View { .. }
            | ProcessEvent::Signal { .. }
            | ProcessEvent::Blocked { .. }
            | ProcessEvent::Left { .. } => 0,
        }
    }
}

/// The loop's end of a process's events.
#[derive(Debug)]
pub(crate) struct EventSink {
    events: mpsc::UnboundedSender<ProcessEvent>,
    untaken_bytes: Arc<AtomicUsize>,
    probes: watch::Sender<Option<Probe>>,
}

impl EventSink {
    /// Asks whether the process takes its events. Only the newest probe waits.
    pub(crate) fn probe(&self, probe: Probe) {
        self.probes.send_replace(Some(probe));
    }

    /// Hands over an event; says whether the process must be paused now.
    pub(crate) fn send(&self, event: ProcessEvent) -> bool {
        let cost = event.cost();
        let untaken = self.untaken_bytes.fetch_add(cost, Ordering::AcqRel) + cost;
        // A process that dropped its events is about to be closed.
        let _ = self.events.send(event);
        untaken > UNTAKEN_BYTES_MAX
    }
}

/// The site asks whether a process takes its events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// To be handed back: [`Handle::alive`].
    pub id: u64,
    /// The groups whose members are asked.
    pub groups: Vec<GroupName>,
}

/// The probes of a process, for whoever answers them by itself. Only the newest waits.
#[derive(Debug)]
pub struct Probes {
    newest: watch::Receiver<Option<Probe>>,
}

impl Probes {
    /// The next probe; `None` when the site is gone. Cancel-safe.
    pub async fn next(&mut self) -> Option<Probe> {
        loop {
            self.newest.changed().await.ok()?;
            if let Some(probe) = self.newest.borrow_and_update().clone() {
                return Some(probe);
            }
        }
    }

    fn try_next(&mut self) -> Option<Probe> {
        match self.newest.has_changed() {
            Ok(true) => self.newest.borrow_and_update().clone(),
            Ok(false) | Err(_) => None,
        }
    }
}

/// The events of a process, in order.
#[derive(Debug)]
pub struct Events {
    process: ProcessId,
    events: mpsc::UnboundedReceiver<ProcessEvent>,
    untaken_bytes: Arc<AtomicUsize>,
    /// None: somebody else answers them.
    probes: Option<Probes>,
    handle: mpsc::WeakSender<Command>,
}

impl Events {
    pub(crate) fn pair(process: ProcessId, handle: &mpsc::WeakSender<Command>) -> (EventSink, Events) {
        let (sender, events) = mpsc::unbounded_channel();
        let untaken_bytes = Arc::new(AtomicUsize::new(0));
        let (probes, newest) = watch::channel(None);
        let sink = EventSink { events: sender, untaken_bytes: Arc::clone(&untaken_bytes), probes };
        let probes = Some(Probes { newest });
        (sink, Events { process, events, untaken_bytes, probes, handle: handle.clone() })
    }

    /// The next event; `None` when the site is gone. Asking for one also answers the site's probes. Cancel-safe.
    pub async fn next(&mut self) -> Option<ProcessEvent> {
        let event = loop {
            let Some(probes) = &mut self.probes else { break self.events.recv().await? };
            tokio::select! {
                biased;
                Some(probe) = probes.next() => self.answer(&probe),
                event = self.events.recv() => break event?,
            }
        };
        self.take(&event);
        Some(event)
    }

    /// Leaves the answering of probes to somebody else, once: asking for events no longer does it.
    pub fn take_probes(&mut self) -> Option<Probes> {
        self.probes.take()
    }

    fn answer(&self, probe: &Probe) {
        if let Some(handle) = self.handle.upgrade() {
            // If the loop is behind, it does not count the time either.
            let _ = handle.try_send(Command::Alive { process: self.process, probe: probe.id });
        }
    }

    /// The next event, if there is one already.
    pub fn try_next(&mut self) -> Option<ProcessEvent> {
        if let Some(probe) = self.probes.as_mut().and_then(Probes::try_next) {
            self.answer(&probe);
        }
        let event = self.events.try_recv().ok()?;
        self.take(&event);
        Some(event)
    }

    fn take(&self, event: &ProcessEvent) {
        let cost = event.cost();
        let before = self.untaken_bytes.fetch_sub(cost, Ordering::AcqRel);
        let resumes_at = UNTAKEN_BYTES_MAX / 2;
        if before > resumes_at
            && before - cost <= resumes_at
            && let Some(handle) = self.handle.upgrade()
            && let Err(mpsc::error::TrySendError::Full(command)) =
                handle.try_send(Command::Resume { process: self.process })
        {
            // The loop is behind; a task waits in this process's stead.
            tokio::spawn(async move { handle.send(command).await });
        }
    }
}

impl Handle {
    /// `requests`: who does what is asked of services.
    pub(crate) fn channel(requests: Option<Arc<dyn Requests>>) -> (Handle, mpsc::Receiver<Command>) {
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        (Handle { commands, turn: Mutex::new(()), requests }, receiver)
    }

    pub(crate) fn requests(&self) -> Option<&Arc<dyn Requests>> {
        self.requests.as_ref()
    }

    pub(crate) fn downgrade(&self) -> mpsc::WeakSender<Command> {
        self.commands.downgrade()
    }

    /// A new process. It is closed with [`Handle::close`]; its groups then see it leave or fail.
    pub async fn open(&self) -> Result<(ProcessId, Events), RequestError> {
        let (answer, wait) = oneshot::channel();
        self.send(Command::Open { answer }).await?;
        wait.await.map_err(|_| RequestError::Stopped)
    }

    /// Ends a process: its groups see its members as `left` if `in_order`, else as `failed`.
    pub async fn close(&self, process: ProcessId, in_order: bool) -> Result<(), RequestError> {
        self.send(Command::Close { process, in_order }).await
    }

    /// Ends a process without waiting, from where nothing can be awaited.
    pub fn close_now(&self, process: ProcessId, in_order: bool) {
        let command = Command::Close { process, in_order };
        if let Err(mpsc::error::TrySendError::Full(command)) = self.commands.try_send(command) {
            let commands = self.commands.clone();
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(async move { commands.send(command).await });
            }
        }
    }

    /// Asks to join. Answers when the request is taken; the first view is an event.
    pub async fn join(
        &self,
        process: ProcessId,
        group: GroupName,
        options: JoinOptions,
    ) -> Result<MemberId, RequestError> {
        self.ask(|answer| Command::Join { process, group, options, answer }).await
    }

    /// Leaves a group. Answers when the request is taken.
    pub async fn leave(&self, process: ProcessId, group: GroupName) -> Result<(), RequestError> {
        self.ask(|answer| Command::Leave { process, group, answer }).await
    }

    /// Casts messages one after another; waits while the group is blocked or the window is full. A member's cast
    /// is taken then; an outsider's has reached the group.
    ///
    /// Cancel-safe: if the future is dropped, messages not yet taken may still be cast.
    pub async fn cast(
        &self,
        process: ProcessId,
        group: GroupName,
        options: CastOptions,
        payloads: Vec<Bytes>,
    ) -> Result<(), RequestError> {
        self.ask(|answer| Command::Cast { process, group, options, payloads, lazy: None, answer }).await
    }

    /// As [`Handle::cast`], but a member's messages may be held back, for at most so long and never for more than
    /// two seconds, to travel with the group's next cast here. They keep their places in the order. Answers at
    /// once: what is held back when its member leaves or fails goes first if it can, and else is given up.
    pub async fn cast_lazily(
        &self,
        process: ProcessId,
        group: GroupName,
        options: CastOptions,
        payloads: Vec<Bytes>,
        patience: Duration,
    ) -> Result<(), RequestError> {
        let lazy = Some(patience);
        self.ask(|answer| Command::Cast { process, group, options, payloads, lazy, answer }).await
    }

    /// Casts one message and waits for the replies that `options` asks for.
    pub async fn call(
        &self,
        process: ProcessId,
        group: GroupName,
        options: CastOptions,
        payload: Bytes,
    ) -> Result<Outcome, RequestError> {
        self.begin_call(process, group, options, payload).await?.await
    }

    /// As [`Handle::call`], in two parts: when the first is done, whatever is cast next comes after it; the second
    /// waits for the replies.
    pub async fn begin_call(
        &self,
        process: ProcessId,
        group: GroupName,
        options: CastOptions,
        payload: Bytes,
    ) -> Result<impl Future<Output = Result<Outcome, RequestError>> + use<>, RequestError> {
        let (answer, wait) = oneshot::channel();
        self.send(Command::Call { process, group, options, payload, answer }).await?;
        Ok(async move { wait.await.map_err(|_| RequestError::Stopped)? })
    }

    /// Replies to a message that asked for it.
    pub async fn reply(
        &self,
        process: ProcessId,
        to: ReplyTo,
        kind: ReplyKind,
        payload: Bytes,
    ) -> Result<(), RequestError> {
        self.ask(|answer| Command::Reply { process, to, kind, payload, answer }).await
    }

    /// Waits until all of the process's casts to the group are at every member.
    pub async fn flush(&self, process: ProcessId, group: GroupName) -> Result<(), RequestError> {
        self.ask(|answer| Command::Flush { process, group, answer }).await
    }

    /// Follows a group's views from outside, or no longer.
    pub async fn watch(&self, process: ProcessId, group: GroupName, on: bool) -> Result<(), RequestError> {
        self.send(Command::Watch { process, group, on }).await
    }

    /// Splits, merges or reorders groups. Answers when it is decided; the views follow.
    pub async fn change(&self, change: Change) -> Result<(), RequestError> {
        self.ask(|answer| Command::Change { change, answer }).await
    }

    /// A group's current view.
    pub async fn view(&self, group: GroupName) -> Result<Arc<GroupView>, RequestError> {
        self.ask(|answer| Command::View { group, answer }).await
    }

    /// Answers a [`Probe`]: the process takes its events.
    pub async fn alive(&self, process: ProcessId, probe: u64) -> Result<(), RequestError> {
        self.send(Command::Alive { process, probe }).await
    }

    /// The cluster, as this site sees it.
    pub async fn status(&self) -> Result<Status, RequestError> {
        let (answer, wait) = oneshot::channel();
        self.send(Command::Status { answer }).await?;
        wait.await.map_err(|_| RequestError::Stopped)
    }

    /// The sites that it knows, as it sees them: cheaper than [`Handle::status`] where there are many groups.
    pub async fn sites(&self) -> Result<Vec<SiteSummary>, RequestError> {
        let (answer, wait) = oneshot::channel();
        self.send(Command::Sites { answer }).await?;
        wait.await.map_err(|_| RequestError::Stopped)
    }

    /// Asks the site to leave the cluster in order and stop.
    pub async fn stop(&self) -> Result<(), RequestError> {
        self.send(Command::Stop).await
    }

    async fn ask<T>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Result<T, RequestError> {
        let (answer, wait) = oneshot::channel();
        self.send(command(answer)).await?;
        wait.await.map_err(|_| RequestError::Stopped)?
    }

    pub(crate) async fn send(&self, command: Command) -> Result<(), RequestError> {
        let _turn = self.turn.lock().await;
        self.commands.send(command).await.map_err(|_| RequestError::Stopped)
    }
}
