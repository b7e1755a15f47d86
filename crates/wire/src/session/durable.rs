//! What requests of durable groups say, and their answers.

use serde::{Deserialize, Serialize};

/// What must hold of a key before it is changed. Exactly one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// There is no such key.
    Absent,
    /// There is one.
    Present,
    /// It was changed last at this revision.
    Revision(u64),
}

/// A client's name for a write: a repeat under the same name is answered as the first was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Once {
    /// 32 hexadecimal digits, drawn at random once.
    pub client: String,
    /// The client's number for it, from 1.
    pub sequence: u64,
    /// Every write up to this number has been answered.
    #[serde(default)]
    pub answered: u64,
}

/// A pair of a durable map, without its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairHeader {
    /// Its key.
    pub key: String,
    /// The revision at which it was changed last.
    pub revision: u64,
    /// The revision at which it came to be.
    pub created: u64,
    /// How often it was put since.
    pub versions: u64,
    /// When it goes, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    /// Bytes of its value.
    pub len: usize,
}

/// One change of a durable map, without the value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeHeader {
    /// Which key.
    pub key: String,
    /// At which revision.
    pub revision: u64,
    /// `put`, `deleted` or `expired`.
    pub what: String,
    /// Bytes of the value, if it was put.
    #[serde(default)]
    pub len: usize,
}

/// How far a durable group is on its way to the stores that it was wished to have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedGroup {
    /// The group's name.
    pub group: String,
    /// What it is at.
    pub state: PlacedState,
    /// What it waits for, or why it is refused and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// How far the new store has come, while it catches up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
    /// And where it has to come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<u64>,
    /// The names of the sites whose stores count now.
    pub stores: Vec<String>,
}

/// What a group whose stores move is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlacedState {
    /// It is as wished.
    Done,
    /// A change was begun.
    Changing,
    /// The new store catches up first.
    CatchingUp,
    /// Something has to come first, by itself.
    Waiting,
    /// It can't be done as things are. Nothing has changed by this.
    Refused,
}
