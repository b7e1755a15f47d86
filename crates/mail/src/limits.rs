//! Every bound of the state machine by name. `docs/mail.md` says what happens at each.

use std::time::Duration;

use minicbor::{Decode, Encode};

/// The longest letter; the group's messages may be a little longer.
pub const LETTER_BYTES_MAX: usize = 48 << 20;
/// The longest head of an entry: everything but the letter.
pub const HEAD_BYTES_MAX: usize = 4 << 20;
/// Envelope recipients of one letter.
pub const RECIPIENTS_MAX: usize = 10_000;
/// Addresses that are looked up for one letter: its recipients, and what aliases and lists make of them.
pub const RESOLVE_STEPS_MAX: usize = 50_000;
/// Aliases and lists within each other.
pub const ALIAS_DEPTH_MAX: usize = 16;
/// Targets of one alias.
pub const TARGETS_MAX: usize = 1_000;
/// Members of one list.
pub const LIST_MEMBERS_MAX: usize = 10_000;
/// Owners of one list.
pub const LIST_OWNERS_MAX: usize = 32;
/// Names of list members in one receipt.
pub const RECEIPT_USERS_MAX: usize = 100;
/// Runs in one set of UIDs.
pub const UID_RUNS_MAX: usize = 100_000;
/// The longest name of a mailbox, all its levels together.
pub const MAILBOX_NAME_BYTES_MAX: usize = 255;
/// Levels of a mailbox's name.
pub const MAILBOX_DEPTH_MAX: usize = 16;
/// The longest name of a user.
pub const USER_NAME_BYTES_MAX: usize = 64;
/// The longest local part of an address.
pub const LOCAL_PART_BYTES_MAX: usize = 64;
/// The longest domain.
pub const DOMAIN_BYTES_MAX: usize = 253;
/// The longest keyword.
pub const KEYWORD_BYTES_MAX: usize = 64;
/// Keywords that one mailbox knows at a time.
pub const KEYWORDS_MAX: usize = 27;
/// The longest encoded password hash.
pub const PASSWORD_HASH_BYTES_MAX: usize = 512;
/// The longest label of an application password, and the longest envelope sender.
pub const TEXT_BYTES_MAX: usize = 320;
/// The longest salt of an application password.
pub const SALT_BYTES_MAX: usize = 64;
/// Application passwords of one user.
pub const APP_PASSWORDS_MAX: usize = 32;
/// Runs of expunged UIDs that a mailbox remembers.
pub const VANISHED_RUNS_MAX: usize = 256;
/// The highest number that anything counts to: far beyond what can be reached, and far from where sums overflow.
pub const COUNT_MAX: u64 = 1 << 62;
/// Changes that nobody has polled.
pub const FEED_CHANGES_MAX: usize = 65_536;
/// Bytes of one chunk of a checkpoint.
pub const CHECKPOINT_CHUNK_BYTES_MAX: usize = 256 << 10;
/// The longest answer that is remembered word by word.
pub const ANSWER_BYTES_MAX: usize = 64 << 10;
/// All answers that are remembered word by word; the oldest requests are forgotten beyond.
pub const ANSWERS_BYTES_MAX: usize = 64 << 20;
/// How long a request is remembered, in the time of entries.
pub const REQUEST_MEMORY: Duration = Duration::from_secs(24 * 3600);

/// Bounds that grow with a machine. They are part of the state: every site starts with the same, and a
/// checkpoint carries them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Limits {
    /// Users.
    #[n(0)]
    pub users_max: u32,
    /// Mailboxes of one user, and names that it subscribes to.
    #[n(1)]
    pub mailboxes_max: u32,
    /// Local domains.
    #[n(2)]
    pub domains_max: u32,
    /// Aliases; as many lists.
    #[n(3)]
    pub aliases_max: u32,
    /// Requests that are remembered; the oldest is forgotten beyond.
    #[n(4)]
    pub requests_max: u32,
    /// Stores that ever held mail for a minority.
    #[n(5)]
    pub stores_max: u32,
    /// Runs of merged spool numbers, over all stores.
    #[n(6)]
    pub merged_runs_max: u32,
    /// Deletions that wait for their letter.
    #[n(7)]
    pub awaited_max: u32,
    /// Records of letters in all mailboxes of one user, whatever its quota: to copy a mailbox into itself
    /// doubles it.
    #[n(8)]
    pub letters_max: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            users_max: 200_000,
            mailboxes_max: 2_000,
            domains_max: 10_000,
            aliases_max: 200_000,
            requests_max: 1_000_000,
            stores_max: 4_096,
            merged_runs_max: 65_536,
            awaited_max: 65_536,
            letters_max: 4_000_000,
        }
    }
}
