//! unanimous
