//! Floor 4: ordered multicast in agreed views, and what rides on it.
//!
//! [`call`] is what a program sees around a cast: replies, process lists, casts of outsiders, causality
//! across groups.

#![forbid(unsafe_code)]

pub mod call;
