//! How to join a group.

use wire::session::{ErrorCode, Op};

use crate::error::Error;

pub use membership::group::{Consistency, Create, Lives, Merges};

/// How to join. The default takes part in a group as it is, and makes one that is missing: virtually synchronous,
/// its primary side lives, sides of one name merge again. A group's rules are fixed by the join that makes it.
///
/// ```
/// use unanimous::{Create, JoinOptions, Lives};
///
/// let options = JoinOptions::default().role("printer").create(Create::IfMissing).lives(Lives::AtLeast(2));
/// # assert_eq!(options, options.clone());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JoinOptions {
    pub(crate) role: Option<String>,
    pub(crate) create: Create,
    pub(crate) consistency: Consistency,
    pub(crate) lives: Lives,
    pub(crate) merges: Merges,
    pub(crate) probe_ms: u32,
    pub(crate) aggregate_ms: u32,
}

impl JoinOptions {
    /// The role that the member plays, which partition rules may ask for.
    #[must_use]
    pub fn role(mut self, role: impl Into<String>) -> JoinOptions {
        self.role = Some(role.into());
        self
    }

    /// Whether the join may make the group.
    #[must_use]
    pub fn create(mut self, create: Create) -> JoinOptions {
        self.create = create;
        self
    }

    /// How much agreement the group asks for.
    #[must_use]
    pub fn consistency(mut self, consistency: Consistency) -> JoinOptions {
        self.consistency = consistency;
        self
    }

    /// Which side of a partition lives.
    #[must_use]
    pub fn lives(mut self, lives: Lives) -> JoinOptions {
        self.lives = lives;
        self
    }

    /// Which sides become one group again.
    #[must_use]
    pub fn merges(mut self, merges: Merges) -> JoinOptions {
        self.merges = merges;
        self
    }

    /// Members must take their events within so many milliseconds when asked whether they are alive.
    #[must_use]
    pub fn probe_ms(mut self, probe_ms: u32) -> JoinOptions {
        self.probe_ms = probe_ms;
        self
    }

    /// Changes of membership are gathered for so many milliseconds.
    #[must_use]
    pub fn aggregate_ms(mut self, aggregate_ms: u32) -> JoinOptions {
        self.aggregate_ms = aggregate_ms;
        self
    }

    /// The join as a request of the session protocol.
    pub(crate) fn to_op(&self, group: &str) -> Result<Op, Error> {
        Ok(Op::Join {
            group: group.to_owned(),
            role: self.role.clone(),
            create: Some(create(self.create).to_owned()),
            consistency: Some(consistency(self.consistency).to_owned()),
            lives: Some(lives(&self.lives)?),
            merges: Some(merges(&self.merges)),
            probe_ms: self.probe_ms,
            aggregate_ms: self.aggregate_ms,
        })
    }
}

fn create(create: Create) -> &'static str {
    match create {
        Create::IfMissing => "if-missing",
        Create::MustExist => "must-exist",
        Create::MustCreate => "must-create",
    }
}

fn consistency(consistency: Consistency) -> &'static str {
    match consistency {
        Consistency::Weak => "weak",
        Consistency::Strong => "strong",
        Consistency::VirtuallySynchronous => "virtually-synchronous",
    }
}

fn lives(lives: &Lives) -> Result<String, Error> {
    match lives {
        Lives::Primary => Ok("primary".to_owned()),
        Lives::All => Ok("all".to_owned()),
        Lives::AtLeast(members) => Ok(format!("at-least:{members}")),
        Lives::ContainingRole(role) => Ok(format!("role:{role}")),
        Lives::ContainingMember(_) => Err(Error::Refused {
            code: ErrorCode::BadRequest,
            message: "a session can't name the member that a side must contain; give it a role".to_owned(),
        }),
    }
}

fn merges(merges: &Merges) -> String {
    match merges {
        Merges::Never => "never".to_owned(),
        Merges::SameName => "same-name".to_owned(),
        Merges::ContainingRole(role) => format!("role:{role}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_the_words_of_the_session_protocol() {
        let options = JoinOptions::default().role("r").lives(Lives::AtLeast(3)).merges(Merges::Never);
        let Ok(Op::Join { role, create, lives, merges, .. }) = options.to_op("chat") else {
            panic!("a join");
        };
        assert_eq!(role.as_deref(), Some("r"));
        assert_eq!(create.as_deref(), Some("if-missing"));
        assert_eq!(lives.as_deref(), Some("at-least:3"));
        assert_eq!(merges.as_deref(), Some("never"));
        let options = JoinOptions::default().lives(Lives::ContainingMember(Default::default()));
        assert!(options.to_op("chat").is_err());
    }
}
