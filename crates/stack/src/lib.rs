//! Floor 6: one site as one pure state machine.
//!
//! A [`Node`] joins the floors below: a link to every other site, failure detection, the core-set's kernel
//! and tables, the member interface, and an endpoint for every group that has members here. The simulator
//! and the running site drive the same `Node`.
//!
//! # Call order
//!
//! After any `handle_*` or request call, drain [`Node::poll_store`], [`Node::poll_transmit`] and
//! [`Node::poll_event`] until each returns `None`, then arm one timer for [`Node::poll_timeout`].

#![forbid(unsafe_code)]

pub mod api;

pub use api::{
    CallId, CastError, CastOptions, Channel, Config, Connection, Event, GroupSummary, JoinError,
    JoinOptions, Path, Record, SiteState, SiteSummary, Status, Store, Ticket, Transmit,
};
