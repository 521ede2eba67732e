//! omnivox
fn main() {}
