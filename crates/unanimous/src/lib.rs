//! Process groups with agreed views and ordered multicast.
//!
//! A program becomes a [`Process`]: over a session with a site beside it ([`Site::connect`]), or with a site
//! of its own inside ([`Site::start`]). A process joins groups and takes their events: every member sees the
//! same views, and between two views the same messages.
//!
//! ```no_run
//! use unanimous::{Event, JoinOptions, Site};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let process = Site::connect_any(unanimous::locate::addresses()?, "greeter").await?;
//! let (group, mut events) = process.join("chat", JoinOptions::default()).await?;
//! group.cast("hello").send().await?;
//! while let Some(event) = events.next().await {
//!     match event {
//!         Event::View(view) => println!("{} members; my rank is {:?}", view.members.len(), view.rank()),
//!         Event::Message(message) => println!("{}: {:?}", message.from, message.payload),
//!         Event::Left { why } => println!("no longer a member: {why}"),
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! * [`Process`]: joining, watching, and casting to groups from outside. [`Group`]: a membership.
//! * [`Cast`], [`Call`]: how a message goes out, and [`Outcome`]: what came back. A shortfall of replies is a
//!   value, not an error.
//! * [`Events`]: what a group tells, as a stream. A program that does not take its events holds back its groups
//!   (nothing is dropped), and is asked to leave in the end: take them while you cast.
//! * [`DurableMap`]: a replicated map on disks; what it has acknowledged is lost no more.
//! * [`Mail`]: letters and users of the mail that the cluster's sites serve.
//! * [`message`]: messages made of typed fields. [`session`]: the session protocol itself.
//!
//! Every future of this library may be dropped: what was asked may still be done, and its answer is forgotten.

#![forbid(unsafe_code)]

mod cast;
mod credentials;
mod durable_map;
mod error;
mod event;
mod forked;
mod group;
mod ids;
mod join;
mod local;
pub mod locate;
mod mail;
mod process;
mod queue;
mod remote;
mod routes;
mod site;
mod view;

pub use crate::mail::Mail;
pub use crate::site::Site;
pub use ::site::{ConfigError, Running, SiteConfig, StartError, Stopped, config};
pub use bytes::Bytes;
pub use cast::{Call, Cast, Order, Outcome, Replies, Reply};
pub use client::protocol::{
    AliasLine, Condition, DomainLine, ListLine, LoginLine, Of, Posting, ReceiptLine, UserLine,
};
pub use client::{Change, Letter, Letters, Page, Pair};
pub use credentials::{Credentials, CredentialsError};
pub use durable_map::{DurableMap, Watch, Write};
pub use error::Error;
pub use event::{Delivery, Event};
pub use forked::Forked;
pub use group::Group;
pub use ids::IdError;
pub use join::{Consistency, Create, JoinOptions, Lives, Merges};
pub use process::{Outsider, Process};
pub use queue::Events;
pub use view::{View, Why};
pub use wire::{GroupName, MemberId, NameError, ProcessId, SiteId, ViewId};

/// Messages made of typed fields: a program can add one without breaking older readers.
pub mod message {
    pub use wire::fields::*;
}

/// The session protocol, for programs that want to speak it themselves (`docs/sessions.md`).
pub mod session {
    pub use client::{
        Address, AddressError, Begun, Change, Error, Event, Events, JoinOptions, Letter, Letters, Levels,
        Page, Pair, Placed, Replied, RestorePart, Restored, Session, SiteLevels, Tls, WriteOptions, connect,
        mail, protocol,
    };
}
