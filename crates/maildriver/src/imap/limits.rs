//! Every bound of the IMAP edge by name. `docs/imap.md` says what happens at each.

use std::time::Duration;

/// The text of one command, its literals not counted.
pub const LINE_BYTES_MAX: usize = 64 << 10;
/// The same before login.
pub const LINE_BYTES_MAX_BEFORE_LOGIN: usize = 8 << 10;
/// All literals of one command that is no APPEND.
pub const LITERAL_BYTES_MAX: usize = 64 << 10;
/// The same before login.
pub const LITERAL_BYTES_MAX_BEFORE_LOGIN: usize = 4 << 10;
/// A literal that is not waited for and that is longer than this ends the connection; a shorter one that is
/// over its bound is read and forgotten.
pub const SKIPPED_BYTES_MAX: usize = 64 << 20;
/// Literals of one command.
pub const LITERALS_MAX: usize = 64;
/// The tag of a command.
pub const TAG_BYTES_MAX: usize = 64;
/// Bytes of a name, a header field, a search string.
pub const STRING_BYTES_MAX: usize = 8 << 10;
/// Ranges in one set of numbers.
pub const RANGES_MAX: usize = 10_000;
/// Parentheses and NOTs within each other.
pub const DEPTH_MAX: usize = 32;
/// Terms of one SEARCH.
pub const SEARCH_TERMS_MAX: usize = 256;
/// Items of one FETCH, patterns of one LIST, names of one list of header fields.
pub const ITEMS_MAX: usize = 128;
/// Output that waits to be sent; nothing new is begun while there is more.
pub const OUTPUT_BYTES_HIGH: usize = 1 << 20;
/// Commands that a connection may give without having logged in.
pub const COMMANDS_BEFORE_LOGIN_MAX: u32 = 30;
/// Logins that fail on one connection.
pub const LOGIN_FAILURES_MAX: u32 = 4;
/// Commands that cannot be read, in one connection.
pub const BAD_COMMANDS_MAX: u32 = 50;
/// How long a connection may be silent before it has logged in.
pub const IDLE_BEFORE_LOGIN: Duration = Duration::from_secs(60);
/// How long a session may be silent (RFC 3501, 5.4: at least 30 minutes).
pub const IDLE_AFTER_LOGIN: Duration = Duration::from_secs(31 * 60);
/// How often a session in IDLE is told that the connection lives.
pub const KEEPALIVE: Duration = Duration::from_secs(2 * 60);
/// Levels of MIME parts that are looked into.
pub const MIME_DEPTH_MAX: usize = 32;
/// Parts of one letter that are looked into; what is behind belongs to the last.
pub const MIME_PARTS_MAX: usize = 1_000;
/// Addresses of one header field that ENVELOPE tells.
pub const ENVELOPE_ADDRESSES_MAX: usize = 1_000;
