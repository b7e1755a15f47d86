//! Every bound of logging in by name. `docs/smtp.md` says what happens at each.

use std::time::Duration;

/// The longest password.
pub const PASSWORD_BYTES_MAX: usize = 1_024;
/// The longest name that is looked up.
pub const NAME_BYTES_MAX: usize = 512;
/// The longest message of SCRAM.
pub const MESSAGE_BYTES_MAX: usize = 2_048;
/// Memory of one argon2id run that makes a hash, in KiB.
pub const ARGON2_KIB: u32 = 19 * 1_024;
/// Its passes over the memory.
pub const ARGON2_PASSES: u32 = 2;
/// The most memory that a hash in the state may ask for, in KiB.
pub const ARGON2_KIB_MAX: u32 = 256 << 10;
/// The most passes, and the most lanes, that it may ask for.
pub const ARGON2_PASSES_MAX: u32 = 16;
/// Rounds of PBKDF2 for an application password (RFC 7677, 4: at least 4,096). It is drawn from 128 bits, so
/// that more of them would only cost time.
pub const SCRAM_ITERATIONS: u32 = 4_096;
/// The most rounds that keys in the state may ask for.
pub const SCRAM_ITERATIONS_MAX: u32 = 100_000;
/// Failures of one account that cost nothing.
pub const ACCOUNT_FAILURES_FREE: u32 = 5;
/// Failures from one address that cost nothing: many may be behind it.
pub const ADDRESS_FAILURES_FREE: u32 = 20;
/// The longest wait after a failure; the first is a second, and each doubles it.
pub const WAIT_MAX: Duration = Duration::from_secs(15 * 60);
/// Failures are forgotten when there was none for so long.
pub const FAILURES_MEMORY: Duration = Duration::from_secs(60 * 60);
/// How long an address from which an account logged in is spared what others do to the account.
pub const TRUST: Duration = Duration::from_secs(7 * 24 * 3_600);
/// How long a password that was right is not computed again.
pub const CACHE_LIFE: Duration = Duration::from_secs(5 * 60);
/// Passwords that are remembered to be right; the oldest goes first.
pub const CACHE_MAX: usize = 10_000;
/// Accounts, and addresses, whose failures are counted; the oldest goes first.
pub const COUNTED_MAX: usize = 100_000;
