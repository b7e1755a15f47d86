//! The header lines. Names and meanings are those of `docs/sessions.md`.

use serde::{Deserialize, Serialize};

use super::durable::{Condition, Once};
use super::mail::MailOp;
use super::refusal::{ErrorCode, Failure};

/// What a message costs of the client's credit, beside the bytes of its body.
pub const MESSAGE_COST_BYTES: usize = 64;

/// What a peer of a session may do; each includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Principal {
    /// Status, groups, views, watching.
    Observe,
    /// And casting from outside.
    Client,
    /// And joining.
    Member,
    /// And everything else.
    Administer,
}

/// The first line, from the site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The lowest and the highest version that the site speaks.
    pub versions: (u32, u32),
    /// The site's name.
    pub site: String,
    /// The cluster's id, as 16 hexadecimal digits.
    pub cluster: String,
    /// The cluster's feature level.
    pub feature_level: u32,
}

/// A request line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the client; 0 for what is not answered (`credit`, `alive`).
    #[serde(default)]
    pub id: u64,
    /// What is asked.
    #[serde(flatten)]
    pub op: Op,
    /// Bytes behind the line.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub body_len: usize,
}

/// What a request asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum Op {
    /// The client's hello.
    Hello {
        /// The version it wants to speak.
        version: u32,
        /// The program's name, for people.
        client: String,
    },
    /// Join a group.
    Join {
        /// The group's name.
        group: String,
        /// The role to play.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        role: Option<String>,
        /// `if-missing`, `must-exist` or `must-create`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        create: Option<String>,
        /// `weak`, `strong` or `virtually-synchronous`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        consistency: Option<String>,
        /// `primary`, `all`, `at-least:N` or `role:R`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lives: Option<String>,
        /// `same-name`, `never` or `role:R`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        merges: Option<String>,
        /// Milliseconds within which members must answer a probe; 0: not asked.
        #[serde(default)]
        probe_ms: u32,
        /// Milliseconds for which changes are gathered.
        #[serde(default)]
        aggregate_ms: u32,
    },
    /// Leave a group.
    Leave {
        /// The group's name.
        group: String,
    },
    /// Cast to a group, as a member or from outside.
    Cast {
        /// The group's name.
        group: String,
        /// `mbcast`, `fbcast`, `cbcast`, `abcast` (default) or `gbcast`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        order: Option<String>,
        /// Deliver only when every member has it.
        #[serde(default, skip_serializing_if = "is_false")]
        safe: bool,
        /// The caster itself is not delivered it.
        #[serde(default, skip_serializing_if = "is_false")]
        exclude_self: bool,
        /// Only these members are delivered it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        only: Vec<String>,
        /// Replies wanted.
        #[serde(default)]
        replies: Replies,
        /// How long to wait for them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout_ms: Option<u64>,
        /// It may be held back for so long, to travel with another.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lazy_ms: Option<u64>,
        /// The body holds so many messages, of these lengths; empty: it is one message.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        lens: Vec<u32>,
    },
    /// Reply to a message.
    Reply {
        /// `reply_to` of the message's event.
        to: String,
        /// What kind of reply.
        #[serde(default)]
        kind: ReplyKind,
    },
    /// Answered when all own casts to the group are at every member.
    Flush {
        /// The group's name.
        group: String,
    },
    /// The cluster, as this site sees it.
    Status,
    /// The groups, as this site sees them.
    Groups,
    /// One group's view.
    View {
        /// The group's name.
        group: String,
    },
    /// Follow a group's views from outside.
    Watch {
        /// The group's name.
        group: String,
    },
    /// No longer.
    Unwatch {
        /// The group's name.
        group: String,
    },
    /// Is the site's state machine alive?
    Probe,
    /// The program is alive.
    Alive {
        /// `id` of the probe event.
        probe: u64,
    },
    /// More message bodies may come.
    Credit {
        /// So many bytes.
        bytes: u64,
    },
    /// Move a member to rank 0 of its group.
    Reorder {
        /// The group's name.
        group: String,
        /// The member.
        member: String,
    },
    /// Make some members a group of their own.
    Split {
        /// The group's name.
        group: String,
        /// Who goes.
        members: Vec<String>,
        /// The new group's name.
        into: String,
    },
    /// Let all members of a group enter another.
    Merge {
        /// The group that ends.
        group: String,
        /// The group that goes on.
        into: String,
    },
    /// Let there be a durable map.
    CreateMap {
        /// Its name.
        map: String,
    },
    /// Give a key of a durable map the request's body as value. Answered when enough disks have it.
    Put {
        /// The map's name.
        map: String,
        /// Which key: 1 byte to 1 KiB.
        key: String,
        /// After so many milliseconds the key is gone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ttl_ms: Option<u64>,
        /// Only if this holds before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        only_if: Option<Condition>,
        /// What makes a repeat of it harmless, at this site or another.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        once: Option<Once>,
    },
    /// Take a key of a durable map away.
    Delete {
        /// The map's name.
        map: String,
        /// Which key.
        key: String,
        /// Only if this holds before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        only_if: Option<Condition>,
        /// What makes a repeat of it harmless, at this site or another.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        once: Option<Once>,
    },
    /// The value of a key of a durable map: the answer's body.
    Get {
        /// The map's name.
        map: String,
        /// Which key.
        key: String,
        /// As it is at this site, which may be behind.
        #[serde(default, skip_serializing_if = "is_false")]
        local: bool,
    },
    /// Keys of a durable map, in order; the answer's body is their headers, then their values, one after another.
    List {
        /// The map's name.
        map: String,
        /// What they begin with.
        #[serde(default)]
        prefix: String,
        /// Only those behind this one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<String>,
        /// At most so many.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<usize>,
        /// As they are at this site, which may be behind.
        #[serde(default, skip_serializing_if = "is_false")]
        local: bool,
    },
    /// What has changed in a durable map, as soon as there is something; the answer's body is the changes' headers, then
    /// the values that were put, one after another.
    Changes {
        /// The map's name.
        map: String,
        /// Behind this revision; none: from now on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<u64>,
        /// Of keys that begin with this.
        #[serde(default)]
        prefix: String,
    },
    /// Take all durable groups as they are now, to be fetched with [`Op::BackupNext`].
    Backup {
        /// Leave mail out, which backups cannot have yet. Else a cluster that has mail refuses ([`ErrorCode::Unmet`]).
        #[serde(default)]
        without_mail: bool,
    },
    /// The next piece of the backup that this session has begun: the answer's body; none behind the last.
    BackupNext,
    /// Compare a range of a durable map's keys with what a backup has there, and make it so. The body is two keys, if
    /// they are given, and the part of the backup, a list of pairs that may be empty.
    RestorePart {
        /// The map's name.
        map: String,
        /// Bytes of the key behind which the range begins; 0: it begins with the first.
        #[serde(default, skip_serializing_if = "is_zero")]
        after_len: usize,
        /// Bytes of the key up to which it goes; 0: to the last.
        #[serde(default, skip_serializing_if = "is_zero")]
        upto_len: usize,
        /// The time of the backup, in milliseconds since 1970: pairs with an end get the time that they had left then.
        clock_ms: u64,
        /// What the pairs may count together from now on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        quota: Option<u64>,
        /// Say how it differs, and change nothing.
        #[serde(default, skip_serializing_if = "is_false")]
        compare: bool,
        /// Also where the map has something else: that is lost.
        #[serde(default, skip_serializing_if = "is_false")]
        overwrite: bool,
    },
    /// Which feature level is in force, and which the sites' programs have.
    Levels,
    /// Put a feature level in force, if all sites have it.
    RaiseLevel {
        /// Which.
        to: u32,
        /// Pass over sites that are not there.
        #[serde(default, skip_serializing_if = "is_false")]
        force: bool,
    },
    /// Let the stores that count in every durable group be where they should. One step is taken in each; ask again until
    /// the answer says `done`. At least one of the two is given.
    PlaceStores {
        /// The site whose store is not to count any longer; if it is `to` as well, its earlier one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<String>,
        /// The site whose store is to count.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<String>,
    },
    /// Something of mail: what, is said by `do`.
    Mail(MailOp),
    /// The site leaves in order and stops.
    Stop,
    /// The session ends in order: its memberships are left, not failed.
    Bye,
}

/// How many replies a cast waits for: `"none"`, `"all"`, `"majority"` or a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Replies {
    /// Exactly so many.
    Count(u32),
    /// By name.
    Named(NamedReplies),
    /// None; what is left out means this.
    #[default]
    Default,
}

/// The named numbers of replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NamedReplies {
    /// No reply is wanted.
    None,
    /// From every member.
    All,
    /// From more than half of the members.
    Majority,
}

/// What kind of reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReplyKind {
    /// An answer.
    #[default]
    Reply,
    /// This member has nothing to say.
    Null,
    /// The call shall end at once.
    Abort,
}

/// Any line from the site: an answer or an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum FromSite {
    /// An answer.
    Answer(Answer),
    /// An event.
    Event(Event),
}

/// An answer line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The request's id.
    pub re: u64,
    /// Set if it failed.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// The result's fields, if it did not.
    #[serde(flatten)]
    pub result: serde_json::Map<String, serde_json::Value>,
    /// Bytes behind the line.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub body_len: usize,
}

/// A group's view, as sessions and `--json` show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// The group's name.
    pub group: String,
    /// The view's id.
    pub id: String,
    /// Whether it is on the primary line.
    pub primary: bool,
    /// Whether this side lives.
    pub lives: bool,
    /// The receiving member's rank, if it is a member.
    pub rank: Option<usize>,
    /// The members by rank.
    pub members: Vec<String>,
    /// Who joined with it.
    pub joined: Vec<String>,
    /// Who is no longer there.
    pub left: Vec<LeftMember>,
    /// Who came from the same previous view.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transitional: Vec<String>,
}

/// A member that is no longer there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftMember {
    /// Who.
    pub member: String,
    /// `left`, `failed` or `partitioned`.
    pub why: String,
}

/// The replies to a cast.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The members that were asked.
    pub members: usize,
    /// The replies, by arrival; their bodies follow in this order.
    pub got: Vec<GotReply>,
    /// How many had nothing to say.
    pub null: usize,
    /// How many failed before they replied.
    pub failed: usize,
    /// Who ended the call with an abort reply; its body is the last one.
    pub aborted_by: Option<String>,
    /// Whether the time was up.
    pub timed_out: bool,
}

/// One reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GotReply {
    /// From whom.
    pub from: String,
    /// Its length in bytes.
    pub body_len: usize,
}

/// An event line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The first line of a session.
    Hello(Hello),
    /// A new view.
    View(View),
    /// A message, or a run of messages from one sender in one order.
    Message {
        /// The group's name.
        group: String,
        /// The view in which it is delivered.
        view: String,
        /// Who cast it.
        from: String,
        /// In which order.
        order: String,
        /// Set if a reply is wanted.
        #[serde(default)]
        reply_to: Option<String>,
        /// The lengths of the messages in the body; empty: it is one message.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        lens: Vec<u32>,
        /// Bytes behind the line.
        body_len: usize,
    },
    /// The transitional signal of safe delivery.
    Signal {
        /// The group's name.
        group: String,
        /// Who is sure to have what was delivered before.
        members: Vec<String>,
    },
    /// Casting is refused, or possible again.
    Blocked {
        /// The group's name.
        group: String,
        /// Which.
        blocked: bool,
    },
    /// There is room for casts again.
    Writable {
        /// The group's name.
        group: String,
    },
    /// The session's member is no longer in the group.
    Left {
        /// The group's name.
        group: String,
        /// Why, for people.
        why: String,
    },
    /// Answer with `alive`, within the time of the groups whose members are asked.
    Probe {
        /// To be repeated in the answer.
        id: u64,
        /// The groups.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        groups: Vec<String>,
    },
    /// The site ends the session.
    Going {
        /// Why, for people.
        why: String,
        /// Why, for programs, if another site would do the same.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<ErrorCode>,
    },
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

fn is_false(b: &bool) -> bool {
    !*b
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip<T: Serialize + for<'a> Deserialize<'a> + PartialEq + std::fmt::Debug>(value: &T) {
        let text = serde_json::to_string(value).expect("serialises");
        assert_eq!(&serde_json::from_str::<T>(&text).expect("reads back"), value, "{text}");
    }

    #[test]
    fn requests_read_as_the_guide_writes_them() {
        let line = r#"{"op":"cast","id":4,"group":"chat","replies":"all","body_len":5,"later":true}"#;
        let request: Request = serde_json::from_str(line).expect("unknown fields are ignored");
        assert_eq!((request.id, request.body_len), (4, 5));
        assert!(
            matches!(&request.op, Op::Cast { group, replies: Replies::Named(NamedReplies::All), .. } if group == "chat")
        );
        round_trip(&request);
        let status: Request = serde_json::from_str(r#"{"op":"status","id":1}"#).expect("no fields");
        assert_eq!(status.op, Op::Status);
        let two: Request =
            serde_json::from_str(r#"{"op":"cast","id":4,"group":"g","replies":2}"#).expect("a number");
        assert!(matches!(two.op, Op::Cast { replies: Replies::Count(2), .. }));
        assert!(serde_json::from_str::<Request>(r#"{"op":"no-such-thing","id":1}"#).is_err());
    }

    #[test]
    fn answers_and_events_are_told_apart() {
        let failed: FromSite =
            serde_json::from_str(r#"{"re":3,"error":"busy","message":"try again"}"#).expect("an answer");
        match &failed {
            FromSite::Answer(answer) => {
                assert_eq!(answer.failure.as_ref().map(|f| f.error), Some(ErrorCode::Busy));
            }
            FromSite::Event(_) => panic!("taken for an event"),
        }
        round_trip(&failed);
        let done: FromSite =
            serde_json::from_str(r#"{"re":3,"ok":true,"member":"s1.1/2#1"}"#).expect("an answer");
        match &done {
            FromSite::Answer(answer) => {
                assert_eq!(answer.failure, None);
                assert_eq!(answer.result["member"], "s1.1/2#1");
            }
            FromSite::Event(_) => panic!("taken for an event"),
        }
        let event: FromSite =
            serde_json::from_str(r#"{"event":"blocked","group":"g","blocked":true}"#).expect("an event");
        assert_eq!(event, FromSite::Event(Event::Blocked { group: "g".into(), blocked: true }));
    }
}
