//! How a scenario ends.

use std::time::Duration;

/// Nothing here takes longer unless it hangs; no scenario says "too slow" before.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// Why a scenario did not pass.
#[derive(Debug)]
pub enum Stop {
    /// The oracle objects, or something that must work did not.
    Failed(String),
    /// Something that it needs is missing here.
    Skipped(String),
}

pub type Verdict<T = ()> = Result<T, Stop>;

impl<E: std::error::Error> From<E> for Stop {
    fn from(error: E) -> Stop {
        Stop::Failed(error.to_string())
    }
}

/// The scenario fails.
pub fn failed<T>(why: impl Into<String>) -> Verdict<T> {
    Err(Stop::Failed(why.into()))
}

/// The scenario cannot be run here.
pub fn skipped<T>(why: impl Into<String>) -> Verdict<T> {
    Err(Stop::Skipped(why.into()))
}

/// Fails unless it holds.
pub fn ensure(holds: bool, why: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(Stop::Failed(why())) }
}

/// Asks again and again, a little later each time, until it is there.
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> Verdict<T> {
    let asking = async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, asking).await {
        Ok(found) => Ok(found),
        Err(_) => failed(format!("in vain: {what}")),
    }
}
