//! Every bound of the map by name; `docs/map.md` says what happens at each. What bounds a request or an expiry is a
//! part of what a log means: all members of a group must have the same.

/// The longest key; the shortest has one byte.
pub const KEY_BYTES_MAX: usize = 1 << 10;
/// The longest value.
pub const VALUE_BYTES_MAX: usize = 1 << 20;
/// The longest request, encoded: one key, its value, and a value that it is compared with; or a batch.
pub const REQUEST_BYTES_MAX: usize = (2 << 20) + (64 << 10);
/// Operations of one batch. The answer to so many is shorter than what the group keeps for a client that repeats itself.
pub const BATCH_MAX: usize = 64;
/// The longest time to live, in milliseconds: a hundred years.
pub const TTL_MS_MAX: u64 = 100 * 366 * 24 * 3_600_000;
/// Pairs that one entry takes away because their time is over. What is left goes with the next ones; nobody sees it.
pub const EXPIRED_MAX: usize = 1_024;
/// What a pair counts beyond its key and value, in bytes: about what it takes in memory.
pub const PAIR_BYTES: u64 = 128;
/// What the pairs may count together, until somebody sets another quota.
pub const QUOTA_BYTES_DEFAULT: u64 = 8 << 30;
/// Pairs in one answer to `list`.
pub const LIST_MAX: usize = 1_000;
/// Bytes of keys and values in one answer to `list`; one pair may be longer.
pub const LIST_BYTES_MAX: usize = 1 << 20;
/// Pairs that one `list` looks at, those that it hides counted.
pub const LIST_LOOKS_MAX: usize = 4_096;
/// Changes that one `changes_since` looks at; those of one entry are never parted.
pub const CHANGES_LOOKS_MAX: usize = 4_096;
/// A part of a snapshot is closed before it would get longer than this; one pair may be longer.
pub const PART_BYTES: usize = 64 << 10;
