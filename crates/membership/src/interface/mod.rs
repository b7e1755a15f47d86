//! The member interface.
pub mod message;
