//! Site ids.
