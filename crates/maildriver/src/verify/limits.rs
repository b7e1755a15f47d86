//! Every bound of verification by name. `docs/smtp.md` says what happens at each.

use std::time::Duration;

/// How long a letter waits for its verification, from the moment in which it is asked for.
pub const VERIFIED_WITHIN: Duration = Duration::from_secs(10);
/// The part of it for SPF and DKIM, in percent; DMARC has the rest.
pub const EVIDENCE_PERCENT: u32 = 70;
/// How long a name server may take to answer, before it or the next is asked again.
pub const NAME_SERVER_ANSWERS_WITHIN: Duration = Duration::from_secs(2);
/// How often a question is asked again.
pub const ASKED_AGAIN: usize = 1;
/// Letters that are verified at once.
pub const VERIFIED_AT_ONCE: usize = 128;
/// Bodies that are hashed at once, each on a thread of its own.
pub const HASHED_AT_ONCE: usize = 2;
/// DKIM signatures of a letter that are looked at: the topmost.
pub const SIGNATURES_MAX: usize = 5;
/// A `DKIM-Signature` field. One with a key of 4,096 bits and a long list of fields has some 1,500.
pub const SIGNATURE_BYTES_MAX: usize = 4 << 10;
/// Fields of a header in which those that were signed are looked for.
pub const FIELDS_MAX: usize = 1_000;
/// Answers of name servers that are remembered, of at most 64 KiB each, and how long at most: those that say that there is
/// something, and those that say that there is nothing.
pub const ANSWERS_REMEMBERED: u64 = 1_024;
/// See [`ANSWERS_REMEMBERED`].
pub const REMEMBERED_FOR: Duration = Duration::from_secs(60 * 60);
/// See [`ANSWERS_REMEMBERED`].
pub const NOTHING_REMEMBERED_FOR: Duration = Duration::from_secs(5 * 60);
/// A name in `Authentication-Results`.
pub const NAME_BYTES_MAX: usize = 255;
