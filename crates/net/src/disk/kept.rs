//! A small thing that a site keeps in its data directory besides its record, as safely as that.

use std::path::{Path, PathBuf};

use super::{DiskError, Replaced};

/// `DIR/NAME-0` and `DIR/NAME-1`. Whoever opens one has the directory to himself, as its site or under
/// [`super::Held`].
pub struct Kept {
    replaced: Replaced,
}

impl Kept {
    /// Finds what was kept last under this name, and which copies had to be mended from the other.
    #[allow(clippy::type_complexity, reason = "the parts of one answer, taken apart at once")]
    pub fn open(dir: &Path, name: &'static str) -> Result<(Kept, Option<Vec<u8>>, Vec<PathBuf>), DiskError> {
        let (replaced, content, mended) = Replaced::open(dir, name)?;
        Ok((Kept { replaced }, content, mended))
    }

    /// Returns when the content is durable. A full disk leaves the old content; any other error the old or the new.
    pub fn replace(&mut self, content: &[u8]) -> Result<(), DiskError> {
        self.replaced.replace(content)
    }
}
