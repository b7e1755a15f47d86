//! Floor 3: agreed views. [`step`] and [`group`] are the vocabulary; the kernel, the tables and the member
//! interface stand on them.

#![forbid(unsafe_code)]

pub mod group;
pub mod interface;
pub mod kernel;
pub mod service;
pub mod step;
pub mod tables;
