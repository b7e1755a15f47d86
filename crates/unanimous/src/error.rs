//! Why something could not be done, and what has become of it then.

use wire::NameError;
use wire::session::ErrorCode;

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No site was reached. Nothing was done.
    #[error(transparent)]
    Unreachable(client::Error),
    /// The group's name is no name. Nothing was done.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The site refused. Nothing was done.
    #[error("{message}")]
    Refused {
        /// For programs.
        code: ErrorCode,
        /// For people: what to do.
        message: String,
    },
    /// This process has joined the group, or watches it, already. Nothing was done.
    #[error("this process is in the group already; use the handle that its join returned")]
    Already,
    /// The membership was lost with its site, and the program has not taken [`Event::Rejoined`] yet.
    /// Nothing was done.
    ///
    /// [`Event::Rejoined`]: crate::Event::Rejoined
    #[error("the membership was lost with its site; wait for Rejoined")]
    SiteLost,
    /// The site was lost, or fell silent, before it answered: what was asked may or may not have been done. An
    /// outsider's call can be repeated by the library: see [`Cast::idempotent`](crate::Cast::idempotent).
    #[error("the site was lost before it answered; it may or may not have been done")]
    Interrupted,
    /// The process is closed, no site could be found again, or its certificate was revoked. Nothing was done, but that
    /// what was under way when the certificate was revoked may or may not have been.
    #[error("the process is over: {0}")]
    Over(String),
}

impl Error {
    /// Whether nothing was done for a reason that passes: asking the same again, a little later, makes sense.
    pub fn is_temporary(&self) -> bool {
        match self {
            Error::SiteLost => true,
            Error::Refused { code, message: _ } => match code {
                ErrorCode::NotAdmitted | ErrorCode::Busy | ErrorCode::Stopping | ErrorCode::NotPrimary => {
                    true
                }
                ErrorCode::BadRequest
                | ErrorCode::NotAllowed
                | ErrorCode::NoSuchGroup
                | ErrorCode::Exists
                | ErrorCode::NotMember
                | ErrorCode::TooLarge
                | ErrorCode::Interrupted
                | ErrorCode::Revoked
                | ErrorCode::Unmet
                | ErrorCode::Compacted
                | ErrorCode::Unknown => false,
            },
            Error::Unreachable(_) | Error::Name(_) | Error::Already | Error::Interrupted | Error::Over(_) => {
                false
            }
        }
    }

    /// The error of a request that was made over a session.
    pub(crate) fn of_request(error: client::Error) -> Error {
        match error {
            client::Error::Refused(failure) if failure.error == ErrorCode::Interrupted => Error::Interrupted,
            client::Error::Refused(failure) => {
                Error::Refused { code: failure.error, message: failure.message }
            }
            client::Error::Ended(_) => Error::Interrupted,
            client::Error::Expelled(failure) => Error::Over(failure.message),
            client::Error::Unreachable { .. }
            | client::Error::Untrusted { .. }
            | client::Error::Address(_)
            | client::Error::Protocol(_) => Error::Unreachable(error),
        }
    }
}
