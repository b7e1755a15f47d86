//! Switches that re-introduce known bugs, so that the tests can prove that they would have caught them. As in
//! `wire::bugs`: without the feature `bugs` a [`Bugs`] is empty and every test of it is the constant `false`.

/// A bug that can be re-introduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Bug {
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

impl Bug {
    /// Every bug, in order.
    pub const ALL: [Bug; 9] = [
        Bug::TornTailAccepted,
        Bug::FsyncErrorIgnored,
        Bug::TruncationNotDurable,
        Bug::DirectoryNotSynced,
        Bug::StaleRecordAccepted,
        Bug::SwitchBeforeSync,
        Bug::MetadataInOneCopy,
        Bug::ReleaseNotDurable,
        Bug::CacheBelieved,
    ];
}

/// The set of bugs that are switched on: always empty in the shipped program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bugs {
    #[cfg(feature = "bugs")]
    bits: u32,
}

impl Bugs {
    /// No bug.
    pub const NONE: Bugs = Bugs {
        #[cfg(feature = "bugs")]
        bits: 0,
    };

    /// Just this one.
    #[cfg(feature = "bugs")]
    pub const fn only(bug: Bug) -> Bugs {
        Bugs { bits: 1 << bug as u32 }
    }

    /// Whether this bug is switched on.
    #[inline(always)]
    pub const fn has(self, bug: Bug) -> bool {
        #[cfg(feature = "bugs")]
        return self.bits & (1 << bug as u32) != 0;
        #[cfg(not(feature = "bugs"))]
        {
            let _ = bug;
            false
        }
    }
}
