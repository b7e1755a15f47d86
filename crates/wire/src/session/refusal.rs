//! Why a request was not done.

use serde::{Deserialize, Serialize};

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// For programs.
    pub error: ErrorCode,
    /// For people: one line that says what to do.
    pub message: String,
}

/// Error codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorCode {
    /// A field is missing or of the wrong kind.
    BadRequest,
    /// The principal may not do that.
    NotAllowed,
    /// No such group.
    NoSuchGroup,
    /// The group exists already.
    Exists,
    /// Not a member of the group.
    NotMember,
    /// This side of a partition may only read.
    NotPrimary,
    /// The site is not in the cluster's view.
    NotAdmitted,
    /// A bound is reached.
    Busy,
    /// Nobody can say whether the message was delivered: a repeat may double it.
    Interrupted,
    /// The message is too large.
    TooLarge,
    /// A condition did not hold. Nothing has changed.
    Unmet,
    /// What is asked for has been forgotten: begin anew.
    Compacted,
    /// The site is going down.
    Stopping,
    /// The certificate of the session has been revoked.
    Revoked,
    /// A code that this version does not know.
    #[serde(other)]
    Unknown,
}
