//! `bench`: measure.

use crate::args;
use crate::failure::Failure;

pub async fn cast(_: &args::BenchCast, _: bool) -> Result<(), Failure> {
    Err(Failure::refused("not in this build"))
}

pub async fn failover(_: &args::BenchFailover, _: bool) -> Result<(), Failure> {
    Err(Failure::refused("not in this build"))
}
