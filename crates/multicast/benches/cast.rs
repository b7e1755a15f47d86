//! A bench of the endpoint.
fn main() {}
