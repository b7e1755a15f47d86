//! This crate's bugs, for the tests' proof of themselves: see [`switches::bugs`].

switches::bugs! {
    /// A record whose body does not match its checksum is taken for good.
    TornTailAccepted,
    /// A failed `fdatasync` is tried again, and the second answer believed.
    FsyncErrorIgnored,
    /// A truncation cuts the file and is reported before anything of it is durable.
    TruncationNotDurable,
    /// The directory is never synced.
    DirectoryNotSynced,
    /// Records that an earlier life, or a truncation, left behind are taken for the log's.
    StaleRecordAccepted,
    /// Compaction and checkpoints switch to a file before it is durable.
    SwitchBeforeSync,
    /// The metadata record is written over its only copy.
    MetadataInOneCopy,
    /// Compaction goes by what was released since the checkpoint, too.
    ReleaseNotDurable,
    /// What is read back after a failed sync, without the machine having been down, is taken to be on the disk.
    CacheBelieved,
}
