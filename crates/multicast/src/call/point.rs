//! Messages from one site to one other, beside the groups' order: answers to calls, and the talk between a
//! client of a group and its contact.

use bytes::{BufMut, Bytes, BytesMut};
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use wire::{GroupId, MemberId, SiteIncarnation, ViewId};

use super::CallKey;
use super::caller::{Outcome, Replies};
use super::codec::{DecodeError, Put, Reader};
use super::outsider::{Carry, ClientId, Order, Origin, Refusal, Verdict};

/// An answer to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Which call.
    pub call: CallKey,
    /// Which target answers.
    pub from: MemberId,
    /// What it answers.
    pub what: Answered,
}

/// What a target answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// A reply.
    Reply(Bytes),
    /// It has nothing to say; it is not waited for.
    Null,
    /// The call is to end at once, for this reason.
    Abort(Bytes),
}

/// A copy of a reply for another member, such as a cohort of the one that replied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyCopy {
    /// Which call was answered.
    pub call: CallKey,
    /// Who answered.
    pub from: MemberId,
    /// For whom the copy is.
    pub to: MemberId,
    /// The reply.
    pub body: Bytes,
}

/// A message from site to site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PointMessage {
    /// To the caller's site.
    Answer(Answer),
    /// To another member's site.
    Copy(ReplyCopy),
    /// A client asks a contact to carry a cast.
    Carry(Carry),
    /// A client's site tells a contact that the client is gone for good.
    ClientGone {
        /// The group.
        group: GroupId,
        /// Any of the client's streams.
        client: ClientId,
    },
    /// The contact tells the client how its cast stands.
    Verdict {
        /// The group.
        group: GroupId,
        /// The client.
        client: ClientId,
        /// The cast.
        sequence: u64,
        /// How it stands.
        verdict: Verdict,
    },
    /// A site lacks the past of others in the group: which outsiders' casts they had delivered before this view.
    TableRequest {
        /// The group.
        group: GroupId,
        /// The view.
        view: ViewId,
    },
    /// The answer to it.
    Table {
        /// The group.
        group: GroupId,
        /// The view before which it was delivered.
        view: ViewId,
        /// Whose past is in the table: sites of the view.
        covers: Vec<SiteIncarnation>,
        /// Whether the sender knew anybody's past but its own: not if it has joined and has no table yet.
        informed: bool,
        /// The table, encoded.
        table: Bytes,
    },
}

impl PointMessage {
    /// The message as bytes.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        match self {
            PointMessage::Answer(answer) => answer.put(&mut out),
            PointMessage::Copy(copy) => {
                out.put_u8(tag::COPY);
                put_key(&mut out, copy.call);
                out.member(copy.from);
                out.member(copy.to);
                out.put_slice(&copy.body);
            }
            PointMessage::Carry(carry) => put_carry(&mut out, carry),
            PointMessage::ClientGone { group, client } => {
                out.put_u8(tag::CLIENT_GONE);
                out.group(*group);
                Origin { client: *client, sequence: 0, again: false }.put(&mut out);
            }
            PointMessage::Verdict { group, client, sequence, verdict } => {
                out.put_u8(tag::VERDICT);
                out.group(*group);
                Origin { client: *client, sequence: *sequence, again: false }.put(&mut out);
                put_verdict(&mut out, verdict);
            }
            PointMessage::TableRequest { group, view } => {
                out.put_u8(tag::TABLE_REQUEST);
                out.group(*group);
                out.view(*view);
            }
            PointMessage::Table { group, view, covers, informed, table } => {
                out.reserve(64 + 16 * covers.len() + table.len());
                out.put_u8(tag::TABLE);
                out.group(*group);
                out.view(*view);
                out.number(covers.len() as u64);
                covers.iter().for_each(|life| out.life(*life));
                out.put_u8(u8::from(*informed));
                out.put_slice(table);
            }
        }
        out.freeze()
    }

    /// Reads a message; bodies are slices of `bytes`.
    pub fn decode(bytes: Bytes) -> Result<PointMessage, DecodeError> {
        let mut reader = Reader::new(bytes);
        match reader.u8()? {
            tag @ (tag::REPLY | tag::NULL | tag::ABORT) => {
                let (call, from) = (read_key(&mut reader)?, reader.member()?);
                let what = match tag {
                    tag::REPLY => Answered::Reply(reader.into_rest()),
                    tag::ABORT => Answered::Abort(reader.into_rest()),
                    _ => Answered::Null,
                };
                Ok(PointMessage::Answer(Answer { call, from, what }))
            }
            tag::COPY => {
                let (call, from, to) = (read_key(&mut reader)?, reader.member()?, reader.member()?);
                Ok(PointMessage::Copy(ReplyCopy { call, from, to, body: reader.into_rest() }))
            }
            tag::CARRY => read_carry(reader),
            tag::CLIENT_GONE => {
                let group = reader.group()?;
                Ok(PointMessage::ClientGone { group, client: Origin::read(&mut reader)?.client })
            }
            tag::VERDICT => {
                let group = reader.group()?;
                let Origin { client, sequence, again: _ } = Origin::read(&mut reader)?;
                let verdict = read_verdict(reader)?;
                Ok(PointMessage::Verdict { group, client, sequence, verdict })
            }
            tag::TABLE_REQUEST => {
                Ok(PointMessage::TableRequest { group: reader.group()?, view: reader.view()? })
            }
            tag::TABLE => {
                let (group, view, count) = (reader.group()?, reader.view()?, reader.u64()?);
                if count > COVERS_MAX {
                    return Err(DecodeError::TooLong);
                }
                let covers = (0..count).map(|_| reader.life()).collect::<Result<_, _>>()?;
                let informed = match reader.u8()? {
                    0 => false,
                    1 => true,
                    other => return Err(DecodeError::UnknownTag(other)),
                };
                Ok(PointMessage::Table { group, view, covers, informed, table: reader.into_rest() })
            }
            other => Err(DecodeError::UnknownTag(other)),
        }
    }
}

/// The most sites that a table may name.
const COVERS_MAX: u64 = 4_096;

mod tag {
    pub const REPLY: u8 = 1;
    pub const NULL: u8 = 2;
    pub const ABORT: u8 = 3;
    pub const COPY: u8 = 4;
    pub const CARRY: u8 = 5;
    pub const CLIENT_GONE: u8 = 6;
    pub const VERDICT: u8 = 7;
    pub const TABLE_REQUEST: u8 = 8;
    pub const TABLE: u8 = 9;
}

impl Answer {
    fn put(&self, out: &mut BytesMut) {
        let (tag, body) = match &self.what {
            Answered::Reply(body) => (tag::REPLY, &body[..]),
            Answered::Null => (tag::NULL, &[][..]),
            Answered::Abort(reason) => (tag::ABORT, &reason[..]),
        };
        out.reserve(32 + body.len());
        out.put_u8(tag);
        put_key(out, self.call);
        out.member(self.from);
        out.put_slice(body);
    }
}

fn put_key(out: &mut BytesMut, key: CallKey) {
    out.life(key.home);
    out.number(key.number);
}

fn read_key(reader: &mut Reader) -> Result<CallKey, DecodeError> {
    Ok(CallKey { home: reader.life()?, number: reader.u64()? })
}

fn put_carry(out: &mut BytesMut, carry: &Carry) {
    out.reserve(48 + carry.payload.len());
    out.put_u8(tag::CARRY);
    out.group(carry.group);
    carry.origin.put(out);
    out.number(carry.oldest);
    out.view(carry.as_of);
    out.put_u8(match carry.order {
        Order::Total => 0,
        Order::Safe => 1,
        Order::Group => 2,
    });
    let (replies, count) = match carry.replies {
        Replies::None => (0, 0),
        Replies::Count(n) => (1, n),
        Replies::Majority => (2, 0),
        Replies::All => (3, 0),
    };
    out.put_u8(replies);
    out.number(u64::from(count));
    out.number(u64::from(carry.time_out_ms));
    out.put_slice(&carry.payload);
}

fn read_carry(mut reader: Reader) -> Result<PointMessage, DecodeError> {
    let (group, origin) = (reader.group()?, Origin::read(&mut reader)?);
    let (oldest, as_of) = (reader.u64()?, reader.view()?);
    let order = match reader.u8()? {
        0 => Order::Total,
        1 => Order::Safe,
        2 => Order::Group,
        other => return Err(DecodeError::UnknownTag(other)),
    };
    let (replies, count) = (reader.u8()?, reader.u32()?);
    let replies = match replies {
        0 => Replies::None,
        1 => Replies::Count(count),
        2 => Replies::Majority,
        3 => Replies::All,
        other => return Err(DecodeError::UnknownTag(other)),
    };
    let time_out_ms = reader.u32()?;
    let payload = reader.into_rest();
    Ok(PointMessage::Carry(Carry { group, origin, oldest, as_of, order, replies, time_out_ms, payload }))
}

fn put_verdict(out: &mut BytesMut, verdict: &Verdict) {
    match verdict {
        Verdict::Carried => out.put_u8(0),
        Verdict::Refused(refusal) => {
            out.put_u8(1);
            out.put_u8(match refusal {
                Refusal::NotMember => 0,
                Refusal::Busy => 1,
                Refusal::Forgotten => 2,
                Refusal::Gone => 3,
            });
        }
        Verdict::Outcome(outcome) => {
            out.put_u8(2);
            let record = OutcomeRecord::from(&**outcome);
            let body = minicbor::to_vec(record).expect("writing to memory does not fail");
            out.put_slice(&body);
        }
    }
}

fn read_verdict(mut reader: Reader) -> Result<Verdict, DecodeError> {
    match reader.u8()? {
        0 => Ok(Verdict::Carried),
        1 => Ok(Verdict::Refused(match reader.u8()? {
            0 => Refusal::NotMember,
            1 => Refusal::Busy,
            2 => Refusal::Forgotten,
            3 => Refusal::Gone,
            other => return Err(DecodeError::UnknownTag(other)),
        })),
        2 => {
            let record: OutcomeRecord =
                minicbor::decode(&reader.into_rest()).map_err(|_| DecodeError::BadBody)?;
            Ok(Verdict::Outcome(Box::new(record.check()?)))
        }
        other => Err(DecodeError::UnknownTag(other)),
    }
}

/// An [`Outcome`] on its way to a client.
#[derive(Encode, Decode)]
#[cbor(map)]
struct OutcomeRecord {
    #[n(0)]
    delivered_in: Option<ViewId>,
    #[n(1)]
    targets: u32,
    #[n(2)]
    replies: Vec<BodyRecord>,
    #[n(3)]
    nulls: Vec<MemberId>,
    #[n(4)]
    failed: Vec<MemberId>,
    #[n(5)]
    missing: Vec<MemberId>,
    #[n(6)]
    aborted_by: Option<BodyRecord>,
    #[n(7)]
    timed_out: bool,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct BodyRecord {
    #[n(0)]
    from: MemberId,
    #[n(1)]
    body: ByteVec,
}

impl From<&Outcome> for OutcomeRecord {
    fn from(outcome: &Outcome) -> OutcomeRecord {
        let body = |(from, body): &(MemberId, Bytes)| BodyRecord { from: *from, body: body.to_vec().into() };
        OutcomeRecord {
            delivered_in: outcome.delivered_in,
            targets: outcome.targets as u32,
            replies: outcome.replies.iter().map(body).collect(),
            nulls: outcome.nulls.clone(),
            failed: outcome.failed.clone(),
            missing: outcome.missing.clone(),
            aborted_by: outcome.aborted_by.as_ref().map(body),
            timed_out: outcome.timed_out,
        }
    }
}

impl OutcomeRecord {
    /// The outcome, if it adds up as every outcome does.
    fn check(self) -> Result<Outcome, DecodeError> {
        let body = |record: BodyRecord| (record.from, Bytes::from(Vec::from(record.body)));
        let outcome = Outcome {
            delivered_in: self.delivered_in,
            targets: self.targets as usize,
            replies: self.replies.into_iter().map(body).collect(),
            nulls: self.nulls,
            failed: self.failed,
            missing: self.missing,
            aborted_by: self.aborted_by.map(body),
            timed_out: self.timed_out,
        };
        if outcome.accounted() == outcome.targets { Ok(outcome) } else { Err(DecodeError::BadBody) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::testing::{client, group, life, member, view_id};
    use proptest::prelude::*;

    fn samples() -> Vec<PointMessage> {
        let call = CallKey { home: life(3), number: 400 };
        let body = Bytes::from_static(b"body");
        let answer = |what| PointMessage::Answer(Answer { call, from: member(2), what });
        let verdict =
            |verdict| PointMessage::Verdict { group: group(), client: client(5), sequence: 6, verdict };
        let mut all = vec![
            answer(Answered::Reply(body.clone())),
            answer(Answered::Null),
            answer(Answered::Abort(body.clone())),
            PointMessage::Copy(ReplyCopy { call, from: member(1), to: member(2), body: body.clone() }),
            PointMessage::ClientGone { group: group(), client: client(5) },
            PointMessage::TableRequest { group: group(), view: view_id(7) },
            PointMessage::Table {
                group: group(),
                view: view_id(7),
                covers: vec![life(1), life(2)],
                informed: true,
                table: body.clone(),
            },
            verdict(Verdict::Carried),
            verdict(Verdict::Outcome(Box::new(Outcome {
                delivered_in: Some(view_id(4)),
                targets: 5,
                replies: vec![(member(1), body.clone())],
                nulls: vec![member(2)],
                failed: vec![member(3)],
                missing: vec![member(4)],
                aborted_by: Some((member(5), Bytes::new())),
                timed_out: true,
            }))),
        ];
        for refusal in [Refusal::NotMember, Refusal::Busy, Refusal::Forgotten, Refusal::Gone] {
            all.push(verdict(Verdict::Refused(refusal)));
        }
        for (order, replies) in [
            (Order::Total, Replies::None),
            (Order::Safe, Replies::Count(3)),
            (Order::Group, Replies::Majority),
            (Order::Total, Replies::All),
        ] {
            let origin = Origin { client: client(5), sequence: 6, again: true };
            let (payload, group) = (body.clone(), group());
            let carry = Carry {
                group,
                origin,
                oldest: 2,
                as_of: view_id(3),
                order,
                replies,
                time_out_ms: 900,
                payload,
            };
            all.push(PointMessage::Carry(carry));
        }
        all
    }

    #[test]
    fn every_message_survives_the_way() {
        for message in samples() {
            assert_eq!(PointMessage::decode(message.encode()), Ok(message));
        }
    }

    #[test]
    fn a_table_that_names_more_sites_than_a_group_has_is_refused() {
        let mut bytes = BytesMut::new();
        bytes.put_u8(tag::TABLE);
        bytes.group(group());
        bytes.view(view_id(7));
        bytes.number(COVERS_MAX + 1);
        assert_eq!(PointMessage::decode(bytes.clone().freeze()), Err(DecodeError::TooLong));
        bytes.truncate(bytes.len() - 2);
        bytes.number(1);
        bytes.life(life(1));
        bytes.put_u8(2);
        assert_eq!(PointMessage::decode(bytes.freeze()), Err(DecodeError::UnknownTag(2)));
    }

    #[test]
    fn an_outcome_that_does_not_add_up_is_refused() {
        let verdict = Verdict::Outcome(Box::new(Outcome { targets: 3, ..Outcome::default() }));
        let message = PointMessage::Verdict { group: group(), client: client(5), sequence: 6, verdict };
        assert_eq!(PointMessage::decode(message.encode()), Err(DecodeError::BadBody));
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = PointMessage::decode(Bytes::from(bytes));
        }

        #[test]
        fn a_cut_or_changed_message_never_panics(
            which in 0usize..100, at in 0usize..100, value: u8, cut in 0usize..120,
        ) {
            let samples = samples();
            let mut bytes = samples[which % samples.len()].encode().to_vec();
            let len = bytes.len();
            bytes[at % len] = value;
            bytes.truncate(cut);
            let _ = PointMessage::decode(Bytes::from(bytes));
        }
    }
}
