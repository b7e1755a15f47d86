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
        /// So many bytes of the body, in front of the letter, are a JSON list of more recipients: a line has room for some
        /// thousand.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to_len: Option<usize>,
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
    /// Users, by name.
    Users(PageOf),
    /// Set how much a user may store. What is not said has no bound.
    SetQuota {
        /// Whose.
        user: String,
        /// Bytes of letters, each counted in every mailbox that it is in.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bytes: Option<u64>,
        /// Letters, counted alike.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        letters: Option<u32>,
    },
    /// Make a user privileged, or ordinary again.
    SetPrivileged {
        /// Who.
        user: String,
        /// Whether it may administer mail.
        privileged: bool,
    },
    /// Make a password for one program of a user's, which the answer has.
    AddAppPassword {
        /// Whose.
        user: String,
        /// What it is for. It takes the place of the one with this label; if nothing is said, it has a label of its own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        label: Option<String>,
    },
    /// Take such a password back.
    RemoveAppPassword {
        /// Whose.
        user: String,
        /// What it was for.
        label: String,
    },
    /// The labels of a user's application passwords.
    AppPasswords {
        /// Whose.
        user: String,
    },
    /// Let an address stand for others.
    SetAlias {
        /// The address.
        address: String,
        /// Where its mail goes.
        targets: Vec<String>,
    },
    /// Remove an alias.
    RemoveAlias {
        /// The address.
        address: String,
    },
    /// Aliases, by address.
    Aliases(PageOf),
    /// Make a mailing list.
    CreateList {
        /// Its address.
        list: String,
        /// Who gets its mail.
        #[serde(default)]
        members: Vec<String>,
        /// Names of users who may change it.
        #[serde(default)]
        owners: Vec<String>,
        /// Who may write to it.
        #[serde(default)]
        posting: Posting,
    },
    /// Change a mailing list; what is not said stays.
    ChangeList {
        /// Its address.
        list: String,
        /// Names of users who may change it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        owners: Option<Vec<String>>,
        /// Who may write to it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        posting: Option<Posting>,
    },
    /// Let a mailing list have more members.
    AddMembers {
        /// Its address.
        list: String,
        /// Who is to get its mail.
        members: Vec<String>,
    },
    /// Let it have fewer.
    RemoveMembers {
        /// Its address.
        list: String,
        /// Who is to get no more of its mail.
        members: Vec<String>,
    },
    /// Members of a mailing list, by address.
    Members {
        /// Its address.
        list: String,
        /// Which.
        #[serde(flatten)]
        page: PageOf,
    },
    /// Remove a mailing list.
    RemoveList {
        /// Its address.
        list: String,
    },
    /// Mailing lists, by address.
    Lists(PageOf),
    /// Take mail for a domain.
    SetDomain {
        /// The domain.
        domain: String,
        /// Who gets mail for names that nobody has there; none: such mail is refused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        catch_all: Option<String>,
    },
    /// Take no more mail for a domain.
    RemoveDomain {
        /// The domain.
        domain: String,
    },
    /// Domains, by name.
    Domains(PageOf),
    /// Who is logged in at this site.
    Who(PageOf),
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

/// A part of a long answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageOf {
    /// What is behind this: an answer's `after`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// At most so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// As it is at this site, at once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub local: bool,
}

/// Who may write to a mailing list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Posting {
    /// Everybody.
    Anyone,
    /// Users of this cluster.
    #[default]
    Users,
    /// Its members and its owners.
    Members,
    /// Its owners.
    Owners,
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
