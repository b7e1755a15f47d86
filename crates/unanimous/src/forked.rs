//! Casts that go on by themselves.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use tokio::task::JoinHandle;
use wire::session::ErrorCode;

use crate::error::Error;
use crate::process::Process;

/// Casts of one process that may go on by themselves.
pub(crate) const FORKS_MAX: usize = 1_024;

/// A cast or call that goes on by itself. Await it for its end, or drop it: it goes on all the same, and keeps its
/// process open until it has ended.
#[derive(Debug)]
#[must_use = "dropping it is well, if nobody wants to know how it ends"]
pub struct Forked<T> {
    state: State<T>,
}

#[derive(Debug)]
enum State<T> {
    Ended(Option<Result<T, Error>>),
    Running(JoinHandle<Result<T, Error>>),
}

impl<T> Forked<T> {
    /// Whether awaiting it would give its end at once.
    pub fn is_done(&self) -> bool {
        match &self.state {
            State::Ended(_) => true,
            State::Running(task) => task.is_finished(),
        }
    }
}

/// Begins at once, so that what is cast later comes later, and lets the rest go on by itself.
pub(crate) fn fork<T: Send + 'static>(
    process: &Process,
    cast: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<Forked<T>, Error> {
    let Ok(place) = Arc::clone(process.forks()).try_acquire_owned() else {
        let message = format!("{FORKS_MAX} casts go on by themselves; wait for some of them");
        return Err(Error::Refused { code: ErrorCode::Busy, message });
    };
    // The queues to the site are fair: to have been polled once is to have a place in them. Unless the task has used up
    // what Tokio lets it do at a time: then a queue says that it must wait and gives it no place.
    let mut cast = Box::pin(tokio::task::unconstrained(async move {
        let _place = place;
        cast.await
    }));
    let state = match cast.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(end) => State::Ended(Some(end)),
        Poll::Pending => State::Running(tokio::spawn(cast)),
    };
    Ok(Forked { state })
}

impl<T: Unpin> Future for Forked<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let over = || Err(Error::Over("the program's runtime has stopped".to_owned()));
        match &mut self.state {
            State::Ended(end) => Poll::Ready(end.take().unwrap_or_else(over)),
            State::Running(task) => {
                Poll::Ready(ready!(Pin::new(task).poll(context)).unwrap_or_else(|_| over()))
            }
        }
    }
}
