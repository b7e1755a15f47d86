//! Every bound of the SMTP edge by name. `docs/smtp.md` says what happens at each.

use std::time::Duration;

/// A command with its parameters (RFC 5321, 4.5.3.1.4 asks for 512, and the extensions add to it).
pub const COMMAND_BYTES_MAX: usize = 2_048;
/// A line of AUTH (RFC 4954, 4.2).
pub const AUTH_LINE_BYTES_MAX: usize = 12_288;
/// A line of a letter. RFC 5322 allows 998, and many programs write longer ones.
pub const TEXT_LINE_BYTES_MAX: usize = 64 << 10;
/// The header of a letter.
pub const HEADER_BYTES_MAX: usize = 512 << 10;
/// What a site may add to a letter: trace fields, and what a submission lacks.
pub const TRACE_BYTES_MAX: usize = 64 << 10;
/// What `Authentication-Results` may say.
pub const RESULTS_BYTES_MAX: usize = 8 << 10;
/// Bytes over the bound that are read without being kept; beyond, the connection ends.
pub const SKIPPED_BYTES_MAX: usize = 64 << 20;
/// The same of a chunk that nobody is logged in for.
pub const SKIPPED_BYTES_MAX_BEFORE_LOGIN: usize = 64 << 10;
/// Recipients of one letter (RFC 5321, 4.5.3.1.8: at least 100), unless the site is configured otherwise.
pub const RECIPIENTS_MAX: usize = 1_000;
/// Addresses of all recipients of one letter, with [`RECIPIENT_OVERHEAD_BYTES`] each: they travel in one entry with it. As many
/// recipients as above have room with the longest addresses that there are.
pub const RECIPIENTS_BYTES_MAX: usize = 320 << 10;
/// What is around an address in an entry.
pub const RECIPIENT_OVERHEAD_BYTES: usize = 8;
/// Mailboxes that the recipients of one letter stand for, counted while they are named.
pub const TARGETS_MAX: usize = 50_000;
/// `Received:` fields of a letter that does not go round in circles (RFC 5321, 6.3: at least 100).
pub const RECEIVED_MAX: usize = 100;
/// Addresses in `From:`.
pub const AUTHORS_MAX: usize = 100;
/// Output that waits to be sent; nothing new is begun while there is more.
pub const OUTPUT_BYTES_HIGH: usize = 64 << 10;
/// Commands since the last letter that did not help to bring one.
pub const IDLE_COMMANDS_MAX: u32 = 100;
/// Commands of a connection that were refused for good.
pub const ERRORS_MAX: u32 = 20;
/// The same of LMTP, whose clients are mail servers of ours.
pub const ERRORS_MAX_LMTP: u32 = 1_000;
/// Logins that fail on one connection.
pub const LOGIN_FAILURES_MAX: u32 = 3;
/// How long a client may be silent, and how long a command may take to come (RFC 5321, 4.5.3.2.7).
pub const SILENCE: Duration = Duration::from_secs(5 * 60);
/// The same of submission before login.
pub const SILENCE_BEFORE_LOGIN: Duration = Duration::from_secs(60);
/// How long a letter may take to come, from the beginning of its data.
pub const LETTER_TIME: Duration = Duration::from_secs(30 * 60);
/// How long an answer of the mail service may take (a client waits ten minutes: RFC 5321, 4.5.3.2.6).
pub const ANSWER_TIME: Duration = Duration::from_secs(5 * 60);
