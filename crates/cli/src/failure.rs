//! What a command that did not do its job says, and with which exit status.

use std::fmt;

use unanimous::session::Error as SessionError;

/// One line for people and an exit status for programs.
#[derive(Debug)]
pub struct Failure {
    /// 1 refused or a check failed, 2 usage, 3 no site reachable.
    pub status: u8,
    /// What went wrong and what to do.
    pub message: String,
}

impl Failure {
    /// The cluster refused, or a check failed.
    pub fn refused(message: impl Into<String>) -> Failure {
        Failure { status: 1, message: message.into() }
    }

    /// The command was used wrongly.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure { status: 2, message: message.into() }
    }

    /// No site is reachable.
    pub fn unreachable(message: impl Into<String>) -> Failure {
        Failure { status: 3, message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<SessionError> for Failure {
    fn from(error: SessionError) -> Failure {
        let status = match &error {
            SessionError::Unreachable { .. } | SessionError::Ended(_) => 3,
            SessionError::Address(_) => 2,
            SessionError::Refused(_)
            | SessionError::Expelled(_)
            | SessionError::Untrusted { .. }
            | SessionError::Protocol(_) => 1,
        };
        Failure { status, message: error.to_string() }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::refused(error.to_string())
    }
}
