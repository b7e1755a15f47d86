//! Floor 6: the toolkit. Each tool is a function of what its group delivers or commits, and of nothing else.
//!
//! [`catalog`] says which durable groups there are. [`map`] is a key-value map as the application of a durable group; its
//! rules are in `docs/map.md`. [`backup`] is the file that holds all of them as they were at one moment.

#![forbid(unsafe_code)]

pub mod backup;
pub mod catalog;
pub mod map;
