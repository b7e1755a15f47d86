//! What requests of mail say, and their answers.

use serde::{Deserialize, Serialize};

use super::durable::Once;

/// What is asked of mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum MailOp {
    /// Send a letter: the body. Who it is from and to is asked of the letter's head unless it is said here.
    Send {
        /// The user in whose name; none: the cluster's operator.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<String>,
        /// The envelope sender.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<String>,
        /// The recipients.
        to: Vec<String>,
        /// Makes a repeat of it harmless.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        once: Option<Once>,
    },
    /// Letters of a user's mailbox, whole.
    Receive(Of),
    /// The same letters, without what is in them but who they are from, to whom, and their subjects.
    List(Of),
    /// Remove letters for good.
    Delete {
        /// Whose.
        user: String,
        /// Where; INBOX if nothing is said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mailbox: Option<String>,
        /// Which.
        uids: Vec<u32>,
    },
    /// How many letters wait in a user's INBOX that it has not seen, as far as this site knows.
    Poll {
        /// Whose.
        user: String,
    },
    /// Add a user.
    AddUser {
        /// Its name.
        user: String,
        /// Its password; none lets nobody in.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        password: Option<String>,
        /// Whether it may administer.
        #[serde(default)]
        privileged: bool,
    },
    /// Remove a user and its mail.
    DeleteUser {
        /// Its name.
        user: String,
    },
    /// Give a user another password.
    SetPassword {
        /// Its name.
        user: String,
        /// The password.
        password: String,
    },
    /// Let a site's member be rank 0 of the group.
    ChangeMaster {
        /// The site's name, or its number.
        site: String,
    },
    /// How much mail there is, and who has which role.
    Storage,
    /// Look for what is wrong with the index of mail at this site, and with other sites'.
    Examine,
    /// Read letters from this site's disk, some at a time.
    ReadLetters {
        /// Those behind this position of the log.
        #[serde(default)]
        after: u64,
    },
}

/// Some letters of a mailbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Of {
    /// Whose.
    pub user: String,
    /// Where; INBOX if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mailbox: Option<String>,
    /// Those behind this UID.
    #[serde(default)]
    pub after: u32,
    /// At most so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Only those that have not been seen.
    #[serde(default)]
    pub unseen: bool,
    /// As they are at this site, at once.
    #[serde(default)]
    pub local: bool,
}

/// A letter, without its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterHeader {
    /// Its UID in its mailbox.
    pub uid: u32,
    /// Its flags and keywords.
    pub flags: Vec<String>,
    /// When it came, in milliseconds since 1970.
    pub date_ms: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// Whom it says it is from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Its subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Bytes of it behind the headers; none: it is not at this site now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub len: Option<usize>,
}

/// What became of a letter for one recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptLine {
    /// The recipient, as it was said.
    pub to: String,
    /// Whether it has the letter, or those that it stands for have.
    pub delivered: bool,
    /// Why not, or why some of those have not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}
