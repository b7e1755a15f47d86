//! What the kernel's tests share.

#![allow(dead_code)]

pub mod cases;
pub mod oracle;
pub mod run;
pub mod search;
pub mod world;
