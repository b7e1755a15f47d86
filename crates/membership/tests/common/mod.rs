//! What the kernel's tests share.

#![allow(dead_code)]

pub mod oracle;
pub mod run;
pub mod world;
