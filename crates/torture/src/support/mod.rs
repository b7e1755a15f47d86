//! What the scenarios are made of.

pub mod caster;
pub mod cluster;
pub mod faults;
pub mod hog;
pub mod hosts;
pub mod intruder;
pub mod line;
pub mod load;
pub mod member;
pub mod oracle;
pub mod post;
pub mod relay;
pub mod rot;
pub mod run;
pub mod site;
pub mod verdict;
pub mod volume;
