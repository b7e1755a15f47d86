//! Floor 5: durable groups. What a group was told is on W disks before anybody is told so, comes back after every
//! machine died at once, follows a machine that was away, and moves to a new one.
//!
//! [`Durable`] is the replicated log of one group at one store. Its type doc states the call order; rules D1 to D22,
//! cited in the code, are in `docs/durable.md`.

#![forbid(unsafe_code)]

mod application;
mod bugs;
mod configuration;
mod entry;
mod event;
mod exchange;
mod log;
mod machine;
mod message;
mod meta;
mod names;
mod recovery;
mod settings;
mod storage;
mod window;

pub use application::{Application, Applying, NotRestored, Parts};
pub use bugs::{Bug, Bugs};
pub use configuration::{Change, ChangeError, Configuration};
pub use entry::{Body, ClientId, Entry, Known, Number, RecordError, Request};
pub use event::{Answer, Event, Fatal, Mode, ProposeError, ReadId, Refused, Transmit, View, Why};
pub use machine::{Absent, Durable, Forcing, Here, Progress, Status};
pub use message::{Life, MessageError};
pub use meta::Remembered;
pub use names::{Ending, Name, Names};
pub use recovery::{Recovery, RecoveryError};
pub use settings::Settings;
pub use storage::{CheckpointHead, Chunk, Done, Locator, Record, StoreOp, Token};
