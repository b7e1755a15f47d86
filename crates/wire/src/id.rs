//! Identities: site, process, group, view, member. All are small, ordered, hashable and encode as
//! numbered fields, so that a later version may add to them.

use std::fmt;
use std::sync::Arc;

use minicbor::{Decode, Encode};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty), $fmt:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
        #[cbor(transparent)]
        pub struct $name(#[n(0)] pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $fmt, self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

number!(
    /// A site: one machine's place in a cluster. Acquired by the three steps of [Ravindran & Chanson 85,
    /// section 6] or fixed by configuration; never reused within the memory of the cluster. 0 is no site.
    SiteId(u32), "s{}"
);
number!(
    /// How often a site has started: raised and made durable before its first message.
    Incarnation(u64), "{}"
);
number!(
    /// The random name of one data directory. An emptied disk is a new store.
    StoreId(u64), "{:016x}"
);
number!(
    /// The random name of one cluster.
    ClusterId(u64), "{:016x}"
);

/// One life of a site, from a start to its end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
pub struct SiteIncarnation {
    /// Which site.
    #[n(0)]
    pub site: SiteId,
    /// Which of its lives.
    #[n(1)]
    pub incarnation: Incarnation,
}

impl fmt::Display for SiteIncarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.site, self.incarnation)
    }
}

impl fmt::Debug for SiteIncarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The id of a view and of the attempt that first proposed it: compared by epoch, then attempt, then
/// coordinator. Attempt 0 belongs to rank 0 alone. Unique by construction, because an incarnation is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
pub struct ViewId {
    /// The epoch number; rises with every view a member installs.
    #[n(0)]
    pub epoch: u64,
    /// The attempt within the epoch; 0 is rank 0's direct attempt.
    #[n(1)]
    pub attempt: u32,
    /// Who coordinated the change.
    #[n(2)]
    pub coordinator: SiteIncarnation,
}

impl fmt::Display for ViewId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.epoch, self.attempt, self.coordinator)
    }
}

impl fmt::Debug for ViewId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A process: the life of the site where it was born, and its number there. Where it is now is a mapping.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
pub struct ProcessId {
    /// Where and in which life of the site it was born.
    #[n(0)]
    pub birth: SiteIncarnation,
    /// Its number at that site.
    #[n(1)]
    pub local: u64,
}

impl ProcessId {
    /// The site where the process was born.
    pub fn site(&self) -> SiteId {
        self.birth.site
    }
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.birth, self.local)
    }
}

impl fmt::Debug for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A member of a group: a process and its join number. The number is drawn at the process's site and never
/// repeats there, so a process that leaves and joins again is another member.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
pub struct MemberId {
    /// The process.
    #[n(0)]
    pub process: ProcessId,
    /// Its join number.
    #[n(1)]
    pub join: u64,
}

impl MemberId {
    /// The site where the member's process was born.
    pub fn site(&self) -> SiteId {
        self.process.birth.site
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.process, self.join)
    }
}

impl fmt::Debug for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A group: the step that created it and its place among the groups that step created. Two groups that
/// carry one name on two sides of a partition have different ids.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
pub struct GroupId {
    /// The id of the creating step.
    #[n(0)]
    pub created: ViewId,
    /// Its place among the groups which that step created, from 0.
    #[n(1)]
    pub index: u32,
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.created, self.index)
    }
}

impl fmt::Debug for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A group's name: `name` or `@scope:name` (`@*:name` is global). 1 to [`GroupName::BYTES_MAX`] bytes, no
/// white space and no control characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupName(Arc<str>);

/// Why a group name was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No bytes at all.
    #[error("a group name must not be empty")]
    Empty,
    /// Longer than [`GroupName::BYTES_MAX`].
    #[error("a group name has at most {} bytes", GroupName::BYTES_MAX)]
    TooLong,
    /// White space or a control character.
    #[error("a group name has no white space and no control characters; use '-' or '.'")]
    BadCharacter,
    /// `@` without `scope:name` behind it.
    #[error("a scoped group name is written @scope:name")]
    BadScope,
}

impl GroupName {
    /// The longest name, in bytes.
    pub const BYTES_MAX: usize = 128;

    /// Checks and takes a name. An error leaves nothing behind.
    pub fn parse(name: &str) -> Result<GroupName, NameError> {
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if name.len() > Self::BYTES_MAX {
            return Err(NameError::TooLong);
        }
        if name.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(NameError::BadCharacter);
        }
        if let Some(rest) = name.strip_prefix('@') {
            match rest.split_once(':') {
                Some((scope, plain)) if !scope.is_empty() && !plain.is_empty() => {}
                _ => return Err(NameError::BadScope),
            }
        }
        Ok(GroupName(name.into()))
    }

    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The scope, if the name has one.
    pub fn scope(&self) -> Option<&str> {
        self.0.strip_prefix('@')?.split_once(':').map(|(scope, _)| scope)
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl<C> Encode<C> for GroupName {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.str(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for GroupName {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        GroupName::parse(d.str()?).map_err(minicbor::decode::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_at_the_edge() {
        assert_eq!(GroupName::parse(""), Err(NameError::Empty));
        assert_eq!(GroupName::parse("a b"), Err(NameError::BadCharacter));
        assert_eq!(GroupName::parse("@x"), Err(NameError::BadScope));
        assert_eq!(GroupName::parse(&"x".repeat(129)), Err(NameError::TooLong));
        let scoped = GroupName::parse("@lab:printers").expect("a good name");
        assert_eq!(scoped.scope(), Some("lab"));
    }

    #[test]
    fn view_ids_compare_by_epoch_then_attempt_then_coordinator() {
        let id = |epoch, attempt, site| ViewId {
            epoch,
            attempt,
            coordinator: SiteIncarnation { site: SiteId(site), incarnation: Incarnation(1) },
        };
        assert!(id(1, 9, 9) < id(2, 0, 1));
        assert!(id(2, 0, 9) < id(2, 1, 1));
        assert!(id(2, 1, 1) < id(2, 1, 2));
    }
}
