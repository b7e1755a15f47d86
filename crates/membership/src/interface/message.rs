//! What a site without an mserver says to the mserver that it is attached to, and what it hears from it.

use minicbor::{Decode, Encode};
use wire::{GroupId, GroupName, MemberId, SiteIncarnation, ViewId};

use crate::group::{GroupRequest, GroupView, Outcome};
use crate::step::RequestId;

/// A message between a member interface and an mserver elsewhere. Links deliver in order and once while
/// they last; over a broken one everything here may be said again without harm.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Message {
    /// To the mserver: be my mserver. Repeated as a sign of life.
    #[n(0)]
    Attach(#[n(0)] Attach),
    /// To the mserver: please have this granted.
    #[n(1)]
    Submit(#[n(0)] Submit),
    /// To the interface: what became of a Submit.
    #[n(2)]
    SubmitAnswer(#[n(0)] SubmitAnswer),
    /// To the interface: the views that a step has for your site.
    #[n(3)]
    Direct(#[n(0)] Direct),
    /// To the mserver: those views are here.
    #[n(4)]
    DirectAck(#[n(0)] DirectAck),
    /// To the interface: I am your mserver; this is where I stand.
    #[n(5)]
    Attached(#[n(0)] Attached),
    /// To the interface: a change of this group has begun (a hint).
    #[n(6)]
    StartChange(#[n(0)] StartChange),
    /// To the mserver: keep me told of these groups, though I have no members in them.
    #[n(7)]
    Look(#[n(0)] Look),
    /// To the interface: the groups that you look at.
    #[n(8)]
    Seen(#[n(0)] Seen),
}

/// "Be my mserver." [Neely 94, III.B.2: a member interface registers with its mserver]
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Attach {
    /// The life of the attaching site.
    #[n(0)]
    pub life: SiteIncarnation,
    /// Its members as far as it knows, each with its group and the newest view seen of it.
    #[n(1)]
    pub members: Vec<Claim>,
}

/// A member at the attaching site.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Claim {
    /// Who.
    #[n(0)]
    pub member: MemberId,
    /// Its group.
    #[n(1)]
    pub group: GroupId,
    /// The newest view seen.
    #[n(2)]
    pub seen: ViewId,
}

/// A request on its way to the core-set.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Submit {
    /// Which request: said again, it is the same.
    #[n(0)]
    pub id: RequestId,
    /// What is asked.
    #[n(1)]
    pub request: GroupRequest,
}

/// What the mserver knows of a request.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SubmitAnswer {
    /// Which.
    #[n(0)]
    pub id: RequestId,
    /// Where it stands.
    #[n(1)]
    pub answer: Answer,
}

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum Answer {
    /// It is settled, or cannot be on this side.
    #[n(0)]
    Outcome(#[n(0)] Outcome),
    /// It is pending: ask again later.
    #[n(1)]
    Wait,
    /// The mserver has no room for it: say it again later.
    #[n(2)]
    Busy,
}

/// The group views that one step has for a site.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Direct {
    /// The step.
    #[n(0)]
    pub step: ViewId,
    /// Its views of groups with members at the site, now or before.
    #[n(1)]
    pub views: Vec<GroupView>,
}

/// The views of a step have arrived.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DirectAck {
    /// The step.
    #[n(0)]
    pub step: ViewId,
}

/// "I am your mserver."
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Attached {
    /// The mserver's view.
    #[n(0)]
    pub view: ViewId,
    /// Whether it is on the line.
    #[n(1)]
    pub primary: bool,
    /// Whether the tables list this life of the site as attached through this mserver.
    #[n(2)]
    pub known: bool,
    /// Claimed members that the tables do not hold, or whose views cannot be told without a gap.
    #[n(3)]
    pub unknown: Vec<Unknown>,
    /// The core members of that view, for whoever asks the attached site who is up.
    #[n(4)]
    pub core: Option<Vec<SiteIncarnation>>,
}

/// "Keep me told of these groups." Replaces what was said before.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Look {
    /// The groups, each with its newest view seen.
    #[n(0)]
    pub groups: Vec<(GroupName, Option<ViewId>)>,
}

/// Groups that a site looks at.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Seen {
    /// Their newest views.
    #[n(0)]
    pub views: Vec<GroupView>,
    /// Names that no group has.
    #[n(1)]
    pub missing: Vec<GroupName>,
}

/// A claimed member that the tables do not hold.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Unknown {
    /// Who.
    #[n(0)]
    pub member: MemberId,
    /// The group it claimed.
    #[n(1)]
    pub group: GroupId,
}

/// A change of a group has begun.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct StartChange {
    /// The group.
    #[n(0)]
    pub group: GroupId,
    /// The attempt.
    #[n(1)]
    pub attempt: ViewId,
    /// The members that the attempt would leave.
    #[n(2)]
    pub members: Vec<MemberId>,
}

/// Bytes that are no message. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a member-interface message: {0}")]
pub struct BadMessage(String);

impl Message {
    /// The message as bytes.
    pub fn encode(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("a Vec takes every byte")
    }

    /// The message in these bytes. An error changes nothing.
    pub fn decode(bytes: &[u8]) -> Result<Message, BadMessage> {
        minicbor::decode(bytes).map_err(|e| BadMessage(e.to_string()))
    }
}
