//! Replies: a code (RFC 5321), an enhanced code (RFC 3463), a text.

use std::borrow::Cow;

use mail::Refusal;

/// What a client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub code: u16,
    pub status: &'static str,
    pub text: Cow<'static, str>,
}

impl Reply {
    pub const fn new(code: u16, status: &'static str, text: &'static str) -> Reply {
        Reply { code, status, text: Cow::Borrowed(text) }
    }

    /// Whether trying again later may help.
    pub fn is_temporary(&self) -> bool {
        (400..500).contains(&self.code)
    }

    pub fn is_good(&self) -> bool {
        self.code < 400
    }

    pub fn line(&self) -> String {
        format!("{} {} {}", self.code, self.status, self.text)
    }
}

pub(super) const OK: Reply = Reply::new(250, "2.0.0", "Done");
pub(super) const DELIVERED: Reply = Reply::new(250, "2.0.0", "Delivered");
pub(super) const HELD: Reply =
    Reply::new(250, "2.0.0", "Held: this site is cut off and will deliver when it is back");
/// There is no quorum, or whoever should have answered did not.
pub(super) const UNAVAILABLE: Reply = Reply::new(451, "4.3.2", "That cannot be done now; try again later");

/// More in an hour than one may send.
pub(super) const TOO_MUCH: Reply = Reply::new(451, "4.7.1", "That is too much in an hour; try again later");

/// Why a recipient does not get a letter.
pub(super) fn refusal(refusal: Refusal) -> Reply {
    match refusal {
        Refusal::NoAddress => Reply::new(550, "5.1.1", "No such address here"),
        Refusal::NotLocal => Reply::new(550, "5.7.1", "Mail for other domains is not taken"),
        Refusal::NotAllowedToPost => Reply::new(550, "5.7.1", "The list takes no letters from this sender"),
        Refusal::AliasLoop => Reply::new(550, "5.4.6", "Aliases lead in a circle or too deep"),
        Refusal::TooManyTargets => Reply::new(452, "4.5.3", "Too many mailboxes for one letter"),
        Refusal::OverQuota => Reply::new(552, "5.2.2", "The mailbox is full"),
        Refusal::Full => Reply::new(452, "4.3.1", "There is no room for more letters"),
        Refusal::NoUser | Refusal::NotPermitted => Reply::new(550, "5.7.1", "Not permitted"),
        Refusal::PrimaryOnly | Refusal::NotEnrolled => UNAVAILABLE,
        Refusal::AlreadyApplied | Refusal::Unreadable => {
            Reply::new(451, "4.3.0", "Something went wrong here; try again later")
        }
        // What a delivery is never told.
        Refusal::NoMailbox
        | Refusal::Exists
        | Refusal::Reserved
        | Refusal::BadName
        | Refusal::KeywordsFull
        | Refusal::InUse
        | Refusal::WrongMailbox => Reply::new(550, "5.3.0", "That cannot be done"),
    }
}
